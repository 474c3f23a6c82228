//! Readers: everything in order from the checkpoint on, by one consumer at a time.

use corelane_wire::{
    Aside, Contract, ErrorCode, Lane, LeaseId, Offset, OnSubscription, PurgeStates, Request, Start,
    SubscriptionAnswer, SubscriptionConfig, SubscriptionDetail, SubscriptionVerb,
};

use super::node::*;
use super::schedule::due;
use crate::ids::ConnectionId;
use crate::record::Record;
use crate::{Delivery, Input, Output, Reply};

const READER: SubscriptionConfig = SubscriptionConfig {
    contract: Contract::Reader,
    ..SubscriptionConfig::PLAIN
};

fn ask(node: &mut Node, verb: SubscriptionVerb<'_>) -> Result<SubscriptionAnswer, ErrorCode> {
    ask_of(node, "", verb)
}

/// Asks something of a subscription of the queue, and makes it durable.
pub(super) fn ask_of(
    node: &mut Node,
    subscription: &str,
    verb: SubscriptionVerb<'_>,
) -> Result<SubscriptionAnswer, ErrorCode> {
    let on = OnSubscription {
        queue: "q",
        lane: Lane(0),
        subscription,
        verb,
    };
    let mut outputs = node.request(bob(99), Request::Subscription(on));
    outputs.extend(node.durable());
    let mut answers = outputs.into_iter().filter_map(|output| {
        let Output::Reply { reply, .. } = output else {
            return None;
        };
        if let Reply::Refused { code, .. } = reply {
            return Some(Err(code));
        }
        let Reply::Subscription(answer) = reply else {
            return None;
        };
        Some(Ok(*answer))
    });
    let answer = answers.next();
    answer.expect("the request is answered")
}

/// A reader of a queue with so many messages.
fn reader(count: u32, config: SubscriptionConfig) -> Node {
    let mut node = Node::new();
    let start = Some(Start::Earliest);
    let created = ask(&mut node, SubscriptionVerb::Create { start, config });
    assert_eq!(created, Ok(SubscriptionAnswer::Created { created: true }));
    node.fill("q", count);
    node
}

fn checkpoint(node: &mut Node, offset: u64) -> Result<u64, ErrorCode> {
    let offset = Offset(offset);
    let answer = ask(node, SubscriptionVerb::Checkpoint { offset })?;
    let SubscriptionAnswer::Checkpointed { at } = answer else {
        panic!("{answer:?}");
    };
    Ok(at.0)
}

fn shown(node: &mut Node) -> SubscriptionDetail {
    shown_of(node, "")
}

pub(super) fn shown_of(node: &mut Node, subscription: &str) -> SubscriptionDetail {
    let answer = ask_of(node, subscription, SubscriptionVerb::Show);
    let Ok(SubscriptionAnswer::Shown(detail)) = answer else {
        panic!("{answer:?}");
    };
    *detail
}

fn offsets(delivery: &Delivery) -> Vec<u64> {
    let runs = delivery.runs.iter();
    let offsets = runs.flat_map(|run| run.first.0..run.first.0 + u64::from(run.count));
    offsets.collect()
}

/// What a turn gives out, until it gives out nothing.
fn read(node: &mut Node) -> Vec<u64> {
    let mut all = Vec::new();
    loop {
        let outputs = node.turn_end();
        let given = deliveries(&outputs);
        if given.is_empty() {
            return all;
        }
        for delivery in given {
            assert_eq!((delivery.lease, delivery.lease_ms), (LeaseId::default(), 0));
            all.extend(offsets(&delivery));
        }
    }
}

const NOTHING: [u64; 0] = [];

#[test]
fn a_reader_reads_in_order_ahead_of_its_checkpoint_by_its_credit() {
    let mut node = reader(9, READER);
    let before = node.log.len();
    node.request(alice(1), subscribe("q", 1, 4));
    assert_eq!(read(&mut node), [0, 1, 2, 3]);
    assert_eq!(node.log.len(), before, "reading writes nothing");
    assert_eq!(checkpoint(&mut node, 3), Ok(3));
    assert_eq!(read(&mut node), [4, 5, 6], "three are read for good");
    let detail = shown(&mut node);
    assert_eq!((detail.finished, detail.position), (Offset(3), Offset(7)));
    assert_eq!((detail.done, detail.ready, detail.leased), (3, 6, 0));
    let is_lease = |record: &Record| matches!(record, Record::Lease { .. });
    assert!(!node.log.iter().any(|(_, _, record)| is_lease(record)));
}

#[test]
fn what_is_not_committed_is_not_read() {
    let mut node = reader(1, READER);
    node.request(alice(1), subscribe("q", 1, 100));
    node.enqueue("q", &batch(2, corelane_wire::ProducerId::NONE, 0));
    assert_eq!(read(&mut node), [0]);
    node.durable();
    assert_eq!(read(&mut node), [1, 2]);
}

#[test]
fn a_checkpoint_lies_between_the_last_one_and_what_was_given_out() {
    let mut node = reader(5, READER);
    assert_eq!(checkpoint(&mut node, 1), Err(ErrorCode::OutOfRange));
    node.request(alice(1), subscribe("q", 1, 3));
    assert_eq!(read(&mut node), [0, 1, 2]);
    assert_eq!(checkpoint(&mut node, 4), Err(ErrorCode::OutOfRange));
    assert_eq!(checkpoint(&mut node, 3), Ok(3));
    let before = node.log.len();
    assert_eq!(checkpoint(&mut node, 2), Ok(3), "it does not go back");
    assert_eq!(checkpoint(&mut node, 3), Ok(3));
    assert_eq!(node.log.len(), before, "and nothing is written");
}

#[test]
fn a_restart_goes_on_at_the_checkpoint() {
    let mut node = reader(6, READER);
    node.request(alice(1), subscribe("q", 1, 100));
    assert_eq!(read(&mut node).len(), 6);
    assert_eq!(checkpoint(&mut node, 2), Ok(2));
    let committed = node.engine.positions().committed;
    node.restart(committed, node.now, 2);
    node.durable();
    assert_eq!(checkpoint(&mut node, 3), Err(ErrorCode::OutOfRange));
    node.request(alice(1), subscribe("q", 1, 100));
    assert_eq!(read(&mut node), [2, 3, 4, 5]);
}

#[test]
fn the_next_reader_goes_on_at_the_checkpoint_when_the_active_one_goes() {
    let mut node = reader(4, READER);
    node.request(alice(1), subscribe("q", 1, 100));
    node.request(bob(2), subscribe("q", 2, 2));
    assert_eq!(read(&mut node), [0, 1, 2, 3]);
    assert_eq!(checkpoint(&mut node, 1), Ok(1));
    assert_eq!(read(&mut node), NOTHING, "the other one stands by");
    node.step(Input::Disconnected {
        connection: ConnectionId(1),
    });
    assert_eq!(read(&mut node), [1, 2]);
    assert_eq!(checkpoint(&mut node, 4), Err(ErrorCode::OutOfRange));
    assert_eq!(checkpoint(&mut node, 2), Ok(2));
    assert_eq!(read(&mut node), [3]);
}

#[test]
fn a_seek_gives_the_credit_back_and_begins_there() {
    let mut node = reader(4, READER);
    node.request(alice(1), subscribe("q", 1, 3));
    assert_eq!(read(&mut node), [0, 1, 2]);
    let start = Start::At(Offset(1));
    ask(&mut node, SubscriptionVerb::Seek { start }).unwrap();
    assert_eq!(read(&mut node), [1, 2, 3]);
}

#[test]
fn what_was_purged_is_not_read() {
    let mut node = reader(3, READER);
    node.request(alice(1), subscribe("q", 1, 2));
    assert_eq!(read(&mut node), [0, 1]);
    let states = PurgeStates {
        waiting: true,
        parked: false,
        dead: false,
    };
    let purged = ask(&mut node, SubscriptionVerb::Purge { states });
    assert_eq!(purged, Ok(SubscriptionAnswer::Purged { count: 3 }));
    node.fill("q", 2);
    // What it was given goes on to count until it says that it has read it.
    assert_eq!(read(&mut node), NOTHING);
    assert_eq!(checkpoint(&mut node, 2), Ok(3));
    assert_eq!(read(&mut node), [3, 4]);
}

#[test]
fn due_times_do_not_concern_a_reader() {
    let mut node = Node::new();
    node.fill("q", 1);
    let batch = due(node.now, &[3_600_000, 0, 3_600_000]);
    node.enqueue("q", &batch);
    node.durable();
    // It becomes one after messages were scheduled, and others are scheduled then.
    let (start, config) = (Some(Start::Earliest), SubscriptionConfig::PLAIN);
    ask(&mut node, SubscriptionVerb::Create { start, config }).unwrap();
    assert_eq!(shown(&mut node).delayed, 2);
    ask(&mut node, SubscriptionVerb::Configure { config: READER }).unwrap();
    assert_eq!(shown(&mut node).delayed, 0);
    let batch = due(node.now, &[3_600_000]);
    node.enqueue("q", &batch);
    node.durable();
    node.request(alice(1), subscribe("q", 1, 100));
    assert_eq!(read(&mut node), [0, 1, 2, 3, 4]);

    // Others never get them early, not even where a reader was.
    ask(&mut node, SubscriptionVerb::Configure { config }).unwrap();
    let detail = shown(&mut node);
    assert_eq!((detail.delayed, detail.ready), (3, 2));
}

#[test]
fn only_what_is_as_it_began_becomes_a_reader_or_ceases_to_be_one() {
    let mut node = filled(3);
    node.take(alice(1), "q", 1);
    let config = READER;
    let refused = Err(ErrorCode::NotSupported);
    assert_eq!(
        ask(&mut node, SubscriptionVerb::Configure { config }),
        refused
    );

    let mut node = reader(3, READER);
    node.request(alice(1), subscribe("q", 1, 1));
    assert_eq!(read(&mut node), [0]);
    assert_eq!(checkpoint(&mut node, 1), Ok(1));
    let config = SubscriptionConfig::PLAIN;
    assert_eq!(
        ask(&mut node, SubscriptionVerb::Configure { config }),
        refused
    );
    let config = SubscriptionConfig {
        rate_max: 1,
        ..READER
    };
    let configured = ask(&mut node, SubscriptionVerb::Configure { config });
    assert_eq!(configured, Ok(SubscriptionAnswer::Configured));
}

#[test]
fn what_is_about_leases_is_refused() {
    let mut node = reader(3, READER);
    let is_refused = |outputs: &[Output]| {
        let refused = |output: &Output| {
            let Output::Reply { reply, .. } = output else {
                return false;
            };
            matches!(reply, Reply::Refused { code, .. } if *code == ErrorCode::NotSupported)
        };
        outputs.iter().any(refused)
    };
    assert!(is_refused(&node.request(alice(1), dequeue("q", 1, 0))));
    let bytes = entries(&[(LeaseId::default(), 0, 1)]);
    let ack = Request::Ack(settle("q", &bytes));
    assert!(is_refused(&node.request(alice(2), ack)));
    assert!(is_refused(&node.request(alice(3), nack("q", &bytes, 0))));
    let config = SubscriptionConfig {
        attempts_max: 1,
        ..READER
    };
    let refused = Err(ErrorCode::NotSupported);
    assert_eq!(
        ask(&mut node, SubscriptionVerb::Configure { config }),
        refused
    );
    let aside = Aside::Dead;
    let nothing = SubscriptionVerb::Return {
        aside,
        first: Offset(0),
        end: Offset(9),
        max: 9,
    };
    let next = Offset(9);
    let returned = SubscriptionAnswer::Returned { count: 0, next };
    assert_eq!(ask(&mut node, nothing), Ok(returned));

    // A dequeue that waits learns it when the subscription becomes a reader.
    let mut node = filled(1);
    let config = SubscriptionConfig::PLAIN;
    ask(&mut node, SubscriptionVerb::Pause { reason: "" }).unwrap();
    node.request(alice(1), dequeue("q", 1, 60_000));
    assert!(!is_refused(&node.turn_end()));
    let on = OnSubscription {
        queue: "q",
        lane: Lane(0),
        subscription: "",
        verb: SubscriptionVerb::Configure { config: READER },
    };
    let mut outputs = node.request(bob(2), Request::Subscription(on));
    outputs.extend(node.durable());
    assert!(is_refused(&outputs), "{outputs:?}");
    let checkpoint = SubscriptionVerb::Checkpoint { offset: Offset(0) };
    ask(&mut node, SubscriptionVerb::Configure { config }).unwrap();
    assert_eq!(ask(&mut node, checkpoint), refused);
}

#[test]
fn a_pause_and_bounds_hold_for_readers_too() {
    let config = SubscriptionConfig {
        in_flight_max: 2,
        ..READER
    };
    let mut node = reader(5, config);
    node.request(alice(1), subscribe("q", 1, 100));
    assert_eq!(read(&mut node), [0, 1]);
    assert_eq!(checkpoint(&mut node, 1), Ok(1));
    ask(&mut node, SubscriptionVerb::Pause { reason: "" }).unwrap();
    assert_eq!(read(&mut node), NOTHING);
    ask(&mut node, SubscriptionVerb::Resume).unwrap();
    assert_eq!(read(&mut node), [2]);
}
