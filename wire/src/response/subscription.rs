//! Answers to requests about one subscription as a whole.

use super::ResponseError;
use crate::codec::{Reader, length_u32, put_bool, put_str16, put_u8, put_u32, put_u64, put_u128};
use crate::ids::{Offset, OffsetRange, SessionId, Timestamp};
use crate::kind;
use crate::limits::{NAME_BYTES_MAX, REASON_BYTES_MAX};
use crate::request::SubscriptionConfig;

/// To a request about a subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SubscriptionAnswer {
    /// It exists now.
    Created {
        /// False if it existed before.
        created: bool,
    },
    /// What there is to know about it.
    Shown(Box<SubscriptionDetail>),
    /// Its configuration is replaced.
    Configured,
    /// It gives nothing out.
    Paused,
    /// It gives messages out.
    Resumed,
    /// It begins anew.
    Sought {
        /// At this offset.
        at: Offset,
    },
    /// It is deleted.
    Deleted,
    /// Messages are finished.
    Purged {
        /// How many.
        count: u64,
    },
    /// Messages that were set aside, by offset.
    AsideList {
        /// Neighbours with the same history share a row.
        rows: Vec<AsideInfo>,
        /// Whether to ask again, from the end of the last row on.
        more: bool,
    },
    /// Messages are ready again.
    Returned {
        /// How many.
        count: u32,
        /// From where on to ask again, if less than all were returned; else the end that was asked for.
        next: Offset,
    },
    /// Where dead messages go.
    DeadLetters {
        /// To this queue; `None`: they stay where they are.
        to: Option<String>,
    },
    /// Everything before the checkpoint is read for good.
    Checkpointed {
        /// The checkpoint: where it was, if the offset asked for lay before.
        at: Offset,
    },
}

/// What there is to know about a subscription as a whole.
///
/// `enqueued` = `ready` + `delayed` + `leased` + `parked` + `dead` + `done` + `expired` + `purged`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SubscriptionDetail {
    /// Its name.
    pub name: String,
    /// Where it began, or was last sought.
    pub begin: Offset,
    /// Every message before it is finished.
    pub finished: Offset,
    /// No message from here on was given out.
    pub position: Offset,
    /// How it treats failed attempts.
    pub config: SubscriptionConfig,
    /// Whether it gives nothing out.
    pub paused: bool,
    /// Why, if it does.
    pub pause_reason: String,
    /// Since when, in log time; 0 if it is not paused.
    pub paused_since: Timestamp,
    /// Messages that it is there for: enqueued from `begin` on, and not gone when it began.
    pub enqueued: u64,
    /// Messages that wait for a consumer.
    pub ready: u64,
    /// Messages that wait for their delay to end.
    pub delayed: u64,
    /// Messages that a consumer holds.
    pub leased: u64,
    /// Messages set aside until kicked.
    pub parked: u64,
    /// Messages that failed too often, or were rejected for good.
    pub dead: u64,
    /// Messages that a consumer finished.
    pub done: u64,
    /// Messages whose time to live ended, or that made way for others.
    pub expired: u64,
    /// Messages that were purged.
    pub purged: u64,
    /// Consumers that are subscribed now.
    pub consumers: u32,
    /// Of a broadcast: messages that were gone before a consumer got them, once for each, since the broker started.
    pub missed: u64,
}

/// Messages in a row that were set aside alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AsideInfo {
    /// Which.
    pub range: OffsetRange,
    /// How often they were given out.
    pub attempts: u32,
    /// Why they are here.
    pub cause: AsideCause,
    /// Since when, in log time.
    pub since: Timestamp,
    /// When they were given out last, in log time.
    pub leased: Timestamp,
    /// The session that had them last.
    pub session: SessionId,
    /// What its consumer said; up to 256 bytes.
    pub text: String,
}

/// Why a message was set aside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum AsideCause {
    /// A consumer asked for it.
    Rejected = 1,
    /// Its last attempt failed, by the consumer's word.
    Attempts = 2,
    /// Its last attempt failed, because the lease ended.
    LeaseExpired = 3,
    /// It was among the oldest of a queue that had no room for more.
    Overflow = 4,
}

impl AsideCause {
    /// The cause with this number on the wire.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Rejected),
            2 => Some(Self::Attempts),
            3 => Some(Self::LeaseExpired),
            4 => Some(Self::Overflow),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The word for it, as in headers of dead letters and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Attempts => "attempts",
            Self::LeaseExpired => "lease_expired",
            Self::Overflow => "overflow",
        }
    }
}

impl SubscriptionAnswer {
    /// The kind byte of its frame.
    pub(super) const fn kind(&self) -> u8 {
        kind::answer(match self {
            Self::Created { .. } => kind::SUBSCRIPTION_CREATE,
            Self::Shown(_) => kind::SUBSCRIPTION_SHOW,
            Self::Configured => kind::SUBSCRIPTION_CONFIGURE,
            Self::Paused => kind::SUBSCRIPTION_PAUSE,
            Self::Resumed => kind::SUBSCRIPTION_RESUME,
            Self::Sought { .. } => kind::SUBSCRIPTION_SEEK,
            Self::Deleted => kind::SUBSCRIPTION_DELETE,
            Self::Purged { .. } => kind::SUBSCRIPTION_PURGE,
            Self::AsideList { .. } => kind::ASIDE_LIST,
            Self::Returned { .. } => kind::ASIDE_RETURN,
            Self::DeadLetters { .. } => kind::SUBSCRIPTION_DEAD_LETTERS,
            Self::Checkpointed { .. } => kind::SUBSCRIPTION_CHECKPOINT,
        })
    }

    /// About how many bytes it holds beside itself.
    pub fn bulk_bytes(&self) -> usize {
        match self {
            Self::AsideList { rows, .. } => rows.len() * AsideInfo::BYTES_MAX,
            Self::Shown(_) => size_of::<SubscriptionDetail>() + NAME_BYTES_MAX + REASON_BYTES_MAX,
            Self::DeadLetters { .. } => NAME_BYTES_MAX,
            Self::Created { .. }
            | Self::Configured
            | Self::Paused
            | Self::Resumed
            | Self::Sought { .. }
            | Self::Deleted
            | Self::Purged { .. }
            | Self::Returned { .. }
            | Self::Checkpointed { .. } => 0,
        }
    }

    /// Reads the fields of a frame of this kind; `None` if it answers no request about a subscription.
    pub(super) fn read(kind: u8, reader: &mut Reader<'_>) -> Result<Option<Self>, ResponseError> {
        Ok(Some(match kind {
            CREATED => Self::Created {
                created: reader.bool()?,
            },
            SHOWN => Self::Shown(Box::new(SubscriptionDetail::read(reader)?)),
            CONFIGURED => Self::Configured,
            PAUSED => Self::Paused,
            RESUMED => Self::Resumed,
            SOUGHT => Self::Sought {
                at: Offset(reader.u64()?),
            },
            DELETED => Self::Deleted,
            PURGED => Self::Purged {
                count: reader.u64()?,
            },
            ASIDE_LIST => {
                let more = reader.bool()?;
                let count = reader.u32()?;
                // Rows have no fixed length, so the list grows with what is really there.
                let mut rows = Vec::new();
                for _ in 0..count {
                    rows.push(AsideInfo::read(reader)?);
                }
                Self::AsideList { rows, more }
            }
            RETURNED => Self::Returned {
                count: reader.u32()?,
                next: Offset(reader.u64()?),
            },
            DEAD_LETTERS => {
                let to = reader.str16()?;
                Self::DeadLetters {
                    to: (!to.is_empty()).then(|| to.to_owned()),
                }
            }
            CHECKPOINTED => Self::Checkpointed {
                at: Offset(reader.u64()?),
            },
            _ => return Ok(None),
        }))
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Created { created } => put_bool(out, *created),
            Self::Shown(detail) => detail.put(out),
            Self::Sought { at } | Self::Checkpointed { at } => put_u64(out, at.0),
            Self::Purged { count } => put_u64(out, *count),
            Self::AsideList { rows, more } => {
                put_bool(out, *more);
                put_u32(out, length_u32(rows.len()));
                for row in rows {
                    row.put(out);
                }
            }
            Self::Returned { count, next } => {
                put_u32(out, *count);
                put_u64(out, next.0);
            }
            Self::DeadLetters { to } => put_str16(out, to.as_deref().unwrap_or_default()),
            Self::Configured | Self::Paused | Self::Resumed | Self::Deleted => {}
        }
    }
}

impl SubscriptionDetail {
    /// The messages in all states together: `enqueued`, unless messages were lost or made up.
    pub const fn accounted(&self) -> u64 {
        let waiting = self.ready + self.delayed + self.leased;
        let aside = self.parked + self.dead;
        waiting + aside + self.done + self.expired + self.purged
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ResponseError> {
        Ok(Self {
            name: reader.str16()?.to_owned(),
            begin: Offset(reader.u64()?),
            finished: Offset(reader.u64()?),
            position: Offset(reader.u64()?),
            config: SubscriptionConfig::read(reader)?.map_err(|number| {
                ResponseError::OutOfRange {
                    what: "contract",
                    value: number.into(),
                }
            })?,
            paused: reader.bool()?,
            pause_reason: reader.str16()?.to_owned(),
            paused_since: Timestamp(reader.u64()?),
            enqueued: reader.u64()?,
            ready: reader.u64()?,
            delayed: reader.u64()?,
            leased: reader.u64()?,
            parked: reader.u64()?,
            dead: reader.u64()?,
            done: reader.u64()?,
            expired: reader.u64()?,
            purged: reader.u64()?,
            consumers: reader.u32()?,
            missed: reader.u64()?,
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_str16(out, &self.name);
        for offset in [self.begin, self.finished, self.position] {
            put_u64(out, offset.0);
        }
        self.config.put(out);
        put_bool(out, self.paused);
        put_str16(out, &self.pause_reason);
        put_u64(out, self.paused_since.0);
        let counts = [
            self.enqueued,
            self.ready,
            self.delayed,
            self.leased,
            self.parked,
            self.dead,
            self.done,
            self.expired,
            self.purged,
        ];
        for count in counts {
            put_u64(out, count);
        }
        put_u32(out, self.consumers);
        put_u64(out, self.missed);
    }
}

impl AsideInfo {
    /// The bytes of a row at most.
    pub const BYTES_MAX: usize = 51 + REASON_BYTES_MAX;

    fn read(reader: &mut Reader<'_>) -> Result<Self, ResponseError> {
        let range = OffsetRange {
            first: Offset(reader.u64()?),
            count: reader.u32()?,
        };
        let attempts = reader.u32()?;
        let number = reader.u8()?;
        let Some(cause) = AsideCause::from_u8(number) else {
            return Err(ResponseError::OutOfRange {
                what: "cause",
                value: number.into(),
            });
        };
        Ok(Self {
            range,
            attempts,
            cause,
            since: Timestamp(reader.u64()?),
            leased: Timestamp(reader.u64()?),
            session: SessionId(reader.u128()?),
            text: reader.str16()?.to_owned(),
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.range.first.0);
        put_u32(out, self.range.count);
        put_u32(out, self.attempts);
        put_u8(out, self.cause.as_u8());
        put_u64(out, self.since.0);
        put_u64(out, self.leased.0);
        put_u128(out, self.session.0);
        put_str16(out, &self.text);
    }
}

const CREATED: u8 = kind::answer(kind::SUBSCRIPTION_CREATE);
const SHOWN: u8 = kind::answer(kind::SUBSCRIPTION_SHOW);
const CONFIGURED: u8 = kind::answer(kind::SUBSCRIPTION_CONFIGURE);
const PAUSED: u8 = kind::answer(kind::SUBSCRIPTION_PAUSE);
const RESUMED: u8 = kind::answer(kind::SUBSCRIPTION_RESUME);
const SOUGHT: u8 = kind::answer(kind::SUBSCRIPTION_SEEK);
const DELETED: u8 = kind::answer(kind::SUBSCRIPTION_DELETE);
const PURGED: u8 = kind::answer(kind::SUBSCRIPTION_PURGE);
const ASIDE_LIST: u8 = kind::answer(kind::ASIDE_LIST);
const RETURNED: u8 = kind::answer(kind::ASIDE_RETURN);
const DEAD_LETTERS: u8 = kind::answer(kind::SUBSCRIPTION_DEAD_LETTERS);
const CHECKPOINTED: u8 = kind::answer(kind::SUBSCRIPTION_CHECKPOINT);
