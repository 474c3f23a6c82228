//! Requests about one subscription as a whole: its life, its configuration, and messages that were set aside.

use super::RequestError;
use super::decode::{check_range, queue_name, subscription_name, target};
use crate::codec::{CodecError, Reader, put_str16, put_u8, put_u32, put_u64};
use crate::ids::{Lane, Offset};
use crate::kind;
use crate::limits::{DELAY_MS_MAX, LIST_MAX, REASON_BYTES_MAX, RETURN_MAX};

/// Asks something about one subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OnSubscription<'a> {
    /// The queue.
    pub queue: &'a str,
    /// The lane.
    pub lane: Lane,
    /// The subscription; empty stands for the default one.
    pub subscription: &'a str,
    /// What is asked.
    pub verb: SubscriptionVerb<'a>,
}

/// What is asked about a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubscriptionVerb<'a> {
    /// Makes it, and its queue; succeeds if it exists with the same configuration.
    Create {
        /// Where it begins; `None`: the first subscription of a queue at the earliest message, later ones at the latest.
        start: Option<Start>,
        /// How it treats failures.
        config: SubscriptionConfig,
    },
    /// Shows it.
    Show,
    /// Replaces its configuration.
    Configure {
        /// The new one.
        config: SubscriptionConfig,
    },
    /// Gives nothing out until it is resumed; what is leased stays so.
    Pause {
        /// Why; up to 256 bytes.
        reason: &'a str,
    },
    /// Gives messages out again.
    Resume,
    /// Begins it anew elsewhere: leases and everything that was done are forgotten.
    Seek {
        /// Where.
        start: Start,
    },
    /// Deletes it; messages that no other subscription needs go.
    Delete,
    /// Finishes messages that are not leased, without delivering them.
    Purge {
        /// In which states.
        states: PurgeStates,
    },
    /// Lists messages that were set aside.
    ListAside {
        /// Dead or parked.
        aside: Aside,
        /// The first offset of interest.
        from: Offset,
        /// Rows at most: 1 to 1,000.
        limit: u32,
    },
    /// Makes messages ready that were set aside; skips what is in another state.
    Return {
        /// Dead or parked.
        aside: Aside,
        /// The first offset.
        first: Offset,
        /// The end of the offsets, exclusive.
        end: Offset,
        /// Messages at most: 1 to 10,000.
        max: u32,
    },
    /// Says to which queue dead messages go, or only asks for it.
    DeadLetters {
        /// What changes; `None`: nothing.
        change: Option<DeadLetters<'a>>,
    },
    /// Everything before an offset is read for good; only of a reader. An offset before its checkpoint changes nothing.
    Checkpoint {
        /// The first message that is not read for good; not behind what was given out.
        offset: Offset,
    },
}

/// Where dead messages go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeadLetters<'a> {
    /// They stay where they are.
    Stay,
    /// To this queue.
    To(&'a str),
}

/// Where a subscription begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// At the first message that the queue keeps.
    Earliest,
    /// Behind the last message.
    Latest,
    /// At this message; between both.
    At(Offset),
}

/// What a subscription promises its consumers, how much it gives out, and how it treats failed attempts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SubscriptionConfig {
    /// What it promises.
    pub contract: Contract,
    /// Where messages that come back have their place; not with an order by key.
    pub returned: ReturnTo,
    /// Messages under lease at once; 0: no bound.
    pub in_flight_max: u32,
    /// Messages given out a second; 0: no bound.
    pub rate_max: u32,
    /// With how many failed attempts a message is dead; 0: never.
    pub attempts_max: u32,
    /// Delay after the first failed attempt in milliseconds, doubled with each further one: up to 366 days; 0: none.
    pub backoff_ms: u64,
    /// The delay never exceeds it, in milliseconds: up to 366 days; 0 stands for 366 days.
    pub backoff_max_ms: u64,
}

/// What a subscription promises its consumers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum Contract {
    /// Each message goes to one of the consumers under a lease, and comes again until one of them finishes it.
    #[default]
    Competing = 0,
    /// A message is done before it is given out: at most once, and never again.
    AtMostOnce = 1,
    /// One consumer at a time gets messages, the others stand by.
    SingleActive = 2,
    /// Messages with one key are given out one at a time and in order; those without a key are free.
    KeyOrdered = 3,
    /// One consumer at a time reads the messages in the order of their offsets, from the checkpoint on that the broker
    /// keeps; nothing is leased.
    Reader = 4,
    /// Every consumer gets every message that is committed while it is subscribed; nothing is leased or kept for them.
    Broadcast = 5,
}

/// Where messages that come back have their place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ReturnTo {
    /// Before those that were not given out yet.
    #[default]
    Front,
    /// Behind those that were enqueued before they came back.
    Back,
}

/// Where messages are that nobody is given until somebody says so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Aside {
    /// Failed too often, or rejected for good.
    Dead = 1,
    /// Set aside by a consumer, until kicked.
    Parked = 2,
}

/// Which messages a purge finishes; at least one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PurgeStates {
    /// Those that wait for a consumer, or for their delay to end.
    pub waiting: bool,
    /// Those that are parked.
    pub parked: bool,
    /// Those that are dead.
    pub dead: bool,
}

impl Contract {
    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The contract with this number on the wire.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Competing),
            1 => Some(Self::AtMostOnce),
            2 => Some(Self::SingleActive),
            3 => Some(Self::KeyOrdered),
            4 => Some(Self::Reader),
            5 => Some(Self::Broadcast),
            _ => None,
        }
    }
}

impl Aside {
    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The state with this number on the wire.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Dead),
            2 => Some(Self::Parked),
            _ => None,
        }
    }
}

impl PurgeStates {
    /// The sum of 1 for waiting, 2 for parked and 4 for dead.
    pub const fn bits(self) -> u8 {
        self.waiting as u8 | (self.parked as u8) << 1 | (self.dead as u8) << 2
    }

    /// The states of such a sum; `None` if it is 0 or says more.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits == 0 || bits > 7 {
            return None;
        }
        Some(Self {
            waiting: bits & 1 != 0,
            parked: bits & 2 != 0,
            dead: bits & 4 != 0,
        })
    }
}

impl SubscriptionConfig {
    /// Competing consumers without any bound: what a subscription has that nobody configured.
    pub const PLAIN: Self = Self {
        contract: Contract::Competing,
        returned: ReturnTo::Front,
        in_flight_max: 0,
        rate_max: 0,
        attempts_max: 0,
        backoff_ms: 0,
        backoff_max_ms: 0,
    };

    /// The number of the contract, and 128 if messages that come back go to the back.
    pub const fn promise(&self) -> u8 {
        match self.returned {
            ReturnTo::Front => self.contract.as_u8(),
            ReturnTo::Back => self.contract.as_u8() | RETURNED_BACK,
        }
    }

    /// What such a byte says; `None` if the contract is unknown.
    pub const fn read_promise(byte: u8) -> Option<(Contract, ReturnTo)> {
        let returned = if byte & RETURNED_BACK == 0 {
            ReturnTo::Front
        } else {
            ReturnTo::Back
        };
        match Contract::from_u8(byte & !RETURNED_BACK) {
            Some(contract) => Some((contract, returned)),
            None => None,
        }
    }

    /// Appends its 29 bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_u8(out, self.promise());
        put_u32(out, self.in_flight_max);
        put_u32(out, self.rate_max);
        put_u32(out, self.attempts_max);
        put_u64(out, self.backoff_ms);
        put_u64(out, self.backoff_max_ms);
    }

    /// Reads what `put` appended; the ranges are not checked, and the number of an unknown contract is the error within.
    ///
    /// # Errors
    /// If there are too few bytes.
    pub fn read(reader: &mut Reader<'_>) -> Result<Result<Self, u8>, CodecError> {
        let promise = reader.u8()?;
        let known = Self::read_promise(promise);
        let (contract, returned) = known.unwrap_or_default();
        let config = Self {
            contract,
            returned,
            in_flight_max: reader.u32()?,
            rate_max: reader.u32()?,
            attempts_max: reader.u32()?,
            backoff_ms: reader.u64()?,
            backoff_max_ms: reader.u64()?,
        };
        Ok(match known {
            Some(_) => Ok(config),
            None => Err(promise & !RETURNED_BACK),
        })
    }
}

impl<'a> OnSubscription<'a> {
    pub(super) const fn kind(&self) -> u8 {
        match self.verb {
            SubscriptionVerb::Create { .. } => kind::SUBSCRIPTION_CREATE,
            SubscriptionVerb::Show => kind::SUBSCRIPTION_SHOW,
            SubscriptionVerb::Configure { .. } => kind::SUBSCRIPTION_CONFIGURE,
            SubscriptionVerb::Pause { .. } => kind::SUBSCRIPTION_PAUSE,
            SubscriptionVerb::Resume => kind::SUBSCRIPTION_RESUME,
            SubscriptionVerb::Seek { .. } => kind::SUBSCRIPTION_SEEK,
            SubscriptionVerb::Delete => kind::SUBSCRIPTION_DELETE,
            SubscriptionVerb::Purge { .. } => kind::SUBSCRIPTION_PURGE,
            SubscriptionVerb::ListAside { .. } => kind::ASIDE_LIST,
            SubscriptionVerb::Return { .. } => kind::ASIDE_RETURN,
            SubscriptionVerb::DeadLetters { .. } => kind::SUBSCRIPTION_DEAD_LETTERS,
            SubscriptionVerb::Checkpoint { .. } => kind::SUBSCRIPTION_CHECKPOINT,
        }
    }

    /// Reads the fields of a frame of this kind; `None` if the kind is none of a subscription's.
    pub(super) fn read(kind: u8, reader: &mut Reader<'a>) -> Result<Option<Self>, RequestError> {
        let is_one = (kind::SUBSCRIPTION_CREATE..=kind::SUBSCRIPTION_CHECKPOINT).contains(&kind);
        if !is_one && kind != kind::SUBSCRIPTION_DEAD_LETTERS {
            return Ok(None);
        }
        let (queue, lane) = target(reader)?;
        let subscription = subscription_name(reader)?;
        let verb = match kind {
            kind::SUBSCRIPTION_CREATE => SubscriptionVerb::Create {
                start: start(reader, 0)?,
                config: config(reader)?,
            },
            kind::SUBSCRIPTION_SHOW => SubscriptionVerb::Show,
            kind::SUBSCRIPTION_CONFIGURE => SubscriptionVerb::Configure {
                config: config(reader)?,
            },
            kind::SUBSCRIPTION_PAUSE => SubscriptionVerb::Pause {
                reason: reason(reader)?,
            },
            kind::SUBSCRIPTION_RESUME => SubscriptionVerb::Resume,
            kind::SUBSCRIPTION_SEEK => SubscriptionVerb::Seek {
                start: start(reader, 1)?.unwrap_or(Start::Latest),
            },
            kind::SUBSCRIPTION_DELETE => SubscriptionVerb::Delete,
            kind::SUBSCRIPTION_PURGE => SubscriptionVerb::Purge {
                states: purge_states(reader)?,
            },
            kind::ASIDE_LIST => list_aside(reader)?,
            kind::SUBSCRIPTION_DEAD_LETTERS => dead_letters(reader)?,
            kind::ASIDE_RETURN => return_aside(reader)?,
            _ => SubscriptionVerb::Checkpoint {
                offset: Offset(reader.u64()?),
            },
        };
        Ok(Some(Self {
            queue,
            lane,
            subscription,
            verb,
        }))
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_str16(out, self.queue);
        put_u32(out, self.lane.0);
        put_str16(out, self.subscription);
        match &self.verb {
            SubscriptionVerb::Create { start, config } => {
                put_start(out, *start);
                config.put(out);
            }
            SubscriptionVerb::Configure { config } => config.put(out),
            SubscriptionVerb::Pause { reason } => put_str16(out, reason),
            SubscriptionVerb::Seek { start } => put_start(out, Some(*start)),
            SubscriptionVerb::Purge { states } => put_u8(out, states.bits()),
            SubscriptionVerb::ListAside { aside, from, limit } => {
                put_u8(out, aside.as_u8());
                put_u64(out, from.0);
                put_u32(out, *limit);
            }
            SubscriptionVerb::Return {
                aside,
                first,
                end,
                max,
            } => {
                put_u8(out, aside.as_u8());
                put_u64(out, first.0);
                put_u64(out, end.0);
                put_u32(out, *max);
            }
            SubscriptionVerb::DeadLetters { change } => {
                let (number, to) = match change {
                    None => (0, ""),
                    Some(DeadLetters::Stay) => (DEAD_LETTERS_STAY, ""),
                    Some(DeadLetters::To(queue)) => (DEAD_LETTERS_TO, *queue),
                };
                put_u8(out, number);
                put_str16(out, to);
            }
            SubscriptionVerb::Checkpoint { offset } => put_u64(out, offset.0),
            SubscriptionVerb::Show | SubscriptionVerb::Resume | SubscriptionVerb::Delete => {}
        }
    }
}

fn dead_letters<'a>(reader: &mut Reader<'a>) -> Result<SubscriptionVerb<'a>, RequestError> {
    let number = reader.u8()?;
    check_range("change", number, 0, DEAD_LETTERS_TO)?;
    let change = match number {
        0 => None,
        DEAD_LETTERS_STAY => Some(DeadLetters::Stay),
        _ => Some(DeadLetters::To(queue_name(reader, "dead-letter queue")?)),
    };
    if !matches!(change, Some(DeadLetters::To(_))) && !reader.str16()?.is_empty() {
        let what = "dead-letter queue where none is said";
        return Err(RequestError::ReservedNotZero { what });
    }
    Ok(SubscriptionVerb::DeadLetters { change })
}

/// A text that says why; up to 256 bytes.
pub(super) fn reason<'a>(reader: &mut Reader<'a>) -> Result<&'a str, RequestError> {
    let reason = reader.str16()?;
    let bytes = reason.len() as u64;
    check_range("bytes of the reason", bytes, 0, REASON_BYTES_MAX as u64)?;
    Ok(reason)
}

fn start(reader: &mut Reader<'_>, least: u8) -> Result<Option<Start>, RequestError> {
    let number = reader.u8()?;
    check_range("start", number, least, START_AT)?;
    let offset = Offset(reader.u64()?);
    if number != START_AT && offset != Offset(0) {
        return Err(RequestError::ReservedNotZero {
            what: "offset of a start that has none",
        });
    }
    Ok(match number {
        START_EARLIEST => Some(Start::Earliest),
        START_LATEST => Some(Start::Latest),
        START_AT => Some(Start::At(offset)),
        _ => None,
    })
}

fn put_start(out: &mut Vec<u8>, start: Option<Start>) {
    let (number, offset) = match start {
        None => (0, 0),
        Some(Start::Earliest) => (START_EARLIEST, 0),
        Some(Start::Latest) => (START_LATEST, 0),
        Some(Start::At(offset)) => (START_AT, offset.0),
    };
    put_u8(out, number);
    put_u64(out, offset);
}

fn config(reader: &mut Reader<'_>) -> Result<SubscriptionConfig, RequestError> {
    let config = SubscriptionConfig::read(reader)?;
    let config = config.map_err(|number| RequestError::OutOfRange {
        what: "contract",
        value: number.into(),
        min: 0,
        max: Contract::Broadcast.as_u8().into(),
    })?;
    let has_order = matches!(config.contract, Contract::KeyOrdered | Contract::Reader);
    if has_order && config.returned == ReturnTo::Back {
        return Err(RequestError::NotSupported {
            what: "messages that come back behind others, where the contract says their place",
            value: config.promise().into(),
        });
    }
    check_range("backoff_ms", config.backoff_ms, 0, DELAY_MS_MAX)?;
    check_range("backoff_max_ms", config.backoff_max_ms, 0, DELAY_MS_MAX)?;
    Ok(config)
}

fn purge_states(reader: &mut Reader<'_>) -> Result<PurgeStates, RequestError> {
    let bits = reader.u8()?;
    PurgeStates::from_bits(bits).ok_or_else(|| RequestError::OutOfRange {
        what: "states to purge",
        value: bits.into(),
        min: 1,
        max: 7,
    })
}

fn aside(reader: &mut Reader<'_>) -> Result<Aside, RequestError> {
    let number = reader.u8()?;
    check_range("state", number, Aside::Dead as u8, Aside::Parked as u8)?;
    Ok(Aside::from_u8(number).unwrap_or(Aside::Dead))
}

fn list_aside<'a>(reader: &mut Reader<'_>) -> Result<SubscriptionVerb<'a>, RequestError> {
    let aside = aside(reader)?;
    let from = Offset(reader.u64()?);
    let limit = reader.u32()?;
    check_range("limit", limit, 1, LIST_MAX)?;
    Ok(SubscriptionVerb::ListAside { aside, from, limit })
}

fn return_aside<'a>(reader: &mut Reader<'_>) -> Result<SubscriptionVerb<'a>, RequestError> {
    let aside = aside(reader)?;
    let first = Offset(reader.u64()?);
    let end = Offset(reader.u64()?);
    let max = reader.u32()?;
    check_range("end", end.0, first.0.saturating_add(1), u64::MAX)?;
    check_range("max", max, 1, RETURN_MAX)?;
    Ok(SubscriptionVerb::Return {
        aside,
        first,
        end,
        max,
    })
}

const DEAD_LETTERS_STAY: u8 = 1;
const DEAD_LETTERS_TO: u8 = 2;
/// The bit of the contract's byte that says that messages that come back go to the back.
const RETURNED_BACK: u8 = 0x80;
const START_EARLIEST: u8 = 1;
const START_LATEST: u8 = 2;
const START_AT: u8 = 3;
