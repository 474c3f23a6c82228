//! From frame to request, with every name and number checked.

use super::settle::SETTLE_ENTRY_BYTES;
use super::subscription::reason;
use super::{
    Dequeue, Enqueue, Extend, Fate, Hello, Nack, OnSchedule, OnSubscription, Peek, QueueList,
    Reject, Request, RequestError, Settle, SettleEntries, Subscribe,
};
use crate::codec::Reader;
use crate::frame::Frame;
use crate::ids::{ConsumerId, Epoch, Lane, Offset, PartitionId, SessionId};
use crate::kind;
use crate::limits::{
    CREDIT_MAX, DELAY_MS_MAX, DEQUEUE_MESSAGES_MAX, LANES_MAX, LEASE_MS_MAX, LEASE_MS_MIN,
    LIST_MAX, PEEK_MESSAGES_MAX, PEER_NAME_BYTES_MAX, SETTLE_ENTRIES_MAX, TOKEN_BYTES_MAX,
    WAIT_MS_MAX,
};
use crate::message::BATCH_HEADER_BYTES;
use crate::names::{check_name, check_subscription_name};

impl<'a> Request<'a> {
    /// Reads the request in a frame; its fields must take up the frame's head exactly.
    ///
    /// # Errors
    /// See [`RequestError`]; the frame's correlation may be used to answer with it.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, RequestError> {
        let mut reader = Reader::new(frame.head);
        let request = Self::fields(frame, &mut reader)?;
        reader.finish()?;
        if frame.code != 0 {
            return Err(RequestError::ReservedNotZero { what: "code" });
        }
        if frame.epoch != Epoch(0) {
            return Err(RequestError::ReservedNotZero { what: "epoch" });
        }
        let may_have_messages = frame.kind == kind::ENQUEUE;
        if !may_have_messages && !frame.messages.is_empty() {
            return Err(RequestError::WrongMessages {
                bytes: frame.messages.len(),
            });
        }
        Ok(request)
    }

    fn fields(frame: &Frame<'a>, reader: &mut Reader<'a>) -> Result<Self, RequestError> {
        Ok(match frame.kind {
            kind::HELLO => Self::Hello(hello(reader)?),
            kind::PING => Self::Ping,
            kind::METADATA => Self::Metadata,
            kind::ENQUEUE => Self::Enqueue(enqueue(reader, frame.messages)?),
            kind::DEQUEUE => Self::Dequeue(dequeue(reader)?),
            kind::SUBSCRIBE => Self::Subscribe(subscribe(reader)?),
            kind::CREDIT => Self::Credit {
                consumer: ConsumerId(reader.u32()?),
                credit: credit(reader)?,
            },
            kind::UNSUBSCRIBE => Self::Unsubscribe {
                consumer: ConsumerId(reader.u32()?),
            },
            kind::ACK => Self::Ack(settle(reader)?),
            kind::NACK => Self::Nack(nack(reader)?),
            kind::REJECT => Self::Reject(reject(reader)?),
            kind::EXTEND => Self::Extend(Extend {
                lease_ms: lease_ms(reader)?,
                settle: settle(reader)?,
            }),
            kind::PEEK => Self::Peek(peek(reader)?),
            kind::QUEUE_CREATE => queue_create(reader)?,
            kind::QUEUE_LIST => Self::QueueList(queue_list(reader)?),
            kind::QUEUE_SHOW => Self::QueueShow {
                queue: queue(reader)?,
            },
            kind::QUEUE_DELETE => Self::QueueDelete {
                queue: queue(reader)?,
            },
            kind::QUEUE_CONFIGURE => Self::QueueConfigure {
                queue: queue(reader)?,
                config: super::queue::config(reader)?,
            },
            kind => match OnSubscription::read(kind, reader)? {
                Some(on) => Self::Subscription(on),
                None => match OnSchedule::read(kind, reader)? {
                    Some(on) => Self::Schedule(on),
                    None => return Err(RequestError::UnknownKind { kind }),
                },
            },
        })
    }
}

fn hello<'a>(reader: &mut Reader<'a>) -> Result<Hello<'a>, RequestError> {
    let version_min = reader.u8()?;
    let version_max = reader.u8()?;
    check_range("version_max", version_max, version_min, u8::MAX)?;
    let resume = reader.bool()?;
    if reader.u8()? != 0 {
        return Err(RequestError::ReservedNotZero {
            what: "reserved byte of the greeting",
        });
    }
    let features = reader.u64()?;
    let session = SessionId(reader.u128()?);
    if resume && session == SessionId::NONE {
        return Err(RequestError::OutOfRange {
            what: "session to resume",
            value: 0,
            min: 1,
            max: u64::MAX,
        });
    }
    let client_name = reader.str16()?;
    check_range(
        "bytes of the client's name",
        client_name.len() as u64,
        0,
        PEER_NAME_BYTES_MAX as u64,
    )?;
    let tenant = optional_name(reader, "tenant")?;
    let token = reader.bytes16()?;
    check_range(
        "bytes of the token",
        token.len() as u64,
        0,
        TOKEN_BYTES_MAX as u64,
    )?;
    Ok(Hello {
        version_min,
        version_max,
        features,
        session,
        resume,
        client_name,
        tenant,
        token,
    })
}

fn enqueue<'a>(reader: &mut Reader<'a>, batch: &'a [u8]) -> Result<Enqueue<'a>, RequestError> {
    let (queue, lane) = target(reader)?;
    if batch.len() < BATCH_HEADER_BYTES {
        return Err(RequestError::WrongMessages { bytes: batch.len() });
    }
    Ok(Enqueue { queue, lane, batch })
}

fn dequeue<'a>(reader: &mut Reader<'a>) -> Result<Dequeue<'a>, RequestError> {
    let (queue, lane) = target(reader)?;
    let subscription = subscription_name(reader)?;
    let count = reader.u32()?;
    check_range("count", count, 1, DEQUEUE_MESSAGES_MAX)?;
    let lease_ms = lease_ms(reader)?;
    let wait_ms = reader.u32()?;
    check_range("wait_ms", wait_ms, 0, WAIT_MS_MAX)?;
    Ok(Dequeue {
        queue,
        lane,
        subscription,
        count,
        lease_ms,
        wait_ms,
    })
}

fn subscribe<'a>(reader: &mut Reader<'a>) -> Result<Subscribe<'a>, RequestError> {
    let (queue, lane) = target(reader)?;
    Ok(Subscribe {
        queue,
        lane,
        subscription: subscription_name(reader)?,
        consumer: ConsumerId(reader.u32()?),
        credit: credit(reader)?,
        lease_ms: lease_ms(reader)?,
    })
}

fn settle<'a>(reader: &mut Reader<'a>) -> Result<Settle<'a>, RequestError> {
    let (queue, lane) = target(reader)?;
    let subscription = subscription_name(reader)?;
    let count = reader.u32()?;
    check_range(
        "count of entries",
        count.into(),
        1,
        SETTLE_ENTRIES_MAX as u64,
    )?;
    let entries = reader.bytes(count as usize * SETTLE_ENTRY_BYTES)?;
    Ok(Settle {
        queue,
        lane,
        subscription,
        entries: SettleEntries::read(entries)?,
    })
}

fn nack<'a>(reader: &mut Reader<'a>) -> Result<Nack<'a>, RequestError> {
    let delay_ms = reader.u64()?;
    check_range("delay_ms", delay_ms, 0, DELAY_MS_MAX)?;
    Ok(Nack {
        delay_ms,
        count_attempt: reader.bool()?,
        settle: settle(reader)?,
    })
}

fn reject<'a>(reader: &mut Reader<'a>) -> Result<Reject<'a>, RequestError> {
    let number = reader.u8()?;
    check_range("fate", number, Fate::Retry as u8, Fate::Park as u8)?;
    Ok(Reject {
        fate: Fate::from_u8(number).unwrap_or(Fate::Retry),
        text: reason(reader)?,
        settle: settle(reader)?,
    })
}

fn peek<'a>(reader: &mut Reader<'a>) -> Result<Peek<'a>, RequestError> {
    let (queue, lane) = target(reader)?;
    let from = Offset(reader.u64()?);
    let count = reader.u32()?;
    check_range("count", count, 1, PEEK_MESSAGES_MAX)?;
    Ok(Peek {
        queue,
        lane,
        from,
        count,
    })
}

fn queue_create<'a>(reader: &mut Reader<'a>) -> Result<Request<'a>, RequestError> {
    let queue = queue(reader)?;
    let lanes = reader.u32()?;
    check_range("lanes", lanes, 1, u32::MAX)?;
    if lanes > LANES_MAX {
        return Err(RequestError::NotSupported {
            what: "more than one lane",
            value: lanes.into(),
        });
    }
    Ok(Request::QueueCreate { queue, lanes })
}

fn queue_list<'a>(reader: &mut Reader<'a>) -> Result<QueueList<'a>, RequestError> {
    let partition = PartitionId(reader.u32()?);
    let after = optional_name(reader, "after")?;
    let limit = reader.u32()?;
    check_range("limit", limit, 1, LIST_MAX)?;
    Ok(QueueList {
        partition,
        after,
        limit,
    })
}

pub(super) fn target<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, Lane), RequestError> {
    let queue = queue(reader)?;
    let lane = reader.u32()?;
    if lane >= LANES_MAX {
        return Err(RequestError::NotSupported {
            what: "a lane other than 0",
            value: lane.into(),
        });
    }
    Ok((queue, Lane(lane)))
}

fn queue<'a>(reader: &mut Reader<'a>) -> Result<&'a str, RequestError> {
    named(name_field(reader, "queue")?, "queue")
}

pub(super) fn optional_name<'a>(
    reader: &mut Reader<'a>,
    what: &'static str,
) -> Result<&'a str, RequestError> {
    let name = name_field(reader, what)?;
    if name.is_empty() {
        return Ok(name);
    }
    named(name, what)
}

/// The name of a subscription; empty stands for the default one.
pub(super) fn subscription_name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, RequestError> {
    let what = "subscription";
    let name = name_field(reader, what)?;
    if name.is_empty() {
        return Ok(name);
    }
    let checked = check_subscription_name(name);
    checked.map_err(|error| RequestError::Name { what, error })?;
    Ok(name)
}

/// A name that has to be there.
pub(super) fn queue_name<'a>(
    reader: &mut Reader<'a>,
    what: &'static str,
) -> Result<&'a str, RequestError> {
    named(name_field(reader, what)?, what)
}

/// Bytes that are not UTF-8 are a bad name rather than a broken request: the frame around them is sound.
fn name_field<'a>(reader: &mut Reader<'a>, what: &'static str) -> Result<&'a str, RequestError> {
    let bytes = reader.bytes16()?;
    std::str::from_utf8(bytes).map_err(|error| {
        let index = error.valid_up_to();
        let byte = bytes.get(index).copied().unwrap_or_default();
        RequestError::Name {
            what,
            error: crate::names::NameError::BadByte { index, byte },
        }
    })
}

fn named<'a>(name: &'a str, what: &'static str) -> Result<&'a str, RequestError> {
    match check_name(name) {
        Ok(()) => Ok(name),
        Err(error) => Err(RequestError::Name { what, error }),
    }
}

fn credit(reader: &mut Reader<'_>) -> Result<u32, RequestError> {
    let credit = reader.u32()?;
    check_range("credit", credit, 0, CREDIT_MAX)?;
    Ok(credit)
}

fn lease_ms(reader: &mut Reader<'_>) -> Result<u32, RequestError> {
    let lease_ms = reader.u32()?;
    check_range("lease_ms", lease_ms, LEASE_MS_MIN, LEASE_MS_MAX)?;
    Ok(lease_ms)
}

/// Accepts `min..=max`.
pub(super) fn check_range<T: Into<u64> + PartialOrd + Copy>(
    what: &'static str,
    value: T,
    min: T,
    max: T,
) -> Result<(), RequestError> {
    if value < min || value > max {
        return Err(RequestError::OutOfRange {
            what,
            value: value.into(),
            min: min.into(),
            max: max.into(),
        });
    }
    Ok(())
}
