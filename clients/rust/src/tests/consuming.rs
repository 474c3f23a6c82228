//! Consumers and dequeues: streams, acks, drops, reconnects.

use std::time::Duration;

use corelane_wire::{
    ConsumerId, Correlation, DeliveryKind, ErrorCode, Extend, Nack, Offset, OffsetRange, Request,
    Response, SettleOutcome, Settled, kind,
};

use super::broker::{Asked, Broker};
use super::{connect, soon};
use crate::protocol::scripted::delivery;
use crate::{Acked, Client, Consumer, Error};

/// Subscribes with the broker's consent; the second is to push deliveries with.
async fn subscribe(broker: &mut Broker, client: &Client) -> (Consumer, Asked) {
    let subscribing = client.consumer("orders").credit(10).subscribe();
    let agreeing = async {
        let asked = broker.next().await;
        asked.answer(&Response::Subscribed).await;
        asked
    };
    let (consumer, asked) = soon(async { tokio::join!(subscribing, agreeing) }).await;
    (consumer.unwrap(), asked)
}

fn consumer_of(asked: &Asked) -> ConsumerId {
    let Request::Subscribe(subscribe) = asked.request() else {
        panic!("not a subscribe");
    };
    subscribe.consumer
}

fn push(asked: &Asked, lease: u64, first: u64, bodies: &[&str]) -> Vec<u8> {
    let kind = DeliveryKind::Pushed(consumer_of(asked));
    delivery(kind, Correlation(0), lease, first, bodies)
}

fn settled(first: u64, outcome: SettleOutcome) -> Response<'static> {
    let first = Offset(first);
    let range = OffsetRange { first, count: 1 };
    Response::Settled(vec![Settled { range, outcome }])
}

fn settled_offset(asked: &Asked) -> u64 {
    let (Request::Ack(settle)
    | Request::Nack(Nack { settle, .. })
    | Request::Extend(Extend { settle, .. })) = asked.request()
    else {
        panic!("not a settle");
    };
    settle.entries.iter().next().unwrap().range.first.0
}

#[tokio::test]
async fn stream_delivers_and_acks_are_answered() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let (mut consumer, asked) = subscribe(&mut broker, &client).await;
    asked.send(push(&asked, 5, 10, &["a", "b"])).await;

    let first = soon(consumer.next()).await.unwrap().unwrap();
    let second = soon(consumer.next()).await.unwrap().unwrap();
    assert_eq!((first.body(), first.offset().0), (b"a".as_slice(), 10));
    assert_eq!(first.queue(), "orders");
    assert_eq!(first.attempt(), 1);
    // Both are asked for before either is awaited, so that they travel together.
    let (one, other) = (first.ack(), second.ack());
    let ack = broker.next().await;
    assert_eq!(ack.kind(), kind::ACK);
    let range = OffsetRange {
        first: Offset(10),
        count: 2,
    };
    let outcome = SettleOutcome::Done;
    ack.answer(&Response::Settled(vec![Settled { range, outcome }]))
        .await;
    assert_eq!(soon(one).await, Ok(Acked::Done));
    assert_eq!(soon(other).await, Ok(Acked::Done));
    assert_eq!(consumer.held(), 0);
}

#[tokio::test]
async fn dropped_delivery_is_given_back_without_counting_the_attempt() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let (mut consumer, asked) = subscribe(&mut broker, &client).await;
    asked.send(push(&asked, 5, 10, &["a"])).await;
    drop(soon(consumer.next()).await.unwrap().unwrap());
    let nack = broker.next().await;
    let Request::Nack(request) = nack.request() else {
        panic!("not a nack");
    };
    assert!(!request.count_attempt);
    assert_eq!(request.delay_ms, 0);
    assert_eq!(settled_offset(&nack), 10);
}

#[tokio::test]
async fn nack_counts_the_attempt_and_extend_lengthens_the_lease() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let (mut consumer, asked) = subscribe(&mut broker, &client).await;
    asked.send(push(&asked, 5, 10, &["a"])).await;
    let mut delivery = soon(consumer.next()).await.unwrap().unwrap();

    let answering = async {
        let extend = broker.next().await;
        assert_eq!(extend.kind(), kind::EXTEND);
        extend.answer(&settled(10, SettleOutcome::Done)).await;
    };
    let (extended, ()) = tokio::join!(delivery.extend(Duration::from_mins(5)), answering);
    extended.unwrap();
    assert!(delivery.lease_left() > Duration::from_mins(4));

    let nacked = delivery.nack(Duration::from_secs(3));
    let nack = broker.next().await;
    let Request::Nack(request) = nack.request() else {
        panic!("not a nack");
    };
    assert!(request.count_attempt);
    assert_eq!(request.delay_ms, 3_000);
    nack.answer(&settled(10, SettleOutcome::Stale)).await;
    let offset = Offset(10);
    assert_eq!(soon(nacked).await, Err(Error::StaleLease { offset }));
}

#[tokio::test]
async fn consumer_subscribes_again_after_a_reconnect_and_held_messages_can_be_acked() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let (mut consumer, asked) = subscribe(&mut broker, &client).await;
    asked.send(push(&asked, 5, 10, &["a"])).await;
    let held = soon(consumer.next()).await.unwrap().unwrap();
    broker.break_connections();

    let again = broker.next().await;
    let Request::Subscribe(request) = again.request() else {
        panic!("not a subscribe");
    };
    assert_eq!(request.credit, 9, "one message is held already");
    again.answer(&Response::Subscribed).await;
    again.send(push(&again, 6, 11, &["b"])).await;
    let next = soon(consumer.next()).await.unwrap().unwrap();
    assert_eq!(next.body(), b"b");

    let acking = held.ack();
    let mut asked = broker.next().await;
    while asked.kind() != kind::ACK {
        asked = broker.next().await;
    }
    asked.answer(&settled(10, SettleOutcome::AlreadyDone)).await;
    assert_eq!(soon(acking).await, Ok(Acked::AlreadyDone));
}

#[tokio::test]
async fn refused_subscribe_is_an_error() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let subscribing = client.consumer("orders").subscribe();
    let refusing = async { broker.next().await.refuse(ErrorCode::LimitExceeded).await };
    let (consumer, ()) = soon(async { tokio::join!(subscribing, refusing) }).await;
    assert_eq!(consumer.unwrap_err().code(), Some(ErrorCode::LimitExceeded));
}

#[tokio::test]
async fn closing_a_consumer_gives_back_what_was_not_taken() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let (mut consumer, asked) = subscribe(&mut broker, &client).await;
    asked.send(push(&asked, 5, 10, &["a", "b"])).await;
    let taken = soon(consumer.next()).await.unwrap().unwrap();
    let answering = async {
        let nack = broker.next().await;
        assert_eq!((nack.kind(), settled_offset(&nack)), (kind::NACK, 11));
        nack.answer(&settled(11, SettleOutcome::Done)).await;
        let unsubscribe = broker.next().await;
        assert_eq!(unsubscribe.kind(), kind::UNSUBSCRIBE);
        unsubscribe.answer(&Response::Unsubscribed).await;
    };
    let (closed, ()) = soon(async { tokio::join!(consumer.close(), answering) }).await;
    closed.unwrap();

    // A message in the user's hands outlives the consumer.
    let acking = taken.ack();
    broker
        .next()
        .await
        .answer(&settled(10, SettleOutcome::Done))
        .await;
    assert_eq!(soon(acking).await, Ok(Acked::Done));
}

#[tokio::test]
async fn dequeue_takes_and_its_deliveries_are_settled() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let lease = Duration::from_secs(30);
    let dequeuing = client.dequeue("orders", 5, lease, Duration::from_secs(2));
    let answering = async {
        let asked = broker.next().await;
        let Request::Dequeue(request) = asked.request() else {
            panic!("not a dequeue");
        };
        assert_eq!((request.count, request.lease_ms), (5, 30_000));
        assert!(
            (1_900..=2_000).contains(&request.wait_ms),
            "{}",
            request.wait_ms
        );
        let bytes = delivery(DeliveryKind::Dequeued, asked.call(), 5, 10, &["a", "b"]);
        asked.send(bytes).await;
    };
    let (taken, ()) = soon(async { tokio::join!(dequeuing, answering) }).await;
    let mut taken = taken.unwrap().into_iter();
    let acking = taken.next().unwrap().ack();
    let ack = broker.next().await;
    assert_eq!(ack.kind(), kind::ACK);
    ack.answer(&settled(10, SettleOutcome::Done)).await;
    assert_eq!(soon(acking).await, Ok(Acked::Done));
    drop(taken);
    assert_eq!(broker.next().await.kind(), kind::NACK);
}

#[tokio::test]
async fn messages_for_a_dequeue_that_nobody_awaits_are_given_back() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let lease = Duration::from_secs(30);
    let asked = {
        let dequeuing = client.dequeue("orders", 1, lease, Duration::from_secs(2));
        tokio::select! {
            _ = dequeuing => panic!("nothing was answered"),
            asked = broker.next() => asked,
        }
    };
    let bytes = delivery(DeliveryKind::Dequeued, asked.call(), 5, 10, &["a"]);
    asked.send(bytes).await;
    let nack = broker.next().await;
    assert_eq!((nack.kind(), settled_offset(&nack)), (kind::NACK, 10));
}

#[tokio::test]
async fn ack_ends_with_an_error_when_the_client_is_closed() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let (mut consumer, asked) = subscribe(&mut broker, &client).await;
    asked.send(push(&asked, 5, 10, &["a", "b"])).await;
    let first = soon(consumer.next()).await.unwrap().unwrap();
    let second = soon(consumer.next()).await.unwrap().unwrap();
    let acking = first.ack();
    soon(client.close()).await;
    assert_eq!(soon(acking).await, Err(Error::Closed));
    assert_eq!(soon(second.ack()).await, Err(Error::Closed));
    assert!(soon(consumer.next()).await.is_none());
}

#[tokio::test]
async fn farewells_are_sent_when_all_handles_are_dropped() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let (mut consumer, asked) = subscribe(&mut broker, &client).await;
    asked.send(push(&asked, 5, 10, &["a", "b"])).await;
    let taken = soon(consumer.next()).await.unwrap().unwrap();
    drop(client);
    drop(consumer);
    drop(taken);
    let nack = broker.next().await;
    let Request::Nack(request) = nack.request() else {
        panic!("not a nack");
    };
    assert_eq!(request.settle.entries.messages_count(), 2);
    assert_eq!(broker.next().await.kind(), kind::UNSUBSCRIBE);
}

#[tokio::test]
async fn messages_for_a_dequeue_past_its_deadline_are_given_back() {
    let mut broker = Broker::start().await;
    let client = Client::builder()
        .call_timeout(Duration::from_millis(50))
        .connect(&broker.address)
        .await
        .unwrap();
    let lease = Duration::from_secs(30);
    let error = client.dequeue("orders", 1, lease, Duration::ZERO).await;
    assert!(matches!(error, Err(Error::Deadline { .. })), "{error:?}");
    let asked = broker.next().await;
    let bytes = delivery(DeliveryKind::Dequeued, asked.call(), 5, 10, &["a"]);
    asked.send(bytes).await;
    let nack = broker.next().await;
    assert_eq!((nack.kind(), settled_offset(&nack)), (kind::NACK, 10));
}

#[tokio::test]
async fn dequeue_that_is_sent_again_waits_for_the_rest_only() {
    let mut broker = Broker::start().await;
    let pause = Duration::from_millis(50);
    let builder = Client::builder().pauses(pause, pause);
    let client = builder.connect(&broker.address).await.unwrap();
    let (lease, wait) = (Duration::from_secs(30), Duration::from_secs(20));
    let answering = async {
        let first = wait_ms(&broker.next().await);
        broker.break_connections();
        let asked = broker.next().await;
        let again = wait_ms(&asked);
        // A pause lasts at least half of its step.
        assert!(again + 25 <= first, "{first} ms and then {again} ms");
        let bytes = delivery(DeliveryKind::Dequeued, asked.call(), 5, 10, &["a"]);
        asked.send(bytes).await;
    };
    let dequeuing = client.dequeue("orders", 1, lease, wait);
    let (taken, ()) = soon(async { tokio::join!(dequeuing, answering) }).await;
    assert_eq!(taken.unwrap().len(), 1);
}

fn wait_ms(asked: &Asked) -> u32 {
    let Request::Dequeue(request) = asked.request() else {
        panic!("not a dequeue");
    };
    request.wait_ms
}

#[tokio::test]
async fn what_is_refused_until_the_deadline_says_with_what() {
    let mut broker = Broker::start().await;
    let client = Client::builder()
        .call_timeout(Duration::from_millis(200))
        .connect(&broker.address)
        .await
        .unwrap();
    let (mut consumer, asked) = subscribe(&mut broker, &client).await;
    asked.send(push(&asked, 5, 10, &["a"])).await;
    let delivery = soon(consumer.next()).await.unwrap().unwrap();
    let refusing = async {
        loop {
            broker.next().await.refuse(ErrorCode::DiskFull).await;
        }
    };
    let asking = async {
        let refused = client.consumer("payments").subscribe().await;
        (refused.unwrap_err(), delivery.ack().await.unwrap_err())
    };
    let errors = tokio::select! {
        errors = soon(asking) => errors,
        () = refusing => panic!("it is refused for ever"),
    };
    for error in [errors.0, errors.1] {
        assert!(matches!(error, Error::Deadline { .. }), "{error}");
        assert!(error.to_string().contains("disk_full"), "{error}");
    }
}
