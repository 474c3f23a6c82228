//! Clients that do what they should not, and a disk without room.

use corelane_wire::{Correlation, Hello, SessionId};

use super::*;
use crate::connection::FRAME_WITHIN;

#[test]
fn a_token_is_refused_because_none_is_checked() {
    let mut world = World::new(1);
    let socket = world.connect(0);
    let hello = Request::Hello(Hello {
        version_min: 1,
        version_max: 1,
        features: 0,
        session: SessionId::NONE,
        resume: false,
        client_name: "test",
        tenant: "",
        token: b"secret",
    });
    world.request(0, socket, 9, &hello);
    let answers = world.answers(0, socket);
    let [(9, Response::Error { code, text })] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(*code, ErrorCode::NotSupported);
    assert!(text.contains("token") && !text.contains("secret"), "{text}");
    assert_eq!(world.driver(0).closed, [socket]);
}

#[test]
fn a_correlation_in_use_refuses_the_second_request_and_leaves_the_first() {
    let mut world = World::new(1);
    let queue = queue_of(&world, 0);
    let socket = world.greeted(0);
    world.enqueue(0, socket, 2, &queue);
    world.enqueue(0, socket, 2, &queue);
    world.request(0, socket, 2, &Request::Ping);
    let answers = world.answers(0, socket);
    // The code says whose answer it is: no request is ever refused with it but for an earlier one.
    assert_eq!(answers.len(), 2);
    for (number, answer) in &answers {
        assert_eq!((*number, code(answer)), (2, ErrorCode::CorrelationInUse));
    }
    world.finish_writes(0, true);
    let answers = world.answers(0, socket);
    let [(2, Response::Enqueued(receipt))] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!((receipt.range.first.0, receipt.range.count), (0, 1));
    // The second request did nothing, and the number is free again.
    world.request(0, socket, 2, &dequeue(&queue));
    world.finish_writes(0, true);
    let answers = world.answers(0, socket);
    let [(2, Response::Dequeued(deliveries))] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(deliveries.count(), 1);
}

#[test]
fn a_frame_that_never_ends_is_cut_off_and_harms_nobody() {
    let mut world = World::new(1);
    let (half, other) = (world.greeted(0), world.greeted(0));
    let mut bytes = Vec::new();
    Request::Ping.encode(Correlation(1), &mut bytes);
    for byte in &bytes[..30] {
        world.receive(0, half, vec![*byte]);
        world.pass(Duration::from_millis(1_900));
    }
    assert!(world.driver(0).closed.is_empty());
    world.pass(Duration::from_secs(10));
    let answers = world.answers(0, half);
    let [(0, Response::Fault { code, text })] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(*code, ErrorCode::Malformed);
    assert!(text.contains("not whole"), "{text}");
    assert_eq!(world.driver(0).closed, [half]);
    world.pass(FRAME_WITHIN * 10);
    world.request(0, other, 1, &Request::Ping);
    assert!(matches!(world.answers(0, other)[..], [(1, Response::Pong)]));
}

#[test]
fn a_full_disk_refuses_what_grows_and_serves_the_rest() {
    let mut world = World::new(1);
    let queue = queue_of(&world, 0);
    let socket = world.greeted(0);
    let body = vec![7; 1 << 19];
    world.enqueue_body(0, socket, 0, (&queue, &body));
    world.finish_writes(0, true);
    assert!(matches!(
        world.answers(0, socket)[..],
        [(0, Response::Enqueued(_))]
    ));
    world.driver(0).is_full = true;
    let mut confirmed = 1;
    let refused = loop {
        world.enqueue_body(0, socket, confirmed, (&queue, &body));
        world.finish_writes(0, true);
        let answers = world.answers(0, socket);
        match &answers[..] {
            [(_, Response::Enqueued(_))] => confirmed += 1,
            [(_, refused)] => break code(refused),
            other => panic!("{other:?}"),
        }
        assert!(confirmed < 100, "the disk is full");
    };
    assert_eq!(refused, ErrorCode::DiskFull);
    let create = Request::QueueCreate {
        queue: &queue,
        lanes: 1,
    };
    world.request(0, socket, 200, &create);
    assert_eq!(code(&world.answers(0, socket)[0].1), ErrorCode::DiskFull);
    // The reserve is untouched, and the shard sleeps between its attempts.
    assert_eq!(world.shards[0].state.spares.count_small(), 2);
    world.pass(Duration::from_millis(20));
    world.finish_writes(0, true);
    assert!(world.driver(0).timeout >= Duration::from_millis(100));
    let mut taken = 0;
    for number in 0..confirmed {
        world.request(0, socket, 300 + number, &dequeue(&queue));
        world.finish_writes(0, true);
        for (_, answer) in world.answers(0, socket) {
            let Response::Dequeued(deliveries) = answer else {
                panic!("{answer:?}")
            };
            taken += deliveries.count();
        }
    }
    assert_eq!(taken, confirmed);
    world.driver(0).is_full = false;
    world.pass(Duration::from_secs(20));
    world.finish_writes(0, true);
    world.enqueue_body(0, socket, 900, (&queue, &body));
    world.finish_writes(0, true);
    world.finish_writes(0, true);
    let answers = world.answers(0, socket);
    assert!(
        answers
            .iter()
            .any(|answer| matches!(answer, (900, Response::Enqueued(_)))),
        "{answers:?}"
    );
}
