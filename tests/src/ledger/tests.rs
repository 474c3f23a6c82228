use super::{Ledger, MessageId, Verdict};

fn id(number: u32) -> MessageId {
    MessageId {
        producer: 3,
        number,
    }
}

#[test]
fn a_good_run_has_nothing_lost() {
    let ledger = Ledger::default();
    for number in 0..3 {
        ledger.enqueued(id(number));
        ledger.confirmed(id(number));
        assert_eq!(ledger.delivered(&ledger.body(id(number))), Some(id(number)));
        ledger.acked(id(number));
    }
    let verdict = ledger.verdict();
    assert_eq!((verdict.confirmed, verdict.delivered), (3, 3));
    assert!(verdict.is_good() && ledger.is_settled());
}

#[test]
fn a_confirmed_message_that_never_comes_is_lost() {
    let ledger = Ledger::default();
    ledger.enqueued(id(0));
    ledger.confirmed(id(0));
    assert_eq!(ledger.verdict().lost, 1);
    assert!(!ledger.verdict().is_good() && !ledger.is_settled());
}

#[test]
fn an_unconfirmed_message_may_come_or_not() {
    let ledger = Ledger::default();
    ledger.enqueued(id(0));
    ledger.enqueued(id(1));
    ledger.delivered(&ledger.body(id(1)));
    assert!(ledger.verdict().is_good());
}

#[test]
fn foreign_and_changed_bodies_are_phantoms() {
    let ledger = Ledger::default();
    ledger.enqueued(id(0));
    let mut changed = ledger.body(id(0));
    changed[200] ^= 1;
    for body in [changed.as_slice(), b"short", &ledger.body(id(9))] {
        assert_eq!(ledger.delivered(body), None);
    }
    assert_eq!(ledger.verdict().phantom, 3);
    assert!(!ledger.verdict().is_good());
}

#[test]
fn a_second_delivery_is_a_duplicate_and_after_the_ack_a_resurrection() {
    let ledger = Ledger::default();
    ledger.enqueued(id(0));
    ledger.confirmed(id(0));
    ledger.delivered(&ledger.body(id(0)));
    ledger.delivered(&ledger.body(id(0)));
    let once = Verdict {
        confirmed: 1,
        delivered: 1,
        duplicates: 1,
        ..Verdict::default()
    };
    assert_eq!(ledger.verdict(), once);
    ledger.acked(id(0));
    ledger.delivered(&ledger.body(id(0)));
    assert_eq!(ledger.verdict().resurrected, 1);
    assert!(!ledger.verdict().is_good());
}

#[test]
fn a_message_whose_ack_was_refused_must_come_again() {
    let ledger = Ledger::default();
    ledger.enqueued(id(0));
    ledger.confirmed(id(0));
    ledger.delivered(&ledger.body(id(0)));
    assert!(!ledger.is_settled(), "delivered, and no ack was sent");
    ledger.ack_sent(id(0));
    assert!(ledger.is_settled(), "the broker may have taken the ack");
    ledger.ack_refused(id(0));
    assert!(!ledger.is_settled());
    ledger.delivered(&ledger.body(id(0)));
    assert_eq!(ledger.verdict().resurrected, 0);
}
