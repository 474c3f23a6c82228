//! Why a record cannot be read.

use std::fmt;

use corelane_wire::codec::CodecError;
use corelane_wire::{NameError, OffsetRange};

/// Why bytes are not the payload of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RecordDecodeError {
    /// This version knows no such record. It must not be skipped: what follows may build on it.
    UnknownKind {
        /// The kind found.
        kind: u8,
    },
    /// A field does not fit.
    Codec(CodecError),
    /// A name is not one.
    Name(NameError),
    /// A range of offsets is empty or ends beyond the greatest offset.
    BadRange {
        /// The range found.
        range: OffsetRange,
    },
    /// A number is none of those that its field may have.
    BadNumber {
        /// The number found.
        number: u8,
    },
    /// A list states more entries than its bytes can hold.
    BadCount {
        /// The count stated.
        stated: u32,
        /// How many entries the bytes that are left could hold.
        possible: usize,
    },
}

impl From<CodecError> for RecordDecodeError {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

impl fmt::Display for RecordDecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind { kind } => write!(formatter, "record kind {kind} is unknown"),
            Self::Codec(error) => write!(formatter, "{error}"),
            Self::Name(error) => write!(formatter, "{error}"),
            Self::BadRange { range } => write!(formatter, "{range} is no range of offsets"),
            Self::BadNumber { number } => write!(formatter, "number {number} has no meaning there"),
            Self::BadCount { stated, possible } => write!(
                formatter,
                "a list states {stated} entries, its bytes hold at most {possible}"
            ),
        }
    }
}

impl std::error::Error for RecordDecodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Codec(error) => Some(error),
            Self::Name(error) => Some(error),
            Self::UnknownKind { .. }
            | Self::BadRange { .. }
            | Self::BadNumber { .. }
            | Self::BadCount { .. } => None,
        }
    }
}
