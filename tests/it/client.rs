//! The Rust client against a broker that is killed, full, slow to reach or not a broker; and futures that are dropped.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corelane_client::transport::{Connect, Transport};
use corelane_client::{
    Acked, Class, Client, ClientBuilder, Consumer, EnqueueError, Error, Message, Offset, Outcome,
    UnknownReason,
};
use corelane_tests::process::{Broker, BrokerOptions};

use crate::Fixture;

const MINUTE: Duration = Duration::from_mins(1);

/// A runtime like that of a small program; fails instead of hanging.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(async { tokio::time::timeout(MINUTE, test).await })
        .expect("this takes too long")
}

pub(crate) async fn client_of(fixture: &Fixture) -> Client {
    let address = fixture.broker.address.to_string();
    Client::connect(&address).await.unwrap()
}

async fn enqueue(client: &Client, queue: &str, bodies: impl Iterator<Item = String>) {
    let producer = client.producer(queue).build().unwrap();
    let mut count = 0;
    for body in bodies {
        drop(producer.send(&Message::new(body)).await.unwrap());
        count += 1;
    }
    assert_eq!(producer.close().await.confirmed, count);
}

async fn bodies(client: &Client, queue: &str) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let from = Offset(all.len() as u64);
        let page = client.admin().peek(queue, from, 1_000).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(
            page.iter()
                .map(|one| text(one.as_ref().unwrap().body()).to_owned()),
        );
    }
}

fn text(body: &[u8]) -> &str {
    std::str::from_utf8(body).unwrap()
}

/// Lets others run so many times: shorter than any time, and longer with the number.
async fn yields(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

/// The way to a broker that starts again on other ports.
#[derive(Debug)]
struct Moving {
    address: Mutex<SocketAddr>,
}

impl Connect for Moving {
    fn connect(&self, _: Option<u16>) -> io::Result<Box<dyn Transport>> {
        let stream = TcpStream::connect(*self.address.lock().unwrap())?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Box::new(tokio::net::TcpStream::from_std(stream)?))
    }

    fn name(&self) -> &'static str {
        "a broker that moves"
    }
}

#[test]
fn a_producer_of_class_memory_goes_on_over_a_kill_and_what_is_lost_is_the_end_of_what_was_there() {
    let mut fixture = Fixture::start();
    let way = Arc::new(Moving {
        address: Mutex::new(fixture.broker.address),
    });
    run(async {
        let through: Arc<dyn Connect> = Arc::<Moving>::clone(&way);
        let builder = Client::builder().pauses(Duration::from_millis(1), Duration::from_millis(20));
        let client = builder.connect_through(through).await.unwrap();
        let producer = client.producer("q").class(Class::Memory).build().unwrap();
        let send = async |from: u32| {
            for number in from..from + 50 {
                let message = Message::new(number.to_string());
                let receipt = match producer.enqueue(&message).await.into_result() {
                    // Written to the connection of the broker that is gone, and the next one has lost the producer too.
                    Err(EnqueueError::Unknown(UnknownReason::ProducerForgotten)) => {
                        producer.enqueue(&message).await.into_result().unwrap()
                    }
                    answer => answer.unwrap(),
                };
                assert_eq!((receipt.class, receipt.copies), (Class::Memory, 0));
            }
        };
        send(0).await;
        fixture = fixture.crash();
        *way.address.lock().unwrap() = fixture.broker.address;
        send(50).await;
        assert_eq!(producer.close().await.confirmed, 100);

        let numbers = bodies(&client, "q").await;
        let numbers: Vec<u32> = numbers.iter().map(|body| body.parse().unwrap()).collect();
        let survived = numbers.len() - 50;
        let expected = (0..50).take(survived).chain(50..100);
        assert_eq!(numbers, expected.collect::<Vec<_>>());
    });
}

/// Ends the broker and starts it again on the same files.
type Restart = fn(Fixture) -> Fixture;

fn terminate(mut fixture: Fixture) -> Fixture {
    assert!(fixture.broker.terminate().unwrap().success());
    fixture.broker = Broker::start(&fixture.options).unwrap();
    fixture
}

#[test]
fn what_is_in_flight_when_the_broker_is_killed_is_there_once_and_leases_live_on() {
    survive(Fixture::crash);
}

#[test]
fn what_is_in_flight_when_the_broker_is_stopped_is_there_once_and_leases_live_on() {
    survive(terminate);
}

fn survive(restart: Restart) {
    const MESSAGES: usize = 3_000;
    let fixture = Fixture::start();
    run(async {
        let moving = Arc::new(Moving {
            address: Mutex::new(fixture.broker.address),
        });
        let through: Arc<dyn Connect> = Arc::<Moving>::clone(&moving);
        let builder = Client::builder().pauses(Duration::from_millis(1), Duration::from_millis(20));
        let client = builder.connect_through(through).await.unwrap();
        enqueue(&client, "held", ["mine".to_owned()].into_iter()).await;
        let mut holder = client.consumer("held").subscribe().await.unwrap();
        let mut held = holder.next().await.unwrap().unwrap();
        // Its answer says that the lease is in the log.
        held.extend(MINUTE).await.unwrap();

        let producer = client.producer("sent").batch_messages_max(10);
        let producer = producer.in_flight_batches_max(8).build().unwrap();
        let mut pending = Vec::new();
        for number in 0..MESSAGES {
            pending.push(
                producer
                    .send(&Message::new(number.to_string()))
                    .await
                    .unwrap(),
            );
        }
        assert!(pending.swap_remove(MESSAGES / 6).await.is_confirmed());
        assert!(producer.in_flight() > 0, "all was confirmed too early");
        let restarting = tokio::task::spawn_blocking(move || restart(fixture));
        let fixture = restarting.await.unwrap();
        *moving.address.lock().unwrap() = fixture.broker.address;

        let tally = producer.close().await;
        assert_eq!(tally.confirmed, MESSAGES as u64, "{tally:?}");
        let expected: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).collect();
        assert_eq!(bodies(&client, "sent").await, expected);
        assert_eq!(held.ack().await.unwrap(), Acked::Done);
        enqueue(&client, "held", ["next".to_owned()].into_iter()).await;
        let next = holder.next().await.unwrap().unwrap();
        assert_eq!(
            (text(next.body()), next.attempt()),
            ("next", 1),
            "nothing twice"
        );
        next.ack().await.unwrap();
        holder.close().await.unwrap();
        client.close().await;
    });
}

#[test]
fn every_call_says_that_the_broker_is_gone_where_it_was_and_what_to_do() {
    let Fixture { broker, _home, .. } = Fixture::start();
    let address = broker.address.to_string();
    run(async {
        let short = Duration::from_millis(300);
        let client = Client::builder()
            .call_timeout(short)
            .pauses(Duration::from_millis(1), Duration::from_millis(10))
            .connect(&address)
            .await
            .unwrap();
        enqueue(&client, "q", ["a".to_owned()].into_iter()).await;
        let mut consumer = client.consumer("q").subscribe().await.unwrap();
        let held = consumer.next().await.unwrap().unwrap();
        let producer = client.producer("q").give_up_after(short).build().unwrap();
        broker.kill().unwrap();

        let first = producer.enqueue(&Message::new("b")).await;
        // It may have left before the end of the connection was noticed.
        assert!(
            matches!(
                first,
                Outcome::Rejected(Error::NotSent) | Outcome::Unknown(UnknownReason::GaveUp { .. })
            ),
            "{first:?}"
        );
        let second = producer.enqueue(&Message::new("c")).await;
        assert_eq!(second, Outcome::Rejected(Error::NotSent));
        let wait = Duration::ZERO;
        for error in [
            client.admin().queue_list().await.unwrap_err(),
            client.dequeue("q", 1, MINUTE, wait).await.unwrap_err(),
            client.consumer("q").subscribe().await.unwrap_err(),
            held.ack().await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::Deadline { .. }), "{error}");
            let says = error.to_string();
            assert!(
                says.contains("no broker answers") && says.contains(&address),
                "{says}"
            );
            assert!(
                error.is_retry() && error.hint().contains("runs"),
                "{}",
                error.hint()
            );
        }
        consumer
            .close()
            .await
            .expect("a broker that is gone has forgotten it");
        let once = Client::builder().wait_for_broker(Duration::ZERO);
        let error = once.connect(&address).await.unwrap_err();
        assert!(
            matches!(&error, Error::Unreachable { address: at, .. } if *at == address),
            "{error}"
        );
    });
}

#[test]
fn what_is_no_broker_is_told_at_once() {
    let fixture = Fixture::start();
    // The deadline of the test would pass if this were waited for.
    let patient = || -> ClientBuilder { Client::builder().wait_for_broker(10 * MINUTE) };
    run(async {
        // The control port speaks HTTP.
        let http = fixture.broker.control.to_string();
        let error = patient().connect(&http).await.unwrap_err();
        let says = error.to_string();
        assert!(matches!(error, Error::Protocol(_)), "{says}");
        assert!(says.contains("HTTP"), "{says}");
        assert!(error.hint().contains("port"), "{}", error.hint());
        assert!(!error.is_retry());
        for address in ["127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "localhost:http"] {
            let error = patient().connect(address).await.unwrap_err();
            assert!(error.to_string().contains(address), "{error}");
            assert!(error.hint().contains("7400"), "{}", error.hint());
        }
    });
}

#[test]
fn broker_with_all_the_connections_it_takes_is_waited_for_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let mut options = BrokerOptions::beside_this_program(&home.path().join("data")).unwrap();
    options.cores = 1;
    options.arguments = vec!["--connections-max".to_owned(), "1".to_owned()];
    let broker = Broker::start(&options).unwrap();
    let address = broker.address.to_string();
    let only = crate::connect(broker.address);
    run(async {
        let once = Client::builder().wait_for_broker(Duration::ZERO);
        let error = once.connect(&address).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert!(error.hint().contains("connections_max"), "{}", error.hint());
        let (client, ()) = tokio::join!(Client::connect(&address), async { drop(only) });
        client.unwrap().ping().await.unwrap();
    });
}

#[test]
fn dropped_sends_take_nothing_and_the_others_are_there_once_in_order() {
    let fixture = Fixture::start();
    run(async {
        let client = client_of(&fixture).await;
        let builder = client.producer("q").in_flight_messages_max(2);
        let producer = builder.build().unwrap();
        let (mut taken, mut dropped) = (Vec::new(), 0);
        for number in 0.. {
            let body = number.to_string();
            let message = Message::new(body.as_str());
            tokio::select! {
                biased;
                pending = producer.send(&message) => {
                    drop(pending.unwrap());
                    taken.push(body);
                }
                () = yields(number % 40) => dropped += 1,
            }
            if taken.len() == 100 {
                break;
            }
        }
        assert!(dropped > 0);
        assert_eq!(producer.close().await.confirmed, 100);
        assert_eq!(bodies(&client, "q").await, taken);
    });
}

#[test]
fn dropped_waits_for_the_next_message_lose_none() {
    let fixture = Fixture::start();
    run(async {
        let client = client_of(&fixture).await;
        let all: Vec<_> = (0..200).map(|number| number.to_string()).collect();
        enqueue(&client, "q", all.iter().cloned()).await;
        let mut consumer = client.consumer("q").credit(7).subscribe().await.unwrap();
        let (mut came, mut dropped) = (Vec::new(), 0);
        for number in 0.. {
            tokio::select! {
                biased;
                next = consumer.next() => {
                    let delivery = next.unwrap().unwrap();
                    assert_eq!(delivery.attempt(), 1);
                    came.push(text(delivery.body()).to_owned());
                    drop(delivery.ack());
                }
                () = yields(number % 40) => dropped += 1,
            }
            if came.len() == all.len() {
                break;
            }
        }
        assert!(dropped > 0);
        assert_eq!(came, all);
        consumer.close().await.unwrap();
        let queue = client.admin().queue_show("q").await.unwrap();
        assert_eq!(
            queue.subscriptions[0].done, 200,
            "acks that nobody awaited took effect"
        );
    });
}

#[test]
fn dropped_subscribes_leave_no_consumer_and_no_lease_behind() {
    let fixture = Fixture::start();
    run(async {
        let observer = client_of(&fixture).await;
        enqueue(&observer, "q", (0..50).map(|number| number.to_string())).await;
        let client = client_of(&fixture).await;
        let mut subscribed = 0;
        for number in 0..100 {
            tokio::select! {
                biased;
                consumer = client.consumer("q").subscribe() => {
                    drop(consumer.unwrap());
                    subscribed += 1;
                }
                () = yields(number * 4) => {}
            }
        }
        assert!(subscribed < 100, "none was dropped");
        client.close().await;
        let queue = observer.admin().queue_show("q").await.unwrap();
        if let [subscription] = &queue.subscriptions[..] {
            let found = (subscription.consumers, subscription.leased);
            assert_eq!(found, (0, 0), "{subscription:?}");
        }
    });
}

#[test]
fn messages_of_dropped_dequeues_come_again_at_once_and_uncounted() {
    const MESSAGES: usize = 60;
    let fixture = Fixture::start();
    run(async {
        let client = client_of(&fixture).await;
        enqueue(&client, "q", (0..MESSAGES).map(|number| number.to_string())).await;
        let (mut came, mut dropped) = (BTreeSet::new(), 0);
        for number in 0.. {
            // Longer than the test may take: a lost message would not come again.
            let dequeue = client.dequeue("q", 3, 10 * MINUTE, Duration::from_millis(50));
            tokio::select! {
                biased;
                taken = dequeue => for delivery in taken.unwrap() {
                    assert_eq!(delivery.attempt(), 1);
                    assert!(came.insert(delivery.offset()), "{} twice", delivery.offset());
                    delivery.ack().await.unwrap();
                },
                () = yields(number) => dropped += 1,
            }
            if came.len() == MESSAGES {
                break;
            }
        }
        assert!(dropped > 0);
    });
}

#[test]
fn consumer_that_does_not_take_withdraws_its_credit_until_it_does() {
    const MESSAGES: usize = 64;
    let fixture = Fixture::start();
    run(async {
        let client = client_of(&fixture).await;
        let builder = client.consumer("q").buffer_bytes_max(1 << 10);
        let mut consumer: Consumer = builder.subscribe().await.unwrap();
        let body = "x".repeat(16 << 10);
        enqueue(&client, "q", [body.clone()].into_iter()).await;
        while consumer.held() == 0 {
            client.ping().await.unwrap();
        }
        // What is sent from now on comes behind the withdrawal, on the same connection.
        enqueue(&client, "q", (1..MESSAGES).map(|_| body.clone())).await;
        let queue = client.admin().queue_show("q").await.unwrap();
        let subscription = &queue.subscriptions[0];
        assert_eq!(
            (subscription.leased, subscription.ready),
            (1, MESSAGES as u64 - 1)
        );
        for offset in 0..MESSAGES as u64 {
            let delivery = consumer.next().await.unwrap().unwrap();
            assert_eq!((delivery.offset(), delivery.attempt()), (Offset(offset), 1));
            delivery.ack().await.unwrap();
        }
        consumer.close().await.unwrap();
    });
}

#[test]
fn what_was_asked_for_before_a_client_is_closed_takes_effect_though_deliveries_pour_in() {
    const MESSAGES: u64 = 1_000;
    let fixture = Fixture::start();
    run(async {
        let observer = client_of(&fixture).await;
        let body = "x".repeat(8 << 10);
        enqueue(&observer, "q", (0..MESSAGES).map(|_| body.clone())).await;
        let mut done = 0;
        for round in 0..10 {
            let client = client_of(&fixture).await;
            let mut consumer = client.consumer("q").subscribe().await.unwrap();
            for _ in 0..20 {
                let delivery = consumer.next().await.unwrap().unwrap();
                assert_eq!(delivery.attempt(), 1);
                drop(delivery.ack());
                done += 1;
            }
            let rest = (round % 2 == 0).then_some(consumer);
            client.close().await;
            let queue = observer.admin().queue_show("q").await.unwrap();
            let found = &queue.subscriptions[0];
            assert_eq!(
                (found.done, found.leased, found.ready),
                (done, 0, MESSAGES - done),
                "round {round}"
            );
            if let Some(mut rest) = rest {
                assert!(rest.next().await.is_none());
            }
        }
    });
}
