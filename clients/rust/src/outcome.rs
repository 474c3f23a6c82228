//! What became of an enqueued message.

use std::fmt;

use corelane_wire::{Epoch, Offset};

use crate::error::Error;
use crate::protocol::{Resolution, UnknownReason};

/// What became of one message; there are exactly these three ends.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "a message may be rejected, or its fate unknown"]
pub enum Outcome {
    /// It is in the queue, and survives what its receipt says.
    Confirmed(Receipt),
    /// It is surely not in the queue; sending it again cannot make a duplicate.
    Rejected(Error),
    /// It may be in the queue or not; sending it again may make a duplicate, not sending it may lose it.
    Unknown(UnknownReason),
}

/// Where a confirmed message is, and what protects it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Number of the message in its lane.
    pub offset: Offset,
    /// Epoch of the partition that took it.
    pub epoch: Epoch,
    /// What the broker waited for before it answered.
    pub class: Class,
    /// On how many nodes' stable storage it is.
    pub copies: u8,
    /// Whether an earlier copy was taken, and its answer lost on the way.
    pub duplicate: bool,
}

/// What the broker waits for before it confirms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Class {
    /// Stable storage on every member of the chain: a confirmed message survives every crash.
    #[default]
    Durable,
    /// Nothing: a confirmed message may be lost in a crash shortly after.
    Memory,
}

impl Outcome {
    /// The receipt, or nothing if there is none.
    pub const fn receipt(&self) -> Option<&Receipt> {
        match self {
            Self::Confirmed(receipt) => Some(receipt),
            Self::Rejected(_) | Self::Unknown(_) => None,
        }
    }

    /// Whether it is confirmed.
    pub const fn is_confirmed(&self) -> bool {
        matches!(self, Self::Confirmed(_))
    }

    /// For callers that treat everything but a receipt as an error.
    ///
    /// # Errors
    /// [`EnqueueError`] says which of the other two ends it was.
    pub fn into_result(self) -> Result<Receipt, EnqueueError> {
        match self {
            Self::Confirmed(receipt) => Ok(receipt),
            Self::Rejected(error) => Err(EnqueueError::Rejected(error)),
            Self::Unknown(reason) => Err(EnqueueError::Unknown(reason)),
        }
    }

    /// Of the message `index` of a batch.
    pub(crate) fn of(resolution: &Resolution, index: u64) -> Self {
        match resolution {
            Resolution::Confirmed { receipt, epoch } => Self::Confirmed(Receipt {
                offset: Offset(receipt.range.first.0.saturating_add(index)),
                epoch: *epoch,
                class: Class::from_u8(receipt.class),
                copies: receipt.copies,
                duplicate: receipt.duplicate,
            }),
            Resolution::Refused { code, text } => Self::Rejected(Error::Refused {
                code: *code,
                text: text.clone(),
            }),
            Resolution::NotSent => Self::Rejected(Error::NotSent),
            Resolution::Unknown(reason) => Self::Unknown(reason.clone()),
        }
    }
}

impl Class {
    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::Durable => corelane_wire::message::CLASS_DURABLE,
            Self::Memory => corelane_wire::message::CLASS_MEMORY,
        }
    }

    const fn from_u8(number: u8) -> Self {
        match number {
            corelane_wire::message::CLASS_DURABLE => Self::Durable,
            _ => Self::Memory,
        }
    }
}

/// Why there is no receipt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EnqueueError {
    /// See [`Outcome::Rejected`].
    Rejected(Error),
    /// See [`Outcome::Unknown`].
    Unknown(UnknownReason),
}

impl fmt::Display for EnqueueError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(error) => write!(formatter, "rejected: {error}"),
            Self::Unknown(reason) => write!(formatter, "unknown: {reason}"),
        }
    }
}

impl std::error::Error for EnqueueError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rejected(error) => Some(error),
            Self::Unknown(_) => None,
        }
    }
}
