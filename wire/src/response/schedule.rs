//! Answers to requests about messages of a queue that are due later.

use super::ResponseError;
use crate::codec::{Reader, length_u32, put_bool, put_u32, put_u64};
use crate::ids::{Offset, OffsetRange, Timestamp};
use crate::kind;

/// To a request about messages that are not due yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScheduleAnswer {
    /// Messages, by offset.
    List {
        /// Neighbours with the same due time share a row.
        rows: Vec<ScheduledInfo>,
        /// Whether to ask again, behind the last of them.
        more: bool,
    },
    /// Messages are finished.
    Cancelled {
        /// How many.
        count: u32,
    },
    /// Messages have another due time.
    Moved {
        /// How many.
        count: u32,
    },
}

/// Messages that are due at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScheduledInfo {
    /// Which.
    pub range: OffsetRange,
    /// When, in log time.
    pub due: Timestamp,
}

impl ScheduleAnswer {
    pub(super) const fn kind(&self) -> u8 {
        match self {
            Self::List { .. } => LIST,
            Self::Cancelled { .. } => CANCELLED,
            Self::Moved { .. } => MOVED,
        }
    }

    /// Reads the fields of a frame of this kind; `None` if the kind is none of these.
    pub(super) fn read(kind: u8, reader: &mut Reader<'_>) -> Result<Option<Self>, ResponseError> {
        Ok(Some(match kind {
            LIST => {
                let more = reader.bool()?;
                let count = reader.u32()?;
                // The list grows with what is really there.
                let mut rows = Vec::new();
                for _ in 0..count {
                    let range = OffsetRange {
                        first: Offset(reader.u64()?),
                        count: reader.u32()?,
                    };
                    let due = Timestamp(reader.u64()?);
                    rows.push(ScheduledInfo { range, due });
                }
                Self::List { rows, more }
            }
            CANCELLED => Self::Cancelled {
                count: reader.u32()?,
            },
            MOVED => Self::Moved {
                count: reader.u32()?,
            },
            _ => return Ok(None),
        }))
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::List { rows, more } => {
                put_bool(out, *more);
                put_u32(out, length_u32(rows.len()));
                for row in rows {
                    put_u64(out, row.range.first.0);
                    put_u32(out, row.range.count);
                    put_u64(out, row.due.0);
                }
            }
            Self::Cancelled { count } | Self::Moved { count } => put_u32(out, *count),
        }
    }
}

const LIST: u8 = kind::answer(kind::SCHEDULE_LIST);
const CANCELLED: u8 = kind::answer(kind::SCHEDULE_CANCEL);
const MOVED: u8 = kind::answer(kind::SCHEDULE_MOVE);
