//! Requests about messages of a queue that are due later.

use super::RequestError;
use super::decode::{check_range, target};
use crate::codec::{Reader, put_str16, put_u32, put_u64};
use crate::ids::{Lane, Offset, OffsetRange};
use crate::kind;
use crate::limits::{LIST_MAX, RESCHEDULE_MAX};

/// Asks something about messages of a queue that are not due yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OnSchedule<'a> {
    /// The queue.
    pub queue: &'a str,
    /// The lane.
    pub lane: Lane,
    /// What is asked.
    pub verb: ScheduleVerb<'a>,
}

/// What is asked about messages that are not due yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScheduleVerb<'a> {
    /// Lists them by offset.
    List {
        /// The first offset of interest.
        from: Offset,
        /// Rows at most: 1 to 1,000.
        limit: u32,
    },
    /// Finishes them without a delivery, in every subscription; skips what is not waiting for its due time.
    Cancel {
        /// Which.
        ranges: OffsetRanges<'a>,
    },
    /// Gives them another due time; skips what is not waiting for its due time.
    Move {
        /// When, in milliseconds since the Unix epoch; a time that is over means at once.
        due_ms: u64,
        /// Which.
        ranges: OffsetRanges<'a>,
    },
}

/// Ranges of offsets, ascending and apart, of at most 10,000 messages together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetRanges<'a>(&'a [u8]);

impl<'a> OffsetRanges<'a> {
    /// Reads the ranges that `put` wrote one after the other.
    ///
    /// # Errors
    /// If they are none, too many, or not ascending.
    pub fn read(bytes: &'a [u8]) -> Result<Self, RequestError> {
        let mut reader = Reader::new(bytes);
        let mut next = Offset(0);
        let mut count = 0_u64;
        while reader.left() > 0 {
            let range = range(&mut reader)?;
            let last = u64::MAX - u64::from(range.count);
            check_range("first offset of a range", range.first.0, next.0, last)?;
            next = range.end();
            count += u64::from(range.count);
            check_range("count of a range", range.count, 1, RESCHEDULE_MAX)?;
        }
        check_range("messages of all ranges", count, 1, RESCHEDULE_MAX.into())?;
        Ok(Self(bytes))
    }

    /// Appends a range.
    pub fn put(range: OffsetRange, out: &mut Vec<u8>) {
        put_u64(out, range.first.0);
        put_u32(out, range.count);
    }

    /// The ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = OffsetRange> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || range(&mut reader).ok())
    }
}

impl<'a> OnSchedule<'a> {
    pub(super) const fn kind(&self) -> u8 {
        match self.verb {
            ScheduleVerb::List { .. } => kind::SCHEDULE_LIST,
            ScheduleVerb::Cancel { .. } => kind::SCHEDULE_CANCEL,
            ScheduleVerb::Move { .. } => kind::SCHEDULE_MOVE,
        }
    }

    /// Reads the fields of a frame of this kind; `None` if the kind is none of these.
    pub(super) fn read(kind: u8, reader: &mut Reader<'a>) -> Result<Option<Self>, RequestError> {
        if !(kind::SCHEDULE_LIST..=kind::SCHEDULE_MOVE).contains(&kind) {
            return Ok(None);
        }
        let (queue, lane) = target(reader)?;
        let verb = match kind {
            kind::SCHEDULE_LIST => {
                let from = Offset(reader.u64()?);
                let limit = reader.u32()?;
                check_range("limit", limit, 1, LIST_MAX)?;
                ScheduleVerb::List { from, limit }
            }
            kind::SCHEDULE_CANCEL => ScheduleVerb::Cancel {
                ranges: ranges(reader)?,
            },
            _ => ScheduleVerb::Move {
                due_ms: reader.u64()?,
                ranges: ranges(reader)?,
            },
        };
        Ok(Some(Self { queue, lane, verb }))
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_str16(out, self.queue);
        put_u32(out, self.lane.0);
        match self.verb {
            ScheduleVerb::List { from, limit } => {
                put_u64(out, from.0);
                put_u32(out, limit);
            }
            ScheduleVerb::Cancel { ranges } => put_ranges(out, ranges),
            ScheduleVerb::Move { due_ms, ranges } => {
                put_u64(out, due_ms);
                put_ranges(out, ranges);
            }
        }
    }
}

fn range(reader: &mut Reader<'_>) -> Result<OffsetRange, RequestError> {
    Ok(OffsetRange {
        first: Offset(reader.u64()?),
        count: reader.u32()?,
    })
}

fn ranges<'a>(reader: &mut Reader<'a>) -> Result<OffsetRanges<'a>, RequestError> {
    let count = reader.u32()?;
    check_range("count of ranges", count, 1, RESCHEDULE_MAX)?;
    OffsetRanges::read(reader.bytes(count as usize * RANGE_BYTES)?)
}

fn put_ranges(out: &mut Vec<u8>, ranges: OffsetRanges<'_>) {
    let count = ranges.0.len() / RANGE_BYTES;
    put_u32(
        out,
        u32::try_from(count).expect("at most RESCHEDULE_MAX ranges"),
    );
    out.extend_from_slice(ranges.0);
}

const RANGE_BYTES: usize = 12;
