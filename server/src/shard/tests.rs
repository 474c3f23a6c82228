use corelane_wire::{
    ConsumerId, Dequeue, ErrorCode, Lane, PartitionId, QueueList, Request, Response, Subscribe,
};

use super::*;

mod hostile;
mod memory;
mod room;
mod script;
mod stalls;
use crate::connection::OUT_BYTES_HIGH;
use script::World;

/// A queue whose partition is this one.
fn queue_of(world: &World, partition: u32) -> String {
    let topology = &world.shards[0].state.topology;
    (0..1_000)
        .map(|number| format!("queue-{number}"))
        .find(|name| topology.partition_of(name, Lane(0)) == PartitionId(partition))
        .expect("names are many")
}

fn dequeue(queue: &str) -> Request<'_> {
    Request::Dequeue(Dequeue {
        queue,
        lane: Lane(0),
        subscription: "",
        count: 10,
        lease_ms: 30_000,
        wait_ms: 0,
    })
}

fn subscribe(queue: &str, credit: u32) -> Request<'_> {
    Request::Subscribe(Subscribe {
        queue,
        lane: Lane(0),
        subscription: "",
        consumer: ConsumerId(1),
        credit,
        lease_ms: 30_000,
    })
}

fn code(response: &Response<'_>) -> ErrorCode {
    response.code()
}

#[test]
fn a_receipt_leaves_only_after_the_durable_write() {
    let mut world = World::new(1);
    let queue = queue_of(&world, 0);
    let socket = world.greeted(0);
    world.enqueue(0, socket, 5, &queue);
    assert!(world.answers(0, socket).is_empty());
    assert_eq!(world.finish_writes(0, true), 1);
    let answers = world.answers(0, socket);
    assert!(
        matches!(answers[..], [(5, Response::Enqueued(_))]),
        "{answers:?}"
    );
}

#[test]
fn requests_that_arrive_during_a_commit_share_the_next_one() {
    let mut world = World::new(1);
    let queue = queue_of(&world, 0);
    let socket = world.greeted(0);
    for number in 1..=10 {
        world.enqueue(0, socket, number, &queue);
    }
    assert_eq!(world.finish_writes(0, true), 1);
    assert_eq!(world.answers(0, socket).len(), 1);
    assert_eq!(world.finish_writes(0, true), 1);
    assert_eq!(world.answers(0, socket).len(), 9);
}

#[test]
fn a_request_of_another_shard_takes_one_hop_and_its_answer_one_back() {
    let mut world = World::new(2);
    let queue = queue_of(&world, 1);
    let socket = world.greeted(0);
    world.enqueue(0, socket, 5, &queue);
    assert_eq!(world.finish_writes(0, true), 0);
    assert_eq!(world.finish_writes(1, true), 1);
    let answers = world.answers(0, socket);
    assert!(
        matches!(answers[..], [(5, Response::Enqueued(_))]),
        "{answers:?}"
    );
    world.request(0, socket, 6, &dequeue(&queue));
    world.finish_writes(1, true);
    let answers = world.answers(0, socket);
    let [(6, Response::Dequeued(deliveries))] = &answers[..] else {
        panic!("{answers:?}")
    };
    let message = deliveries.iter().next().unwrap().unwrap();
    assert_eq!(message.message.body, 5_u64.to_le_bytes());
}

#[test]
fn a_consumer_on_another_shard_gets_deliveries_and_then_its_unsubscribed() {
    let mut world = World::new(2);
    let queue = queue_of(&world, 1);
    let socket = world.greeted(0);
    world.request(0, socket, 1, &subscribe(&queue, 10));
    world.finish_writes(1, true);
    world.enqueue(0, socket, 2, &queue);
    world.finish_writes(1, true);
    let answers = world.answers(0, socket);
    let delivered = answers.iter().any(|(number, response)| {
        *number == 0
            && matches!(
                response,
                Response::Delivery {
                    consumer: ConsumerId(1),
                    ..
                }
            )
    });
    assert!(delivered, "{answers:?}");
    let unsubscribe = Request::Unsubscribe {
        consumer: ConsumerId(1),
    };
    world.request(0, socket, 3, &unsubscribe);
    world.finish_writes(1, true);
    world.pass(Duration::from_millis(20));
    world.finish_writes(1, true);
    assert!(matches!(
        world.answers(0, socket)[..],
        [(3, Response::Unsubscribed)]
    ));
    world.request(0, socket, 4, &unsubscribe);
    let answers = world.answers(0, socket);
    assert_eq!(code(&answers[0].1), ErrorCode::UnknownConsumer);
}

#[test]
fn the_first_frame_must_be_a_greeting() {
    let mut world = World::new(1);
    let socket = world.connect(0);
    world.request(0, socket, 1, &Request::Ping);
    let answers = world.answers(0, socket);
    let [(0, Response::Fault { code, .. })] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(*code, ErrorCode::HelloRequired);
    assert_eq!(world.driver(0).closed, [socket]);
}

#[test]
fn a_connection_that_says_nothing_is_closed_after_three_seconds() {
    let mut world = World::new(1);
    let socket = world.connect(0);
    world.pass(Duration::from_millis(2_900));
    assert!(world.driver(0).closed.is_empty());
    world.pass(Duration::from_millis(200));
    assert_eq!(world.driver(0).closed, [socket]);
}

#[test]
fn bytes_that_are_no_frame_end_the_connection_with_a_fault() {
    let mut world = World::new(1);
    let socket = world.greeted(0);
    world.receive(0, socket, b"GET / HTTP/1.1\r\n\r\n".to_vec());
    world.settle();
    let answers = world.answers(0, socket);
    assert!(
        matches!(answers[..], [(0, Response::Fault { .. })]),
        "{answers:?}"
    );
    assert_eq!(code(&answers[0].1), ErrorCode::BadMagic);
    assert_eq!(world.driver(0).closed, [socket]);
}

#[test]
fn a_refused_request_keeps_the_connection() {
    let mut world = World::new(1);
    let socket = world.greeted(0);
    let list = Request::QueueList(QueueList {
        partition: PartitionId(9),
        after: "",
        limit: 1,
    });
    world.request(0, socket, 1, &list);
    assert_eq!(code(&world.answers(0, socket)[0].1), ErrorCode::OutOfRange);
    world.request(0, socket, 3, &Request::Ping);
    assert!(matches!(
        world.answers(0, socket)[..],
        [(3, Response::Pong)]
    ));
}

#[test]
fn a_failed_write_ends_the_connections_that_wait_and_poisons_only_its_partition() {
    let mut world = World::new(2);
    let (broken, well) = (queue_of(&world, 0), queue_of(&world, 1));
    let (near, far) = (world.greeted(0), world.greeted(1));
    world.enqueue(0, near, 5, &broken);
    world.enqueue(1, far, 5, &broken);
    let other = world.greeted(1);
    assert_eq!(world.finish_writes(0, false), 1);
    for (shard, socket) in [(0, near), (1, far)] {
        let answers = world.answers(shard, socket);
        let is_fault = matches!(answers[..], [(0, Response::Fault { .. })]);
        assert!(is_fault, "{answers:?}");
        assert_eq!(world.driver(shard).closed, [socket]);
    }
    world.enqueue(1, other, 6, &broken);
    assert_eq!(code(&world.answers(1, other)[0].1), ErrorCode::Poisoned);
    world.enqueue(1, other, 7, &well);
    world.finish_writes(1, true);
    let answers = world.answers(1, other);
    assert!(
        matches!(answers[..], [(7, Response::Enqueued(_))]),
        "{answers:?}"
    );
}

#[test]
fn a_shard_sleeps_although_its_partition_was_poisoned_before_its_seal() {
    let mut world = World::new(1);
    let queue = queue_of(&world, 0);
    let socket = world.greeted(0);
    world.driver(0).fails_to_install = Some(1);
    for number in 1..=3 {
        world.enqueue_body(0, socket, number, (&queue, &vec![7; 900_000]));
        world.finish_writes(0, true);
    }
    let poisoned = world.shards[0].engines().next().map(|it| it.stats().status);
    assert_eq!(poisoned, Some(corelane_core::Status::Poisoned));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.driver(0).timeout, Duration::from_millis(500));
}

#[test]
fn too_many_connections_are_closed_at_once() {
    let mut world = World::new(1);
    for _ in 0..4 {
        world.connect(0);
    }
    assert!(world.driver(0).closed.is_empty());
    let socket = world.connect(0);
    assert_eq!(world.driver(0).closed, [socket]);
}

#[test]
fn a_stale_completion_finds_nothing() {
    let mut world = World::new(1);
    let socket = world.greeted(0);
    let token = world.driver(0).receives[&socket];
    world.driver(0).receives.remove(&socket);
    let end = || Done {
        token,
        result: Ok(0),
        more: false,
        data: Data::None,
    };
    world.driver(0).done.push(end());
    world.settle();
    assert_eq!(world.driver(0).closed, [socket]);
    let next = world.greeted(0);
    world.driver(0).done.push(end());
    world.settle();
    assert_eq!(world.driver(0).closed, [socket]);
    world.request(0, next, 1, &Request::Ping);
    assert!(matches!(world.answers(0, next)[..], [(1, Response::Pong)]));
}

#[test]
fn a_stop_answers_what_was_accepted_and_then_ends_all_shards() {
    let mut world = World::new(2);
    let queue = queue_of(&world, 1);
    let socket = world.greeted(0);
    world.enqueue(0, socket, 5, &queue);
    world.shutdown.stop();
    world.settle();
    assert!(world.driver(0).accept.is_none());
    world.enqueue(0, socket, 6, &queue);
    assert_eq!(
        code(&world.answers(0, socket)[0].1),
        ErrorCode::ShuttingDown
    );
    world.finish_writes(1, true);
    world.pass(Duration::from_millis(10));
    let answers = world.answers(0, socket);
    let [
        (5, Response::Enqueued(_)),
        (0, Response::Fault { code, .. }),
    ] = &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!(*code, ErrorCode::ShuttingDown);
    for shard in &mut world.shards {
        assert_eq!(shard.turn().unwrap(), Turn::Stopped);
    }
}

#[test]
fn a_stop_is_bounded_whatever_the_disk_does() {
    let mut world = World::new(1);
    let queue = queue_of(&world, 0);
    let socket = world.greeted(0);
    world.enqueue(0, socket, 5, &queue);
    world.shutdown.stop();
    world.settle();
    assert_eq!(world.shards[0].turn().unwrap(), Turn::Continue);
    world.pass(STOP_WITHIN);
    assert_eq!(world.shards[0].turn().unwrap(), Turn::Stopped);
}

#[test]
fn an_idle_shard_sleeps_as_long_as_it_may() {
    let mut world = World::new(1);
    world.greeted(0);
    world.pass(Duration::from_secs(4));
    assert_eq!(world.driver(0).timeout, Duration::from_millis(500));
}

#[test]
fn a_neighbour_that_does_not_read_its_mail_makes_requests_busy_and_loses_none() {
    let mut world = World::new(2);
    let queue = queue_of(&world, 1);
    let socket = world.greeted(0);
    let mut refused = 0;
    for number in 1..=40 {
        let mut bytes = Vec::new();
        dequeue(&queue).encode(corelane_wire::Correlation(number), &mut bytes);
        world.receive(0, socket, bytes);
        world.shards[0].turn().unwrap();
        let answers = world.answers(0, socket);
        refused += answers
            .iter()
            .filter(|(_, response)| code(response) == ErrorCode::Busy)
            .count();
    }
    assert!(refused > 0);
    world.settle();
    world.finish_writes(1, true);
    world.pass(Duration::from_millis(20));
    world.finish_writes(1, true);
    assert_eq!(world.answers(0, socket).len() + refused, 40);
}

/// Messages of 40 KB go to a consumer of a connection that does not read, as they come or all at once.
fn slow_consumer(shards: u16, is_backlog: bool) {
    const MESSAGES: u64 = 120;
    let mut world = World::new(shards);
    let owner = usize::from(shards) - 1;
    let queue = queue_of(&world, u32::from(shards) - 1);
    let (slow, producer) = (world.greeted(0), world.greeted(owner));
    let credit = if is_backlog { 0 } else { 1_000 };
    world.request(0, slow, 1, &subscribe(&queue, credit));
    world.finish_writes(owner, true);
    world.answers(0, slow);
    world.driver(0).holds_sends = true;
    let body = vec![7; 40_000];
    for number in 0..MESSAGES {
        world.enqueue_body(owner, producer, number, (&queue, &body));
        world.finish_writes(owner, true);
    }
    if is_backlog {
        let (consumer, credit) = (ConsumerId(1), 1_000);
        world.request(0, slow, 2, &Request::Credit { consumer, credit });
    }
    let connections = &world.shards[0].state.outlets.connections;
    let out_bytes: usize = connections.iter().map(|(_, it)| it.out_bytes()).sum();
    assert!(out_bytes > OUT_BYTES_HIGH, "{out_bytes}");
    assert!(out_bytes <= 1 << 20, "{out_bytes}");
    for _ in 0..20 {
        world.release_sends(0);
        world.finish_writes(owner, true);
    }
    let messages: u64 = world
        .answers(0, slow)
        .iter()
        .map(|(_, response)| {
            if let Response::Delivery { deliveries, .. } = response {
                return deliveries.count();
            }
            assert!(matches!(response, Response::CreditSet), "{response:?}");
            0
        })
        .sum();
    assert_eq!(messages, MESSAGES);
}

#[test]
fn a_client_that_does_not_read_gets_no_more_than_its_buffer_and_the_rest_later() {
    slow_consumer(1, false);
    slow_consumer(1, true);
}

#[test]
fn a_client_that_does_not_read_slows_the_partition_of_another_shard_for_itself() {
    slow_consumer(2, false);
    slow_consumer(2, true);
}
