use corelane_wire::{
    BatchBuilder, CLASS_MEMORY, Enqueue, ErrorCode, Lane, OutgoingMessage, ProducerId, QueueConfig,
    Request, Response, Sequence, Storage,
};

use super::script::World;
use super::{code, dequeue, queue_of, subscribe};
use crate::driver::{Op, Socket};

const IN_MEMORY: QueueConfig = QueueConfig {
    storage: Storage::Memory,
    ..QueueConfig::PLAIN
};

/// A world with a memory-only queue, and a client of it.
fn world() -> (World, String, Socket) {
    let mut world = World::new(1);
    let queue = queue_of(&world, 0);
    let socket = world.greeted(0);
    let configure = Request::QueueConfigure {
        queue: &queue,
        config: Some(IN_MEMORY),
    };
    world.request(0, socket, 1, &configure);
    assert!(world.answers(0, socket).is_empty(), "its name is durable");
    world.finish_writes(0, true);
    let answers = world.answers(0, socket);
    assert_eq!(code(&answers[0].1), ErrorCode::Ok);
    (world, queue, socket)
}

fn enqueue(world: &mut World, socket: Socket, number: u64, queue: &str) {
    let mut batch = BatchBuilder::new();
    batch.class = CLASS_MEMORY;
    batch.push(&OutgoingMessage::default()).unwrap();
    let batch = batch.finish(ProducerId::NONE, Sequence(0));
    let enqueue = Request::Enqueue(Enqueue {
        queue,
        lane: Lane(0),
        batch: &batch,
    });
    world.request(0, socket, number, &enqueue);
}

/// Whether the writes in flight are to be synced.
fn are_durable(world: &mut World) -> Vec<bool> {
    let writes = world.driver(0).writes.iter();
    let durable = writes.map(|(_, op)| matches!(op, Op::Write { durable: true, .. }));
    durable.collect()
}

#[test]
fn nothing_of_a_memory_only_queue_is_synced() {
    let (mut world, queue, socket) = world();
    enqueue(&mut world, socket, 2, &queue);
    let answers = world.answers(0, socket);
    assert!(
        matches!(answers[..], [(2, Response::Enqueued(_))]),
        "{answers:?}"
    );
    world.request(0, socket, 3, &dequeue(&queue));
    assert_eq!(are_durable(&mut world), [false]);
    world.finish_writes(0, true);
    let answers = world.answers(0, socket);
    assert!(
        matches!(&answers[..], [(3, Response::Dequeued(_))]),
        "{answers:?}"
    );
}

#[test]
fn credit_and_farewell_of_a_consumer_go_where_its_queue_is() {
    let (mut world, queue, socket) = world();
    world.request(0, socket, 2, &subscribe(&queue, 1));
    world.finish_writes(0, true);
    enqueue(&mut world, socket, 3, &queue);
    enqueue(&mut world, socket, 4, &queue);
    world.finish_writes(0, true);
    let count = |answers: &[(u64, Response<'_>)]| {
        let pushed = answers.iter().filter(|(number, _)| *number == 0);
        pushed.count()
    };
    assert_eq!(count(&world.answers(0, socket)), 1, "its credit is used up");
    let consumer = corelane_wire::ConsumerId(1);
    let credit = Request::Credit {
        consumer,
        credit: 2,
    };
    world.request(0, socket, 5, &credit);
    world.finish_writes(0, true);
    assert_eq!(count(&world.answers(0, socket)), 1);
    world.request(0, socket, 6, &Request::Unsubscribe { consumer });
    world.finish_writes(0, true);
    let answers = world.answers(0, socket);
    assert!(
        matches!(&answers[..], [(6, Response::Unsubscribed)]),
        "{answers:?}"
    );
}

#[test]
fn a_memory_only_queue_goes_whole() {
    let (mut world, queue, socket) = world();
    enqueue(&mut world, socket, 2, &queue);
    world.request(0, socket, 3, &Request::QueueDelete { queue: &queue });
    world.finish_writes(0, true);
    let kept: Vec<_> = world.shards[0]
        .engines()
        .map(|engine| engine.queue_names().count())
        .collect();
    assert_eq!(kept, [0, 0]);
}
