//! Producers: outcomes, bounds, reconnects, ends.

use std::time::Duration;

use corelane_wire::{ErrorCode, SessionId};

use super::broker::Broker;
use super::{connect, message, soon};
use crate::protocol::scripted::{EPOCH, receipt};
use crate::{Class, EnqueueError, Error, Outcome, Tally, UnknownReason};

#[tokio::test]
async fn receipt_confirms_with_offset_epoch_class_and_copies() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let producer = client.producer("orders").build().unwrap();
    let pending = soon(producer.send(&message("a"))).await.unwrap();
    let asked = broker.next().await;
    assert_eq!(asked.sent().bodies, ["a"]);
    asked.answer(&receipt(17, 1)).await;
    let receipt = soon(pending).await.into_result().unwrap();
    assert_eq!(receipt.offset.0, 17);
    assert_eq!(receipt.epoch, EPOCH);
    assert_eq!(receipt.class, Class::Durable);
    assert_eq!(receipt.copies, 1);
}

#[tokio::test]
async fn messages_of_a_batch_get_offsets_one_after_the_other() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let producer = client
        .producer("orders")
        .in_flight_batches_max(1)
        .build()
        .unwrap();
    let first = producer.send(&message("a")).await.unwrap();
    let asked = broker.next().await;
    let later = [
        producer.send(&message("b")).await.unwrap(),
        producer.send(&message("c")).await.unwrap(),
    ];
    asked.answer(&receipt(0, 1)).await;
    let asked = broker.next().await;
    assert_eq!(asked.sent().bodies, ["b", "c"]);
    asked.answer(&receipt(1, 2)).await;
    assert!(soon(first).await.is_confirmed());
    for (pending, offset) in later.into_iter().zip(1..) {
        assert_eq!(soon(pending).await.receipt().unwrap().offset.0, offset);
    }
}

#[tokio::test]
async fn refusal_rejects_and_says_what_to_do() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let producer = client.producer("orders").build().unwrap();
    let pending = producer.send(&message("a")).await.unwrap();
    broker
        .next()
        .await
        .refuse(ErrorCode::ClassNotAvailable)
        .await;
    let Err(EnqueueError::Rejected(error)) = soon(pending).await.into_result() else {
        panic!("not rejected");
    };
    assert_eq!(error.code(), Some(ErrorCode::ClassNotAvailable));
    assert_eq!(error.hint(), ErrorCode::ClassNotAvailable.hint());
}

#[tokio::test]
async fn broken_connection_is_mended_and_the_same_batch_sent_again_in_the_same_session() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let producer = client.producer("orders").build().unwrap();
    let pending = producer.send(&message("a")).await.unwrap();
    let before = broker.next().await.sent();
    broker.break_connections();
    let asked = broker.next().await;
    let after = asked.sent();
    assert_eq!(
        (after.producer, after.sequence),
        (before.producer, before.sequence)
    );
    asked.answer(&receipt(3, 1)).await;
    assert!(soon(pending).await.is_confirmed());

    let greetings = broker.settings().greetings.lock().unwrap().clone();
    assert_eq!(greetings[0], (SessionId::NONE, false));
    assert!(
        greetings[1..]
            .iter()
            .all(|greeting| *greeting == (SessionId(99), true))
    );
}

#[tokio::test]
async fn outcome_is_unknown_when_no_answer_comes_in_time() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let producer = client
        .producer("orders")
        .give_up_after(Duration::from_millis(50))
        .build()
        .unwrap();
    let outcome = soon(producer.enqueue(&message("a"))).await;
    assert!(
        matches!(outcome, Outcome::Unknown(UnknownReason::GaveUp { .. })),
        "{outcome:?}"
    );
    assert_eq!(broker.next().await.sent().bodies, ["a"]);
}

#[tokio::test]
async fn message_that_never_left_is_rejected() {
    let broker = Broker::start().await;
    let client = connect(&broker).await;
    let producer = client
        .producer("orders")
        .give_up_after(Duration::from_millis(50))
        .build()
        .unwrap();
    drop(broker);
    // The link notices the end of the connection in its own time, so that the first may have left.
    let outcomes = [
        soon(producer.enqueue(&message("a"))).await,
        soon(producer.enqueue(&message("b"))).await,
    ];
    assert_eq!(outcomes[1], Outcome::Rejected(Error::NotSent));
}

#[tokio::test]
async fn full_producer_says_so_and_send_waits_for_room() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let producer = client
        .producer("orders")
        .in_flight_messages_max(1)
        .build()
        .unwrap();
    let first = producer.try_send(&message("a")).unwrap();
    assert_eq!(producer.try_send(&message("b")).unwrap_err(), Error::Full);
    assert_eq!(producer.in_flight(), 1);
    let waiting = message("b");
    let (second, ()) = tokio::join!(producer.send(&waiting), async {
        broker.next().await.answer(&receipt(0, 1)).await;
    });
    let second = second.unwrap();
    assert!(soon(first).await.is_confirmed());
    broker.next().await.answer(&receipt(1, 1)).await;
    assert!(soon(second).await.is_confirmed());
}

#[tokio::test]
async fn close_drains_and_tallies() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let producer = client
        .producer("orders")
        .batch_messages_max(1)
        .build()
        .unwrap();
    for body in ["a", "b", "bad"] {
        drop(producer.send(&message(body)).await.unwrap());
    }
    let answering = async {
        for offset in 0..2 {
            broker.next().await.answer(&receipt(offset, 1)).await;
        }
        broker.next().await.refuse(ErrorCode::LimitExceeded).await;
    };
    let (tally, ()) = soon(async { tokio::join!(producer.close(), answering) }).await;
    let expected = Tally {
        confirmed: 2,
        rejected: 1,
        unknown: 0,
    };
    assert_eq!(tally, expected);
}

#[tokio::test]
async fn dropped_producer_still_sends_what_it_took() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let producer = client.producer("orders").build().unwrap();
    let pending = producer.send(&message("a")).await.unwrap();
    drop(producer);
    broker.next().await.answer(&receipt(0, 1)).await;
    assert!(soon(pending).await.is_confirmed());
}

#[tokio::test]
async fn closed_client_leaves_no_outcome_untold() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let producer = client.producer("orders").build().unwrap();
    let pending = producer.send(&message("a")).await.unwrap();
    broker.next().await;
    soon(client.close()).await;
    assert_eq!(soon(pending).await, Outcome::Unknown(UnknownReason::Closed));
    assert_eq!(
        producer.send(&message("b")).await.unwrap_err(),
        Error::Closed
    );
    assert_eq!(soon(producer.close()).await.unknown, 1);
}

#[tokio::test]
async fn bad_queue_name_is_refused_before_anything_is_sent() {
    let broker = Broker::start().await;
    let client = connect(&broker).await;
    let error = client.producer("no spaces").build().unwrap_err();
    assert!(matches!(error, Error::Name { .. }), "{error}");
}
