//! Payload heads of the records as bytes; the table is in `docs/records.md`.

use corelane_wire::codec::{Reader, put_bool, put_str16, put_u8, put_u32, put_u64, put_u128};
use corelane_wire::record::record_kind;
use corelane_wire::{
    Epoch, Fate, LeaseId, Lsn, Offset, OffsetRange, ProducerId, QueueConfig, Sequence, SessionId,
    SettleEntry, Timestamp, check_name,
};

use super::{Change, Record, RecordDecodeError, Scheduled, Trimmed};
use crate::ids::{QueueId, SubscriptionId};

impl Record {
    /// Appends everything but the batch bytes to `out`.
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        match self {
            Self::Epoch { epoch, jump_ns } => {
                put_u64(out, epoch.0);
                put_u64(out, *jump_ns);
            }
            Self::Create { queue, name } => {
                put_u32(out, queue.0);
                put_str16(out, name);
            }
            Self::Enqueue { .. } => self.encode_enqueue(out),
            Self::Relocate { .. } => self.encode_relocate(out),
            Self::Lease {
                queue,
                subscription,
                session,
                lease_ms,
                ranges,
            } => {
                put_subscription(out, *queue, *subscription);
                put_u128(out, session.0);
                put_u32(out, *lease_ms);
                put_ranges(out, ranges);
            }
            Self::Ack { .. } | Self::Nack { .. } | Self::Reject { .. } | Self::Extend { .. } => {
                self.encode_settle(out);
            }
            Self::Tick => {}
            Self::Release { session } => put_u128(out, session.0),
            Self::Delete { queue } => put_u32(out, queue.0),
            Self::ConfigureQueue { queue, config } => {
                put_u32(out, queue.0);
                config.put(out);
            }
            Self::Trim { queue, end, how } => {
                put_u32(out, queue.0);
                put_u64(out, end.0);
                put_u8(out, *how as u8);
            }
            Self::Subscribe {
                queue,
                subscription,
                name,
                from,
            } => {
                put_subscription(out, *queue, *subscription);
                put_str16(out, name);
                put_u64(out, from.0);
            }
            Self::Take {
                queue,
                subscription,
                ranges,
            } => {
                put_subscription(out, *queue, *subscription);
                put_ranges(out, ranges);
            }
            Self::Reschedule { queue, due, ranges } => {
                put_u32(out, queue.0);
                put_u64(out, due.map_or(0, |due| due.0));
                put_ranges(out, ranges);
            }
            Self::Change {
                queue,
                subscription,
                change,
            } => {
                put_subscription(out, *queue, *subscription);
                change.put(out);
            }
        }
    }

    /// Reads the payload of a record of this kind; batch bytes behind the head are not looked at.
    ///
    /// # Errors
    /// If the kind is unknown or the bytes do not have its form. Whether the record fits the state is for `apply`.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Self, RecordDecodeError> {
        let mut reader = Reader::new(payload);
        let record = match kind {
            record_kind::EPOCH => Self::Epoch {
                epoch: Epoch(reader.u64()?),
                jump_ns: reader.u64()?,
            },
            record_kind::CREATE => Self::Create {
                queue: QueueId(reader.u32()?),
                name: name(&mut reader)?,
            },
            record_kind::ENQUEUE | record_kind::SCHEDULE | record_kind::EXPIRE => {
                return decode_enqueue(kind, &mut reader);
            }
            record_kind::RELOCATE => return decode_relocate(&mut reader),
            record_kind::LEASE => Self::Lease {
                queue: QueueId(reader.u32()?),
                subscription: SubscriptionId(reader.u32()?),
                session: SessionId(reader.u128()?),
                lease_ms: reader.u32()?,
                ranges: ranges(&mut reader)?,
            },
            record_kind::ACK | record_kind::NACK | record_kind::REJECT | record_kind::EXTEND => {
                decode_settle(kind, &mut reader)?
            }
            record_kind::TICK => Self::Tick,
            record_kind::RESCHEDULE => Self::Reschedule {
                queue: QueueId(reader.u32()?),
                due: Some(Timestamp(reader.u64()?)).filter(|due| due.0 > 0),
                ranges: ranges(&mut reader)?,
            },
            record_kind::RELEASE => Self::Release {
                session: SessionId(reader.u128()?),
            },
            record_kind::DELETE => Self::Delete {
                queue: QueueId(reader.u32()?),
            },
            record_kind::QUEUE_CONFIGURE => Self::ConfigureQueue {
                queue: QueueId(reader.u32()?),
                config: queue_config(&mut reader)?,
            },
            record_kind::TRIM => Self::Trim {
                queue: QueueId(reader.u32()?),
                end: Offset(reader.u64()?),
                how: numbered(&mut reader, Trimmed::from_u8)?,
            },
            record_kind::SUBSCRIBE => Self::Subscribe {
                queue: QueueId(reader.u32()?),
                subscription: SubscriptionId(reader.u32()?),
                name: name(&mut reader)?,
                from: Offset(reader.u64()?),
            },
            record_kind::TAKE => Self::Take {
                queue: QueueId(reader.u32()?),
                subscription: SubscriptionId(reader.u32()?),
                ranges: ranges(&mut reader)?,
            },
            record_kind::CONFIGURE..=record_kind::UNSUBSCRIBE
            | record_kind::DEAD_LETTERS..=record_kind::FORWARDED => Self::Change {
                queue: QueueId(reader.u32()?),
                subscription: SubscriptionId(reader.u32()?),
                change: Change::read(kind, &mut reader)?,
            },
            kind => return Err(RecordDecodeError::UnknownKind { kind }),
        };
        reader.finish()?;
        Ok(record)
    }

    fn encode_enqueue(&self, out: &mut Vec<u8>) {
        if let Self::Enqueue {
            queue,
            first,
            count,
            bytes,
            largest,
            producer,
            sequence,
            schedule,
        } = self
        {
            put_u32(out, queue.0);
            put_u64(out, first.0);
            put_u32(out, *count);
            put_u32(out, *bytes);
            put_u32(out, *largest);
            put_u128(out, producer.0);
            put_u64(out, sequence.0);
            let expires = self.kind() == record_kind::EXPIRE;
            if let Some(schedule) = schedule {
                put_schedule(out, schedule, expires);
            }
        }
    }

    fn encode_relocate(&self, out: &mut Vec<u8>) {
        if let Self::Relocate {
            queue,
            first,
            count,
            bytes,
            largest,
            enqueued,
        } = self
        {
            put_u32(out, queue.0);
            put_u64(out, first.0);
            put_u32(out, *count);
            put_u32(out, *bytes);
            put_u32(out, *largest);
            put_u64(out, enqueued.0);
        }
    }

    fn encode_settle(&self, out: &mut Vec<u8>) {
        let (queue, subscription) = match self {
            Self::Ack {
                queue,
                subscription,
                ..
            }
            | Self::Nack {
                queue,
                subscription,
                ..
            }
            | Self::Reject {
                queue,
                subscription,
                ..
            }
            | Self::Extend {
                queue,
                subscription,
                ..
            } => (*queue, *subscription),
            Self::Epoch { .. }
            | Self::Create { .. }
            | Self::Enqueue { .. }
            | Self::Relocate { .. }
            | Self::Lease { .. }
            | Self::Tick
            | Self::Release { .. }
            | Self::Delete { .. }
            | Self::ConfigureQueue { .. }
            | Self::Trim { .. }
            | Self::Reschedule { .. }
            | Self::Subscribe { .. }
            | Self::Take { .. }
            | Self::Change { .. } => return,
        };
        put_subscription(out, queue, subscription);
        if let Self::Nack {
            delay_ms,
            count_attempt,
            ..
        } = self
        {
            put_u64(out, *delay_ms);
            put_bool(out, *count_attempt);
        }
        if let Self::Reject { fate, text, .. } = self {
            put_u8(out, fate.as_u8());
            put_str16(out, text);
        }
        if let Self::Extend { lease_ms, .. } = self {
            put_u32(out, *lease_ms);
        }
        if let Self::Ack { entries, .. }
        | Self::Nack { entries, .. }
        | Self::Reject { entries, .. }
        | Self::Extend { entries, .. } = self
        {
            put_count(out, entries.len());
            for entry in entries {
                put_u64(out, entry.lease.epoch.0);
                put_u64(out, entry.lease.lsn.0);
                put_range(out, entry.range);
            }
        }
    }
}

fn put_schedule(out: &mut Vec<u8>, schedule: &[Scheduled], expires: bool) {
    put_count(out, schedule.len());
    for each in schedule {
        put_u32(out, each.index);
        put_u32(out, each.count);
        put_u64(out, each.due.0);
        if expires {
            put_u64(out, each.ttl_ms);
        }
    }
}

fn put_subscription(out: &mut Vec<u8>, queue: QueueId, subscription: SubscriptionId) {
    put_u32(out, queue.0);
    put_u32(out, subscription.0);
}

fn put_range(out: &mut Vec<u8>, range: OffsetRange) {
    put_u64(out, range.first.0);
    put_u32(out, range.count);
}

pub(super) fn put_ranges(out: &mut Vec<u8>, ranges: &[OffsetRange]) {
    put_count(out, ranges.len());
    for range in ranges {
        put_range(out, *range);
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    put_u32(
        out,
        u32::try_from(count).expect("limits.rs keeps every list below 2^32 entries"),
    );
}

fn decode_enqueue(kind: u8, reader: &mut Reader<'_>) -> Result<Record, RecordDecodeError> {
    let queue = QueueId(reader.u32()?);
    let range = range(reader)?;
    Ok(Record::Enqueue {
        queue,
        first: range.first,
        count: range.count,
        bytes: reader.u32()?,
        largest: reader.u32()?,
        producer: ProducerId(reader.u128()?),
        sequence: Sequence(reader.u64()?),
        schedule: match kind {
            record_kind::SCHEDULE => Some(schedule(reader, range.count, scheduled)?),
            record_kind::EXPIRE => Some(schedule(reader, range.count, expiring)?),
            _ => None,
        },
    })
}

/// Messages that are due later.
fn scheduled(reader: &mut Reader<'_>) -> Result<Scheduled, RecordDecodeError> {
    Ok(Scheduled {
        index: reader.u32()?,
        count: reader.u32()?,
        due: Timestamp(reader.u64()?),
        ttl_ms: 0,
    })
}

/// Messages that are due later, or expire.
fn expiring(reader: &mut Reader<'_>) -> Result<Scheduled, RecordDecodeError> {
    let scheduled = scheduled(reader)?;
    Ok(Scheduled {
        ttl_ms: reader.u64()?,
        ..scheduled
    })
}

/// Which messages of a batch of `count` are due later, or expire.
fn schedule(
    reader: &mut Reader<'_>,
    count: u32,
    read: fn(&mut Reader<'_>) -> Result<Scheduled, RecordDecodeError>,
) -> Result<Box<[Scheduled]>, RecordDecodeError> {
    let schedule: Vec<_> = list(reader, SCHEDULED_BYTES, read)?;
    let mut next = 0;
    for each in &schedule {
        let end = each.index.checked_add(each.count);
        let end = end.filter(|end| each.count > 0 && each.index >= next && *end <= count);
        next = end.ok_or_else(|| RecordDecodeError::BadRange {
            range: OffsetRange {
                first: Offset(each.index.into()),
                count: each.count,
            },
        })?;
    }
    Ok(schedule.into())
}

fn decode_relocate(reader: &mut Reader<'_>) -> Result<Record, RecordDecodeError> {
    let queue = QueueId(reader.u32()?);
    let range = range(reader)?;
    Ok(Record::Relocate {
        queue,
        first: range.first,
        count: range.count,
        bytes: reader.u32()?,
        largest: reader.u32()?,
        enqueued: Timestamp(reader.u64()?),
    })
}

fn decode_settle(kind: u8, reader: &mut Reader<'_>) -> Result<Record, RecordDecodeError> {
    let queue = QueueId(reader.u32()?);
    let subscription = SubscriptionId(reader.u32()?);
    Ok(match kind {
        record_kind::ACK => Record::Ack {
            queue,
            subscription,
            entries: list(reader, ENTRY_BYTES, entry)?,
        },
        record_kind::NACK => Record::Nack {
            queue,
            subscription,
            delay_ms: reader.u64()?,
            count_attempt: reader.bool()?,
            entries: list(reader, ENTRY_BYTES, entry)?,
        },
        record_kind::REJECT => Record::Reject {
            queue,
            subscription,
            fate: numbered(reader, Fate::from_u8)?,
            text: reader.str16()?.into(),
            entries: list(reader, ENTRY_BYTES, entry)?,
        },
        _ => Record::Extend {
            queue,
            subscription,
            lease_ms: reader.u32()?,
            entries: list(reader, ENTRY_BYTES, entry)?,
        },
    })
}

/// Reads a number that stands for something.
pub(super) fn numbered<T>(
    reader: &mut Reader<'_>,
    meaning: fn(u8) -> Option<T>,
) -> Result<T, RecordDecodeError> {
    let number = reader.u8()?;
    meaning(number).ok_or(RecordDecodeError::BadNumber { number })
}

fn queue_config(reader: &mut Reader<'_>) -> Result<Box<QueueConfig>, RecordDecodeError> {
    let config = QueueConfig::read(reader)?;
    let config = config.map_err(|(_, number)| RecordDecodeError::BadNumber { number })?;
    Ok(Box::new(config))
}

fn name(reader: &mut Reader<'_>) -> Result<String, RecordDecodeError> {
    let name = reader.str16()?;
    check_name(name).map_err(RecordDecodeError::Name)?;
    Ok(name.to_owned())
}

fn range(reader: &mut Reader<'_>) -> Result<OffsetRange, RecordDecodeError> {
    let range = OffsetRange {
        first: Offset(reader.u64()?),
        count: reader.u32()?,
    };
    if range.count == 0 || range.first.0.checked_add(range.count.into()).is_none() {
        return Err(RecordDecodeError::BadRange { range });
    }
    Ok(range)
}

pub(super) fn ranges(reader: &mut Reader<'_>) -> Result<Vec<OffsetRange>, RecordDecodeError> {
    list(reader, RANGE_BYTES, range)
}

fn entry(reader: &mut Reader<'_>) -> Result<SettleEntry, RecordDecodeError> {
    Ok(SettleEntry {
        lease: LeaseId {
            epoch: Epoch(reader.u64()?),
            lsn: Lsn(reader.u64()?),
        },
        range: range(reader)?,
    })
}

/// Reads a count and as many entries; nothing is allocated by a count that the bytes cannot hold.
fn list<T>(
    reader: &mut Reader<'_>,
    entry_bytes: usize,
    entry: fn(&mut Reader<'_>) -> Result<T, RecordDecodeError>,
) -> Result<Vec<T>, RecordDecodeError> {
    let stated = reader.u32()?;
    let possible = reader.left() / entry_bytes;
    if stated as usize > possible {
        return Err(RecordDecodeError::BadCount { stated, possible });
    }
    (0..stated).map(|_| entry(reader)).collect()
}

const RANGE_BYTES: usize = 12;
const ENTRY_BYTES: usize = 28;
const SCHEDULED_BYTES: usize = 16;
