//! Clients that send what they should not.

use corelane_wire::{Correlation, Epoch, ErrorCode, FrameWriter, Request, Response};

use crate::broker::{Broker, folder};
use crate::wire::{HELLO, Wire, dequeue, encoded, enqueue};

/// A PING of which a test spoils some bytes.
fn spoilt(by: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = encoded(5, &Request::Ping);
    by(&mut bytes);
    bytes
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Sends bytes before or after the greeting; the connection must end with a fault.
fn fault(broker: &Broker, is_greeted: bool, bytes: &[u8]) -> ErrorCode {
    let mut wire = if is_greeted {
        Wire::greeted(broker)
    } else {
        Wire::connect(broker)
    };
    wire.send(bytes);
    let Some((0, Response::Fault { code, text })) = wire.next() else {
        panic!("a fault was expected");
    };
    assert!(!text.is_empty());
    assert!(wire.next().is_none(), "the connection is closed");
    code
}

#[test]
fn bytes_that_are_no_frame_end_their_connection_with_a_fault_and_nothing_else() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let mut other = Wire::greeted(&broker);
    let length = |length: u32| spoilt(|bytes| put(bytes, 4, &length.to_le_bytes()));
    let cases = [
        (length(0), ErrorCode::Malformed),
        (length(39), ErrorCode::Malformed),
        (length(u32::MAX), ErrorCode::FrameTooLarge),
        (length(1_114_113), ErrorCode::FrameTooLarge),
        (spoilt(|bytes| put(bytes, 0, b"HTTP")), ErrorCode::BadMagic),
        (
            spoilt(|bytes| put(bytes, 8, &[1, 2, 3, 4])),
            ErrorCode::BadChecksum,
        ),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), ErrorCode::BadMagic),
        (
            b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
            ErrorCode::BadMagic,
        ),
    ];
    let mut faults = 2.0;
    for (bytes, expected) in cases {
        for is_greeted in [false, true] {
            faults += 1.0;
            assert_eq!(fault(&broker, is_greeted, &bytes), expected, "{bytes:?}");
        }
    }
    let large = spoilt(|bytes| put(bytes, 4, &8_193_u32.to_le_bytes()));
    assert_eq!(fault(&broker, false, &large), ErrorCode::FrameTooLarge);
    let ping = encoded(5, &Request::Ping);
    assert_eq!(fault(&broker, false, &ping), ErrorCode::HelloRequired);
    assert!(matches!(other.ask(&ping), Response::Pong));
    broker.until_metric("corelane_connections_faulted_total", faults);
}

#[test]
fn requests_that_are_wrong_are_refused_and_the_connection_goes_on() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let mut wire = Wire::greeted(&broker);
    let mut bytes = Vec::new();
    FrameWriter::begin(&mut bytes, 0x77, 0, Correlation(8), Epoch(0)).finish(&[]);
    assert_eq!(wire.ask(&bytes).code(), ErrorCode::UnknownKind);
    let again = encoded(9, &Request::Hello(HELLO));
    assert_eq!(wire.ask(&again).code(), ErrorCode::HelloRepeated);
    assert!(matches!(
        wire.ask(&encoded(10, &Request::Ping)),
        Response::Pong
    ));
}

#[test]
fn a_token_is_refused_and_not_ignored() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let mut wire = Wire::connect(&broker);
    let mut hello = HELLO;
    hello.token = b"secret";
    let answer = wire.ask(&encoded(1, &Request::Hello(hello)));
    assert_eq!(answer.code(), ErrorCode::NotSupported);
    assert!(wire.next().is_none(), "the connection is closed");
}

#[test]
fn a_greeting_that_stops_halfway_is_ended_in_time() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let hello = encoded(1, &Request::Hello(HELLO));
    assert_eq!(
        fault(&broker, false, &hello[..20]),
        ErrorCode::HelloRequired
    );
}

#[test]
fn a_reader_that_stopped_harms_nobody_and_loses_nothing() {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let (mut slow, mut other) = (Wire::greeted(&broker), Wire::greeted(&broker));
    let body = vec![7; 900_000];
    // More than buffers of both kernels and the broker's bound take.
    let count = 40;
    for number in 0..count {
        let answer = other.ask(&enqueue(number, "q", &body));
        assert!(matches!(answer, Response::Enqueued(_)), "{answer:?}");
        slow.send(&dequeue(number, "q", 0));
    }
    for number in 0..100 {
        let answer = other.ask(&enqueue(number, "q", b"small"));
        assert!(matches!(answer, Response::Enqueued(_)), "{answer:?}");
    }
    let mut numbers: Vec<_> = (0..count)
        .map(|_| {
            let (number, answer) = slow.next().expect("it was slow, not wrong");
            let Response::Dequeued(deliveries) = answer else {
                panic!("{answer:?}")
            };
            assert_eq!(deliveries.count(), 1);
            number
        })
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..count));
}
