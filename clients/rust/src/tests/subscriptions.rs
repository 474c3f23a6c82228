//! Managing a subscription, and what becomes of messages whose attempt failed.

use std::time::Duration;

use corelane_wire::limits::{DELAY_MS_MAX, REASON_BYTES_MAX};
use corelane_wire::{
    Aside, Batch, BatchBuilder, DeliveryHead, DeliveryKind, DeliveryRun, ErrorCode, Fate, Lane,
    LeaseId, Offset, OutgoingMessage, PartitionId, ProducerId, PurgeStates, QueueInfo, Reject,
    Request, Response, Sequence, SettleOutcome, Settled, SubscriptionAnswer, SubscriptionConfig,
    SubscriptionVerb, Timestamp,
};

use super::broker::{Asked, Broker};
use super::{connect, soon};
use crate::protocol::scripted::{EPOCH, delivery};
use crate::{Acked, AsidePage, Error, Returned, SubscriptionOptions};

fn verb(asked: &Asked) -> SubscriptionVerb<'_> {
    let Request::Subscription(on) = asked.request() else {
        panic!("not about a subscription");
    };
    assert_eq!(
        (on.queue, on.lane, on.subscription),
        ("orders", Lane(0), "billing")
    );
    on.verb
}

#[tokio::test]
async fn create_is_repeated_over_a_broken_connection_and_says_what_the_second_try_found() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let billing = client.admin().subscription("orders", "billing");
    let config = SubscriptionConfig {
        attempts_max: 3,
        backoff_ms: 10,
        backoff_max_ms: 1_000,
        ..SubscriptionConfig::default()
    };
    let options = SubscriptionOptions {
        start: None,
        config,
    };
    let answering = async {
        broker.next().await;
        broker.break_connections();
        let again = broker.next().await;
        let start = None;
        assert_eq!(verb(&again), SubscriptionVerb::Create { start, config });
        let created = SubscriptionAnswer::Created { created: false };
        again.answer(&Response::Subscription(created)).await;
    };
    let (created, ()) = soon(async { tokio::join!(billing.create(options), answering) }).await;
    assert_eq!(created, Ok(false));
}

#[tokio::test]
async fn what_no_broker_would_take_is_refused_before_it_is_sent() {
    let broker = Broker::start().await;
    let client = connect(&broker).await;
    let billing = client.admin().subscription("orders", "billing");
    let bad = |backoff_ms, backoff_max_ms| SubscriptionConfig {
        backoff_ms,
        backoff_max_ms,
        ..SubscriptionConfig::default()
    };
    for config in [bad(DELAY_MS_MAX + 1, 0), bad(0, DELAY_MS_MAX + 1)] {
        let options = SubscriptionOptions {
            start: None,
            config,
        };
        for result in [
            billing.create(options).await.map(|_| ()),
            billing.configure(config).await,
        ] {
            assert!(
                matches!(result, Err(Error::OutOfRange { .. })),
                "{result:?}"
            );
        }
    }
    let long = "x".repeat(REASON_BYTES_MAX + 1);
    let none = PurgeStates {
        waiting: false,
        parked: false,
        dead: false,
    };
    let nothing = Offset(5)..Offset(5);
    let some = Offset(5)..Offset(6);
    for error in [
        billing.pause(&long).await.unwrap_err(),
        billing.purge(none).await.unwrap_err(),
        billing
            .aside_list(Aside::Dead, Offset(0), 1_001)
            .await
            .unwrap_err(),
        billing
            .aside_return(Aside::Dead, nothing, 1)
            .await
            .unwrap_err(),
        billing
            .aside_return(Aside::Dead, some, 10_001)
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, Error::OutOfRange { .. }), "{error}");
    }
    for (queue, subscription) in [("or/ders", "billing"), ("orders", "bil/ling"), ("", "")] {
        let subscription = client.admin().subscription(queue, subscription);
        let error = subscription.show().await.unwrap_err();
        assert!(matches!(error, Error::Name { .. }), "{error}");
    }
    assert!(broker.is_idle());
}

#[tokio::test]
async fn list_that_says_more_without_a_row_ends() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let billing = client.admin().subscription("orders", "billing");
    let answering = async {
        let rows = Vec::new();
        let list = SubscriptionAnswer::AsideList { rows, more: true };
        broker
            .next()
            .await
            .answer(&Response::Subscription(list))
            .await;
        let asked = broker.next().await;
        assert_eq!(
            verb(&asked),
            SubscriptionVerb::Return {
                aside: Aside::Parked,
                first: Offset(3),
                end: Offset(9),
                max: 2,
            }
        );
        let next = Offset(6);
        let returned = SubscriptionAnswer::Returned { count: 2, next };
        asked.answer(&Response::Subscription(returned)).await;
    };
    let asking = async {
        let page = billing.aside_list(Aside::Parked, Offset(3), 10).await;
        let offsets = Offset(3)..Offset(9);
        (page, billing.aside_return(Aside::Parked, offsets, 2).await)
    };
    let ((page, returned), ()) = soon(async { tokio::join!(asking, answering) }).await;
    let (rows, next) = (Vec::new(), None);
    assert_eq!(page, Ok(AsidePage { rows, next }));
    let next = Offset(6);
    assert_eq!(returned, Ok(Returned { count: 2, next }));
}

#[tokio::test]
async fn offset_of_a_time_is_that_of_the_first_message_not_before_it() {
    // The messages 100 to 1,099 are kept; ten of them were always enqueued at one time.
    let time = |offset: u64| Timestamp(offset / 10 * 10);
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    for (wanted, expected) in [
        (0, 100),
        (100, 100),
        (101, 110),
        (555, 560),
        (560, 560),
        (1_090, 1_090),
        (1_091, 1_100),
        (u64::MAX, 1_100),
    ] {
        let mut peeks = 0;
        let answering = async {
            broker.next().await.answer(&Response::Queue(orders())).await;
            loop {
                let asked = broker.next().await;
                let from = peek_from(&asked);
                peeks += 1;
                asked.send(peeked(&asked, from, time(from.0))).await;
            }
        };
        let admin = client.admin();
        let found = tokio::select! {
            found = soon(admin.offset_since("orders", Timestamp(wanted))) => found,
            () = answering => panic!("it is asked for ever"),
        };
        assert_eq!(found, Ok(Offset(expected)), "time {wanted}");
        assert!(peeks <= 10, "{peeks} peeks for time {wanted}");
    }
}

fn peek_from(asked: &Asked) -> Offset {
    let Request::Peek(peek) = asked.request() else {
        panic!("not a peek");
    };
    peek.from
}

fn orders() -> QueueInfo {
    QueueInfo {
        name: "orders".to_owned(),
        partition: PartitionId(0),
        lanes: 1,
        created: Timestamp(0),
        start: Offset(100),
        end: Offset(1_100),
        subscriptions: Vec::new(),
    }
}

fn peeked(asked: &Asked, first: Offset, enqueued: Timestamp) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.push(&OutgoingMessage::default()).unwrap();
    let batch = builder.finish(ProducerId::NONE, Sequence(0));
    let entries = Batch::read(&batch).unwrap().entries;
    let runs = [DeliveryRun {
        first,
        count: 1,
        attempt: 0,
        enqueued,
    }];
    let head = DeliveryHead {
        kind: DeliveryKind::Peeked,
        lease: LeaseId::default(),
        lease_ms: 0,
        runs: &runs,
    };
    let mut out = Vec::new();
    head.encode(asked.call(), EPOCH, &[entries], &mut out);
    out
}

#[tokio::test]
async fn failed_attempts_with_one_text_travel_together_and_the_others_apart() {
    let mut broker = Broker::start().await;
    let client = connect(&broker).await;
    let dequeuing = client.dequeue("orders", 4, Duration::from_secs(30), Duration::ZERO);
    let answering = async {
        let asked = broker.next().await;
        let bodies = ["a", "b", "c", "d"];
        asked
            .send(delivery(
                DeliveryKind::Dequeued,
                asked.call(),
                5,
                10,
                &bodies,
            ))
            .await;
    };
    let (taken, ()) = soon(async { tokio::join!(dequeuing, answering) }).await;
    let [a, b, c, d] = <[_; 4]>::try_from(taken.unwrap()).unwrap();
    let settling = [
        a.fail("no route"),
        b.fail("no route"),
        c.kill("bad"),
        d.park("later"),
    ];
    let mut came = Vec::new();
    for _ in 0..3 {
        let asked = broker.next().await;
        let Request::Reject(Reject { settle, fate, text }) = asked.request() else {
            panic!("not a reject");
        };
        let range = settle.entries.iter().next().unwrap().range;
        came.push((fate, text.to_owned(), range.first.0, range.count));
        if fate == Fate::Dead {
            asked.refuse(ErrorCode::SubscriptionNotFound).await;
            continue;
        }
        let outcome = SettleOutcome::Done;
        asked
            .answer(&Response::Settled(vec![Settled { range, outcome }]))
            .await;
    }
    assert_eq!(
        came,
        [
            (Fate::Retry, "no route".to_owned(), 10, 2),
            (Fate::Dead, "bad".to_owned(), 12, 1),
            (Fate::Park, "later".to_owned(), 13, 1),
        ]
    );
    let [a, b, c, d] = settling;
    for settling in [a, b, d] {
        assert_eq!(soon(settling).await, Ok(Acked::Done));
    }
    let refused = soon(c).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::SubscriptionNotFound));
}
