//! Connections: refusals, deadlines, garbage, places that change, single calls.

use std::sync::atomic::Ordering;
use std::time::Duration;

use corelane_wire::{ErrorCode, Offset, QueueInfo, Request, Response, Timestamp};

use super::broker::Broker;
use super::{connect, message, soon};
use crate::protocol::scripted::receipt;
use crate::{Client, Error};

fn queue(name: &str) -> QueueInfo {
    QueueInfo {
        name: name.to_owned(),
        partition: corelane_wire::PartitionId(0),
        lanes: 1,
        created: Timestamp(0),
        start: Offset(0),
        end: Offset(0),
        subscriptions: Vec::new(),
    }
}

/// A port at which nobody listens as long as the socket is kept.
fn closed_port() -> (tokio::net::TcpSocket, u16) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[tokio::test]
async fn nobody_there_is_unreachable_with_the_address() {
    let (_reserved, port) = closed_port();
    let address = format!("127.0.0.1:{port}");
    let connecting = Client::builder()
        .wait_for_broker(Duration::ZERO)
        .connect(&address);
    let error = soon(connecting).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable { address: at, .. } if *at == address),
        "{error}"
    );
    assert!(error.is_retry());
}

#[tokio::test]
async fn refused_greeting_is_told_at_once() {
    let broker = Broker::start().await;
    *broker.settings().refusal.lock().unwrap() = Some(ErrorCode::Unauthenticated);
    let error = soon(Client::connect(&broker.address)).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Unauthenticated));
    assert_eq!(broker.settings().greetings.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn starting_broker_is_waited_for() {
    let broker = Broker::start().await;
    *broker.settings().refusal.lock().unwrap() = Some(ErrorCode::Starting);
    let connecting = Client::builder()
        .pauses(Duration::from_millis(1), Duration::from_millis(5))
        .connect(&broker.address);
    let becoming_ready = async {
        while broker.settings().greetings.lock().unwrap().len() < 3 {
            tokio::task::yield_now().await;
        }
        *broker.settings().refusal.lock().unwrap() = None;
    };
    let (client, ()) = soon(async { tokio::join!(connecting, becoming_ready) }).await;
    soon(client.unwrap().ping()).await.unwrap();
}

#[tokio::test]
async fn call_without_an_answer_ends_at_its_deadline() {
    let broker = Broker::start().await;
    let client = Client::builder()
        .call_timeout(Duration::from_millis(50))
        .connect(&broker.address)
        .await
        .unwrap();
    let error = soon(client.admin().queue_show("orders")).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
}

#[tokio::test]
async fn call_without_a_broker_ends_at_its_deadline_and_says_what_was_in_the_way() {
    let mut broker = Broker::start().await;
    let client = Client::builder()
        .call_timeout(Duration::from_millis(100))
        .connect(&broker.address)
        .await
        .unwrap();
    broker.break_connections();
    drop(broker);
    let error = soon(client.admin().queue_show("orders")).await.unwrap_err();
    let Error::Deadline { last, .. } = error else {
        panic!("{error}");
    };
    assert!(last.is_some());
}

#[tokio::test]
async fn busy_and_broken_calls_are_repeated() {
    let mut broker = Broker::start().await;
    let admin = connect(&broker).await.admin();
    let answering = async {
        broker.next().await.refuse(ErrorCode::Busy).await;
        drop(broker.next().await);
        broker.break_connections();
        broker
            .next()
            .await
            .answer(&Response::QueueCreated { created: true })
            .await;
    };
    let (created, ()) = soon(async { tokio::join!(admin.queue_create("orders"), answering) }).await;
    assert_eq!(created, Ok(true));
}

#[tokio::test]
async fn garbage_breaks_the_connection_and_not_the_client() {
    let mut broker = Broker::start().await;
    let admin = connect(&broker).await.admin();
    let answering = async {
        broker.next().await.send(vec![0xde; 100]).await;
        broker.next().await.answer(&Response::QueueDeleted).await;
    };
    let (deleted, ()) = soon(async { tokio::join!(admin.queue_delete("orders"), answering) }).await;
    assert_eq!(deleted, Ok(()));
}

#[tokio::test]
async fn list_asks_every_partition_and_every_page() {
    let mut broker = Broker::start().await;
    let admin = connect(&broker).await.admin();
    let answering = async {
        let pages = [
            ("", vec![queue("b"), queue("c")], true),
            ("c", vec![queue("d")], false),
            ("", vec![queue("a")], false),
            ("", Vec::new(), false),
            ("", Vec::new(), false),
        ];
        for (after, queues, more) in pages {
            let asked = broker.next().await;
            let Request::QueueList(list) = asked.request() else {
                panic!("not a list");
            };
            assert_eq!(list.after, after);
            asked.answer(&Response::QueueList { queues, more }).await;
        }
    };
    let (queues, ()) = soon(async { tokio::join!(admin.queue_list(), answering) }).await;
    let names: Vec<_> = queues
        .unwrap()
        .into_iter()
        .map(|queue| queue.name)
        .collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn traffic_moves_when_a_restart_gives_the_shard_another_port() {
    let mut broker = Broker::start().await;
    let mut moved = Broker::start().await;
    let client = connect(&broker).await;
    let producer = client.producer("orders").build().unwrap();
    let pending = producer.send(&message("a")).await.unwrap();
    drop(broker.next().await);

    for settings in [broker.settings(), moved.settings()] {
        settings.places.store(moved.port, Ordering::Relaxed);
    }
    broker.break_connections();
    let asked = moved.next().await;
    assert_eq!(asked.sent().bodies, ["a"]);
    asked.answer(&receipt(0, 1)).await;
    assert!(soon(pending).await.is_confirmed());
    assert!(broker.is_idle());
}

#[tokio::test]
async fn not_owner_moves_a_producer_while_the_connection_stands() {
    let mut broker = Broker::start().await;
    let mut moved = Broker::start().await;
    let client = connect(&broker).await;
    let producer = client.producer("orders").build().unwrap();
    let pending = producer.send(&message("a")).await.unwrap();
    let asked = broker.next().await;
    for settings in [broker.settings(), moved.settings()] {
        settings.places.store(moved.port, Ordering::Relaxed);
    }
    asked.refuse(ErrorCode::NotOwner).await;
    let asked = moved.next().await;
    assert_eq!(asked.sent().bodies, ["a"]);
    asked.answer(&receipt(0, 1)).await;
    assert!(soon(pending).await.is_confirmed());
}

#[tokio::test]
async fn unreachable_shard_port_falls_back_to_the_address_that_was_given() {
    let mut broker = Broker::start().await;
    let (_reserved, closed) = closed_port();
    broker.settings().places.store(closed, Ordering::Relaxed);
    let admin = connect(&broker).await.admin();
    let showing = admin.queue_show("orders");
    let answering = async {
        let info = Response::Queue(queue("orders"));
        broker.next().await.answer(&info).await;
    };
    let (info, ()) = soon(async { tokio::join!(showing, answering) }).await;
    assert_eq!(info.unwrap().name, "orders");
}
