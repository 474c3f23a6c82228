//! Why a log cannot be replayed.

use std::fmt;

use corelane_wire::{Lsn, Timestamp};

use crate::record::RecordDecodeError;

/// Why a record of the log does not fit; the partition must not be served then.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The payload is not one of its kind.
    Decode {
        /// The record's number.
        lsn: Lsn,
        /// Its kind.
        kind: u8,
        /// Why.
        error: RecordDecodeError,
    },
    /// Records are missing, or come twice.
    Gap {
        /// The number that should come.
        expected: Lsn,
        /// The number that came.
        found: Lsn,
    },
    /// Log time went back.
    TimeWentBack {
        /// The record's number.
        lsn: Lsn,
        /// Log time before.
        before: Timestamp,
        /// The record's time.
        found: Timestamp,
    },
    /// The record contradicts what the log said before.
    Inconsistent {
        /// The record's number.
        lsn: Lsn,
        /// Its kind.
        kind: u8,
        /// What does not fit.
        what: &'static str,
    },
}

impl fmt::Display for ReplayError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode { lsn, kind, error } => {
                write!(formatter, "record {lsn} of kind {kind}: {error}")
            }
            Self::Gap { expected, found } => {
                write!(formatter, "record {expected} should come, found {found}")
            }
            Self::TimeWentBack { lsn, before, found } => write!(
                formatter,
                "record {lsn}: log time went back from {before} to {found}"
            ),
            Self::Inconsistent { lsn, kind, what } => {
                write!(formatter, "record {lsn} of kind {kind}: {what}")
            }
        }
    }
}

impl std::error::Error for ReplayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Decode { error, .. } => Some(error),
            Self::Gap { .. } | Self::TimeWentBack { .. } | Self::Inconsistent { .. } => None,
        }
    }
}
