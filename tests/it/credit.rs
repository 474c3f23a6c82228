//! Push with credit, on real sockets: what a consumer stops, and what one that does not read costs.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;

use anyhow::bail;
use corelane_tests::raw::{RawConnection, Taken};
use corelane_wire::{
    ConsumerId, Lane, Metadata, PartitionId, Request, Response, SessionId, SettleOutcome,
    partition_of,
};

use crate::{Fixture, bodies};

/// Messages of the tests with a consumer that does not read.
const MESSAGES: usize = 1_536;
/// Bytes of each: together far more than one connection may hold anywhere.
const BODY_BYTES: usize = 16 << 10;
/// What a consumer that does not read may have leased: a full out-buffer with the frame that filled it, and what
/// the kernel takes for its socket, which is 4 MiB at most unless a machine is set up otherwise.
const HELD_BYTES_MAX: u64 = 8 << 20;

fn set_credit(credit: u32) -> Request<'static> {
    Request::Credit {
        consumer: ConsumerId(1),
        credit,
    }
}

#[test]
fn no_delivery_follows_the_answer_to_credit_0_and_the_leases_stay() {
    let fixture = Fixture::start();
    let mut consumer = fixture.connect();
    consumer.subscribe("q", 10_000, 60_000).unwrap();
    let mut producer = fixture.connect();
    let producing = thread::spawn(move || {
        for _ in 0..200 {
            producer.enqueue("q", &["x", "y"]).unwrap();
        }
        producer
    });
    let mut held = consumer.pushed().unwrap();
    // Deliveries are under way now, and more messages arrive all the time.
    let asked = consumer.send(&set_credit(0)).unwrap();
    let mut is_stopped = false;
    while !is_stopped {
        is_stopped = consumer
            .receive(|frame, response| {
                if let Response::Delivery { deliveries, .. } = &response {
                    held.extend(RawConnection::taken(deliveries)?);
                    return Ok(false);
                }
                assert_eq!((frame.correlation, response), (asked, Response::CreditSet));
                Ok(true)
            })
            .unwrap();
    }
    let mut producer = producing.join().unwrap();
    // Every answer from here on would come behind a delivery, and `call` takes no delivery for one.
    for message in &held {
        let outcome = consumer.extend("q", message, 60_000).unwrap();
        assert_eq!(outcome, SettleOutcome::Done);
    }
    let queue = crate::queues::show(&mut producer, "q");
    assert_eq!(queue.subscriptions[0].leased, held.len() as u64);
    assert_eq!(queue.subscriptions[0].ready, 400 - held.len() as u64);
    for message in &held {
        assert_eq!(consumer.ack("q", message).unwrap(), SettleOutcome::Done);
    }
    consumer.call(&set_credit(1), |_| Ok(())).unwrap();
    assert_eq!(consumer.pushed().unwrap().len(), 1);
}

#[test]
fn a_consumer_that_does_not_read_costs_its_buffer_and_its_leases() {
    Stalled::begin(Port::OfOwner).ends_with_its_leases();
}

#[test]
fn the_same_through_the_port_of_another_shard() {
    Stalled::begin(Port::OfAnother).ends_with_its_leases();
}

#[test]
fn what_a_consumer_that_does_not_read_holds_returns_with_its_session() {
    Stalled::begin(Port::OfOwner).ends_with_its_session();
}

/// Which shard serves the connection of the consumer that does not read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    OfOwner,
    OfAnother,
}

/// A consumer that has stopped reading, with more messages behind it than it can be sent.
struct Stalled {
    fixture: Fixture,
    consumer: RawConnection,
    /// Another queue of the same shard.
    neighbour: String,
}

const QUEUE: &str = "stalled";

impl Stalled {
    fn begin(port: Port) -> Self {
        let fixture = Fixture::start();
        let metadata = metadata(&mut fixture.connect());
        let owner = owner_of(QUEUE, &metadata);
        let other = metadata.partitions.iter().find(|it| it.port != owner.1);
        let port = match port {
            Port::OfOwner => owner.1,
            Port::OfAnother => other.unwrap().port,
        };
        let lives_there = |name: &String| owner_of(name, &metadata).1 == owner.1;
        let mut names = (0..).map(|number| format!("neighbour-{number}"));
        let neighbour = names.find(lives_there).unwrap();
        let address = SocketAddr::from((fixture.broker.address.ip(), port));
        let mut consumer = RawConnection::connect(address, SessionId::default()).unwrap();
        consumer.subscribe(QUEUE, 100_000, 5_000).unwrap();
        let mut producer = fixture.connect();
        let body = "x".repeat(BODY_BYTES);
        for _ in 0..MESSAGES / 32 {
            producer.enqueue(QUEUE, &[body.as_str(); 32]).unwrap();
        }
        Self {
            fixture,
            consumer,
            neighbour,
        }
    }

    /// Others are served meanwhile, and get what it held once its leases have run out.
    fn ends_with_its_leases(self) {
        // On a slow machine its leases may be over already when they are counted.
        self.held();
        self.neighbour_is_served();
        let (seen, again) = self.drain();
        assert_eq!(seen, MESSAGES);
        let again_bytes = (again * BODY_BYTES) as u64;
        assert!(
            0 < again && again_bytes <= HELD_BYTES_MAX,
            "{again} messages came again"
        );
        drop(self.consumer);
    }

    /// Its connection ends: what it held returns without counting as a delivery.
    fn ends_with_its_session(mut self) {
        let held = self.held();
        assert!(held > 0);
        self.consumer = self.fixture.connect();
        let (seen, _) = self.drain();
        assert_eq!(seen, MESSAGES);
    }

    /// How many messages it has leased, which is far from all.
    fn held(&self) -> u64 {
        let mut observer = self.fixture.connect();
        let held = crate::queues::show(&mut observer, QUEUE).subscriptions[0].leased;
        assert!(
            held * BODY_BYTES as u64 <= HELD_BYTES_MAX,
            "{held} messages"
        );
        held
    }

    fn neighbour_is_served(&self) {
        let mut consumer = self.fixture.connect();
        let mut producer = self.fixture.connect();
        consumer.subscribe(&self.neighbour, 10, 30_000).unwrap();
        for number in 0..50 {
            let body = number.to_string();
            producer.enqueue(&self.neighbour, &[&body]).unwrap();
            let taken = consumer.pushed().unwrap();
            assert_eq!(bodies(&taken), [body]);
            consumer.ack(&self.neighbour, &taken[0]).unwrap();
        }
    }

    /// A second consumer of the queue takes everything; also returns how many came a second time.
    fn drain(&self) -> (usize, usize) {
        let mut second = self.fixture.connect();
        second.subscribe(QUEUE, 100_000, 60_000).unwrap();
        let mut offsets = BTreeSet::new();
        let mut again = 0;
        while offsets.len() < MESSAGES {
            for Taken {
                offset, attempt, ..
            } in second.pushed().unwrap()
            {
                offsets.insert(offset);
                again += usize::from(attempt > 1);
            }
        }
        (offsets.len(), again)
    }
}

fn metadata(connection: &mut RawConnection) -> Metadata {
    let answer = connection.call(&Request::Metadata, |response| {
        let Response::Metadata(metadata) = response else {
            bail!("{response:?}");
        };
        Ok(metadata.clone())
    });
    answer.unwrap()
}

/// The partition of a queue and the port of its shard.
fn owner_of(queue: &str, metadata: &Metadata) -> (PartitionId, u16) {
    let partitions = u32::try_from(metadata.partitions.len()).unwrap();
    let owner = partition_of("default", queue, Lane::default(), partitions);
    let mut places = metadata.partitions.iter();
    let place = places.find(|place| place.partition == owner).unwrap();
    (owner, place.port)
}
