use std::time::Duration;

use corelane_wire::{
    BatchBuilder, CLASS_MEMORY, ErrorCode, Offset, OutgoingMessage, ProducerId, Receipt, Sequence,
};

use super::node::*;
use crate::limits::{Limits, PRODUCER_IDLE, RIDER_DELAY};
use crate::record::Record;
use crate::{Input, Output, Reply};
use corelane_wire::Epoch;

const PRODUCER: ProducerId = ProducerId(0x9d);

fn enqueue_record(first: u64, count: u32, producer: ProducerId, sequence: u64) -> Record {
    Record::Enqueue {
        queue: QUEUE,
        first: Offset(first),
        count,
        bytes: 100 * count,
        largest: 100,
        producer,
        sequence: Sequence(sequence),
        schedule: None,
    }
}

/// A queue with one committed batch of the producer.
fn known_producer() -> Node {
    let mut node = Node::new();
    node.enqueue("q", &batch(2, PRODUCER, 0));
    node.durable();
    node
}

#[test]
fn first_enqueue_begins_the_log_and_makes_the_queue() {
    let mut node = Node::new();
    let outputs = node.enqueue("mail", &batch(3, ProducerId::NONE, 0));
    let epoch = Record::Epoch {
        epoch: Epoch(1),
        jump_ns: 0,
    };
    let create = Record::Create {
        queue: QUEUE,
        name: "mail".into(),
    };
    assert_eq!(
        outputs,
        [
            append(0, T0, epoch),
            append(1, T0, create),
            append(2, T0, enqueue_record(0, 3, ProducerId::NONE, 0)),
            flush(3),
        ]
    );
}

#[test]
fn receipt_leaves_when_the_enqueue_is_committed() {
    let mut node = Node::new();
    node.enqueue("mail", &batch(3, ProducerId::NONE, 0));
    let early = node.step(Input::Durable {
        end: corelane_wire::Lsn(2),
    });
    assert_eq!(early, []);
    let outputs = node.durable();
    assert_eq!(outputs, [reply(alice(1), receipt(0, 3, false))]);
}

#[test]
fn next_enqueue_continues_the_offsets() {
    let mut node = Node::new();
    node.fill("mail", 3);
    let outputs = node.enqueue("mail", &batch(2, ProducerId::NONE, 0));
    assert_eq!(
        outputs,
        [
            append(3, T0, enqueue_record(3, 2, ProducerId::NONE, 0)),
            flush(4)
        ]
    );
}

#[test]
fn broken_batch_is_refused_at_once_and_leaves_no_trace() {
    let mut node = Node::new();
    let mut bytes = batch(3, ProducerId::NONE, 0);
    *bytes.last_mut().unwrap() ^= 1;
    let outputs = node.enqueue("mail", &bytes);
    assert_eq!(
        refusals(&outputs),
        [(alice(1), ErrorCode::BadMessageChecksum)]
    );
    assert_eq!(node.engine.positions().end.0, 0);
}

fn of_class_memory(producer: ProducerId, sequence: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.class = CLASS_MEMORY;
    builder.push(&OutgoingMessage::default()).unwrap();
    builder.finish(producer, Sequence(sequence))
}

fn memory_receipt(first: u64, duplicate: bool) -> Output {
    let receipt = Receipt {
        range: range(first, 1),
        class: CLASS_MEMORY,
        copies: 0,
        duplicate,
        slow_down: false,
    };
    reply(alice(1), Reply::Receipt(receipt))
}

#[test]
fn class_memory_is_confirmed_at_once_and_given_out_when_it_is_committed() {
    let mut node = filled(2);
    let first = node.enqueue("q", &of_class_memory(PRODUCER, 0));
    assert!(first.contains(&memory_receipt(2, false)), "{first:?}");
    let is_flush = |output: &Output| matches!(output, Output::Flush { .. });
    assert!(!first.iter().any(is_flush), "nobody waits: {first:?}");
    let again = node.enqueue("q", &of_class_memory(PRODUCER, 0));
    assert_eq!(again, [memory_receipt(2, true)]);

    let waits = node.request(bob(2), dequeue("q", 10, 10_000));
    assert!(waits.iter().any(is_flush), "now somebody does: {waits:?}");
    let given = served(&node.turn_end());
    assert_eq!(given.iter().map(|(_, count)| count).sum::<u32>(), 2);
    node.request(bob(3), dequeue("q", 10, 10_000));
    assert_eq!(deliveries(&node.turn_end()), [], "it is not committed");
    let second = node.enqueue("q", &of_class_memory(PRODUCER, 1));
    assert!(second.contains(&memory_receipt(3, false)), "{second:?}");
    assert!(second.iter().any(is_flush), "he still does: {second:?}");
    node.durable();
    let given = served(&node.turn_end());
    assert_eq!(given.iter().map(|(_, count)| count).sum::<u32>(), 2);
}

#[test]
fn class_memory_is_flushed_soon_although_nobody_waits() {
    let mut node = known_producer();
    node.enqueue("q", &of_class_memory(PRODUCER, 1));
    let end = node.engine.positions().end.0;
    let outputs = node.deadline_after(RIDER_DELAY);
    assert!(outputs.contains(&flush(end)), "{outputs:?}");
}

#[test]
fn lost_batches_of_class_memory_are_a_gap_that_the_producer_is_told_of() {
    let mut node = known_producer();
    let end = node.engine.positions().end;
    node.enqueue("q", &of_class_memory(PRODUCER, 1));
    node.restart(end, T0, 2);
    node.durable();
    let outputs = node.enqueue("q", &of_class_memory(PRODUCER, 2));
    assert_eq!(refusals(&outputs), [(alice(1), ErrorCode::OutOfSequence)]);
}

#[test]
fn uncommitted_bytes_have_a_bound_that_is_answered_busy_at_once() {
    let mut node = Node::with_limits(Limits {
        uncommitted_bytes_max: 500,
        ..Limits::default()
    });
    node.enqueue("q", &batch(5, ProducerId::NONE, 0));
    let outputs = node.enqueue("q", &batch(1, ProducerId::NONE, 0));
    assert_eq!(refusals(&outputs), [(alice(1), ErrorCode::Busy)]);
    node.durable();
    let outputs = node.enqueue("q", &batch(1, ProducerId::NONE, 0));
    assert_eq!(refusals(&outputs), []);
}

#[test]
fn queues_have_a_bound() {
    let mut node = Node::with_limits(Limits {
        queues_max: 1,
        ..Limits::default()
    });
    node.fill("a", 1);
    let outputs = node.enqueue("b", &batch(1, ProducerId::NONE, 0));
    assert_eq!(refusals(&outputs), [(alice(1), ErrorCode::LimitExceeded)]);
}

#[test]
fn repeated_batch_gets_the_first_receipt_at_the_end_of_now() {
    let mut node = known_producer();
    node.enqueue("q", &batch(1, ProducerId::NONE, 0));
    let outputs = node.enqueue("q", &batch(2, PRODUCER, 0));
    assert_eq!(outputs, [], "what is above it is not committed");
    let outputs = node.durable();
    assert_eq!(
        outputs,
        [
            reply(alice(1), receipt(2, 1, false)),
            reply(alice(1), receipt(0, 2, true))
        ]
    );
}

#[test]
fn repeated_batch_of_another_size_is_never_a_silent_accept() {
    let mut node = known_producer();
    let outputs = node.enqueue("q", &batch(3, PRODUCER, 0));
    assert_eq!(refusals(&outputs), [(alice(1), ErrorCode::OutOfSequence)]);
}

#[test]
fn gap_in_the_sequence_is_refused() {
    let mut node = known_producer();
    let outputs = node.enqueue("q", &batch(2, PRODUCER, 2));
    assert_eq!(refusals(&outputs), [(alice(1), ErrorCode::OutOfSequence)]);
    assert_eq!(node.engine.positions().end.0, 3);
}

#[test]
fn unknown_producer_must_begin_at_zero() {
    let mut node = Node::new();
    let outputs = node.enqueue("q", &batch(1, PRODUCER, 1));
    assert_eq!(refusals(&outputs), [(alice(1), ErrorCode::UnknownProducer)]);
    assert_eq!(node.engine.stats().queues, 0, "no queue was made for it");
}

#[test]
fn refused_batch_consumes_no_number() {
    let mut node = known_producer();
    node.enqueue("q", &batch(2, PRODUCER, 2));
    let outputs = node.enqueue("q", &batch(2, PRODUCER, 1));
    assert_eq!(
        outputs,
        [append(3, T0, enqueue_record(2, 2, PRODUCER, 1)), flush(4)]
    );
}

#[test]
fn sequences_are_counted_per_queue() {
    let mut node = known_producer();
    let outputs = node.enqueue("other", &batch(1, PRODUCER, 0));
    assert_eq!(refusals(&outputs), []);
    assert_eq!(node.engine.stats().producers, 2);
}

#[test]
fn producer_window_survives_a_restart() {
    let mut node = known_producer();
    let end = node.engine.positions().end;
    node.restart(end, T0, 2);
    node.durable();
    let outputs = node.enqueue("q", &batch(2, PRODUCER, 0));
    assert_eq!(outputs, [reply(alice(1), receipt(0, 2, true))]);
}

#[test]
fn idle_producer_is_forgotten_by_a_tick() {
    let mut node = known_producer();
    assert_eq!(node.engine.next_deadline(), Some(T0.add(PRODUCER_IDLE)));
    let outputs = node.deadline_after(PRODUCER_IDLE);
    assert_eq!(outputs, [append(3, node.now, Record::Tick)]);
    assert_eq!(node.engine.stats().producers, 0);
    node.durable();
    let outputs = node.enqueue("q", &batch(2, PRODUCER, 1));
    assert_eq!(refusals(&outputs), [(alice(1), ErrorCode::UnknownProducer)]);
}

#[test]
fn active_producer_is_not_forgotten() {
    let mut node = known_producer();
    node.pass(Duration::from_mins(5));
    node.enqueue("q", &batch(1, PRODUCER, 1));
    node.durable();
    node.deadline_after(Duration::from_mins(5));
    assert_eq!(node.engine.stats().producers, 1);
    assert_eq!(
        node.engine.next_deadline(),
        Some(node.now.add(RIDER_DELAY)),
        "the tick waits to be flushed"
    );
    node.deadline_after(Duration::from_mins(5));
    assert_eq!(node.engine.stats().producers, 0);
}

#[test]
fn producers_have_a_bound() {
    let mut node = Node::with_limits(Limits {
        producers_max: 1,
        ..Limits::default()
    });
    node.enqueue("q", &batch(1, PRODUCER, 0));
    let outputs = node.enqueue("q", &batch(1, ProducerId(7), 0));
    assert_eq!(refusals(&outputs), [(alice(1), ErrorCode::Busy)]);
    let outputs = node.enqueue("q", &batch(1, PRODUCER, 1));
    assert!(matches!(
        outputs[..],
        [Output::Append { .. }, Output::Flush { .. }]
    ));
}

#[test]
fn queue_without_subscription_keeps_everything() {
    let mut node = Node::new();
    node.fill("q", 5);
    assert_eq!(node.engine.stats().messages, 5);
    assert_eq!(node.engine.next_deadline(), None);
}
