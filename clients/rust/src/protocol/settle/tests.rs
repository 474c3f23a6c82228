//! Scripted answers against the settles of one subscription.

use corelane_wire::{
    ErrorCode, Extend, Fate, Nack, OffsetRange, Reject, Request, SettleOutcome, Settled,
};

use super::super::scripted::{SECOND, START, Sent, answer, lease_id, open, refusal, sent};
use super::super::{Event, Protocol};
use super::*;

struct Bench {
    now: Timestamp,
    protocol: Protocol,
    core: SettleCore,
}

impl Bench {
    fn new() -> Self {
        let target = SettleTarget {
            queue: "orders".to_owned(),
            lane: Lane(0),
            subscription: String::new(),
        };
        let mut bench = Self {
            now: START,
            protocol: open(START),
            core: SettleCore::new(target, 1),
        };
        bench.core.on_connected();
        bench
    }

    fn ack(&mut self, lease: u64, offset: u64) -> u64 {
        let deadline = self.now.add(10 * SECOND);
        self.core
            .settle(SettleAction::Ack, lease_id(lease), Offset(offset), deadline)
    }

    fn drive(&mut self) -> Vec<Sent> {
        self.core.drive(self.now, &mut self.protocol);
        sent(&mut self.protocol)
    }

    fn answer(&mut self, call: Correlation, response: &Response<'_>) -> Result<(), ProtocolError> {
        let bytes = answer(call, response);
        let mut chunk = bytes.as_slice();
        while let Some(event) = self.protocol.next_event(self.now, &mut chunk)? {
            if let Event::Answer {
                correlation,
                response,
                ..
            } = event
            {
                assert!(self.core.on_answer(self.now, correlation, &response)?);
            }
        }
        Ok(())
    }

    fn resolved(&mut self) -> Vec<(u64, Result<SettleOutcome, SettleError>)> {
        std::iter::from_fn(|| self.core.poll_resolved())
            .map(|resolved| (resolved.ticket, resolved.result))
            .collect()
    }
}

fn entries(sent: &Sent) -> Vec<(u64, u64, u32)> {
    let (Request::Ack(settle)
    | Request::Nack(Nack { settle, .. })
    | Request::Reject(Reject { settle, .. })
    | Request::Extend(Extend { settle, .. })) = sent.request()
    else {
        panic!("not a settle: {sent:?}");
    };
    settle
        .entries
        .iter()
        .map(|entry| (entry.lease.lsn.0, entry.range.first.0, entry.range.count))
        .collect()
}

fn settled(runs: &[(u64, u32, SettleOutcome)]) -> Response<'static> {
    Response::Settled(
        runs.iter()
            .map(|(first, count, outcome)| Settled {
                range: OffsetRange {
                    first: Offset(*first),
                    count: *count,
                },
                outcome: *outcome,
            })
            .collect(),
    )
}

#[test]
fn acks_travel_in_one_frame_merged_into_ranges() {
    let mut bench = Bench::new();
    for (lease, offset) in [(5, 12), (5, 10), (6, 20), (5, 11), (5, 14)] {
        bench.ack(lease, offset);
    }
    let frames = bench.drive();
    assert_eq!(frames.len(), 1);
    assert_eq!(entries(&frames[0]), [(5, 10, 3), (5, 14, 1), (6, 20, 1)]);
}

#[test]
fn outcomes_find_their_tickets() {
    let mut bench = Bench::new();
    let [b, a, c] = [11, 10, 13].map(|offset| bench.ack(5, offset));
    let frame = bench.drive().remove(0);
    let answer = settled(&[
        (10, 1, SettleOutcome::Done),
        (11, 1, SettleOutcome::Stale),
        (13, 1, SettleOutcome::AlreadyDone),
    ]);
    bench.answer(frame.call, &answer).unwrap();
    assert_eq!(
        bench.resolved(),
        [
            (a, Ok(SettleOutcome::Done)),
            (b, Ok(SettleOutcome::Stale)),
            (c, Ok(SettleOutcome::AlreadyDone)),
        ]
    );
    assert!(bench.core.is_idle());
}

#[test]
fn actions_travel_apart() {
    let mut bench = Bench::new();
    let deadline = START.add(SECOND);
    bench.ack(5, 1);
    for (action, offset) in [
        (SettleAction::GIVE_BACK, 2),
        (SettleAction::Extend { lease_ms: 5_000 }, 3),
        (SettleAction::reject(Fate::Retry, "no route"), 4),
        (SettleAction::reject(Fate::Park, "no route"), 5),
        (SettleAction::reject(Fate::Retry, "no route"), 6),
        (SettleAction::reject(Fate::Retry, "no time"), 7),
    ] {
        bench
            .core
            .settle(action, lease_id(5), Offset(offset), deadline);
    }
    let frames = bench.drive();
    let kinds: Vec<_> = frames.iter().map(|sent| sent.request().kind()).collect();
    assert_eq!(kinds, [0x22, 0x20, 0x21, 0x24, 0x24, 0x24]);
    let rejected = frames[3..].iter().map(|frame| {
        let Request::Reject(reject) = frame.request() else {
            panic!("not a reject");
        };
        (reject.fate, reject.text.to_owned(), entries(frame))
    });
    assert_eq!(
        rejected.collect::<Vec<_>>(),
        [
            (
                Fate::Retry,
                "no route".to_owned(),
                vec![(5, 4, 1), (5, 6, 1)]
            ),
            (Fate::Retry, "no time".to_owned(), vec![(5, 7, 1)]),
            (Fate::Park, "no route".to_owned(), vec![(5, 5, 1)]),
        ]
    );
}

#[test]
fn text_of_a_reject_is_cut_between_letters() {
    let long = "é".repeat(200);
    let SettleAction::Reject { text, .. } = SettleAction::reject(Fate::Dead, &long) else {
        panic!("not a reject");
    };
    assert_eq!(&*text, "é".repeat(128));
    let odd = format!("x{long}");
    let SettleAction::Reject { text, .. } = SettleAction::reject(Fate::Dead, &odd) else {
        panic!("not a reject");
    };
    assert_eq!((text.len(), text.ends_with('é')), (255, true));
}

#[test]
fn lost_settles_are_sent_again_after_a_reconnect() {
    let mut bench = Bench::new();
    let ticket = bench.ack(5, 10);
    bench.drive();
    bench.core.on_disconnected();
    bench.protocol = open(bench.now);
    bench.core.on_connected();
    let frame = bench.drive().remove(0);
    assert_eq!(entries(&frame), [(5, 10, 1)]);
    let answer = settled(&[(10, 1, SettleOutcome::AlreadyDone)]);
    bench.answer(frame.call, &answer).unwrap();
    assert_eq!(bench.resolved(), [(ticket, Ok(SettleOutcome::AlreadyDone))]);
}

#[test]
fn busy_is_tried_again_and_a_refusal_is_told() {
    let mut bench = Bench::new();
    let ticket = bench.ack(5, 10);
    let frame = bench.drive().remove(0);
    bench.answer(frame.call, &refusal(ErrorCode::Busy)).unwrap();
    assert!(bench.drive().is_empty());
    bench.now = bench.core.next_deadline().unwrap();
    let frame = bench.drive().remove(0);
    bench
        .answer(frame.call, &refusal(ErrorCode::QueueNotFound))
        .unwrap();
    let resolved = bench.resolved();
    assert_eq!(resolved[0].0, ticket);
    assert!(matches!(
        resolved[0].1,
        Err(SettleError::Refused {
            code: ErrorCode::QueueNotFound,
            ..
        })
    ));
}

#[test]
fn settle_past_its_deadline_is_given_up_once_whether_out_or_waiting() {
    let mut bench = Bench::new();
    let out = bench.ack(5, 10);
    let frame = bench.drive().remove(0);
    let waiting = bench.ack(5, 11);
    bench.now = bench.now.add(10 * SECOND);
    bench.core.on_deadline(bench.now);
    let mut resolved = bench.resolved();
    resolved.sort_by_key(|(ticket, _)| *ticket);
    assert_eq!(
        resolved,
        [
            (out, Err(SettleError::Deadline { last: None })),
            (waiting, Err(SettleError::Deadline { last: None })),
        ]
    );
    let answer = settled(&[(10, 1, SettleOutcome::Done)]);
    bench.answer(frame.call, &answer).unwrap();
    assert_eq!(bench.resolved(), []);
    assert!(bench.core.is_idle());
    assert_eq!(bench.core.next_deadline(), None);
}

#[test]
fn message_is_named_once_per_frame() {
    let mut bench = Bench::new();
    let action = SettleAction::Extend { lease_ms: 5_000 };
    for _ in 0..2 {
        let deadline = START.add(SECOND);
        let action = action.clone();
        bench.core.settle(action, lease_id(5), Offset(10), deadline);
    }
    assert_eq!(entries(&bench.drive()[0]), [(5, 10, 1)]);
    assert_eq!(entries(&bench.drive()[0]), [(5, 10, 1)]);
}

#[test]
fn answer_for_other_messages_is_an_error() {
    for runs in [
        [(10, 2, SettleOutcome::Done)].as_slice(),
        &[(11, 1, SettleOutcome::Done)],
        &[(10, u32::MAX, SettleOutcome::Done)],
    ] {
        let mut bench = Bench::new();
        bench.ack(5, 10);
        let frame = bench.drive().remove(0);
        let error = bench.answer(frame.call, &settled(runs)).unwrap_err();
        assert!(
            matches!(error, ProtocolError::Contradiction { .. }),
            "{error}"
        );
    }
}
