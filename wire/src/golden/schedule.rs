//! Requests about messages that are not due yet, and their answers.

use super::*;
use crate::request::{OffsetRanges, OnSchedule, ScheduleVerb};
use crate::response::{ScheduleAnswer, ScheduledInfo};

/// Two ranges: 3 messages from 1 on, and 10 from 2^33 on.
const RANGES: &[u8] = &[
    1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, //
    0, 0, 0, 0, 2, 0, 0, 0, 10, 0, 0, 0,
];

pub(super) fn requests() -> Vec<(&'static str, Request<'static>)> {
    let ranges = OffsetRanges::read(RANGES).unwrap();
    let on = |verb| {
        Request::Schedule(OnSchedule {
            queue: "orders",
            lane: Lane(0),
            verb,
        })
    };
    let from = Offset(1 << 33);
    let due_ms = 1_780_000_000_000;
    vec![
        ("schedule_list", on(ScheduleVerb::List { from, limit: 50 })),
        ("schedule_cancel", on(ScheduleVerb::Cancel { ranges })),
        ("schedule_move", on(ScheduleVerb::Move { due_ms, ranges })),
    ]
}

pub(super) fn responses() -> Vec<(&'static str, Response<'static>)> {
    let range = OffsetRange {
        first: Offset(1 << 33),
        count: 3,
    };
    let due = Timestamp(1_780_000_000_000_000_000);
    let rows = vec![ScheduledInfo { range, due }];
    let of = Response::Schedule;
    vec![
        (
            "schedule_list",
            of(ScheduleAnswer::List { rows, more: true }),
        ),
        (
            "schedule_cancelled",
            of(ScheduleAnswer::Cancelled { count: 3 }),
        ),
        (
            "schedule_moved",
            of(ScheduleAnswer::Moved { count: 10_000 }),
        ),
    ]
}
