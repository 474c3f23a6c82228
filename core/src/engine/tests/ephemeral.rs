//! Ephemeral subscriptions: everything that a lease is, and nothing of it is written.

use std::time::Duration;

use corelane_wire::{
    Contract, DeadLetters, ErrorCode, LeaseId, Offset, OffsetRanges, OnSchedule, ProducerId,
    PurgeStates, Request, ScheduleVerb, SettleOutcome, Start, SubscriptionAnswer,
    SubscriptionConfig, SubscriptionVerb,
};

use super::node::*;
use super::readers::{ask_of, shown_of};
use super::schedule::due;
use crate::ids::ConnectionId;
use crate::limits::{EPHEMERAL_GRACE, SESSION_GRACE};
use crate::{Input, Limits, Output, Reply, Requester};

const LIVE: &str = "live#ephemeral";
const PLAIN: SubscriptionConfig = SubscriptionConfig::PLAIN;

fn create(node: &mut Node, start: Option<Start>, config: SubscriptionConfig) {
    let created = ask_of(node, LIVE, SubscriptionVerb::Create { start, config });
    assert_eq!(created, Ok(SubscriptionAnswer::Created { created: true }));
}

/// A queue with the default subscription, and an ephemeral one that Bob uses.
fn lively() -> Node {
    let mut node = filled(2);
    create(&mut node, None, PLAIN);
    node
}

fn listen(consumer: u32, credit: u32) -> Request<'static> {
    let Request::Subscribe(subscribe) = subscribe("q", consumer, credit) else {
        panic!("a subscribe");
    };
    Request::Subscribe(corelane_wire::Subscribe {
        subscription: LIVE,
        ..subscribe
    })
}

/// What a dequeue gets: under which lease, and offsets with their attempts.
fn taken(node: &mut Node, from: Requester, count: u32) -> (LeaseId, Vec<(u64, u32)>) {
    node.request(from, dequeue_from("q", LIVE, count, 0));
    let given = deliveries(&node.turn_end());
    let lease = given.first().map(|it| it.lease).unwrap_or_default();
    let runs = given.iter().flat_map(|delivery| &delivery.runs);
    let messages = runs.flat_map(|run| {
        let offsets = run.first.0..run.first.0 + u64::from(run.count);
        offsets.map(|offset| (offset, run.attempt))
    });
    (lease, messages.collect())
}

fn ack(node: &mut Node, subscription: &str, list: &[(LeaseId, u64, u32)]) -> Vec<Output> {
    let bytes = entries(list);
    let mut settle = settle("q", &bytes);
    settle.subscription = subscription;
    node.request(alice(70), Request::Ack(settle));
    node.turn_end()
}

fn nack(node: &mut Node, list: &[(LeaseId, u64, u32)], delay_ms: u64) {
    let bytes = entries(list);
    let mut settle = settle("q", &bytes);
    settle.subscription = LIVE;
    let nack = corelane_wire::Nack {
        settle,
        delay_ms,
        count_attempt: true,
    };
    let outputs = node.request(alice(71), Request::Nack(nack));
    assert_eq!(refusals(&outputs), []);
    node.turn_end();
}

fn disconnect(node: &mut Node, connection: u64) {
    let connection = ConnectionId(connection);
    node.step(Input::Disconnected { connection });
}

/// The names in the list.
fn names(node: &mut Node) -> Vec<String> {
    let queue = node.engine.state.queues.get(QUEUE).unwrap();
    let info = node.engine.info(queue);
    info.subscriptions.into_iter().map(|it| it.name).collect()
}

fn settled_in(outputs: &[Output]) -> Vec<SettleOutcome> {
    let mut outcomes = Vec::new();
    for output in outputs {
        if let Output::Reply {
            reply: Reply::Settled(settled),
            ..
        } = output
        {
            outcomes.extend(settled.iter().map(|it| it.outcome));
        }
    }
    outcomes
}

#[test]
fn nothing_of_it_is_written_and_nothing_waits_for_the_disk() {
    let mut node = lively();
    node.fill("q", 3);
    let (before, hash) = (node.log.len(), node.engine.state_hash());
    let cut = node.engine.cut().end();
    let (lease, messages) = taken(&mut node, bob(1), 10);
    assert_eq!(messages, [(2, 1), (3, 1), (4, 1)], "it began at the latest");
    nack(&mut node, &[(lease, 2, 1)], 0);
    let (again, messages) = taken(&mut node, bob(2), 10);
    assert_eq!(messages, [(2, 2)]);
    // Something else is not committed: an answer that followed from it would wait.
    node.enqueue("q", &batch(1, ProducerId::NONE, 0));
    let outputs = ack(&mut node, LIVE, &[(lease, 3, 2), (again, 2, 1)]);
    assert_eq!(settled_in(&outputs), [SettleOutcome::Done; 2]);
    assert!(!outputs.iter().any(|it| matches!(it, Output::Append { .. })));
    assert_eq!(node.log.len(), before + 1, "only the message was written");
    assert_eq!(node.engine.stats().uncommitted_leases, 0);
    node.log.pop();
    let replayed = replayed(&node.log).unwrap();
    assert_eq!(
        (replayed.state_hash(), cut),
        (hash, replayed.positions().end)
    );
    assert_eq!(replayed.stats().subscriptions, 1);
    let stats = node.engine.stats();
    assert_eq!((stats.subscriptions, stats.unaccounted), (2, 0));
}

#[test]
fn only_what_is_committed_is_given_out() {
    let mut node = lively();
    node.enqueue("q", &batch(2, ProducerId::NONE, 0));
    assert_eq!(taken(&mut node, bob(1), 10).1, []);
    node.durable();
    assert_eq!(taken(&mut node, bob(2), 10).1, [(2, 1), (3, 1)]);
}

#[test]
fn its_leases_are_no_others_and_it_expires_and_returns_them() {
    let mut node = lively();
    node.fill("q", 2);
    let (lease, _) = taken(&mut node, bob(1), 1);
    let durable = node.take(alice(2), "q", 1);
    assert_ne!(lease, durable);
    assert_eq!((lease.epoch.0 >> 63, durable.epoch.0 >> 63), (1, 0));
    let stale = |outputs: Vec<Output>| settled_in(&outputs) == [SettleOutcome::Stale];
    assert!(stale(ack(&mut node, "", &[(lease, 2, 1)])));
    assert!(stale(ack(&mut node, LIVE, &[(durable, 2, 1)])));

    // An extend holds it, then time ends it, and the attempt counts.
    node.pass(Duration::from_secs(20));
    let bytes = entries(&[(lease, 2, 1)]);
    let mut settle = settle("q", &bytes);
    settle.subscription = LIVE;
    let lease_ms = 30_000;
    node.request(
        bob(3),
        Request::Extend(corelane_wire::Extend { settle, lease_ms }),
    );
    node.turn_end();
    node.deadline_after(Duration::from_secs(29));
    assert_eq!(node.engine.ephemerals.state.leases.len(), 1);
    let before = node.log.len();
    node.deadline_after(Duration::from_secs(1));
    assert_eq!(node.engine.ephemerals.state.leases.len(), 0);
    assert_eq!(node.log.len(), before, "its Tick is not written");
    let (_, messages) = taken(&mut node, bob(4), 10);
    assert_eq!(messages, [(2, 2), (3, 1)]);

    // A session that is lost gives back without counting; the subscription has other users.
    create_again(&mut node);
    let session = bob(0).session;
    node.step(Input::SessionLost { session });
    node.deadline_after(SESSION_GRACE);
    assert_eq!(taken(&mut node, alice(5), 10).1, [(2, 2), (3, 1)]);
}

/// Alice uses the subscription too.
fn create_again(node: &mut Node) {
    let (start, config) = (None, PLAIN);
    let on = corelane_wire::OnSubscription {
        queue: "q",
        lane: corelane_wire::Lane(0),
        subscription: LIVE,
        verb: SubscriptionVerb::Create { start, config },
    };
    node.request(alice(60), Request::Subscription(on));
}

#[test]
fn it_is_gone_after_its_last_user_and_not_before() {
    let mut node = filled(1);
    node.request(bob(1), listen(1, 10));
    node.request(alice(2), listen(2, 10));
    node.request(alice(3), listen(3, 10));
    node.durable();
    assert_eq!(names(&mut node), ["default", LIVE]);
    disconnect(&mut node, 2);
    assert_eq!(node.engine.next_deadline(), None, "Alice still listens");
    for consumer in [2, 3] {
        let consumer = corelane_wire::ConsumerId(consumer);
        assert_eq!(node.engine.next_deadline(), None, "it has a consumer");
        node.request(alice(4), Request::Unsubscribe { consumer });
    }
    assert_eq!(node.engine.next_deadline(), Some(T0.add(EPHEMERAL_GRACE)));
    node.deadline_after(EPHEMERAL_GRACE / 2);
    assert_eq!(names(&mut node), ["default", LIVE]);
    // Somebody comes back in time.
    node.request(bob(5), listen(1, 10));
    node.fill("q", 1);
    let given = deliveries(&node.turn_end());
    assert_eq!(given.len(), 1);
    node.deadline_after(EPHEMERAL_GRACE);
    assert_eq!(names(&mut node), ["default", LIVE]);
    disconnect(&mut node, 2);
    let before = node.log.len();
    node.deadline_after(EPHEMERAL_GRACE);
    assert_eq!(names(&mut node), ["default"]);
    assert_eq!(node.log.len(), before, "its end is not written");
    let stats = node.engine.stats();
    assert_eq!((stats.subscriptions, stats.leases), (1, 0));
    let bytes = entries(&[(given[0].lease, 1, 1)]);
    let mut of_live = settle("q", &bytes);
    of_live.subscription = LIVE;
    let outputs = node.request(alice(6), Request::Ack(of_live));
    let not_found = ErrorCode::SubscriptionNotFound;
    assert_eq!(refusals(&outputs), [(alice(6), not_found)]);
}

#[test]
fn a_connection_that_dequeued_uses_it_until_it_goes() {
    let mut node = lively();
    node.request(bob(1), dequeue_from("q", LIVE, 1, 1_000));
    node.request(bob(2), listen(1, 1));
    let consumer = corelane_wire::ConsumerId(1);
    node.request(bob(3), Request::Unsubscribe { consumer });
    node.deadline_after(Duration::from_mins(1));
    assert_eq!(names(&mut node), ["default", LIVE]);
    disconnect(&mut node, 2);
    node.deadline_after(EPHEMERAL_GRACE);
    assert_eq!(names(&mut node), ["default"]);
    // The next use makes another one, and what was there is not for it.
    assert_eq!(taken(&mut node, bob(4), 10).1, []);
    node.fill("q", 1);
    assert_eq!(taken(&mut node, bob(5), 10).1, [(2, 1)]);
}

#[test]
fn it_is_gone_after_a_crash_and_its_leases_are_unknown() {
    let mut node = lively();
    node.fill("q", 2);
    let (lease, _) = taken(&mut node, bob(1), 1);
    let committed = node.engine.positions().committed;
    node.restart(committed, node.now, 2);
    node.durable();
    assert_eq!(names(&mut node), ["default"]);
    let bytes = entries(&[(lease, 2, 1)]);
    let mut of_live = settle("q", &bytes);
    of_live.subscription = LIVE;
    let outputs = node.request(alice(2), Request::Ack(of_live));
    assert_eq!(
        refusals(&outputs),
        [(alice(2), ErrorCode::SubscriptionNotFound)]
    );
    node.fill("q", 1);
    assert_eq!(taken(&mut node, bob(3), 10).1, []);
    node.fill("q", 1);
    let (other, messages) = taken(&mut node, bob(4), 10);
    assert_eq!(messages, [(5, 1)]);
    assert_ne!(other, lease, "leases of different starts differ");
    let outputs = ack(&mut node, LIVE, &[(lease, 5, 1)]);
    assert_eq!(settled_in(&outputs), [SettleOutcome::Stale]);
}

#[test]
fn nothing_is_kept_for_it_and_nothing_goes_because_of_it() {
    let limits = Limits {
        stretch_runs_max: 1,
        ..Limits::default()
    };
    let mut node = Node::with_limits(limits);
    node.fill("q", 2);
    create(&mut node, Some(Start::Earliest), PLAIN);
    let start = |node: &Node| node.engine.state.queues.get(QUEUE).unwrap().start;
    let (lease, messages) = taken(&mut node, bob(1), 10);
    assert_eq!(messages, [(0, 1), (1, 1)]);
    ack(&mut node, LIVE, &[(lease, 0, 2)]);
    assert_eq!((start(&node), node.engine.stats().messages), (Offset(0), 2));

    // The first durable one begins with them; what it has done goes.
    node.fill("q", 1);
    node.fill("q", 1);
    let (lease, _) = taken(&mut node, bob(2), 1);
    let durable = node.take(alice(3), "q", 4);
    ack(&mut node, "", &[(durable, 0, 4)]);
    node.durable();
    assert_eq!((start(&node), node.engine.stats().messages), (Offset(4), 0));
    // What comes back is gone, and so is what it did not come to.
    nack(&mut node, &[(lease, 2, 1)], 0);
    node.fill("q", 1);
    assert_eq!(shown_of(&mut node, LIVE).missed, 0);
    assert_eq!(taken(&mut node, bob(4), 10).1, [(4, 1)]);
    let detail = shown_of(&mut node, LIVE);
    assert_eq!((detail.missed, detail.enqueued, detail.done), (2, 3, 2));
    assert_eq!((detail.leased, detail.accounted()), (1, 3));
    assert_eq!(node.engine.stats().missed, 2);
    disconnect(&mut node, 2);
    node.deadline_after(EPHEMERAL_GRACE);
    assert_eq!(node.engine.stats().missed, 2, "they stay counted");
}

#[test]
fn each_one_is_there_for_what_it_began_with() {
    let mut node = filled(3);
    create(&mut node, None, PLAIN);
    for (name, at) in [("a#ephemeral", 1), ("b#ephemeral", 2)] {
        let start = Some(Start::At(Offset(at)));
        let config = PLAIN;
        ask_of(&mut node, name, SubscriptionVerb::Create { start, config }).unwrap();
    }
    node.fill("q", 1);
    let mut ready = |name| shown_of(&mut node, name).ready;
    assert_eq!(
        [ready(LIVE), ready("a#ephemeral"), ready("b#ephemeral")],
        [1, 3, 2]
    );
    ask_of(&mut node, "a#ephemeral", SubscriptionVerb::Delete).unwrap();
    assert_eq!(names(&mut node), ["default", LIVE, "b#ephemeral"]);
    node.request(alice(8), Request::QueueDelete { queue: "q" });
    assert_eq!(node.engine.stats().subscriptions, 0);
    disconnect(&mut node, 2);
    node.durable();
    assert_eq!(node.engine.next_deadline(), None, "nothing of them is left");
}

#[test]
fn what_is_too_scattered_makes_room_by_missing_what_waits_longest() {
    let limits = Limits {
        ranges_max: 3,
        ..Limits::default()
    };
    let mut node = Node::with_limits(limits);
    node.fill("q", 10);
    create(&mut node, Some(Start::Earliest), PLAIN);
    let (lease, _) = taken(&mut node, bob(1), 10);
    for (offset, delay_ms) in [(1, 9_000), (3, 1_000), (5, 5_000), (7, 8_000)] {
        nack(&mut node, &[(lease, offset, 1)], delay_ms);
    }
    let detail = shown_of(&mut node, LIVE);
    assert_eq!((detail.missed, detail.leased), (2, 6), "{detail:?}");
    assert_eq!(detail.delayed, 2, "the first two would have come first");
    node.deadline_after(Duration::from_secs(9));
    assert_eq!(taken(&mut node, bob(2), 10).1, [(1, 2), (7, 2)]);
}

#[test]
fn messages_that_are_due_later_are_given_out_then() {
    let mut node = Node::new();
    let batch = due(node.now, &[1_000, 4_000, 4_000]);
    node.enqueue("q", &batch);
    create(&mut node, Some(Start::Earliest), PLAIN);
    let batch = due(node.now, &[2_000, 3_000]);
    node.enqueue("q", &batch);
    node.durable();
    assert_eq!(shown_of(&mut node, LIVE).delayed, 5);
    let mut bytes = Vec::new();
    OffsetRanges::put(range(1, 1), &mut bytes);
    OffsetRanges::put(range(4, 1), &mut bytes);
    let ranges = OffsetRanges::read(&bytes).unwrap();
    node.request(alice(1), dequeue("q", 1, 0));
    let due_ms = node.now.as_millis() + 1_000;
    for verb in [
        ScheduleVerb::Cancel { ranges },
        ScheduleVerb::Move {
            due_ms,
            ranges: OffsetRanges::read(&bytes).unwrap(),
        },
    ] {
        let (queue, lane) = ("q", corelane_wire::Lane(0));
        node.request(
            alice(2),
            Request::Schedule(OnSchedule { queue, lane, verb }),
        );
        node.durable();
    }
    assert_eq!(shown_of(&mut node, LIVE).purged, 2, "they were cancelled");
    node.deadline_after(Duration::from_secs(1));
    assert_eq!(taken(&mut node, bob(3), 10).1, [(0, 1)]);
    node.deadline_after(Duration::from_secs(3));
    assert_eq!(taken(&mut node, bob(4), 10).1, [(2, 1), (3, 1)]);
}

#[test]
fn contracts_that_fit_are_served() {
    let mut node = Node::new();
    let contract = Contract::SingleActive;
    create(&mut node, None, SubscriptionConfig { contract, ..PLAIN });
    node.request(bob(1), listen(1, 10));
    node.request(alice(2), listen(1, 10));
    node.fill("q", 4);
    let given = deliveries(&node.turn_end());
    let [given] = &given[..] else {
        panic!("{given:?}");
    };
    assert_eq!(given.runs, [run(given.runs[0].lsn.0, (0, 4), 0, 1)]);
    assert_eq!(served(&[Output::Deliver(given.clone())])[0].1, 4);
    ask_of(&mut node, LIVE, SubscriptionVerb::Delete).unwrap();

    let contract = Contract::AtMostOnce;
    create(&mut node, None, SubscriptionConfig { contract, ..PLAIN });
    node.fill("q", 2);
    let before = node.log.len();
    assert_eq!(
        taken(&mut node, bob(3), 10),
        (LeaseId::default(), vec![(4, 1), (5, 1)])
    );
    assert_eq!(
        (shown_of(&mut node, LIVE).done, node.log.len()),
        (2, before)
    );
}

#[test]
fn dead_messages_can_be_returned_and_a_pause_holds() {
    let mut node = Node::new();
    let config = SubscriptionConfig {
        attempts_max: 1,
        ..PLAIN
    };
    create(&mut node, None, config);
    node.fill("q", 2);
    let before = node.log.len();
    let (lease, _) = taken(&mut node, bob(1), 2);
    nack(&mut node, &[(lease, 0, 2)], 0);
    assert_eq!(shown_of(&mut node, LIVE).dead, 2);
    ask_of(&mut node, LIVE, SubscriptionVerb::Pause { reason: "why" }).unwrap();
    let back = SubscriptionVerb::Return {
        aside: corelane_wire::Aside::Dead,
        first: Offset(0),
        end: Offset(1),
        max: 10,
    };
    ask_of(&mut node, LIVE, back).unwrap();
    assert_eq!(taken(&mut node, bob(2), 10).1, []);
    ask_of(&mut node, LIVE, SubscriptionVerb::Resume).unwrap();
    assert_eq!(taken(&mut node, bob(3), 10).1, [(0, 1)]);
    let states = PurgeStates {
        waiting: false,
        parked: false,
        dead: true,
    };
    let purged = ask_of(&mut node, LIVE, SubscriptionVerb::Purge { states });
    assert_eq!(purged, Ok(SubscriptionAnswer::Purged { count: 1 }));
    assert_eq!(node.log.len(), before);
}

#[test]
fn what_only_a_durable_one_does_is_refused() {
    let mut node = lively();
    let refused = Err(ErrorCode::NotSupported);
    for contract in [Contract::KeyOrdered, Contract::Reader, Contract::Broadcast] {
        let config = SubscriptionConfig { contract, ..PLAIN };
        let start = None;
        let create = SubscriptionVerb::Create { start, config };
        assert_eq!(ask_of(&mut node, "new#ephemeral", create), refused);
        let configure = SubscriptionVerb::Configure { config };
        assert_eq!(ask_of(&mut node, LIVE, configure), refused, "{contract:?}");
    }
    let verbs = [
        SubscriptionVerb::Seek {
            start: Start::Earliest,
        },
        SubscriptionVerb::Checkpoint { offset: Offset(1) },
        SubscriptionVerb::DeadLetters {
            change: Some(DeadLetters::To("graves")),
        },
    ];
    for verb in verbs {
        assert_eq!(ask_of(&mut node, LIVE, verb), refused, "{verb:?}");
    }
    let limits = Limits {
        subscriptions_max: 2,
        ..Limits::default()
    };
    let mut node = Node::with_limits(limits);
    for (name, expected) in [
        (LIVE, Ok(SubscriptionAnswer::Created { created: true })),
        (LIVE, Ok(SubscriptionAnswer::Created { created: false })),
        ("a", Ok(SubscriptionAnswer::Created { created: true })),
        ("b#ephemeral", Err(ErrorCode::LimitExceeded)),
        ("b", Err(ErrorCode::LimitExceeded)),
    ] {
        let (start, config) = (None, PLAIN);
        let create = SubscriptionVerb::Create { start, config };
        assert_eq!(ask_of(&mut node, name, create), expected, "{name}");
    }
}
