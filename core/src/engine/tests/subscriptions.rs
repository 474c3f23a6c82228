//! Subscriptions as a whole: beginning, end, configuration, pause, and what is set aside.

use std::time::Duration;

use corelane_wire::{
    Aside, AsideCause, AsideInfo, ErrorCode, Fate, Lane, LeaseId, Offset, OnSubscription,
    PurgeStates, Reject, Request, SettleOutcome, Start, SubscriptionAnswer, SubscriptionConfig,
    SubscriptionDetail, SubscriptionVerb,
};

use super::node::*;
use crate::limits::Limits;
use crate::{DeliverTo, Input, Output, Reply};

const LIMITED: SubscriptionConfig = SubscriptionConfig {
    attempts_max: 2,
    ..SubscriptionConfig::PLAIN
};

fn on<'a>(subscription: &'a str, verb: SubscriptionVerb<'a>) -> Request<'a> {
    Request::Subscription(OnSubscription {
        queue: "q",
        lane: Lane(0),
        subscription,
        verb,
    })
}

/// Asks about a subscription of `q` and commits; the answer or the refusal.
fn ask<'a>(
    node: &mut Node,
    subscription: &'a str,
    verb: SubscriptionVerb<'a>,
) -> Result<SubscriptionAnswer, ErrorCode> {
    let mut outputs = node.request(bob(99), on(subscription, verb));
    outputs.extend(node.durable());
    let mut replies = Vec::new();
    for output in outputs {
        if let Output::Reply { to, reply } = output
            && to == bob(99)
        {
            replies.push(reply);
        }
    }
    match replies.pop() {
        Some(Reply::Subscription(answer)) => Ok(*answer),
        Some(Reply::Refused { code, .. }) => Err(code),
        other => panic!("{other:?}"),
    }
}

fn create(start: Option<Start>, config: SubscriptionConfig) -> SubscriptionVerb<'static> {
    SubscriptionVerb::Create { start, config }
}

fn configure(node: &mut Node, config: SubscriptionConfig) {
    let answer = ask(node, "", SubscriptionVerb::Configure { config });
    assert_eq!(answer, Ok(SubscriptionAnswer::Configured));
}

fn show(node: &mut Node, subscription: &str) -> SubscriptionDetail {
    match ask(node, subscription, SubscriptionVerb::Show) {
        Ok(SubscriptionAnswer::Shown(detail)) => *detail,
        other => panic!("{other:?}"),
    }
}

fn list(node: &mut Node, aside: Aside) -> Vec<AsideInfo> {
    let from = Offset(0);
    let limit = 100;
    match ask(node, "", SubscriptionVerb::ListAside { aside, from, limit }) {
        Ok(SubscriptionAnswer::AsideList { rows, more: false }) => rows,
        other => panic!("{other:?}"),
    }
}

fn bring_back(node: &mut Node, aside: Aside, (first, end): (u64, u64), max: u32) -> (u32, u64) {
    let verb = SubscriptionVerb::Return {
        aside,
        first: Offset(first),
        end: Offset(end),
        max,
    };
    match ask(node, "", verb) {
        Ok(SubscriptionAnswer::Returned { count, next }) => (count, next.0),
        other => panic!("{other:?}"),
    }
}

fn reject(node: &mut Node, lease: LeaseId, (first, count): (u64, u32), fate: Fate, text: &str) {
    let bytes = entries(&[(lease, first, count)]);
    let settle = settle("q", &bytes);
    node.request(alice(7), Request::Reject(Reject { settle, fate, text }));
    node.turn_end();
    node.durable();
}

/// What a dequeue gets: offsets and attempts.
fn taken(node: &mut Node, subscription: &str) -> Vec<(u64, u32)> {
    let mut outputs = node.request(alice(50), dequeue_from("q", subscription, 100, 0));
    outputs.extend(node.turn_end());
    outputs.extend(node.durable());
    let mut offsets = Vec::new();
    for output in outputs {
        if let Output::Deliver(delivery) = output {
            assert_eq!(delivery.to, DeliverTo::Dequeue(alice(50)));
            for run in delivery.runs {
                let all = run.first.0..run.first.0 + u64::from(run.count);
                offsets.extend(all.map(|offset| (offset, run.attempt)));
            }
        }
    }
    offsets
}

#[test]
fn used_up_attempts_make_a_message_dead_and_redrive_begins_again() {
    let mut node = filled(3);
    configure(&mut node, LIMITED);
    let lease = node.take(alice(1), "q", 3);
    let given = node.now;
    node.pass(Duration::from_millis(5));
    let bytes = entries(&[(lease, 1, 1)]);
    node.request(alice(2), nack("q", &bytes, 0));
    node.turn_end();
    assert_eq!(show(&mut node, "").ready, 1, "one attempt is left");
    let again = node.take(alice(3), "q", 1);
    reject(&mut node, again, (1, 1), Fate::Retry, "no such customer");
    let rows = list(&mut node, Aside::Dead);
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!((row.range, row.attempts), (range(1, 1), 2));
    assert_eq!(
        (row.cause, &*row.text),
        (AsideCause::Attempts, "no such customer")
    );
    assert_eq!((row.session, row.since), (alice(3).session, node.now));
    assert!(row.leased > given);

    assert_eq!(bring_back(&mut node, Aside::Dead, (0, 1), 9), (0, 1));
    assert_eq!(bring_back(&mut node, Aside::Dead, (0, 9), 9), (1, 9));
    assert_eq!(taken(&mut node, ""), [(1, 1)], "with no attempt");
}

#[test]
fn attempts_are_used_up_by_leases_that_end_too() {
    let mut node = filled(1);
    configure(&mut node, LIMITED);
    for _ in 0..2 {
        node.take(alice(1), "q", 1);
        node.deadline_after(Duration::from_secs(31));
    }
    let rows = list(&mut node, Aside::Dead);
    assert_eq!(rows[0].cause, AsideCause::LeaseExpired);
    assert_eq!(taken(&mut node, ""), []);
}

#[test]
fn what_is_given_back_without_counting_is_never_dead() {
    let mut node = filled(1);
    let config = SubscriptionConfig {
        attempts_max: 1,
        ..SubscriptionConfig::PLAIN
    };
    configure(&mut node, config);
    for _ in 0..5 {
        let lease = node.take(alice(1), "q", 1);
        let bytes = entries(&[(lease, 0, 1)]);
        let settle = settle("q", &bytes);
        node.request(
            alice(2),
            Request::Nack(corelane_wire::Nack {
                settle,
                delay_ms: 0,
                count_attempt: false,
            }),
        );
        node.turn_end();
    }
    assert_eq!(taken(&mut node, ""), [(0, 1)]);
}

#[test]
fn back_off_delays_what_failed_and_a_nack_says_its_delay_itself() {
    let config = SubscriptionConfig {
        backoff_ms: 1_000,
        backoff_max_ms: 4_000,
        ..SubscriptionConfig::PLAIN
    };
    let mut node = filled(2);
    configure(&mut node, config);
    for full in [1_000, 2_000, 4_000, 4_000] {
        let lease = node.take(alice(1), "q", 1);
        reject(&mut node, lease, (0, 1), Fate::Retry, "");
        node.deadline_after(Duration::from_millis(full / 2 - 1));
        assert_eq!(show(&mut node, "").delayed, 1, "{full}");
        node.deadline_after(Duration::from_millis(full / 2 + 1));
        assert_eq!(show(&mut node, "").delayed, 0, "{full}");
    }
    let lease = node.take(alice(1), "q", 1);
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(alice(2), nack("q", &bytes, 0));
    node.turn_end();
    assert_eq!(taken(&mut node, ""), [(0, 6), (1, 1)]);
}

#[test]
fn parked_messages_wait_to_be_kicked_and_keep_their_attempts() {
    let mut node = filled(10);
    let lease = node.take(alice(1), "q", 10);
    reject(&mut node, lease, (2, 5), Fate::Park, "lock held");
    let rows = list(&mut node, Aside::Parked);
    assert_eq!(
        (rows[0].range, rows[0].cause),
        (range(2, 5), AsideCause::Rejected)
    );
    assert_eq!(bring_back(&mut node, Aside::Dead, (0, 10), 9), (0, 10));
    assert_eq!(bring_back(&mut node, Aside::Parked, (3, 10), 2), (2, 5));
    assert_eq!(taken(&mut node, ""), [(3, 2), (4, 2)]);
    let rows = list(&mut node, Aside::Parked);
    let ranges: Vec<_> = rows.iter().map(|row| row.range).collect();
    assert_eq!(ranges, [range(2, 1), range(5, 2)]);
}

#[test]
fn a_paused_subscription_gives_nothing_out_until_it_is_resumed() {
    let mut node = filled(2);
    let lease = node.take(alice(1), "q", 1);
    ask(&mut node, "", SubscriptionVerb::Pause { reason: "deploy" }).unwrap();
    node.request(alice(2), dequeue("q", 1, 1_000));
    assert_eq!(deliveries(&node.turn_end()), []);
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(alice(3), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    let shown = show(&mut node, "");
    assert_eq!((shown.paused, &*shown.pause_reason), (true, "deploy"));
    assert_eq!((shown.done, shown.ready), (1, 1), "acks go on");

    let end = node.engine.positions().end;
    node.restart(end, node.now, 2);
    node.durable();
    assert!(show(&mut node, "").paused, "after a restart too");
    node.request(alice(4), dequeue("q", 1, 1_000));
    assert_eq!(deliveries(&node.turn_end()), []);
    ask(&mut node, "", SubscriptionVerb::Resume).unwrap();
    assert_eq!(deliveries(&node.turn_end()).len(), 1, "who waits is served");
}

#[test]
fn purge_finishes_what_is_meant_and_nothing_that_is_leased() {
    let mut node = filled(10);
    let lease = node.take(alice(1), "q", 6);
    reject(&mut node, lease, (1, 1), Fate::Dead, "");
    reject(&mut node, lease, (2, 1), Fate::Park, "");
    let bytes = entries(&[(lease, 3, 1)]);
    node.request(alice(2), nack("q", &bytes, 60_000));
    node.turn_end();
    let purge = |node: &mut Node, bits| {
        let states = PurgeStates::from_bits(bits).unwrap();
        match ask(node, "", SubscriptionVerb::Purge { states }) {
            Ok(SubscriptionAnswer::Purged { count }) => count,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(purge(&mut node, 4), 1, "dead");
    assert_eq!(purge(&mut node, 2), 1, "parked");
    assert_eq!(purge(&mut node, 1), 5, "delayed and ready");
    assert_eq!(purge(&mut node, 7), 0);
    let shown = show(&mut node, "");
    assert_eq!((shown.leased, shown.purged, shown.enqueued), (3, 7, 10));
    assert_eq!(shown.accounted(), 10);
    let bytes = entries(&[(lease, 0, 1), (lease, 4, 2)]);
    node.request(alice(3), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    let shown = show(&mut node, "");
    assert_eq!((shown.finished, shown.done), (Offset(10), 3));
}

#[test]
fn a_later_subscription_gets_what_is_kept_from_its_start_on() {
    let mut node = filled(10);
    let lease = node.take(alice(1), "q", 6);
    let bytes = entries(&[(lease, 0, 2), (lease, 4, 1)]);
    node.request(alice(2), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    let start = |start| create(Some(start), SubscriptionConfig::default());
    ask(&mut node, "all", start(Start::Earliest)).unwrap();
    ask(&mut node, "some", start(Start::At(Offset(5)))).unwrap();
    ask(&mut node, "none", start(Start::Latest)).unwrap();
    assert_eq!(
        ask(&mut node, "x", start(Start::At(Offset(1)))),
        Err(ErrorCode::OffsetNotKept)
    );
    assert_eq!(
        ask(&mut node, "x", start(Start::At(Offset(11)))),
        Err(ErrorCode::OffsetNotKept)
    );
    let all = show(&mut node, "all");
    assert_eq!((all.begin, all.enqueued, all.done), (Offset(2), 7, 0));
    let ones = |offsets: &[u64]| offsets.iter().map(|&at| (at, 1)).collect::<Vec<_>>();
    assert_eq!(taken(&mut node, "all"), ones(&[2, 3, 5, 6, 7, 8, 9]));
    assert_eq!(taken(&mut node, "some"), ones(&[5, 6, 7, 8, 9]));
    assert_eq!(taken(&mut node, "none"), []);
}

#[test]
fn no_subscription_begins_among_too_many_pieces() {
    let mut node = Node::with_limits(Limits {
        ranges_max: 4,
        ..Limits::default()
    });
    node.fill("q", 20);
    let lease = node.take(alice(1), "q", 20);
    let done = [1, 3, 5, 7].map(|offset| (lease, offset, 1));
    let bytes = entries(&done);
    node.request(alice(2), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    let start = |start| create(Some(start), SubscriptionConfig::PLAIN);
    assert_eq!(
        ask(&mut node, "a", start(Start::Earliest)),
        Err(ErrorCode::Busy)
    );
    let created = Ok(SubscriptionAnswer::Created { created: true });
    assert_eq!(ask(&mut node, "a", start(Start::At(Offset(4)))), created);
    let seek = SubscriptionVerb::Seek {
        start: Start::Earliest,
    };
    assert_eq!(ask(&mut node, "a", seek), Err(ErrorCode::Busy));
    assert_eq!(taken(&mut node, "a").len(), 14);
}

#[test]
fn seek_begins_anew_and_ends_the_leases() {
    let mut node = filled(4);
    ask(&mut node, "other", create(Some(Start::Earliest), LIMITED)).unwrap();
    let lease = node.take(alice(1), "q", 4);
    let bytes = entries(&[(lease, 0, 3)]);
    node.request(alice(2), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    let seek = |start| SubscriptionVerb::Seek { start };
    let at = ask(&mut node, "", seek(Start::At(Offset(1))));
    assert_eq!(at, Ok(SubscriptionAnswer::Sought { at: Offset(1) }));
    let bytes = entries(&[(lease, 3, 1)]);
    node.request(alice(3), Request::Ack(settle("q", &bytes)));
    let outputs = [node.turn_end(), node.durable()].concat();
    let stale = settled(&[(3, 1, SettleOutcome::Stale)]);
    assert!(outputs.contains(&reply(alice(3), stale)), "{outputs:?}");
    assert_eq!(
        taken(&mut node, ""),
        [(1, 1), (2, 1), (3, 1)],
        "the other keeps them"
    );

    // Forward: what is passed by is needed by nobody but the other one.
    ask(&mut node, "", seek(Start::Latest)).unwrap();
    assert_eq!(taken(&mut node, ""), []);
    ask(&mut node, "other", seek(Start::Latest)).unwrap();
    ask(&mut node, "", seek(Start::Earliest)).unwrap();
    assert_eq!(taken(&mut node, ""), [], "nothing is kept any more");
    assert_eq!(node.engine.stats().messages, 0);
}

#[test]
fn a_deleted_subscription_leaves_what_others_need() {
    let mut node = filled(3);
    ask(
        &mut node,
        "other",
        create(Some(Start::At(Offset(1))), LIMITED),
    )
    .unwrap();
    let lease = node.take(alice(1), "q", 1);
    ask(&mut node, "idle", create(None, LIMITED)).unwrap();
    node.request(alice(2), dequeue_from("q", "idle", 1, 1_000));
    node.request(alice(3), subscribe("q", 1, 10));
    node.turn_end();
    let mut outputs = node.request(bob(1), on("idle", SubscriptionVerb::Delete));
    outputs.extend(node.durable());
    let is_told = |output: &Output| {
        matches!(output, Output::Reply { to, reply: Reply::Refused { code, .. } }
            if *to == alice(2) && *code == ErrorCode::SubscriptionNotFound)
    };
    assert!(
        outputs.iter().any(is_told),
        "who waits is told: {outputs:?}"
    );
    ask(&mut node, "", SubscriptionVerb::Delete).unwrap();
    assert_eq!(node.engine.stats().consumers, 0);
    assert_eq!(node.engine.stats().messages, 2, "the other began at 1");
    assert_eq!(
        ask(&mut node, "", SubscriptionVerb::Show),
        Err(ErrorCode::SubscriptionNotFound)
    );

    // One of the same name is another one.
    ask(&mut node, "", create(Some(Start::Earliest), LIMITED)).unwrap();
    let bytes = entries(&[(lease, 0, 1), (lease, 1, 1)]);
    node.request(alice(4), Request::Ack(settle("q", &bytes)));
    let outputs = [node.turn_end(), node.durable()].concat();
    let judged = settled(&[
        (0, 1, SettleOutcome::AlreadyDone),
        (1, 1, SettleOutcome::Stale),
    ]);
    assert!(outputs.contains(&reply(alice(4), judged)), "{outputs:?}");
    assert_eq!(taken(&mut node, ""), [(1, 1), (2, 1)]);

    for name in ["", "other"] {
        ask(&mut node, name, SubscriptionVerb::Delete).unwrap();
    }
    assert_eq!(node.engine.stats().messages, 0, "with the last one all go");
    node.fill("q", 2);
    assert_eq!(
        taken(&mut node, ""),
        [(3, 1), (4, 1)],
        "and what comes is kept"
    );
}

#[test]
fn create_finds_what_exists_and_refuses_another_configuration() {
    let mut node = Node::new();
    let created = |created| Ok(SubscriptionAnswer::Created { created });
    assert_eq!(
        ask(&mut node, "a", create(None, LIMITED)),
        created(true),
        "and its queue"
    );
    assert_eq!(ask(&mut node, "a", create(None, LIMITED)), created(false));
    let other = SubscriptionConfig::default();
    assert_eq!(
        ask(&mut node, "a", create(None, other)),
        Err(ErrorCode::SubscriptionExists)
    );
    let configure = SubscriptionVerb::Configure { config: other };
    ask(&mut node, "a", configure).unwrap();
    assert_eq!(ask(&mut node, "a", create(None, other)), created(false));
    assert_eq!(
        ask(&mut node, "b", configure),
        Err(ErrorCode::SubscriptionNotFound)
    );
}

#[test]
fn what_is_purged_before_it_is_committed_is_never_given_out() {
    let mut node = filled(2);
    node.take(alice(1), "q", 1);
    node.enqueue("q", &batch(3, corelane_wire::ProducerId::NONE, 0));
    let states = PurgeStates::from_bits(1).unwrap();
    node.request(bob(1), on("", SubscriptionVerb::Purge { states }));
    // A segment begins with what was purged, behind a message that is still needed.
    let committed = node.engine.positions().committed;
    node.engine.segment_begins(committed);
    node.step(Input::TurnEnd);
    node.durable();
    assert_eq!(taken(&mut node, ""), []);
    node.fill("q", 1);
    assert_eq!(taken(&mut node, ""), [(5, 1)]);
}
