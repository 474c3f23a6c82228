use corelane_wire::{
    ErrorCode, LeaseId, PartitionId, ProducerId, QueueInfo, QueueList, Request, SubscriptionInfo,
};

use super::node::*;
use crate::record::Record;
use crate::{DeliverTo, Delivery, Input, Output, Reply};

fn list(after: &str, limit: u32) -> Request<'_> {
    Request::QueueList(QueueList {
        partition: PartitionId(0),
        after,
        limit,
    })
}

fn peeked(number: u64, runs: &[crate::Run]) -> Output {
    Output::Deliver(Delivery {
        to: DeliverTo::Peek(alice(number)),
        lease: LeaseId::default(),
        lease_ms: 0,
        runs: runs.to_vec(),
    })
}

#[test]
fn create_makes_a_queue_once() {
    let mut node = Node::new();
    let create = Request::QueueCreate {
        queue: "q",
        lanes: 1,
    };
    let outputs = node.request(alice(1), create);
    let record = Record::Create {
        queue: QUEUE,
        name: "q".into(),
    };
    assert_eq!(outputs[1..], [append(1, T0, record), flush(2)]);
    node.request(alice(2), create);
    assert_eq!(
        node.durable(),
        [
            reply(alice(1), Reply::QueueCreated { created: true }),
            reply(alice(2), Reply::QueueCreated { created: false })
        ]
    );
}

#[test]
fn several_lanes_are_not_supported() {
    let mut node = Node::new();
    let outputs = node.request(
        alice(1),
        Request::QueueCreate {
            queue: "q",
            lanes: 2,
        },
    );
    assert_eq!(refusals(&outputs), [(alice(1), ErrorCode::NotSupported)]);
}

#[test]
fn list_goes_on_after_a_name() {
    let mut node = Node::new();
    for queue in ["c", "a", "b"] {
        node.fill(queue, 1);
    }
    let names = |outputs: &[Output]| match outputs {
        [
            Output::Reply {
                reply: Reply::QueueList { queues, more },
                ..
            },
        ] => {
            let names: Vec<String> = queues.iter().map(|info| info.name.clone()).collect();
            (names.join(","), *more)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        names(&node.request(alice(1), list("", 2))),
        ("a,b".to_owned(), true)
    );
    assert_eq!(
        names(&node.request(alice(2), list("b", 2))),
        ("c".to_owned(), false)
    );
}

#[test]
fn show_counts_each_subscription() {
    let mut node = Node::new();
    node.fill("q", 10);
    let lease = node.take(bob(1), "q", 5);
    let (done, late) = (entries(&[(lease, 1, 2)]), entries(&[(lease, 3, 1)]));
    node.request(bob(2), Request::Ack(settle("q", &done)));
    node.request(bob(3), nack("q", &late, 60_000));
    node.request(bob(4), subscribe("q", 1, 0));
    node.turn_end();
    node.durable();
    let outputs = node.request(alice(1), Request::QueueShow { queue: "q" });
    let info = QueueInfo {
        name: "q".into(),
        partition: PartitionId(0),
        lanes: 1,
        created: T0,
        start: corelane_wire::Offset(0),
        end: corelane_wire::Offset(10),
        subscriptions: vec![SubscriptionInfo {
            name: "default".into(),
            ready: 5,
            leased: 2,
            delayed: 1,
            done: 2,
            consumers: 1,
        }],
    };
    assert_eq!(outputs, [reply(alice(1), Reply::Queue(Box::new(info)))]);
}

#[test]
fn delete_takes_everything_along_and_tells_who_waits() {
    let mut node = Node::new();
    node.enqueue("q", &batch(3, ProducerId(1), 0));
    node.durable();
    let lease = node.take(bob(1), "q", 2);
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(bob(2), nack("q", &bytes, 60_000));
    node.request(bob(3), subscribe("q", 1, 1));
    node.turn_end();
    node.durable();
    node.request(bob(4), dequeue("q", 5, 1_000));
    let outputs = node.request(alice(1), Request::QueueDelete { queue: "q" });
    let end = node.engine.positions().end.0;
    assert_eq!(
        outputs,
        [
            append(end - 1, T0, Record::Delete { queue: QUEUE }),
            flush(end)
        ]
    );
    let outputs = node.durable();
    assert_eq!(refusals(&outputs), [(bob(4), ErrorCode::QueueNotFound)]);
    assert_eq!(outputs.last(), Some(&reply(alice(1), Reply::QueueDeleted)));
    let stats = node.engine.stats();
    assert_eq!((stats.queues, stats.messages, stats.leases), (0, 0, 0));
    assert_eq!((stats.producers, stats.consumers, stats.waiters), (0, 0, 0));
    assert_eq!(node.engine.next_deadline(), None);
}

#[test]
fn queue_made_again_is_another_queue() {
    let mut node = Node::new();
    node.fill("q", 3);
    node.request(alice(1), Request::QueueDelete { queue: "q" });
    node.durable();
    node.enqueue("q", &batch(1, ProducerId::NONE, 0));
    assert_eq!(
        node.durable(),
        [reply(alice(1), receipt(0, 1, false))],
        "offsets begin anew"
    );
    let (_, _, create) = &node.log[4];
    assert_eq!(
        *create,
        Record::Create {
            queue: crate::QueueId(1),
            name: "q".into()
        }
    );
}

#[test]
fn peek_shows_committed_messages_and_takes_nothing() {
    let mut node = Node::new();
    node.fill("q", 3);
    node.enqueue("q", &batch(3, ProducerId::NONE, 0));
    assert_eq!(node.request(alice(2), peek("q", 1, 10)), []);
    let outputs = node.durable();
    assert_eq!(
        outputs,
        [
            reply(alice(1), receipt(3, 3, false)),
            peeked(2, &[run(2, (1, 2), 1, 0)])
        ],
        "what was not committed when it was asked for is not shown"
    );
    assert_eq!(node.engine.stats().leased, 0);
}

#[test]
fn peek_of_a_connection_that_went_away_is_not_answered() {
    let mut node = Node::new();
    node.fill("q", 3);
    node.enqueue("q", &batch(3, ProducerId::NONE, 0));
    node.request(alice(2), peek("q", 1, 10));
    let connection = alice(2).connection;
    node.step(Input::Disconnected { connection });
    assert_eq!(node.durable(), [reply(alice(1), receipt(3, 3, false))]);
}

#[test]
fn peek_before_the_first_message_kept_begins_there() {
    let mut node = Node::new();
    node.fill("q", 1);
    node.fill("q", 2);
    let lease = node.take(bob(1), "q", 1);
    let bytes = entries(&[(lease, 0, 1)]);
    node.request(bob(2), Request::Ack(settle("q", &bytes)));
    node.turn_end();
    node.durable();
    let outputs = node.request(alice(2), peek("q", 0, 10));
    assert_eq!(outputs, [peeked(2, &[run(3, (1, 2), 0, 0)])]);
}

#[test]
fn peek_behind_the_last_message_is_empty() {
    let mut node = Node::new();
    node.fill("q", 1);
    let outputs = node.request(alice(2), peek("q", 1, 10));
    assert_eq!(outputs, [reply(alice(2), Reply::EmptyPeek)]);
    let outputs = node.request(alice(3), peek("unknown", 1, 10));
    assert_eq!(refusals(&outputs), [(alice(3), ErrorCode::QueueNotFound)]);
}
