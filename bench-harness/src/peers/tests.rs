//! What servers say, byte by byte.

use super::*;
use crate::load::{Answer, Arrival, Batch, Consumers, Producers};

/// Hands over `bytes` one at a time, as the generator's inbox does, and expects all of them to be used.
fn drip(bytes: &[u8], mut read: impl FnMut(&[u8]) -> usize) {
    let mut waiting = Vec::new();
    for &byte in bytes {
        waiting.push(byte);
        let used = read(&waiting);
        waiting.drain(..used);
    }
    assert_eq!(waiting, b"", "not used");
}

/// The answers to two enqueues, of the slots 7 and 3.
fn answers(mut producers: impl Producers, bytes: &[u8]) -> Vec<Answer> {
    let mut out = Vec::new();
    for slot in [7, 3] {
        let batch = Batch {
            slot,
            producer: 0,
            bodies: b"body",
            body_bytes: 4,
        };
        producers.enqueue(&batch, &mut out);
    }
    let mut answers = Vec::new();
    drip(bytes, |bytes| {
        producers.read(bytes, &mut out, &mut answers).unwrap()
    });
    answers
}

/// What came to a consumer, and what it says to that.
fn deliveries(consumers: &mut impl Consumers, bytes: &[u8]) -> (Vec<(Vec<u8>, bool)>, Vec<u8>) {
    let (mut bodies, mut out) = (Vec::new(), Vec::new());
    drip(bytes, |bytes| {
        let mut on = |arrival: Arrival<'_>| match arrival {
            Arrival::Message(message) => bodies.push((message.body.to_vec(), message.is_again)),
            Arrival::Unreadable | Arrival::Stale(_) => panic!("{arrival:?}"),
        };
        consumers.read(bytes, &mut out, &mut on).unwrap()
    });
    consumers.ack(&mut out);
    (bodies, out)
}

fn once(bodies: &[&str]) -> Vec<(Vec<u8>, bool)> {
    let body = |body: &&str| (body.as_bytes().to_vec(), false);
    bodies.iter().map(body).collect()
}

#[test]
fn redis_answers_enqueues_in_their_order() {
    let producers = redis::StreamProducers::new("q");
    let said = answers(producers, b"$3\r\n1-0\r\n-OOM too much\r\n");
    let refused = Answer::Refused(3, "-OOM too much".to_owned());
    assert_eq!(said, [Answer::Confirmed(7), refused]);
}

#[test]
fn redis_delivers_several_and_gets_one_ack_for_all_before_the_next_read() {
    let mut consumers = redis::StreamConsumers::new("q", "c", 10);
    consumers.ack(&mut Vec::new());
    let read = b"*1\r\n*2\r\n$1\r\nq\r\n*2\r\n\
        *2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nb\r\n$3\r\none\r\n\
        *2\r\n$3\r\n2-0\r\n*2\r\n$1\r\nb\r\n$4\r\n\r\n\r\n\r\n";
    let (bodies, out) = deliveries(&mut consumers, read);
    assert_eq!(bodies, once(&["one", "\r\n\r\n"]));
    let said = String::from_utf8(out).unwrap();
    let (ack, next) = said.split_once("*11\r\n").unwrap();
    assert_eq!(
        ack,
        "*5\r\n$4\r\nXACK\r\n$1\r\nq\r\n$7\r\nworkers\r\n$3\r\n1-0\r\n$3\r\n2-0\r\n"
    );
    assert!(next.starts_with("$10\r\nXREADGROUP\r\n"), "{next}");
    consumers.leave(&mut Vec::new());
    assert!(!consumers.has_left());
    deliveries(&mut consumers, b":2\r\n");
    assert!(consumers.has_left());
}

#[test]
fn beanstalkd_answers_enqueues_in_their_order() {
    let producers = beanstalkd::TubeProducers::new(60);
    let said = answers(producers, b"INSERTED 1\r\nDRAINING\r\n");
    let refused = Answer::Refused(3, "DRAINING".to_owned());
    assert_eq!(said, [Answer::Confirmed(7), refused]);
}

#[test]
fn beanstalkd_gets_its_acks_before_a_reserve_that_waits() {
    let mut consumers = beanstalkd::TubeConsumers::new(10);
    let mut out = Vec::new();
    consumers.ack(&mut out);
    // The first go looks for two, since none before has failed.
    assert_eq!(out, b"reserve\r\nreserve-with-timeout 0\r\n");
    let (bodies, out) = deliveries(&mut consumers, b"RESERVED 5 3\r\none\r\nTIMED_OUT\r\n");
    assert_eq!(bodies, once(&["one"]));
    assert_eq!(out, b"delete 5\r\nreserve\r\n");
    consumers.leave(&mut Vec::new());
    assert!(!consumers.has_left());
    deliveries(&mut consumers, b"DELETED\r\n");
    assert!(consumers.has_left());
}

#[test]
fn nats_names_the_enqueue_that_it_answers() {
    let producers = nats::StreamProducers::new("q", "inbox");
    let receipt = "MSG inbox.3 1 24\r\n{\"stream\":\"q\",\"seq\":12345}\r\n";
    let refusal = "HMSG inbox.7 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
    let receipt = receipt.replace(" 24", " 26");
    let said = answers(
        producers,
        format!("INFO {{}}\r\n{receipt}{refusal}").as_bytes(),
    );
    let refused = Answer::Refused(7, "NATS/1.0 503\r\n\r\n".to_owned());
    assert_eq!(said, [Answer::Confirmed(3), refused]);
}

#[test]
fn nats_gets_an_ack_for_each_and_says_when_it_has_read_them() {
    let mut consumers = nats::StreamConsumers::default();
    let pushed = b"MSG d 1 $JS.ACK.q.w.1.1.1.9.0 3\r\none\r\n\
        MSG d 1 $JS.ACK.q.w.2.2.2.9.0 3\r\ntwo\r\n";
    let (bodies, out) = deliveries(&mut consumers, pushed);
    assert_eq!(bodies, [(b"one".to_vec(), false), (b"two".to_vec(), true)]);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "PUB $JS.ACK.q.w.1.1.1.9.0 0\r\n\r\nPUB $JS.ACK.q.w.2.2.2.9.0 0\r\n\r\n"
    );
    consumers.leave(&mut Vec::new());
    assert!(!consumers.has_left());
    deliveries(&mut consumers, b"PONG\r\n");
    assert!(consumers.has_left());
}

fn tag(method: amqp::Method, tag: u64, bit: u8) -> Vec<u8> {
    let mut out = Vec::new();
    amqp::put_method(&mut out, 1, method, |out| {
        out.extend_from_slice(&tag.to_be_bytes());
        out.push(bit);
    });
    out
}

#[test]
fn rabbitmq_confirms_one_or_all_up_to_a_tag() {
    let producers = || rabbitmq::QuorumProducers::new("q");
    let both = [Answer::Confirmed(7), Answer::Confirmed(3)];
    assert_eq!(answers(producers(), &tag(amqp::BASIC_ACK, 2, 1)), both);
    let turned = [tag(amqp::BASIC_ACK, 2, 0), tag(amqp::BASIC_NACK, 1, 0)].concat();
    let refused = Answer::Refused(7, "basic.nack".to_owned());
    assert_eq!(
        answers(producers(), &turned),
        [Answer::Confirmed(3), refused]
    );
    let mut unsent = producers();
    let mut answers = Vec::new();
    let early = tag(amqp::BASIC_ACK, 1, 0);
    let error = unsent
        .read(&early, &mut Vec::new(), &mut answers)
        .unwrap_err();
    assert_eq!(error.to_string(), "tag 1 is not sent yet");
}

/// A delivery as the server sends it: that of a publish, with another method.
fn delivery(tag: u64, bit: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    amqp::put_method(&mut out, 1, amqp::BASIC_DELIVER, |out| {
        amqp::put_short(out, "worker");
        out.extend_from_slice(&tag.to_be_bytes());
        out.push(bit);
        amqp::put_short(out, "");
        amqp::put_short(out, "q");
    });
    let mut published = Vec::new();
    amqp::put_message(&mut published, 1, "q", body);
    let (_, used) = amqp::frame(&published).unwrap().unwrap();
    out.extend_from_slice(&published[used..]);
    out
}

#[test]
fn rabbitmq_delivers_bodies_in_one_frame_or_several_and_gets_one_ack_for_all() {
    let mut consumers = rabbitmq::QuorumConsumers::default();
    let long = vec![b'x'; 200_000];
    let sent = [delivery(1, 0, b"one"), delivery(2, 1, b"two")].concat();
    let (bodies, out) = deliveries(&mut consumers, &sent);
    assert_eq!(bodies, [(b"one".to_vec(), false), (b"two".to_vec(), true)]);
    assert_eq!(out, tag(amqp::BASIC_ACK, 2, 1));
    let mut got = Vec::new();
    let mut on = |arrival: Arrival<'_>| {
        if let Arrival::Message(message) = arrival {
            got.extend_from_slice(message.body);
        }
    };
    let sent = delivery(3, 0, &long);
    let used = consumers.read(&sent, &mut Vec::new(), &mut on).unwrap();
    assert_eq!((used, got), (sent.len(), long));
}

#[test]
fn rabbitmq_closes_with_a_reason() {
    let mut close = Vec::new();
    amqp::put_method(&mut close, 1, (20, 40), |out| {
        out.extend_from_slice(&404_u16.to_be_bytes());
        amqp::put_short(out, "NOT_FOUND - no queue");
    });
    let error = amqp::frame(&close).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server closes: 404 NOT_FOUND - no queue"
    );
}
