//! Scripted deliveries and answers against one consumer.

use corelane_wire::{ConsumerId, Correlation, DeliveryKind, LeaseId, Offset, SettleOutcome};

use super::super::scripted::{
    SECOND, START, Sent, answer, delivery, delivery_under, lease_id, open, refusal, sent,
};
use super::super::{Event, Protocol};
use super::*;

const CONSUMER: ConsumerId = ConsumerId(3);

struct Bench {
    now: Timestamp,
    protocol: Protocol,
    core: ConsumerCore,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ConsumerConfig)) -> Self {
        let mut config = ConsumerConfig::new("orders", CONSUMER);
        config.credit = 10;
        change(&mut config);
        let mut bench = Self {
            now: START,
            protocol: open(START),
            core: ConsumerCore::new(config, 1),
        };
        bench.core.on_connected();
        bench
    }

    /// Subscribes, and has it agreed.
    fn subscribe(&mut self) {
        let sent = self.drive();
        assert!(
            matches!(sent[0].request(), Request::Subscribe(_)),
            "{sent:?}"
        );
        self.answer(sent[0].call, &Response::Subscribed);
        assert!(self.core.is_subscribed());
    }

    fn drive(&mut self) -> Vec<Sent> {
        self.core.drive(self.now, &mut self.protocol);
        sent(&mut self.protocol)
    }

    fn answer(&mut self, call: Correlation, response: &Response<'_>) {
        self.feed(&answer(call, response)).unwrap();
    }

    fn deliver(&mut self, lease: u64, first: u64, bodies: &[&str]) {
        let kind = DeliveryKind::Pushed(CONSUMER);
        let bytes = delivery(kind, Correlation(0), lease, first, bodies);
        self.feed(&bytes).unwrap();
    }

    fn deliver_unleased(&mut self, first: u64, bodies: &[&str]) {
        let kind = DeliveryKind::Pushed(CONSUMER);
        let bytes = delivery_under(LeaseId::default(), (kind, Correlation(0)), first, bodies);
        self.feed(&bytes).unwrap();
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        let mut chunk = bytes;
        while let Some(event) = self.protocol.next_event(self.now, &mut chunk)? {
            match event {
                Event::Answer {
                    correlation,
                    response,
                    ..
                } => assert!(self.core.on_answer(self.now, correlation, &response)?),
                Event::Delivery { deliveries, .. } => {
                    self.core.on_delivery(self.now, &deliveries)?;
                }
                Event::Open(_) | Event::Settled => {}
            }
        }
        Ok(())
    }

    fn reconnect(&mut self) {
        self.core.on_disconnected();
        self.protocol = open(self.now);
        self.core.on_connected();
    }

    fn next(&mut self) -> Option<Received> {
        self.core.next_message(self.now)
    }

    fn ack(&mut self, message: &Received) {
        let deadline = self.now.add(SECOND);
        self.core.settle(SettleAction::Ack, message, deadline);
    }
}

fn subscribed_credit(sent: &Sent) -> u32 {
    let request = sent.request();
    if let Request::Subscribe(Subscribe { credit, .. }) | Request::Credit { credit, .. } = request {
        return credit;
    }
    panic!("neither subscribe nor credit: {sent:?}");
}

#[test]
fn deliveries_come_out_in_order_with_their_lease() {
    let mut bench = Bench::new();
    bench.subscribe();
    bench.deliver(5, 10, &["a", "b"]);
    let first = bench.next().unwrap();
    assert_eq!(first.body(), b"a");
    assert_eq!((first.offset.0, first.attempt), (10, 1));
    assert_eq!(first.lease, lease_id(5));
    assert_eq!(first.lease_until, START.add(30 * SECOND));
    assert_eq!(bench.next().unwrap().body(), b"b");
    assert_eq!(bench.next(), None);
    assert_eq!(bench.core.held(), 2);
}

#[test]
fn delivery_may_come_before_the_answer_to_the_subscribe() {
    let mut bench = Bench::new();
    let sent = bench.drive();
    bench.deliver(5, 10, &["a"]);
    bench.answer(sent[0].call, &Response::Subscribed);
    assert_eq!(bench.next().unwrap().body(), b"a");
}

#[test]
fn messages_held_over_a_reconnect_lower_the_new_credit_until_they_are_settled() {
    let mut bench = Bench::new();
    bench.subscribe();
    bench.deliver(5, 10, &["a", "b", "c"]);
    let held = bench.next().unwrap();
    bench.reconnect();
    let sent = bench.drive();
    assert_eq!(subscribed_credit(&sent[0]), 7);
    bench.answer(sent[0].call, &Response::Subscribed);
    assert!(bench.drive().is_empty());

    bench.ack(&held);
    let sent = bench.drive();
    assert!(matches!(sent[0].request(), Request::Ack(_)));
    assert_eq!(subscribed_credit(&sent[1]), 8);
    bench.answer(sent[1].call, &Response::CreditSet);
    assert!(bench.drive().is_empty());
    assert_eq!(bench.core.held(), 2);
}

#[test]
fn full_buffer_withdraws_the_credit_until_half_is_taken() {
    let mut bench = Bench::with(|config| config.buffer_bytes_max = 60);
    bench.subscribe();
    bench.deliver(5, 10, &["0123456789", "0123456789", "0123456789"]);
    let sent = bench.drive();
    assert_eq!(subscribed_credit(&sent[0]), 0);
    bench.answer(sent[0].call, &Response::CreditSet);
    bench.next().unwrap();
    assert!(!bench.core.wants_drive());
    bench.next().unwrap();
    assert!(bench.core.wants_drive());
    assert_eq!(subscribed_credit(&bench.drive()[0]), 10);
}

#[test]
fn message_whose_lease_ran_out_in_the_buffer_is_given_back() {
    let mut bench = Bench::new();
    bench.subscribe();
    bench.deliver(5, 10, &["late"]);
    bench.now = START.add(30 * SECOND);
    assert_eq!(bench.next(), None);
    let sent = bench.drive();
    let Request::Nack(nack) = sent[0].request() else {
        panic!("not given back: {sent:?}");
    };
    assert!(!nack.count_attempt);
    assert_eq!(bench.core.held(), 0);
}

#[test]
fn busy_subscribe_is_tried_again_and_a_refusal_ends_it() {
    let mut bench = Bench::new();
    let sent = bench.drive();
    bench.answer(sent[0].call, &refusal(ErrorCode::Starting));
    assert!(bench.drive().is_empty());
    bench.now = bench.core.next_deadline().unwrap();
    let sent = bench.drive();
    bench.answer(sent[0].call, &refusal(ErrorCode::LimitExceeded));
    assert!(matches!(
        bench.core.end(),
        Some(ConsumerEnd::Refused {
            code: ErrorCode::LimitExceeded,
            ..
        })
    ));
    assert!(bench.core.is_finished());
}

fn is_deleted(core: &ConsumerCore) -> bool {
    matches!(
        core.end(),
        Some(ConsumerEnd::Refused { code: ErrorCode::SubscriptionNotFound, text }) if text.contains("orders was deleted")
    )
}

#[test]
fn unknown_consumer_ends_because_its_queue_was_deleted() {
    let mut bench = Bench::new();
    bench.subscribe();
    bench.deliver(7, 0, &["a"]);
    bench.core.set_credit(4);
    let sent = bench.drive();
    assert_eq!(subscribed_credit(&sent[0]), 4);
    bench.answer(sent[0].call, &refusal(ErrorCode::UnknownConsumer));
    assert!(is_deleted(&bench.core));
    assert!(bench.next().is_none(), "nobody has a lease on it any more");
}

#[test]
fn silent_consumer_is_asked_about_until_its_queue_is_deleted() {
    let mut bench = Bench::new();
    bench.subscribe();
    for _ in 0..3 {
        assert!(bench.drive().is_empty());
        bench.now = bench.core.next_deadline().unwrap();
        let sent = bench.drive();
        assert_eq!(subscribed_credit(&sent[0]), 10);
        assert_eq!(bench.core.next_deadline(), None, "one question at a time");
        bench.answer(sent[0].call, &Response::CreditSet);
    }
    let asked_at = bench.core.next_deadline().unwrap();
    bench.now = bench.now.add(SECOND);
    bench.deliver(7, 0, &["a"]);
    assert_eq!(bench.core.next_deadline(), Some(asked_at.add(SECOND)));
    bench.now = bench.core.next_deadline().unwrap();
    let sent = bench.drive();
    bench.answer(sent[0].call, &refusal(ErrorCode::Busy));
    bench.now = bench.core.next_deadline().unwrap();
    let sent = bench.drive();
    bench.answer(sent[0].call, &refusal(ErrorCode::UnknownConsumer));
    assert!(is_deleted(&bench.core));
}

#[test]
fn closing_unsubscribes_gives_back_the_buffer_and_what_still_comes() {
    let mut bench = Bench::new();
    bench.subscribe();
    bench.deliver(5, 10, &["a", "b"]);
    bench.core.close(bench.now);
    let sent = bench.drive();
    let kinds: Vec<_> = sent.iter().map(|sent| sent.request().kind()).collect();
    assert_eq!(kinds, [0x21, 0x14]);
    bench.deliver(6, 12, &["too late"]);
    assert_eq!(bench.drive()[0].request().kind(), 0x21);
    bench.answer(sent[1].call, &Response::Unsubscribed);
    assert_eq!(bench.core.end(), Some(&ConsumerEnd::Closed));
    assert!(!bench.core.is_finished(), "the nacks are not answered yet");
    assert_eq!(bench.next(), None);
}

#[test]
fn closing_without_a_connection_ends_at_once() {
    let mut bench = Bench::new();
    bench.subscribe();
    bench.core.on_disconnected();
    bench.core.close(bench.now);
    bench.core.on_deadline(bench.now);
    assert!(bench.core.is_finished());
}

#[test]
fn damaged_message_is_told_and_set_aside_and_those_behind_it_live() {
    let mut bench = Bench::new();
    bench.subscribe();
    let kind = DeliveryKind::Pushed(CONSUMER);
    let mut bytes = delivery(kind, Correlation(0), 5, 10, &["aaaa", "bbbb"]);
    // The last byte of the first body: only the message's own checksum covers it.
    let at = bytes.len() - (12 + 4) - 1;
    bytes[at] ^= 1;
    bench.feed(&bytes).unwrap();
    assert_eq!(bench.next().unwrap().body(), b"bbbb");
    let unreadable = bench.core.next_unreadable().unwrap();
    assert_eq!(unreadable.offset.0, 10);
    assert!(unreadable.error.is_some());
    let sent = bench.drive();
    let Request::Nack(nack) = sent[0].request() else {
        panic!("not set aside: {sent:?}");
    };
    assert!(nack.count_attempt);
}

#[test]
fn messages_behind_a_wrong_length_are_unreadable_too() {
    let mut bench = Bench::new();
    bench.subscribe();
    let kind = DeliveryKind::Pushed(CONSUMER);
    let mut bytes = delivery(kind, Correlation(0), 5, 10, &["aaaa", "bbbb"]);
    let at = bytes.len() - 2 * (12 + 4);
    bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    bench.feed(&bytes).unwrap();
    assert_eq!(bench.next(), None);
    let offsets = std::iter::from_fn(|| bench.core.next_unreadable());
    assert_eq!(
        offsets.map(|bad| bad.offset.0).collect::<Vec<_>>(),
        [10, 11]
    );
}

#[test]
fn a_reader_drops_what_comes_again_with_the_connection() {
    let mut bench = Bench::with(|config| config.rereads = true);
    bench.subscribe();
    bench.deliver_unleased(0, &["a", "b", "c"]);
    let in_hand = bench.next().unwrap();
    bench.reconnect();
    // One message is in somebody's hands; the buffer was emptied.
    assert_eq!(bench.core.held(), 1);
    let sent = bench.drive();
    assert_eq!(subscribed_credit(&sent[0]), 9);
    bench.answer(sent[0].call, &Response::Subscribed);
    bench.deliver_unleased(0, &["a"]);
    assert_eq!(bench.next().unwrap().offset, Offset(0));
    assert_eq!(bench.next(), None);
    bench.ack(&in_hand);
    assert_eq!(bench.core.held(), 1);
}

#[test]
fn what_has_no_lease_is_settled_without_a_word() {
    let mut bench = Bench::new();
    bench.subscribe();
    bench.deliver_unleased(0, &["a", "b"]);
    let message = bench.next().unwrap();
    let deadline = bench.now.add(SECOND);
    let ticket = bench.core.settle(SettleAction::Ack, &message, deadline);
    let resolved = bench.core.settles().poll_resolved().unwrap();
    assert_eq!(
        (resolved.ticket, resolved.result),
        (ticket, Ok(SettleOutcome::AlreadyDone))
    );
    bench.core.close(bench.now);
    let sent = bench.drive();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(matches!(sent[0].request(), Request::Unsubscribe { .. }));
    bench.answer(sent[0].call, &Response::Unsubscribed);
    assert!(bench.core.is_finished());
}
