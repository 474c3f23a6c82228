//! Scripted refusals, losses and receipts against one producer.

mod model;
mod pace;

use corelane_wire::{Correlation, ErrorCode, Receipt};

use super::super::scripted::{
    EPOCH, SECOND, START, SentBatch, answer, open, receipt, refusal, sent,
};
use super::super::{Event, Protocol};
use super::*;

/// A producer with one message per batch, so that batches are easy to name.
struct Bench {
    now: Timestamp,
    protocol: Protocol,
    producer: ProducerCore,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ProducerConfig)) -> Self {
        let mut config = ProducerConfig::new("orders");
        config.batch_messages_max = 1;
        change(&mut config);
        let mut bench = Self {
            now: START,
            protocol: open(START),
            producer: ProducerCore::new(config, 1),
        };
        bench.producer.on_connected();
        bench
    }

    fn push(&mut self, body: &str) -> Result<u64, PushError> {
        let message = OutgoingMessage {
            body: body.as_bytes(),
            ..OutgoingMessage::default()
        };
        self.producer.push(self.now, &message)
    }

    /// Drives, and returns what was sent.
    fn drive(&mut self) -> Vec<SentBatch> {
        self.producer.drive(self.now, &mut self.protocol);
        let sent = sent(&mut self.protocol);
        sent.iter()
            .map(super::super::scripted::Sent::batch)
            .collect()
    }

    fn send(&mut self, bodies: &[&str]) -> Vec<SentBatch> {
        for body in bodies {
            self.push(body).unwrap();
        }
        self.drive()
    }

    fn answer(&mut self, call: Correlation, response: &Response<'_>) {
        let bytes = answer(call, response);
        let mut chunk = bytes.as_slice();
        while let Some(event) = self.protocol.next_event(self.now, &mut chunk).unwrap() {
            if let Event::Answer {
                correlation,
                epoch,
                response,
            } = event
            {
                self.producer
                    .on_answer(self.now, correlation, epoch, &response);
            }
        }
    }

    fn refuse(&mut self, call: Correlation, code: ErrorCode) {
        self.answer(call, &refusal(code));
    }

    fn reconnect(&mut self) {
        self.producer.on_disconnected();
        self.protocol = open(self.now);
        self.producer.on_connected();
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.add(time);
    }

    fn resolved(&mut self) -> Vec<Resolved> {
        std::iter::from_fn(|| self.producer.poll_resolved()).collect()
    }
}

fn confirmed(ticket: u64, first: u64) -> Resolved {
    let Response::Enqueued(receipt) = receipt(first, 1) else {
        unreachable!("a receipt is a receipt");
    };
    Resolved {
        ticket_first: ticket,
        count: 1,
        resolution: Resolution::Confirmed {
            receipt,
            epoch: EPOCH,
        },
    }
}

fn refused(ticket: u64, code: ErrorCode) -> Resolved {
    Resolved {
        ticket_first: ticket,
        count: 1,
        resolution: Resolution::Refused {
            code,
            text: "scripted".to_owned(),
        },
    }
}

fn unknown(ticket: u64, reason: UnknownReason) -> Resolved {
    Resolved {
        ticket_first: ticket,
        count: 1,
        resolution: Resolution::Unknown(reason),
    }
}

fn sequences(sent: &[SentBatch]) -> Vec<(u64, &str)> {
    sent.iter()
        .map(|batch| (batch.sequence.0, batch.bodies[0].as_str()))
        .collect()
}

#[test]
fn batches_are_numbered_in_order_and_confirmed_by_ticket() {
    let mut bench = Bench::new();
    let sent = bench.send(&["a", "b"]);
    assert_eq!(sequences(&sent), [(0, "a"), (1, "b")]);
    assert_eq!(sent[0].producer, sent[1].producer);
    assert_ne!(sent[0].producer, ProducerId::NONE);

    bench.answer(sent[1].call, &receipt(41, 1));
    bench.answer(sent[0].call, &receipt(40, 1));

    assert_eq!(bench.resolved(), [confirmed(1, 41), confirmed(0, 40)]);
    assert_eq!(bench.producer.messages(), 0);
    assert_eq!(bench.producer.bytes(), 0);
}

#[test]
fn what_waits_travels_in_one_batch() {
    let mut bench = Bench::with(|config| {
        config.batch_messages_max = 100;
        config.batches_max = 1;
    });
    let first = bench.send(&["a"]);
    assert_eq!(first[0].bodies, ["a"]);
    assert_eq!(bench.send(&["b", "c", "d"]), []);
    bench.answer(first[0].call, &receipt(0, 1));
    let second = bench.drive();
    assert_eq!(second[0].bodies, ["b", "c", "d"]);
    assert_eq!(second[0].sequence, Sequence(1));
}

#[test]
fn messages_and_bytes_in_flight_are_bounded() {
    let mut bench = Bench::with(|config| config.messages_max = 2);
    let sent = bench.send(&["a", "b"]);
    assert_eq!(bench.push("c"), Err(PushError::Full));
    bench.answer(sent[0].call, &receipt(0, 1));
    assert_eq!(bench.push("c"), Ok(2));

    let mut bench = Bench::with(|config| config.bytes_max = 10);
    bench.push("one message may pass the bound").unwrap();
    assert_eq!(bench.push("x"), Err(PushError::Full));
}

#[test]
fn message_that_no_broker_takes_is_refused_at_once_and_costs_no_ticket() {
    let mut bench = Bench::new();
    let huge = "x".repeat(2 << 20);
    assert!(matches!(bench.push(&huge), Err(PushError::Message(_))));
    assert_eq!(bench.push("small"), Ok(0));
    assert_eq!(bench.drive().len(), 1);
}

#[test]
fn reconnect_resends_the_same_bytes_in_order() {
    let mut bench = Bench::new();
    let before = bench.send(&["a", "b", "c"]);
    bench.answer(before[0].call, &receipt(0, 1));
    bench.reconnect();
    let after = bench.drive();

    assert_eq!(sequences(&after), [(1, "b"), (2, "c")]);
    assert_eq!(after[0].producer, before[0].producer);
    // A duplicate receipt is a receipt.
    bench.answer(
        after[0].call,
        &Response::Enqueued(Receipt {
            duplicate: true,
            ..receipt_of(1)
        }),
    );
    let resolved = bench.resolved();
    assert!(matches!(
        &resolved[1].resolution,
        Resolution::Confirmed { receipt, .. } if receipt.duplicate
    ));
}

fn receipt_of(first: u64) -> Receipt {
    let Response::Enqueued(receipt) = receipt(first, 1) else {
        unreachable!("a receipt is a receipt");
    };
    receipt
}

#[test]
fn busy_goes_back_and_resends_all_after_a_pause_with_the_same_numbers() {
    let mut bench = Bench::new();
    let sent = bench.send(&["a", "b", "c"]);
    bench.refuse(sent[1].call, ErrorCode::Busy);
    bench.wait(SECOND);
    assert_eq!(bench.drive(), [], "the rewind waits for all answers");
    bench.refuse(sent[2].call, ErrorCode::OutOfSequence);
    assert_eq!(bench.drive(), [], "the answer to a is still out");
    bench.answer(sent[0].call, &receipt(0, 1));

    let again = bench.drive();
    assert_eq!(sequences(&again), [(1, "b"), (2, "c")]);
    assert_eq!(again[0].producer, sent[0].producer);
}

#[test]
fn pause_after_busy_is_kept() {
    let mut bench = Bench::new();
    let sent = bench.send(&["a"]);
    bench.refuse(sent[0].call, ErrorCode::Busy);
    assert_eq!(bench.drive(), []);
    let until = bench.producer.next_deadline().unwrap();
    assert!(until > bench.now && until <= bench.now.add(SECOND));
    bench.now = until;
    assert_eq!(bench.drive().len(), 1);
}

#[test]
fn refused_batch_uses_no_number_and_those_behind_move_up() {
    let mut bench = Bench::new();
    let sent = bench.send(&["a", "bad", "c", "d"]);
    bench.refuse(sent[1].call, ErrorCode::MessageTooLarge);
    bench.refuse(sent[2].call, ErrorCode::OutOfSequence);
    bench.refuse(sent[3].call, ErrorCode::OutOfSequence);
    bench.answer(sent[0].call, &receipt(0, 1));

    let again = bench.drive();
    assert_eq!(sequences(&again), [(1, "c"), (2, "d")]);
    assert_eq!(again[0].producer, sent[0].producer);
    assert_eq!(
        bench.resolved(),
        [refused(1, ErrorCode::MessageTooLarge), confirmed(0, 0)]
    );
}

#[test]
fn numbers_are_not_reused_when_the_connection_breaks_amid_a_renumbering() {
    let mut bench = Bench::new();
    let sent = bench.send(&["bad", "b", "c"]);
    bench.refuse(sent[0].call, ErrorCode::MessageTooLarge);
    bench.reconnect();

    // The old copies of b and c may still arrive, so that their numbers are burnt.
    let again = bench.drive();
    assert_eq!(sequences(&again), [(0, "b"), (1, "c")]);
    assert_ne!(again[0].producer, sent[0].producer);
}

#[test]
fn new_producer_id_waits_until_the_old_one_is_settled() {
    let mut bench = Bench::new();
    let sent = bench.send(&["a", "bad", "c"]);
    bench.refuse(sent[1].call, ErrorCode::MessageTooLarge);
    bench.reconnect();

    let first = bench.drive();
    assert_eq!(sequences(&first), [(0, "a")]);
    assert_eq!(first[0].producer, sent[0].producer);
    bench.answer(first[0].call, &receipt(0, 1));
    let second = bench.drive();
    assert_eq!(sequences(&second), [(0, "c")]);
    assert_ne!(second[0].producer, sent[0].producer);
}

#[test]
fn out_of_sequence_at_the_front_after_an_epoch_change_draws_a_new_id() {
    let mut bench = Bench::new();
    let sent = bench.send(&["a", "b"]);
    bench.answer(sent[0].call, &receipt(0, 1));
    bench.reconnect();
    let again = bench.drive();
    bench.refuse(again[0].call, ErrorCode::OutOfSequence);
    bench.wait(SECOND);
    let fresh = bench.drive();
    assert_eq!(sequences(&fresh), [(0, "b")]);
    assert_ne!(fresh[0].producer, sent[0].producer);
}

#[test]
fn unknown_producer_with_nothing_uncertain_draws_a_new_id() {
    let mut bench = Bench::new();
    let sent = bench.send(&["a"]);
    bench.answer(sent[0].call, &receipt(0, 1));
    let late = bench.send(&["b", "c"]);
    bench.refuse(late[0].call, ErrorCode::UnknownProducer);
    bench.refuse(late[1].call, ErrorCode::UnknownProducer);
    bench.wait(SECOND);
    let fresh = bench.drive();
    assert_eq!(sequences(&fresh), [(0, "b"), (1, "c")]);
    assert_ne!(fresh[0].producer, sent[0].producer);
}

#[test]
fn unknown_producer_after_a_lost_answer_is_an_unknown_outcome() {
    let mut bench = Bench::new();
    let sent = bench.send(&["a"]);
    bench.answer(sent[0].call, &receipt(0, 1));
    bench.send(&["b"]);
    bench.reconnect();
    let again = bench.drive();
    bench.refuse(again[0].call, ErrorCode::UnknownProducer);
    let resolved = bench.resolved();
    assert_eq!(resolved[1], unknown(1, UnknownReason::ProducerForgotten));
    bench.wait(SECOND);
    assert_eq!(sequences(&bench.send(&["c"])), [(0, "c")]);
}

#[test]
fn refusal_after_a_lost_answer_is_an_unknown_outcome() {
    let mut bench = Bench::new();
    bench.send(&["a"]);
    bench.reconnect();
    let again = bench.drive();
    bench.refuse(again[0].call, ErrorCode::QueueNotFound);
    assert!(matches!(
        bench.resolved()[0].resolution,
        Resolution::Unknown(UnknownReason::Refused {
            code: ErrorCode::QueueNotFound,
            ..
        })
    ));
}

#[test]
fn fatal_refusal_is_an_unknown_outcome() {
    let mut bench = Bench::new();
    let sent = bench.send(&["a"]);
    bench.refuse(sent[0].call, ErrorCode::Poisoned);
    assert!(matches!(
        bench.resolved()[0].resolution,
        Resolution::Unknown(UnknownReason::Refused {
            code: ErrorCode::Poisoned,
            ..
        })
    ));
}

#[test]
fn batch_is_given_up_after_its_time() {
    let mut bench = Bench::new();
    bench.send(&["sent"]);
    bench.producer.on_disconnected();
    bench.push("never sent").unwrap();
    let deadline = bench.producer.next_deadline().unwrap();
    assert_eq!(deadline, START.add(GIVE_UP_AFTER_MAX));
    bench.producer.on_deadline(deadline);
    assert_eq!(
        bench.resolved(),
        [
            unknown(
                0,
                UnknownReason::GaveUp {
                    after: GIVE_UP_AFTER_MAX
                }
            ),
            Resolved {
                ticket_first: 1,
                count: 1,
                resolution: Resolution::NotSent
            },
        ]
    );
    assert_eq!(bench.producer.next_deadline(), None);
}

#[test]
fn batch_that_was_refused_each_time_is_given_up_as_refused() {
    let mut bench = Bench::new();
    let sent = bench.send(&["a"]);
    bench.refuse(sent[0].call, ErrorCode::DiskFull);
    bench.wait(GIVE_UP_AFTER_MAX);
    assert_eq!(bench.drive(), []);
    assert_eq!(bench.resolved(), [refused(0, ErrorCode::DiskFull)]);
    // Its number was not used.
    assert_eq!(sequences(&bench.send(&["b"])), [(0, "b")]);
}

#[test]
fn stale_epoch_and_not_owner_ask_for_the_places_and_resend() {
    for code in [ErrorCode::StaleEpoch, ErrorCode::NotOwner] {
        let mut bench = Bench::new();
        let sent = bench.send(&["a"]);
        assert!(!bench.producer.take_reroute());
        bench.refuse(sent[0].call, code);
        assert!(bench.producer.take_reroute());
        assert!(!bench.producer.take_reroute());
        bench.wait(SECOND);
        assert_eq!(sequences(&bench.drive()), [(0, "a")]);
    }
}

#[test]
fn receipt_for_another_count_is_not_believed() {
    let mut bench = Bench::new();
    let sent = bench.send(&["a"]);
    bench.answer(sent[0].call, &receipt(0, 2));
    assert_eq!(bench.resolved(), [unknown(0, UnknownReason::Contradiction)]);
}

#[test]
fn abandoning_all_tells_what_never_left_from_what_may_have_arrived() {
    let mut bench = Bench::with(|config| config.batches_max = 1);
    bench.send(&["out", "waiting"]);
    bench.producer.abandon_all();
    assert_eq!(
        bench.resolved(),
        [
            unknown(0, UnknownReason::Closed),
            Resolved {
                ticket_first: 1,
                count: 1,
                resolution: Resolution::NotSent
            },
        ]
    );
}
