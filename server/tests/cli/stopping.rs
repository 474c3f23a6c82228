//! SIGTERM in the middle of things.

use std::io::Write as _;
use std::time::{Duration, Instant};

use corelane_wire::{ConsumerId, ErrorCode, Lane, Request, Response, Subscribe};
use rustix::fs::OFlags;

use crate::broker::{Broker, folder, serve};
use crate::wire::{HELLO, Wire, dequeue, encoded, enqueue};

/// What an orderly end may take.
const STOP_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn clients_of_every_kind_do_not_keep_the_broker_from_its_end() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let mut idle: Vec<_> = (0..100).map(|_| Wire::greeted(&broker)).collect();
    // Connections that never greeted, or not whole.
    let hello = encoded(1, &Request::Hello(HELLO));
    let mut half: Vec<_> = (0..20).map(|_| Wire::connect(&broker)).collect();
    for wire in &mut half[..10] {
        wire.send(&hello[..20]);
    }
    let mut waiting = Wire::greeted(&broker);
    waiting.send(&dequeue(7, "empty", 30_000));
    // A consumer that does not read, with more on the way than buffers take.
    let mut producer = Wire::greeted(&broker);
    let body = vec![7; 900_000];
    for number in 0..30 {
        let answer = producer.ask(&enqueue(number, "full", &body));
        assert!(matches!(answer, Response::Enqueued(_)), "{answer:?}");
    }
    let mut stalled = Wire::greeted(&broker);
    let subscribe = Request::Subscribe(Subscribe {
        queue: "full",
        lane: Lane(0),
        subscription: "",
        consumer: ConsumerId(1),
        credit: 1_000,
        lease_ms: 30_000,
    });
    stalled.send(&encoded(3, &subscribe));
    assert!(stalled.next().is_some());
    let begun = Instant::now();
    assert!(broker.stop().success());
    assert!(begun.elapsed() < STOP_WITHIN, "{:?}", begun.elapsed());
    let Some((0, Response::Fault { code, .. })) = idle[0].next() else {
        panic!("an idle client is told")
    };
    assert_eq!(code, ErrorCode::ShuttingDown);
    assert!(idle[0].next().is_none());
    assert!(matches!(waiting.next(), Some((_, Response::Fault { .. }))));

    // Everything confirmed is there, and nothing else.
    let broker = Broker::start(folder.path());
    let shown = broker.ok(&["queue", "show", "full", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["end"], 30);
    assert!(broker.stop().success());
}

#[test]
fn what_was_accepted_is_answered_before_the_end() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let mut wire = Wire::greeted(&broker);
    let count = 500;
    let frames: Vec<u8> = (0..count).flat_map(|it| enqueue(it, "q", b"x")).collect();
    wire.send(&frames);
    let first = wire.next().expect("the first is answered");
    assert!(matches!(first.1, Response::Enqueued(_)));
    assert!(broker.stop().success());
    let mut confirmed = 1;
    let mut has_fault = false;
    while let Some((_, answer)) = wire.next() {
        has_fault = matches!(answer, Response::Fault { .. });
        if answer.code() == ErrorCode::Ok {
            confirmed += 1;
        } else {
            assert_eq!(answer.code(), ErrorCode::ShuttingDown);
        }
    }
    assert!(has_fault);
    let broker = Broker::start(folder.path());
    let shown = broker.ok(&["queue", "show", "q", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["end"], confirmed, "confirmed, no more and no less");
}

/// A broker whose stderr is a pipe that is full and that nobody reads.
#[test]
fn a_log_that_nobody_reads_does_not_keep_the_broker_from_its_end() {
    let folder = folder();
    let (reader, writer) = std::io::pipe().unwrap();
    let set = |flags| rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    set(OFlags::NONBLOCK);
    let mut filler = &writer;
    for chunk in [&[b'x'; 4_096][..], b"x"] {
        while filler.write(chunk).is_ok() {}
    }
    set(OFlags::empty());
    let mut command = serve(folder.path());
    let broker = Broker::spawn_logging_to(folder.path(), &mut command, writer.into());
    let stored = broker.ok(&["enqueue", "q", "x"]);
    assert!(stored.contains("stored"), "{stored}");
    let begun = Instant::now();
    let status = broker.stop();
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < STOP_WITHIN, "{:?}", begun.elapsed());
    drop(reader);
}

/// `timeout`, terminals and supervisors signal a process and then its whole group.
#[test]
fn a_copy_of_the_signal_does_not_cut_the_orderly_end_short() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let mut idle = Wire::greeted(&broker);
    broker.terminate();
    assert!(broker.stop().success());
    let Some((0, Response::Fault { code, .. })) = idle.next() else {
        panic!("clients are told")
    };
    assert_eq!(code, ErrorCode::ShuttingDown);
}
