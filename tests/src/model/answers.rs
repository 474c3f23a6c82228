//! What left the engine, in the words of the model.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what the model says otherwise is told from all the rest"
)]

use corelane_core::{Output, Record, Reply};
use corelane_wire::{
    AsideInfo, Offset, OffsetRange, ScheduleAnswer, ScheduledInfo, Settled, SubscriptionAnswer,
};

use super::reference::state::Key;
use super::reference::{Expected, connection_of};

/// Whether nothing need come of it.
pub(super) fn is_maybe(expected: &Expected) -> bool {
    match expected {
        Expected::Given(given) => !given.is_sure,
        Expected::Abandon(of) => is_maybe(of),
        Expected::Record(..) | Expected::Answer(..) => false,
    }
}

/// Whether what left the engine is what the model expects; messages are judged elsewhere.
pub(super) fn is_met(expected: &Expected, output: &Output) -> bool {
    match (expected, output) {
        (Expected::Record(..), Output::Append { lsn, time, record }) => {
            *expected == Expected::Record(lsn.0, time.0, record.kind())
        }
        (Expected::Answer(whose, answer), Output::Reply { to, reply }) => {
            whose == to && *answer == plain(reply)
        }
        (Expected::Abandon(of), Output::Abandon { to }) => match &**of {
            Expected::Answer(whose, _) => whose == to,
            Expected::Given(given) => {
                let mut takers = given.to.iter();
                takers.any(|taker| connection_of(*taker) == to.connection)
            }
            Expected::Record(..) | Expected::Abandon(_) => false,
        },
        _ => false,
    }
}

/// An answer as the model gives it: message by message, and without words for why something is refused.
fn plain(reply: &Reply) -> Reply {
    match reply {
        Reply::Settled(settled) => {
            let each = settled.iter().flat_map(|row| {
                let outcome = row.outcome;
                singles(row.range).map(move |range| Settled { range, outcome })
            });
            Reply::Settled(each.collect())
        }
        Reply::Subscription(answer) => match &**answer {
            SubscriptionAnswer::AsideList { rows, more } => {
                let rows = rows.iter().flat_map(|row| {
                    let alike = |range| AsideInfo {
                        range,
                        ..row.clone()
                    };
                    singles(row.range).map(alike)
                });
                let (rows, more) = (rows.collect(), *more);
                Reply::Subscription(Box::new(SubscriptionAnswer::AsideList { rows, more }))
            }
            _ => reply.clone(),
        },
        Reply::Schedule(answer) => match &**answer {
            ScheduleAnswer::List { rows, more } => {
                let rows = rows.iter().flat_map(|row| {
                    let due = row.due;
                    singles(row.range).map(move |range| ScheduledInfo { range, due })
                });
                let (rows, more) = (rows.collect(), *more);
                Reply::Schedule(Box::new(ScheduleAnswer::List { rows, more }))
            }
            _ => reply.clone(),
        },
        Reply::Refused { code, .. } => Reply::Refused {
            code: *code,
            text: String::new(),
        },
        _ => reply.clone(),
    }
}

/// What a record gives out: of which subscription, which messages, and to which session for how many milliseconds.
type GivenOut = (Key, Vec<Vec<usize>>, Option<(u128, u32)>);

/// Reads a Lease or Take record.
pub(super) fn given_out(record: &Record) -> Option<GivenOut> {
    let (queue, subscription, ranges, under) = match record {
        Record::Lease {
            queue,
            subscription,
            session,
            lease_ms,
            ranges,
        } => (queue, subscription, ranges, Some((session.0, *lease_ms))),
        Record::Take {
            queue,
            subscription,
            ranges,
        } => (queue, subscription, ranges, None),
        _ => return None,
    };
    let key = (queue.0 as usize, subscription.0 as usize);
    let place = |range: OffsetRange| usize::try_from(range.first.0).ok();
    let ranges = ranges.iter().map(|range| singles(*range).filter_map(place));
    Some((key, ranges.map(Iterator::collect).collect(), under))
}

/// The messages of a range, each by itself.
fn singles(range: OffsetRange) -> impl Iterator<Item = OffsetRange> {
    (range.first.0..range.end().0).map(|at| OffsetRange {
        first: Offset(at),
        count: 1,
    })
}
