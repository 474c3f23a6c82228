//! The Rust client against real shards: what it promises when connections break.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corelane::Embedded;
use corelane_client::transport::{Connect, Transport};
use corelane_client::{Acked, Client, Delivery, Error, Message};

/// Opens connections that a test can break.
#[derive(Debug)]
struct Cutter {
    address: SocketAddr,
    streams: Mutex<Vec<TcpStream>>,
}

impl Cutter {
    /// Breaks every connection; returns how many there were.
    fn cut(&self) -> usize {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = streams.drain(..).map(|it| it.shutdown(Shutdown::Both));
        cut.flatten().count()
    }
}

impl Connect for Cutter {
    fn connect(&self, _: Option<u16>) -> io::Result<Box<dyn Transport>> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.push(stream.try_clone()?);
        drop(streams);
        Ok(Box::new(tokio::net::TcpStream::from_std(stream)?))
    }

    fn name(&self) -> &'static str {
        "connections that break"
    }
}

/// A broker, and a client of it whose connections can be broken.
async fn breakable(folder: &tempfile::TempDir) -> (Embedded, Client, Arc<Cutter>) {
    let broker = Embedded::builder(folder.path().join("data"))
        .listen(SocketAddr::from(([127, 0, 0, 1], 0)))
        .start()
        .expect("it starts");
    let cutter = Arc::new(Cutter {
        address: broker.address().expect("it listens"),
        streams: Mutex::default(),
    });
    let through: Arc<dyn Connect> = Arc::<Cutter>::clone(&cutter);
    let client = Client::builder().connect_through(through).await;
    (broker, client.expect("it answers"), cutter)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(future)
}

async fn enqueue(client: &Client, bodies: &[&str]) {
    let producer = client.producer("orders").build().expect("a good name");
    for body in bodies {
        let outcome = producer.enqueue(&Message::new(*body)).await;
        outcome.into_result().expect("it is confirmed");
    }
    let tally = producer.close().await;
    assert_eq!(tally.confirmed, bodies.len() as u64);
}

fn text(delivery: &Delivery) -> &str {
    std::str::from_utf8(delivery.body()).expect("it is text")
}

#[test]
fn session_and_messages_in_hand_survive_a_broken_connection() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (broker, client, cutter) = breakable(&folder).await;
        enqueue(&client, &["a", "b"]).await;
        let mut orders = client
            .consumer("orders")
            .credit(1)
            .subscribe()
            .await
            .unwrap();
        let held = orders.next().await.unwrap().unwrap();
        assert_eq!(text(&held), "a");
        let session = client.session();

        assert!(cutter.cut() >= 1);
        client.ping().await.unwrap();
        assert_eq!(client.session(), session, "it is resumed");
        assert_eq!(held.ack().await.unwrap(), Acked::Done, "the lease lives on");
        let next = orders.next().await.unwrap().unwrap();
        assert_eq!((text(&next), next.attempt()), ("b", 1), "and nothing twice");
        assert_eq!(next.ack().await.unwrap(), Acked::Done);
        orders.close().await.unwrap();
        let shown = client.admin().queue_show("orders").await.unwrap();
        assert_eq!(shown.subscriptions[0].done, 2);
        client.close().await;
        broker.stop().await.unwrap();
    });
}

#[test]
fn close_of_a_producer_waits_for_what_it_took_over_a_broken_connection() {
    const MESSAGES: u64 = 2_000;
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (broker, client, cutter) = breakable(&folder).await;
        let producer = client.producer("orders").build().unwrap();
        for number in 0..MESSAGES {
            let pending = producer.send(&Message::new(number.to_string())).await;
            drop(pending.unwrap());
            if number % 500 == 250 {
                // Lets the client write, so that something is under way.
                client.ping().await.unwrap();
                cutter.cut();
            }
        }
        let tally = producer.close().await;
        assert_eq!(tally.confirmed, MESSAGES, "{tally:?}");
        let end = client.admin().queue_show("orders").await.unwrap().end.0;
        assert_eq!(end, MESSAGES, "each is there, once");
        client.close().await;
        broker.stop().await.unwrap();
    });
}

#[test]
fn delivery_that_is_dropped_comes_again_and_one_that_is_done_does_not() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let broker = Embedded::builder(folder.path().join("data")).start();
        let broker = broker.unwrap();
        let client = broker.client().await.unwrap();
        enqueue(&client, &["a", "b", "c"]).await;
        let mut orders = client.consumer("orders").subscribe().await.unwrap();
        let first = orders.next().await.unwrap().unwrap();
        let second = orders.next().await.unwrap().unwrap();
        assert_eq!((text(&first), text(&second)), ("a", "b"));
        second.ack().await.unwrap();
        drop(first);
        let third = orders.next().await.unwrap().unwrap();
        assert_eq!(text(&third), "c");
        let again = orders.next().await.unwrap().unwrap();
        assert_eq!((text(&again), again.attempt()), ("a", 1));
        again.nack(Duration::ZERO).await.unwrap();
        let again = orders.next().await.unwrap().unwrap();
        assert_eq!(
            (text(&again), again.attempt()),
            ("a", 2),
            "this one counted"
        );
        again.ack().await.unwrap();

        // What the stream had not handed out when it was closed is ready for the next.
        drop(third);
        orders.close().await.unwrap();
        let wait = Duration::from_secs(10);
        let left = client.dequeue("orders", 10, wait, wait).await.unwrap();
        let left: Vec<_> = left.iter().map(text).collect();
        assert_eq!(left, ["c"]);
    });
}

#[test]
fn stale_ack_says_what_it_means() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let broker = Embedded::builder(folder.path().join("data")).start();
        let broker = broker.unwrap();
        let client = broker.client().await.unwrap();
        enqueue(&client, &["a"]).await;
        let second = Duration::from_secs(1);
        let slow = client.dequeue("orders", 1, second, second).await.unwrap();
        // The message comes to somebody else when the lease has ended.
        let wait = Duration::from_secs(30);
        let quick = client.dequeue("orders", 1, wait, wait).await.unwrap();
        assert_eq!(quick[0].attempt(), 2);
        for delivery in slow {
            let error = delivery.ack().await.unwrap_err();
            assert!(matches!(error, Error::StaleLease { .. }), "{error}");
            assert!(!error.hint().is_empty() && !error.is_retry());
        }
        for delivery in quick {
            delivery.ack().await.unwrap();
        }
    });
}
