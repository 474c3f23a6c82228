//! Logs, alone and against histories.

use std::collections::BTreeMap;

use corelane_core::ids::{QueueId, SubscriptionId};
use corelane_core::record::{Change, Record};
use corelane_wire::{
    Aside, BatchBuilder, Fate, Offset, OffsetRange, OutgoingMessage, ProducerId, Sequence,
    SessionId, SettleEntry, Timestamp,
};

use super::super::evidence::{Evidence, LogRecord};
use super::super::verdict::{Names, judge};
use super::*;
use crate::sim::body;

struct Book {
    evidence: Evidence,
    lsn: u64,
    epoch: u64,
    time: u64,
}

impl Book {
    /// Epoch 1, queue 0 with two messages (tokens 10 and 11), subscription 0.
    fn new() -> Self {
        let mut book = Self {
            evidence: Evidence::default(),
            lsn: 0,
            epoch: 1,
            time: 1_000,
        };
        let records = [
            Record::Epoch {
                epoch: Epoch(1),
                jump_ns: 0,
            },
            Record::Create {
                queue: QueueId(0),
                name: "q".into(),
            },
            Record::Subscribe {
                queue: QueueId(0),
                subscription: SubscriptionId(0),
                name: "default".into(),
                from: Offset(0),
            },
        ];
        for record in records {
            book.put(record).unwrap();
        }
        book.enqueue(0, 0, &[10, 11]).unwrap();
        book
    }

    fn put(&mut self, record: Record) -> Verdict {
        self.put_with(record, &[])
    }

    fn put_with(&mut self, record: Record, batch: &[u8]) -> Verdict {
        if let Record::Epoch { epoch, .. } = record {
            self.epoch = epoch.0;
        }
        let entry = LogRecord {
            lsn: Lsn(self.lsn),
            epoch: Epoch(self.epoch),
            time: Timestamp(self.time),
            record,
            batch,
        };
        self.lsn += 1;
        self.time += 1_000;
        self.evidence.observe(&entry)
    }

    fn enqueue(&mut self, sequence: u64, first: u64, tokens: &[Token]) -> Verdict {
        let mut builder = BatchBuilder::new();
        for token in tokens {
            let body = body::make(*token, 20);
            let message = OutgoingMessage {
                key: None,
                headers: &[],
                due_ms: None,
                ttl_ms: None,
                body: &body,
            };
            builder.push(&message).unwrap();
        }
        let batch = builder.finish(ProducerId(7), Sequence(sequence));
        let record = Record::Enqueue {
            queue: QueueId(0),
            first: Offset(first),
            count: tokens.len() as u32,
            bytes: 0,
            largest: 0,
            producer: ProducerId(7),
            sequence: Sequence(sequence),
            schedule: None,
        };
        self.put_with(record, &batch)
    }

    fn lease(&mut self, first: u64, count: u32) -> (LeaseId, Verdict) {
        let id = lease(self.epoch, self.lsn);
        let record = Record::Lease {
            queue: QueueId(0),
            subscription: SubscriptionId(0),
            session: SessionId(1),
            lease_ms: 1_000,
            ranges: vec![range(first, count)],
        };
        (id, self.put(record))
    }

    fn ack(&mut self, lease: LeaseId, first: u64, count: u32) -> Verdict {
        self.put(Record::Ack {
            queue: QueueId(0),
            subscription: SubscriptionId(0),
            entries: vec![SettleEntry {
                lease,
                range: range(first, count),
            }],
        })
    }

    fn nack(&mut self, lease: LeaseId, first: u64, delay_ms: u64) -> Verdict {
        self.put(Record::Nack {
            queue: QueueId(0),
            subscription: SubscriptionId(0),
            delay_ms,
            count_attempt: true,
            entries: vec![SettleEntry {
                lease,
                range: range(first, 1),
            }],
        })
    }

    fn judge(self, events: &[Event]) -> Option<&'static str> {
        let mut checker = Checker::new(vec![0], false);
        checker.observe(&started(1)).unwrap();
        for event in events {
            checker.observe(event).unwrap();
        }
        let names = Names {
            queues: vec!["q".into()],
            subscriptions: vec!["default".into()],
            partitions: vec![0],
        };
        let logs = BTreeMap::from([(0, self.evidence)]);
        judge(&checker, &logs, &names)
            .err()
            .map(|broken| broken.rule)
    }
}

fn range(first: u64, count: u32) -> OffsetRange {
    OffsetRange {
        first: Offset(first),
        count,
    }
}

fn rule(verdict: Verdict) -> Option<&'static str> {
    verdict.err().map(|broken| broken.rule)
}

#[test]
fn a_good_log_is_accepted() {
    let mut book = Book::new();
    let (first, verdict) = book.lease(0, 2);
    assert_eq!(verdict, Ok(()));
    assert_eq!(book.nack(first, 1, 0), Ok(()));
    let (second, verdict) = book.lease(1, 1);
    assert_eq!(verdict, Ok(()));
    assert_eq!(book.ack(first, 0, 1), Ok(()));
    assert_eq!(book.ack(second, 1, 1), Ok(()));
    let events = [
        invoked(0, &[10, 11]),
        confirmed(0, 0, 2),
        delivered(0, 10, first),
        delivered(1, 11, first),
        acked(0, first),
    ];
    assert_eq!(book.judge(&events), None);
}

#[test]
fn an_expired_lease_may_be_given_out_again() {
    let mut book = Book::new();
    assert_eq!(book.lease(0, 2).1, Ok(()));
    book.time += 2_000_000_000;
    assert_eq!(book.put(Record::Tick), Ok(()));
    assert_eq!(book.lease(0, 2).1, Ok(()));
}

#[test]
fn a_lease_that_overlaps_another_is_rejected() {
    let mut book = Book::new();
    assert_eq!(book.lease(0, 2).1, Ok(()));
    assert_eq!(rule(book.lease(1, 1).1), Some("C4"));
}

#[test]
fn a_jump_does_not_expire_a_lease() {
    let mut book = Book::new();
    assert_eq!(book.lease(0, 2).1, Ok(()));
    book.time += 5_000_000_000;
    let epoch = Record::Epoch {
        epoch: Epoch(2),
        jump_ns: 5_000_000_000,
    };
    assert_eq!(book.put(epoch), Ok(()));
    assert_eq!(book.put(Record::Tick), Ok(()));
    assert_eq!(rule(book.lease(0, 1).1), Some("C4"));
}

#[test]
fn a_lease_after_the_ack_is_rejected() {
    let mut book = Book::new();
    let (id, _) = book.lease(0, 2);
    assert_eq!(book.ack(id, 0, 2), Ok(()));
    assert_eq!(rule(book.lease(0, 1).1), Some("C3"));
}

#[test]
fn a_settle_under_a_lease_that_is_not_held_is_rejected() {
    let mut book = Book::new();
    let (id, _) = book.lease(0, 1);
    assert_eq!(book.nack(id, 0, 0), Ok(()));
    assert_eq!(rule(book.ack(id, 0, 1)), Some("C3"));
}

#[test]
fn a_delayed_message_given_out_early_is_rejected() {
    let mut book = Book::new();
    let (id, _) = book.lease(0, 1);
    assert_eq!(book.nack(id, 0, 5_000), Ok(()));
    assert_eq!(rule(book.lease(0, 1).1), Some("C8"));
}

#[test]
fn a_sequence_in_the_log_twice_is_rejected() {
    let mut book = Book::new();
    assert_eq!(rule(book.enqueue(0, 2, &[10, 11])), Some("C7"));
}

#[test]
fn first_deliveries_out_of_order_are_rejected() {
    let mut book = Book::new();
    assert_eq!(rule(book.lease(1, 1).1), Some("order"));
}

#[test]
fn an_epoch_used_twice_in_the_log_is_rejected() {
    let mut book = Book::new();
    let epoch = Record::Epoch {
        epoch: Epoch(1),
        jump_ns: 0,
    };
    assert_eq!(rule(book.put(epoch)), Some("C5"));
}

#[test]
fn a_confirmed_message_that_the_log_has_not_is_rejected() {
    let events = [invoked(1, &[12]), confirmed(1, 2, 1)];
    assert_eq!(Book::new().judge(&events), Some("C1"));
}

#[test]
fn a_delivered_message_that_the_log_has_not_is_rejected() {
    let events = [invoked(1, &[12]), delivered(2, 12, lease(1, 5))];
    assert_eq!(Book::new().judge(&events), Some("C2"));
}

#[test]
fn an_attempt_that_the_log_does_not_count_is_rejected() {
    let mut book = Book::new();
    let (first, _) = book.lease(0, 2);
    assert_eq!(book.nack(first, 0, 0), Ok(()));
    let (second, _) = book.lease(0, 1);
    // The log says 2, the delivery says 1.
    let events = [invoked(0, &[10, 11]), delivered(0, 10, second)];
    assert_eq!(book.judge(&events), Some("C5"));
}

#[test]
fn a_delivery_without_a_lease_in_the_log_is_rejected() {
    let events = [invoked(0, &[10, 11]), delivered(0, 10, lease(1, 77))];
    assert_eq!(Book::new().judge(&events), Some("C4"));
}

#[test]
fn a_confirmed_ack_that_the_log_has_not_is_rejected() {
    let mut book = Book::new();
    let (id, _) = book.lease(0, 2);
    let events = [invoked(0, &[10, 11]), delivered(0, 10, id), acked(0, id)];
    assert_eq!(book.judge(&events), Some("C3"));
}

#[test]
fn a_subscription_that_is_not_drained_is_rejected() {
    let mut book = Book::new();
    assert_eq!(book.lease(0, 2).1, Ok(()));
    assert_eq!(book.judge(&[]), Some("C1"));
}

#[test]
fn a_message_that_never_came_to_a_subscription_is_rejected() {
    let mut book = Book::new();
    let (id, _) = book.lease(0, 2);
    assert_eq!(book.ack(id, 0, 2), Ok(()));
    let events = [
        invoked(0, &[10, 11]),
        confirmed(0, 0, 2),
        delivered(0, 10, id),
        acked(0, id),
    ];
    assert_eq!(book.judge(&events), Some("C1"));
}

#[test]
fn a_lease_beyond_the_end_of_the_queue_is_rejected() {
    let mut book = Book::new();
    assert_eq!(rule(book.lease(0, 3).1), Some("C2"));
}

#[test]
fn a_spoiled_body_in_the_log_is_rejected() {
    let mut book = Book::new();
    let mut builder = BatchBuilder::new();
    let mut body = body::make(12, 20);
    body[15] ^= 1;
    let message = OutgoingMessage {
        key: None,
        headers: &[],
        due_ms: None,
        ttl_ms: None,
        body: &body,
    };
    builder.push(&message).unwrap();
    let batch = builder.finish(ProducerId(7), Sequence(1));
    let record = Record::Enqueue {
        queue: QueueId(0),
        first: Offset(2),
        count: 1,
        bytes: 0,
        largest: 0,
        producer: ProducerId(7),
        sequence: Sequence(1),
        schedule: None,
    };
    assert_eq!(rule(book.put_with(record, &batch)), Some("C2"));
}

#[test]
fn a_record_number_left_out_is_rejected() {
    let mut book = Book::new();
    book.lsn += 1;
    assert_eq!(rule(book.put(Record::Tick)), Some("log"));
}

#[test]
fn log_time_that_goes_back_is_rejected() {
    let mut book = Book::new();
    book.time -= 2_000;
    assert_eq!(rule(book.put(Record::Tick)), Some("log"));
}

#[test]
fn a_confirmed_deletion_that_the_log_has_not_is_rejected() {
    let events = [
        Event::DeleteInvoked { queue: 0 },
        Event::DeleteConfirmed { queue: 0 },
    ];
    assert_eq!(Book::new().judge(&events), Some("delete"));
    let mut book = Book::new();
    let queue = QueueId(0);
    book.put(Record::Delete { queue }).unwrap();
    assert_eq!(book.judge(&events), None);
}

fn change(change: Change) -> Record {
    Record::Change {
        queue: QueueId(0),
        subscription: SubscriptionId(0),
        change,
    }
}

#[test]
fn a_paused_subscription_gives_nothing_out() {
    let mut book = Book::new();
    let reason = Some("why".into());
    book.put(change(Change::Pause { reason })).unwrap();
    let (_, verdict) = book.lease(0, 1);
    assert_eq!(verdict.unwrap_err().rule, "pause");
    let mut book = Book::new();
    let reason = Some("why".into());
    book.put(change(Change::Pause { reason })).unwrap();
    book.put(change(Change::Pause { reason: None })).unwrap();
    book.lease(0, 1).1.unwrap();
}

#[test]
fn what_is_dead_is_given_out_only_when_it_was_brought_back() {
    for is_back in [false, true] {
        let mut book = Book::new();
        let (lease, verdict) = book.lease(0, 1);
        verdict.unwrap();
        let entry = SettleEntry {
            lease,
            range: range(0, 1),
        };
        let reject = Record::Reject {
            queue: QueueId(0),
            subscription: SubscriptionId(0),
            fate: Fate::Dead,
            text: "why".into(),
            entries: vec![entry],
        };
        book.put(reject).unwrap();
        let back = |aside| {
            let ranges = vec![range(0, 1)];
            change(Change::Return { aside, ranges })
        };
        if is_back {
            book.put(back(Aside::Dead)).unwrap();
            book.lease(0, 1).1.unwrap();
        } else {
            let (_, verdict) = book.lease(0, 1);
            assert_eq!(verdict.unwrap_err().rule, "C4");
            let other = book.put(back(Aside::Parked));
            assert_eq!(other.unwrap_err().rule, "C4");
        }
    }
}
