//! Golden vectors: every kind of frame and format as bytes on file, compared in both directions.
//!
//! A difference is a change of the format: it needs a version, an ADR and a new vector, never an edited one.
//! `CORELANE_BLESS=1 cargo test -p corelane-wire golden` writes the files anew.

mod schedule;
mod subscription;

use crate::ErrorCode;
use crate::ids::{
    ConsumerId, Correlation, Epoch, Lane, LeaseId, Lsn, NodeId, Offset, OffsetRange, PartitionId,
    ProducerId, Sequence, SessionId, Timestamp,
};
use crate::limits::LEASE_MS_DEFAULT;
use crate::message::{BatchBuilder, CLASS_DURABLE, Header, OutgoingMessage};
use crate::request::{
    Dequeue, Enqueue, Extend, Hello, Nack, Overflow, Peek, QueueConfig, QueueList, Request, Settle,
    SettleEntries, SettleEntry, Storage, Subscribe,
};
use crate::response::{
    Deliveries, DeliveryRun, HelloAnswer, Metadata, PartitionPlace, QueueInfo, Receipt, Response,
    SettleOutcome, Settled, SubscriptionInfo,
};

const CORRELATION: Correlation = Correlation(0x0102_0304_0506_0708);
const EPOCH: Epoch = Epoch(0x1112_1314_1516_1718);
const SESSION: SessionId = SessionId(0x2122_2324_2526_2728_292a_2b2c_2d2e_2f30);
const PRODUCER: ProducerId = ProducerId(0x3132_3334_3536_3738_393a_3b3c_3d3e_3f40);
const LEASE: LeaseId = LeaseId {
    epoch: Epoch(7),
    lsn: Lsn(4_711),
};

/// A batch of three messages: plain, with key and headers, empty.
pub(crate) fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let headers = [
        Header {
            name: "trace",
            value: b"\x00\x01\xff",
        },
        Header {
            name: "gr\u{f6}\u{df}e",
            value: b"",
        },
    ];
    for message in [
        OutgoingMessage {
            body: b"hello",
            ..OutgoingMessage::default()
        },
        OutgoingMessage {
            key: Some(b"customer-17"),
            headers: &headers,
            due_ms: None,
            ttl_ms: None,
            body: b"{\"amount\":12}",
        },
        OutgoingMessage::default(),
    ] {
        builder.push(&message).unwrap();
    }
    builder.finish(PRODUCER, Sequence(9))
}

/// Two entries for ack, nack and extend.
pub(crate) fn settle_entries() -> Vec<u8> {
    let mut bytes = Vec::new();
    for (lsn, first, count) in [(4_711, 100, 3), (4_712, 1 << 40, 1)] {
        let lease = LeaseId {
            epoch: Epoch(7),
            lsn: Lsn(lsn),
        };
        let range = OffsetRange {
            first: Offset(first),
            count,
        };
        SettleEntry { lease, range }.put(&mut bytes);
    }
    bytes
}

/// One request of every kind.
pub(crate) fn requests<'a>(batch: &'a [u8], entries: &'a [u8]) -> Vec<(&'static str, Request<'a>)> {
    let settle = Settle {
        queue: "orders",
        lane: Lane(0),
        subscription: "billing",
        entries: SettleEntries::read(entries).unwrap(),
    };
    let (queue, lane) = ("orders", Lane(0));
    let mut requests = consuming_requests(settle);
    requests.extend(subscription::requests(settle));
    requests.extend([
        ("ping", Request::Ping),
        ("metadata", Request::Metadata),
        ("enqueue", Request::Enqueue(Enqueue { queue, lane, batch })),
        ("queue_create", Request::QueueCreate { queue, lanes: 1 }),
        ("queue_show", Request::QueueShow { queue }),
        ("queue_delete", Request::QueueDelete { queue }),
    ]);
    requests.extend(queue_requests(queue));
    requests.extend(schedule::requests());
    requests.push((
        "hello",
        Request::Hello(Hello {
            version_min: 1,
            version_max: 3,
            features: 0x8000_0000_0000_0001,
            session: SESSION,
            resume: true,
            client_name: "corelane-client/0.1 (\u{1f41a})",
            tenant: "default",
            token: b"\x00secret\xff",
        }),
    ));
    requests.push((
        "queue_list",
        Request::QueueList(QueueList {
            partition: PartitionId(5),
            after: "orders",
            limit: 1_000,
        }),
    ));
    requests
}

const QUEUE_CONFIG: QueueConfig = QueueConfig {
    retention_ms: 604_800_000,
    retention_bytes: 1 << 40,
    retention_count: 1_000_000,
    messages_max: 500_000,
    bytes_max: 1 << 30,
    overflow: Overflow::DropOldest,
    ttl_ms: 31_622_400_000,
    slow_down_at: 400_000,
    storage: Storage::Memory,
};

fn queue_requests(queue: &str) -> Vec<(&'static str, Request<'_>)> {
    let config = Some(QUEUE_CONFIG);
    let ask = Request::QueueConfigure {
        queue,
        config: None,
    };
    vec![
        ("queue_configure", Request::QueueConfigure { queue, config }),
        ("queue_config", ask),
    ]
}

fn consuming_requests(settle: Settle<'_>) -> Vec<(&'static str, Request<'_>)> {
    let (queue, lane, consumer) = ("orders", Lane(0), ConsumerId(3));
    let dequeue = Dequeue {
        queue,
        lane,
        subscription: "",
        count: 10_000,
        lease_ms: LEASE_MS_DEFAULT,
        wait_ms: 5_000,
    };
    let subscribe = Subscribe {
        queue,
        lane,
        subscription: "billing",
        consumer,
        credit: 1_000,
        lease_ms: 60_000,
    };
    let nack = Nack {
        settle,
        delay_ms: 31_622_400_000,
        count_attempt: true,
    };
    let extend = Extend {
        settle,
        lease_ms: 86_400_000,
    };
    let peek = Peek {
        queue,
        lane,
        from: Offset(1 << 33),
        count: 1_000,
    };
    vec![
        ("dequeue", Request::Dequeue(dequeue)),
        ("subscribe", Request::Subscribe(subscribe)),
        (
            "credit",
            Request::Credit {
                consumer,
                credit: 100_000,
            },
        ),
        ("unsubscribe", Request::Unsubscribe { consumer }),
        ("ack", Request::Ack(settle)),
        ("nack", Request::Nack(nack)),
        ("extend", Request::Extend(extend)),
        ("peek", Request::Peek(peek)),
    ]
}

/// One answer of every kind.
pub(crate) fn responses(messages: &[u8]) -> Vec<(&'static str, Response<'_>)> {
    let mut responses = small_responses();
    responses.extend(subscription::responses());
    responses.extend(schedule::responses());
    let deliveries = |lease, lease_ms, attempt| Deliveries {
        lease,
        lease_ms,
        runs: vec![
            DeliveryRun {
                first: Offset(100),
                count: 2,
                attempt,
                enqueued: Timestamp(1_800_000_000_123_456_789),
            },
            DeliveryRun {
                first: Offset(500),
                count: 1,
                attempt: attempt * 3,
                enqueued: Timestamp(1_800_000_000_987_654_321),
            },
        ],
        messages,
    };
    let dequeued = deliveries(LEASE, LEASE_MS_DEFAULT, 1);
    let peeked = deliveries(LeaseId::default(), 0, 0);
    responses.extend([
        ("dequeued", Response::Dequeued(dequeued.clone())),
        ("dequeued_empty", Response::Dequeued(Deliveries::empty())),
        ("peeked", Response::Peeked(peeked)),
        (
            "delivery",
            Response::Delivery {
                consumer: ConsumerId(3),
                deliveries: dequeued,
            },
        ),
        (
            "queue_list",
            Response::QueueList {
                queues: vec![queue_info("billing", 0), queue_info("orders", 2)],
                more: true,
            },
        ),
        ("queue", Response::Queue(queue_info("orders", 1))),
    ]);
    responses
}

fn small_responses() -> Vec<(&'static str, Response<'static>)> {
    vec![
        ("hello", Response::Hello(hello_answer())),
        ("pong", Response::Pong),
        ("metadata", Response::Metadata(metadata())),
        ("enqueued", Response::Enqueued(receipt())),
        ("subscribed", Response::Subscribed),
        ("credit_set", Response::CreditSet),
        ("unsubscribed", Response::Unsubscribed),
        ("settled", Response::Settled(settled(2))),
        ("settled_stale", Response::Settled(settled(3))),
        ("queue_created", Response::QueueCreated { created: true }),
        ("queue_deleted", Response::QueueDeleted),
        (
            "queue_configured",
            Response::QueueConfigured {
                created: true,
                config: QUEUE_CONFIG,
            },
        ),
        (
            "error",
            Response::Error {
                code: ErrorCode::OutOfRange,
                text: "count is 0, 1 to 10000 are allowed".to_owned(),
            },
        ),
        (
            "fault",
            Response::Fault {
                code: ErrorCode::BadChecksum,
                text: "frame states checksum 00000001".to_owned(),
            },
        ),
    ]
}

fn hello_answer() -> HelloAnswer {
    HelloAnswer {
        version: 1,
        features: 0,
        session: SESSION,
        resumed: true,
        node: NodeId(1),
        server_name: "corelane/0.1".to_owned(),
        frame_bytes_max: 1_114_112,
        in_flight_max: 1_024,
    }
}

fn metadata() -> Metadata {
    let partitions = (0..3).map(|number| PartitionPlace {
        partition: PartitionId(number),
        node: NodeId(1),
        port: if number == 1 { 7_501 } else { 7_500 },
    });
    Metadata {
        node: NodeId(1),
        shared_port: 7_400,
        partitions: partitions.collect(),
    }
}

const fn receipt() -> Receipt {
    Receipt {
        range: OffsetRange {
            first: Offset(100),
            count: 3,
        },
        class: CLASS_DURABLE,
        copies: 1,
        duplicate: true,
        slow_down: false,
    }
}

fn settled(rows: usize) -> Vec<Settled> {
    let mut settled = Vec::new();
    for (first, count, outcome) in [
        (100, 2, SettleOutcome::Done),
        (102, 1, SettleOutcome::AlreadyDone),
        (1 << 40, 1, SettleOutcome::Stale),
    ] {
        let range = OffsetRange {
            first: Offset(first),
            count,
        };
        settled.push(Settled { range, outcome });
    }
    settled.truncate(rows);
    settled
}

fn queue_info(name: &str, subscriptions: usize) -> QueueInfo {
    let all = ["billing", "default"].map(|name| SubscriptionInfo {
        name: name.to_owned(),
        ready: 10,
        leased: 20,
        delayed: 30,
        done: 1 << 40,
        consumers: 4,
    });
    QueueInfo {
        name: name.to_owned(),
        partition: PartitionId(5),
        lanes: 1,
        created: Timestamp(1_800_000_000_000_000_000),
        start: Offset(1),
        end: Offset(1 << 41),
        subscriptions: all.into_iter().take(subscriptions).collect(),
    }
}

#[cfg(test)]
mod tests;
