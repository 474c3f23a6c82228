//! Histories as clients see them.

use super::*;

fn good() -> Vec<Event> {
    vec![
        invoked(0, &[10, 11]),
        confirmed(0, 0, 2),
        invoked(1, &[12]),
        delivered(0, 10, lease(1, 5)),
        delivered(1, 11, lease(1, 5)),
        confirmed(1, 2, 1),
        acked(0, lease(1, 5)),
        acked(1, lease(1, 5)),
        delivered(2, 12, lease(1, 9)),
        acked(2, lease(1, 9)),
        Event::Drained,
    ]
}

#[test]
fn a_good_history_is_accepted() {
    assert_eq!(broken(true, &good()), None);
}

#[test]
fn a_retry_with_the_same_receipt_is_accepted() {
    let mut events = good();
    events.insert(2, invoked(0, &[10, 11]));
    events.insert(3, confirmed(0, 0, 2));
    assert_eq!(broken(true, &events), None);
}

#[test]
fn a_redelivery_after_a_crash_is_accepted() {
    let events = [
        invoked(0, &[10]),
        confirmed(0, 0, 1),
        delivered(0, 10, lease(1, 5)),
        Event::Crashed,
        started(2),
        delivered(0, 10, lease(2, 5)),
        acked(0, lease(2, 5)),
        Event::Drained,
    ];
    assert_eq!(broken(false, &events), None);
}

#[test]
fn an_unknown_outcome_may_or_may_not_take_effect() {
    assert_eq!(broken(false, &[invoked(0, &[10]), Event::Drained]), None);
    let events = [invoked(0, &[10]), delivered(0, 10, lease(1, 5))];
    assert_eq!(broken(false, &events), None);
}

#[test]
fn an_ack_of_a_lease_that_a_crash_has_restored_is_accepted() {
    let events = [
        invoked(0, &[10]),
        delivered(0, 10, lease(1, 5)),
        delivered(0, 10, lease(1, 8)),
        Event::Crashed,
        started(2),
        acked(0, lease(1, 5)),
    ];
    assert_eq!(broken(false, &events), None);
}

#[test]
fn a_lost_message_is_rejected() {
    let events = [invoked(0, &[10]), confirmed(0, 0, 1), Event::Drained];
    assert_eq!(broken(false, &events), Some("C1"));
}

#[test]
fn a_phantom_is_rejected() {
    let events = [delivered(0, 99, lease(1, 5))];
    assert_eq!(broken(false, &events), Some("C2"));
}

#[test]
fn a_spoiled_body_is_rejected() {
    let events = [
        invoked(0, &[10]),
        Event::Peeked {
            queue: 0,
            offset: 0,
            body: Body::Foreign,
        },
    ];
    assert_eq!(broken(false, &events), Some("C2"));
}

#[test]
fn a_message_in_a_foreign_queue_is_rejected() {
    let events = [
        invoked(0, &[10]),
        Event::Peeked {
            queue: 1,
            offset: 0,
            body: Body::Intact(10),
        },
    ];
    assert_eq!(broken(false, &events), Some("C2"));
}

#[test]
fn a_delivery_after_its_ack_is_rejected() {
    let mut events = good();
    events.insert(10, delivered(0, 10, lease(1, 60)));
    assert_eq!(broken(false, &events), Some("C3"));
}

#[test]
fn a_delivery_after_its_ack_and_a_restart_is_rejected() {
    let mut events = good();
    events.truncate(10);
    events.extend([Event::Crashed, started(2), delivered(0, 10, lease(2, 10))]);
    assert_eq!(broken(false, &events), Some("C3"));
}

#[test]
fn an_accepted_ack_of_a_stale_lease_is_rejected() {
    let events = [
        invoked(0, &[10]),
        delivered(0, 10, lease(1, 5)),
        delivered(0, 10, lease(1, 8)),
        acked(0, lease(1, 5)),
    ];
    assert_eq!(broken(false, &events), Some("C3"));
}

#[test]
fn an_accepted_ack_of_a_foreign_lease_is_rejected() {
    let events = [
        invoked(0, &[10]),
        delivered(0, 10, lease(1, 5)),
        acked(0, lease(1, 4_000)),
    ];
    assert_eq!(broken(false, &events), Some("C3"));
}

#[test]
fn an_accepted_ack_of_a_returned_lease_is_rejected() {
    let events = [
        invoked(0, &[10]),
        delivered(0, 10, lease(1, 5)),
        settled(Verb::Nack, 0, lease(1, 5), SettleOutcome::Done),
        acked(0, lease(1, 5)),
    ];
    assert_eq!(broken(false, &events), Some("C3"));
}

#[test]
fn a_nack_accepted_after_the_ack_is_rejected() {
    let events = [
        invoked(0, &[10]),
        delivered(0, 10, lease(1, 5)),
        acked(0, lease(1, 5)),
        settled(Verb::Nack, 0, lease(1, 5), SettleOutcome::Done),
    ];
    assert_eq!(broken(false, &events), Some("C3"));
}

#[test]
fn a_lease_of_two_receivers_is_rejected() {
    let events = [
        invoked(0, &[10, 11]),
        delivered_to(receiver(1), 0, 10, lease(1, 5)),
        delivered_to(receiver(2), 1, 11, lease(1, 5)),
    ];
    assert_eq!(broken(false, &events), Some("C4"));
}

#[test]
fn a_lease_that_names_an_offset_twice_is_rejected() {
    let events = [
        invoked(0, &[10]),
        delivered(0, 10, lease(1, 5)),
        delivered(0, 10, lease(1, 5)),
    ];
    assert_eq!(broken(false, &events), Some("C4"));
}

#[test]
fn an_attempt_of_zero_is_rejected() {
    let events = [
        invoked(0, &[10]),
        Event::Delivered(Delivered {
            of: OF,
            by: receiver(1),
            lease: lease(1, 5),
            attempt: 0,
            offset: 0,
            body: Body::Intact(10),
        }),
    ];
    assert_eq!(broken(false, &events), Some("C5"));
}

#[test]
fn an_epoch_that_does_not_grow_is_rejected() {
    assert_eq!(broken(false, &[Event::Crashed, started(1)]), Some("C5"));
}

#[test]
fn two_receipts_for_one_batch_are_rejected() {
    let events = [
        invoked(0, &[10]),
        confirmed(0, 0, 1),
        invoked(0, &[10]),
        confirmed(0, 1, 1),
    ];
    assert_eq!(broken(false, &events), Some("C7"));
}

#[test]
fn two_offsets_of_one_message_are_rejected() {
    let events = [
        invoked(0, &[10]),
        delivered(0, 10, lease(1, 5)),
        delivered(1, 10, lease(1, 6)),
    ];
    assert_eq!(broken(false, &events), Some("C7"));
}

#[test]
fn two_messages_at_one_offset_are_rejected() {
    let events = [
        invoked(0, &[10]),
        invoked(1, &[11]),
        confirmed(0, 0, 1),
        confirmed(1, 0, 1),
    ];
    assert_eq!(broken(false, &events), Some("C7"));
}

#[test]
fn a_refused_batch_that_takes_effect_is_rejected() {
    let events = [
        invoked(0, &[10]),
        Event::EnqueueRefused { key: KEY },
        delivered(0, 10, lease(1, 5)),
    ];
    assert_eq!(broken(false, &events), Some("C11"));
}

#[test]
fn a_duplicate_in_a_quiet_seed_is_rejected() {
    let events = [
        invoked(0, &[10]),
        delivered(0, 10, lease(1, 5)),
        delivered(0, 10, lease(1, 6)),
    ];
    assert_eq!(broken(true, &events), Some("C12"));
    assert_eq!(broken(false, &events), None);
}

#[test]
fn deliveries_out_of_order_in_a_quiet_seed_are_rejected() {
    let events = [
        invoked(0, &[10, 11]),
        delivered(1, 11, lease(1, 5)),
        delivered(0, 10, lease(1, 6)),
    ];
    assert_eq!(broken(true, &events), Some("order"));
}

#[test]
fn more_than_the_credit_is_rejected() {
    let by = receiver(1);
    let events = [
        Event::CreditInvoked { by, credit: 2 },
        Event::CreditConfirmed { by, credit: 2 },
        Event::Held { by, messages: 2 },
        Event::CreditInvoked { by, credit: 1 },
        Event::Held { by, messages: 2 },
        Event::CreditConfirmed { by, credit: 1 },
        Event::Held { by, messages: 2 },
    ];
    assert_eq!(broken(false, &events[..5]), None);
    assert_eq!(broken(false, &events), Some("credit"));
}

#[test]
fn a_receipt_for_what_was_never_sent_is_rejected() {
    assert_eq!(broken(false, &[confirmed(0, 0, 1)]), Some("C7"));
}

#[test]
fn a_receipt_of_another_count_is_rejected() {
    let events = [invoked(0, &[10, 11]), confirmed(0, 0, 1)];
    assert_eq!(broken(false, &events), Some("C7"));
}

#[test]
fn a_refusal_of_a_confirmed_batch_is_rejected() {
    let events = [
        invoked(0, &[10]),
        confirmed(0, 0, 1),
        Event::EnqueueRefused { key: KEY },
    ];
    assert_eq!(broken(false, &events), Some("C7"));
}

#[test]
fn an_answer_that_the_protocol_does_not_allow_is_rejected() {
    let text = "an answer to 7".to_owned();
    assert_eq!(
        broken(false, &[Event::ProtocolError { text }]),
        Some("protocol")
    );
}

#[test]
fn duplicates_are_counted_where_faults_allow_them() {
    let mut checker = Checker::new(vec![0], false);
    let events = [
        started(1),
        invoked(0, &[10]),
        delivered(0, 10, lease(1, 5)),
        delivered(0, 10, lease(1, 6)),
        delivered(0, 10, lease(1, 9)),
    ];
    for event in &events {
        assert_eq!(checker.observe(event), Ok(()));
    }
    assert_eq!((checker.deliveries, checker.duplicates), (3, 2));
}
