//! From frame to answer, on the client's side.

use super::{
    Deliveries, HelloAnswer, Metadata, PartitionPlace, QueueInfo, Receipt, Response, ResponseError,
    ScheduleAnswer, SettleOutcome, Settled, SubscriptionAnswer, SubscriptionInfo,
};
use crate::codec::{CodecError, Reader};
use crate::error_code::ErrorCode;
use crate::frame::Frame;
use crate::ids::{ConsumerId, NodeId, Offset, OffsetRange, PartitionId, SessionId, Timestamp};
use crate::kind;
use crate::request::QueueConfig;

impl<'a> Response<'a> {
    /// Reads the answer in a frame; its fields must take up the frame's head exactly.
    ///
    /// Correlation and epoch are in the frame. A code that this version does not know becomes
    /// [`ErrorCode::nearest`], with the number in the text.
    ///
    /// # Errors
    /// See [`ResponseError`]; the connection is of no use after it.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, ResponseError> {
        let mut reader = Reader::new(frame.head);
        let response = Self::fields(frame, &mut reader)?;
        reader.finish()?;
        if response.has_no_messages() && !frame.messages.is_empty() {
            return Err(ResponseError::WrongMessages {
                bytes: frame.messages.len(),
            });
        }
        if response.code() != ErrorCode::nearest(frame.code) {
            return Err(ResponseError::UnexpectedCode { code: frame.code });
        }
        Ok(response)
    }

    fn fields(frame: &Frame<'a>, reader: &mut Reader<'a>) -> Result<Self, ResponseError> {
        Ok(match frame.kind {
            HELLO => Self::Hello(hello(reader)?),
            PONG => Self::Pong,
            METADATA => Self::Metadata(metadata(reader)?),
            ENQUEUED => Self::Enqueued(receipt(reader)?),
            DEQUEUED => Self::Dequeued(Deliveries::read(reader, frame.messages)?),
            SUBSCRIBED => Self::Subscribed,
            CREDIT_SET => Self::CreditSet,
            UNSUBSCRIBED => Self::Unsubscribed,
            kind::SETTLED => Self::Settled(settled(reader)?),
            PEEKED => Self::Peeked(Deliveries::read(reader, frame.messages)?),
            QUEUE_CREATED => Self::QueueCreated {
                created: reader.bool()?,
            },
            QUEUE_LIST => queue_list(reader)?,
            QUEUE => Self::Queue(queue(reader)?),
            QUEUE_DELETED => Self::QueueDeleted,
            QUEUE_CONFIGURED => Self::QueueConfigured {
                created: reader.bool()?,
                config: queue_config(reader)?,
            },
            kind::DELIVERY => Self::Delivery {
                consumer: ConsumerId(reader.u32()?),
                deliveries: Deliveries::read(reader, frame.messages)?,
            },
            kind::ERROR => {
                let (code, text) = refusal(frame.code, reader)?;
                Self::Error { code, text }
            }
            kind::FAULT => {
                let (code, text) = refusal(frame.code, reader)?;
                Self::Fault { code, text }
            }
            kind => match SubscriptionAnswer::read(kind, reader)? {
                Some(answer) => Self::Subscription(answer),
                None => match ScheduleAnswer::read(kind, reader)? {
                    Some(answer) => Self::Schedule(answer),
                    None => return Err(ResponseError::UnknownKind { kind }),
                },
            },
        })
    }

    const fn has_no_messages(&self) -> bool {
        !matches!(
            self,
            Self::Dequeued(_) | Self::Peeked(_) | Self::Delivery { .. }
        )
    }
}

fn hello(reader: &mut Reader<'_>) -> Result<HelloAnswer, ResponseError> {
    let version = reader.u8()?;
    let resumed = reader.bool()?;
    reserved(reader.u16()?)?;
    Ok(HelloAnswer {
        version,
        resumed,
        features: reader.u64()?,
        session: SessionId(reader.u128()?),
        node: NodeId(reader.u32()?),
        frame_bytes_max: reader.u32()?,
        in_flight_max: reader.u32()?,
        server_name: reader.str16()?.to_owned(),
    })
}

fn metadata(reader: &mut Reader<'_>) -> Result<Metadata, ResponseError> {
    let node = NodeId(reader.u32()?);
    let shared_port = reader.u16()?;
    reserved(reader.u16()?)?;
    let count = reader.u32()?;
    let mut rows = rows(reader, count, PLACE_BYTES)?;
    let mut partitions = Vec::with_capacity(rows.left() / PLACE_BYTES);
    while rows.left() > 0 {
        partitions.push(PartitionPlace {
            partition: PartitionId(rows.u32()?),
            node: NodeId(rows.u32()?),
            port: rows.u16()?,
        });
    }
    Ok(Metadata {
        node,
        shared_port,
        partitions,
    })
}

fn receipt(reader: &mut Reader<'_>) -> Result<Receipt, ResponseError> {
    Ok(Receipt {
        range: range(reader)?,
        class: reader.u8()?,
        copies: reader.u8()?,
        duplicate: reader.bool()?,
        slow_down: reader.bool()?,
    })
}

fn settled(reader: &mut Reader<'_>) -> Result<Vec<Settled>, ResponseError> {
    let count = reader.u32()?;
    let mut rows = rows(reader, count, SETTLED_BYTES)?;
    let mut settled = Vec::with_capacity(rows.left() / SETTLED_BYTES);
    while rows.left() > 0 {
        let range = range(&mut rows)?;
        let number = rows.u8()?;
        let Some(outcome) = SettleOutcome::from_u8(number) else {
            return Err(ResponseError::OutOfRange {
                what: "outcome",
                value: number.into(),
            });
        };
        settled.push(Settled { range, outcome });
    }
    Ok(settled)
}

fn queue_config(reader: &mut Reader<'_>) -> Result<QueueConfig, ResponseError> {
    let config = QueueConfig::read(reader)?;
    config.map_err(|(what, number)| ResponseError::OutOfRange {
        what,
        value: number.into(),
    })
}

fn queue_list<'a>(reader: &mut Reader<'_>) -> Result<Response<'a>, ResponseError> {
    let more = reader.bool()?;
    let count = reader.u32()?;
    // Rows have no fixed length, so the list grows with what is really there.
    let mut queues = Vec::new();
    for _ in 0..count {
        queues.push(queue(reader)?);
    }
    Ok(Response::QueueList { queues, more })
}

fn queue(reader: &mut Reader<'_>) -> Result<QueueInfo, ResponseError> {
    let name = reader.str16()?.to_owned();
    let partition = PartitionId(reader.u32()?);
    let lanes = reader.u32()?;
    let created = Timestamp(reader.u64()?);
    let start = Offset(reader.u64()?);
    let end = Offset(reader.u64()?);
    let count = reader.u32()?;
    let mut subscriptions = Vec::new();
    for _ in 0..count {
        subscriptions.push(SubscriptionInfo {
            name: reader.str16()?.to_owned(),
            ready: reader.u64()?,
            leased: reader.u64()?,
            delayed: reader.u64()?,
            done: reader.u64()?,
            consumers: reader.u32()?,
        });
    }
    Ok(QueueInfo {
        name,
        partition,
        lanes,
        created,
        start,
        end,
        subscriptions,
    })
}

fn refusal(number: u16, reader: &mut Reader<'_>) -> Result<(ErrorCode, String), ResponseError> {
    let code = ErrorCode::nearest(number);
    if code == ErrorCode::Ok {
        return Err(ResponseError::UnexpectedCode { code: number });
    }
    let text = reader.str16()?;
    let text = if code.as_u16() == number {
        text.to_owned()
    } else {
        format!("code {number}: {text}")
    };
    Ok((code, text))
}

fn range(reader: &mut Reader<'_>) -> Result<OffsetRange, CodecError> {
    Ok(OffsetRange {
        first: Offset(reader.u64()?),
        count: reader.u32()?,
    })
}

/// The bytes of `count` rows: there, or an error before anything is allocated for them.
fn rows<'a>(
    reader: &mut Reader<'a>,
    count: u32,
    row_bytes: usize,
) -> Result<Reader<'a>, CodecError> {
    reader.bytes(count as usize * row_bytes).map(Reader::new)
}

const fn reserved(value: u16) -> Result<(), ResponseError> {
    if value == 0 {
        Ok(())
    } else {
        Err(ResponseError::ReservedNotZero)
    }
}

const HELLO: u8 = kind::answer(kind::HELLO);
const PONG: u8 = kind::answer(kind::PING);
const METADATA: u8 = kind::answer(kind::METADATA);
const ENQUEUED: u8 = kind::answer(kind::ENQUEUE);
const DEQUEUED: u8 = kind::answer(kind::DEQUEUE);
const SUBSCRIBED: u8 = kind::answer(kind::SUBSCRIBE);
const CREDIT_SET: u8 = kind::answer(kind::CREDIT);
const UNSUBSCRIBED: u8 = kind::answer(kind::UNSUBSCRIBE);
const PEEKED: u8 = kind::answer(kind::PEEK);
const QUEUE_CREATED: u8 = kind::answer(kind::QUEUE_CREATE);
const QUEUE_LIST: u8 = kind::answer(kind::QUEUE_LIST);
const QUEUE: u8 = kind::answer(kind::QUEUE_SHOW);
const QUEUE_DELETED: u8 = kind::answer(kind::QUEUE_DELETE);
const QUEUE_CONFIGURED: u8 = kind::answer(kind::QUEUE_CONFIGURE);
const PLACE_BYTES: usize = 10;
const SETTLED_BYTES: usize = 13;
