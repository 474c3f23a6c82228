//! What changes about a subscription as a whole, and its bytes behind queue and subscription.

use corelane_wire::codec::{Reader, put_bool, put_str16, put_u8, put_u32, put_u64};
use corelane_wire::record::record_kind;
use corelane_wire::{Aside, Offset, OffsetRange, PurgeStates, SubscriptionConfig};

use super::RecordDecodeError;
use super::codec::{numbered, put_ranges, ranges};

/// What changes about a subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It has another configuration.
    Configure(SubscriptionConfig),
    /// It gives nothing out, or does again.
    Pause {
        /// Why; `None` if it gives messages out again.
        reason: Option<Box<str>>,
    },
    /// Messages that were set aside are ready again.
    Return {
        /// Where they were.
        aside: Aside,
        /// Which; the messages of each were set aside together.
        ranges: Vec<OffsetRange>,
    },
    /// Messages are finished without a delivery.
    Purge(PurgeStates),
    /// It begins anew elsewhere.
    Seek {
        /// Where.
        from: Offset,
    },
    /// It goes.
    Unsubscribe,
    /// Dead messages go to a queue, or stay.
    DeadLetters {
        /// To this one; `None` if they stay.
        to: Option<Box<str>>,
    },
    /// Dead messages are under way to the dead-letter queue.
    Forward {
        /// Which; they died together.
        range: OffsetRange,
    },
    /// Those under way have arrived, or are dead as before.
    Forwarded {
        /// Whether they are there.
        arrived: bool,
    },
}

impl Change {
    /// The number in the record's header.
    pub(super) const fn kind(&self) -> u8 {
        match self {
            Self::Configure(_) => record_kind::CONFIGURE,
            Self::Pause { .. } => record_kind::PAUSE,
            Self::Return { .. } => record_kind::RETURN,
            Self::Purge(_) => record_kind::PURGE,
            Self::Seek { .. } => record_kind::SEEK,
            Self::Unsubscribe => record_kind::UNSUBSCRIBE,
            Self::DeadLetters { .. } => record_kind::DEAD_LETTERS,
            Self::Forward { .. } => record_kind::FORWARD,
            Self::Forwarded { .. } => record_kind::FORWARDED,
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Configure(config) => config.put(out),
            Self::Pause { reason } => {
                put_bool(out, reason.is_some());
                put_str16(out, reason.as_deref().unwrap_or_default());
            }
            Self::Return { aside, ranges } => {
                put_u8(out, aside.as_u8());
                put_ranges(out, ranges);
            }
            Self::Purge(states) => put_u8(out, states.bits()),
            Self::Seek { from } => put_u64(out, from.0),
            Self::Unsubscribe => {}
            Self::DeadLetters { to } => {
                put_bool(out, to.is_some());
                put_str16(out, to.as_deref().unwrap_or_default());
            }
            Self::Forward { range } => {
                put_u64(out, range.first.0);
                put_u32(out, range.count);
            }
            Self::Forwarded { arrived } => put_bool(out, *arrived),
        }
    }

    /// Reads what `put` appended for a record of this kind.
    pub(super) fn read(kind: u8, reader: &mut Reader<'_>) -> Result<Self, RecordDecodeError> {
        Ok(match kind {
            record_kind::CONFIGURE => {
                let config = SubscriptionConfig::read(reader)?;
                Self::Configure(config.map_err(|number| RecordDecodeError::BadNumber { number })?)
            }
            record_kind::PAUSE => {
                let is_paused = reader.bool()?;
                let reason = reader.str16()?;
                let reason = is_paused.then(|| reason.into());
                Self::Pause { reason }
            }
            record_kind::RETURN => Self::Return {
                aside: numbered(reader, Aside::from_u8)?,
                ranges: ranges(reader)?,
            },
            record_kind::PURGE => Self::Purge(numbered(reader, PurgeStates::from_bits)?),
            record_kind::SEEK => Self::Seek {
                from: Offset(reader.u64()?),
            },
            record_kind::UNSUBSCRIBE => Self::Unsubscribe,
            record_kind::DEAD_LETTERS => {
                let has_queue = reader.bool()?;
                let to = reader.str16()?;
                let to = has_queue.then(|| to.into());
                Self::DeadLetters { to }
            }
            record_kind::FORWARD => Self::Forward {
                range: OffsetRange {
                    first: Offset(reader.u64()?),
                    count: reader.u32()?,
                },
            },
            record_kind::FORWARDED => Self::Forwarded {
                arrived: reader.bool()?,
            },
            kind => return Err(RecordDecodeError::UnknownKind { kind }),
        })
    }
}
