use proptest::prelude::*;

use super::*;
use crate::frame::{Frame, FrameWriter};
use crate::golden;
use crate::ids::{Correlation, Epoch, LeaseId, Lsn};
use crate::kind;
use crate::limits::{
    DELIVERY_BYTES_MAX, DELIVERY_RUNS_MAX, FRAME_BYTES_MAX, LIST_BYTES_MAX, SETTLE_MESSAGES_MAX,
    SUBSCRIPTIONS_MAX,
};
use crate::message::{Batch, BatchBuilder, MessageError, OutgoingMessage};
use crate::{ProducerId, Sequence};

fn encode(response: &Response<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    response.encode(Correlation(1), Epoch(2), &mut bytes);
    bytes
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    Frame::read(bytes, FRAME_BYTES_MAX).unwrap().unwrap().0
}

fn assert_round_trip(response: &Response<'_>) {
    let bytes = encode(response);
    assert_eq!(Response::decode(&frame(&bytes)).as_ref(), Ok(response));
}

fn run(first: u64, count: u32) -> DeliveryRun {
    DeliveryRun {
        first: Offset(first),
        count,
        attempt: 1,
        enqueued: Timestamp(9),
    }
}

fn deliveries(runs: Vec<DeliveryRun>, messages: &[u8]) -> Deliveries<'_> {
    Deliveries {
        lease: LeaseId {
            epoch: Epoch(1),
            lsn: Lsn(2),
        },
        lease_ms: 1_000,
        runs,
        messages,
    }
}

/// Of the largest answers Miri sees this part, which goes the same ways.
const SHARE: usize = if cfg!(miri) { 500 } else { 1 };

#[test]
fn truncated_fields_are_an_error_at_every_byte_and_so_are_trailing_ones() {
    let batch = golden::batch();
    for (name, response) in golden::responses(Batch::read(&batch).unwrap().entries) {
        let bytes = encode(&response);
        let frame = frame(&bytes);
        for length in 0..frame.head.len() {
            let head = &frame.head[..length];
            assert!(
                Response::decode(&Frame { head, ..frame }).is_err(),
                "{name} {length}"
            );
        }
        let head = &[frame.head, &[0]].concat()[..];
        assert!(
            Response::decode(&Frame { head, ..frame }).is_err(),
            "{name}"
        );
    }
}

#[test]
fn kinds_of_requests_and_unknown_kinds_are_refused() {
    let batch = golden::batch();
    let known: Vec<u8> = golden::responses(Batch::read(&batch).unwrap().entries)
        .iter()
        .map(|(_, response)| response.kind())
        .collect();
    for kind in 0..=255 {
        let mut bytes = Vec::new();
        FrameWriter::begin(&mut bytes, kind, 0, Correlation(1), Epoch(0)).finish(&[]);
        let refused = Response::decode(&frame(&bytes)) == Err(ResponseError::UnknownKind { kind });
        assert_eq!(refused, !known.contains(&kind), "kind {kind:02x}");
    }
}

#[test]
fn code_must_go_with_the_kind() {
    for (kind, code) in [
        (kind::answer(kind::PING), 1_001),
        (kind::ERROR, 0),
        (kind::FAULT, 0),
    ] {
        let mut bytes = Vec::new();
        let mut writer = FrameWriter::begin(&mut bytes, kind, code, Correlation(1), Epoch(0));
        if code == 0 {
            writer.fields().extend_from_slice(&[0, 0]);
        }
        writer.finish(&[]);
        let refused = Err(ResponseError::UnexpectedCode { code });
        assert_eq!(Response::decode(&frame(&bytes)), refused);
    }
}

#[test]
fn settled_with_a_stale_message_carries_the_code() {
    let row = |first, outcome| Settled {
        range: OffsetRange {
            first: Offset(first),
            count: 1,
        },
        outcome,
    };
    let done = Response::Settled(vec![
        row(1, SettleOutcome::Done),
        row(2, SettleOutcome::AlreadyDone),
    ]);
    assert_eq!(frame(&encode(&done)).code, 0);
    let stale = Response::Settled(vec![
        row(1, SettleOutcome::Done),
        row(2, SettleOutcome::Stale),
    ]);
    assert_eq!(frame(&encode(&stale)).code, 1_024);
    assert_round_trip(&done);
    assert_round_trip(&stale);
}

#[test]
fn unknown_code_of_a_later_version_is_taken_by_its_class() {
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::begin(&mut bytes, kind::ERROR, 2_777, Correlation(1), Epoch(0));
    writer.fields().extend_from_slice(b"\x04\x00slow");
    writer.finish(&[]);
    let expected = Response::Error {
        code: ErrorCode::Busy,
        text: "code 2777: slow".to_owned(),
    };
    assert_eq!(Response::decode(&frame(&bytes)), Ok(expected));
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let text = "x".to_owned() + &"\u{fc}".repeat(400);
    let code = ErrorCode::Internal;
    let bytes = encode(&Response::Fault { code, text });
    let Ok(Response::Fault { text, .. }) = Response::decode(&frame(&bytes)) else {
        panic!("a fault decodes as a fault");
    };
    assert_eq!(text.len(), 511);
}

#[test]
fn delivery_from_slices_has_the_bytes_of_one_from_a_whole() {
    let batch = golden::batch();
    let batch = Batch::read(&batch).unwrap();
    let runs = vec![run(100, 2), run(500, 1)];
    let slices = [batch.messages(0, 2).unwrap(), batch.messages(2, 1).unwrap()];
    for (kind, whole) in [
        (
            DeliveryKind::Dequeued,
            Response::Dequeued(deliveries(runs.clone(), batch.entries)),
        ),
        (
            DeliveryKind::Peeked,
            Response::Peeked(deliveries(runs.clone(), batch.entries)),
        ),
        (
            DeliveryKind::Pushed(ConsumerId(7)),
            Response::Delivery {
                consumer: ConsumerId(7),
                deliveries: deliveries(runs.clone(), batch.entries),
            },
        ),
    ] {
        let head = DeliveryHead {
            kind,
            lease: LeaseId {
                epoch: Epoch(1),
                lsn: Lsn(2),
            },
            lease_ms: 1_000,
            runs: &runs,
        };
        let mut bytes = Vec::new();
        head.encode(Correlation(1), Epoch(2), &slices, &mut bytes);
        assert_eq!(bytes, encode(&whole));
    }
}

#[test]
fn delivered_messages_have_their_offsets() {
    let batch = golden::batch();
    let entries = Batch::read(&batch).unwrap().entries;
    let deliveries = deliveries(vec![run(100, 2), run(500, 1)], entries);
    let read: Vec<_> = deliveries
        .iter()
        .map(|delivered| delivered.map(|delivered| (delivered.offset.0, delivered.message.body)))
        .collect();
    assert_eq!(
        read,
        [
            Ok((100, &b"hello"[..])),
            Ok((101, b"{\"amount\":12}")),
            Ok((500, b""))
        ]
    );
}

#[test]
fn delivery_whose_counts_do_not_match_its_bytes_ends_in_an_error() {
    let batch = golden::batch();
    let entries = Batch::read(&batch).unwrap().entries;
    for runs in [vec![run(0, 2)], vec![run(0, 4)]] {
        let deliveries = deliveries(runs, entries);
        let last = deliveries.iter().last().unwrap();
        assert!(matches!(last, Err(MessageError::Codec(_))), "{last:?}");
        let ok = deliveries.iter().flatten().count() as u64;
        assert_eq!(ok, deliveries.count().min(3));
    }
    for (runs, messages) in [
        (vec![run(0, u32::MAX)], entries),
        (vec![], entries),
        (vec![run(0, 1)], &[][..]),
    ] {
        let bytes = encode(&Response::Dequeued(deliveries(runs, messages)));
        let refused = Err(ResponseError::WrongMessages {
            bytes: messages.len(),
        });
        assert_eq!(Response::decode(&frame(&bytes)), refused);
    }
    let bytes = encode(&Response::Dequeued(deliveries(vec![run(0, 0)], entries)));
    assert!(Response::decode(&frame(&bytes)).is_err());
}

#[test]
fn largest_answers_fit_a_frame() {
    const ENTRIES_BYTES: usize = DELIVERY_BYTES_MAX / SHARE;
    let message = OutgoingMessage {
        body: &vec![7; ENTRIES_BYTES - 12],
        ..OutgoingMessage::default()
    };
    let mut builder = BatchBuilder::new();
    builder.push(&message).unwrap();
    let batch = builder.finish(ProducerId(1), Sequence(0));
    let entries = Batch::read(&batch).unwrap().entries;
    assert_eq!(entries.len(), ENTRIES_BYTES);
    assert_round_trip(&Response::Delivery {
        consumer: ConsumerId(1),
        deliveries: deliveries(vec![run(1, 1); DELIVERY_RUNS_MAX / SHARE], entries),
    });
    let range = OffsetRange {
        first: Offset(1),
        count: 1,
    };
    let outcome = SettleOutcome::Stale;
    assert_round_trip(&Response::Settled(vec![
        Settled { range, outcome };
        SETTLE_MESSAGES_MAX / SHARE
    ]));
}

#[test]
fn lists_fit_a_frame_as_long_as_their_length_is_kept() {
    let subscription = SubscriptionInfo {
        name: "s".repeat(128),
        ready: 1,
        leased: 2,
        delayed: 3,
        done: 4,
        consumers: 5,
    };
    let queue = QueueInfo {
        name: "q".repeat(128),
        partition: PartitionId(1),
        lanes: 1,
        created: Timestamp(1),
        start: Offset(2),
        end: Offset(3),
        subscriptions: vec![subscription; SUBSCRIPTIONS_MAX / SHARE],
    };
    assert_round_trip(&Response::Queue(queue.clone()));
    let bytes = encode(&Response::Queue(queue.clone()));
    assert_eq!(frame(&bytes).head.len(), queue.encoded_bytes());
    let count = LIST_BYTES_MAX / queue.encoded_bytes() / SHARE;
    assert_round_trip(&Response::QueueList {
        queues: vec![queue; count],
        more: true,
    });
}

#[test]
fn lying_counts_allocate_nothing() {
    for (kind, fields) in [
        (kind::SETTLED, vec![0xff; 4]),
        (
            kind::answer(kind::METADATA),
            vec![0, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        ),
        (
            kind::answer(kind::QUEUE_LIST),
            vec![0, 0xff, 0xff, 0xff, 0xff],
        ),
        (
            kind::answer(kind::DEQUEUE),
            [vec![0; 20], vec![0xff; 4]].concat(),
        ),
    ] {
        let mut bytes = Vec::new();
        let mut writer = FrameWriter::begin(&mut bytes, kind, 0, Correlation(1), Epoch(0));
        writer.fields().extend_from_slice(&fields);
        writer.finish(&[]);
        assert!(Response::decode(&frame(&bytes)).is_err(), "kind {kind:02x}");
    }
}

fn any_subscription() -> impl Strategy<Value = SubscriptionInfo> {
    ("[a-z]{1,9}", any::<(u64, u64, u64, u64, u32)>()).prop_map(|(name, numbers)| {
        SubscriptionInfo {
            name,
            ready: numbers.0,
            leased: numbers.1,
            delayed: numbers.2,
            done: numbers.3,
            consumers: numbers.4,
        }
    })
}

fn any_queue() -> impl Strategy<Value = QueueInfo> {
    let subscriptions = prop::collection::vec(any_subscription(), 0..3);
    (
        "[a-z]{1,9}",
        any::<(u32, u32, u64, u64, u64)>(),
        subscriptions,
    )
        .prop_map(|(name, numbers, subscriptions)| QueueInfo {
            name,
            partition: PartitionId(numbers.0),
            lanes: numbers.1,
            created: Timestamp(numbers.2),
            start: Offset(numbers.3),
            end: Offset(numbers.4),
            subscriptions,
        })
}

proptest! {
    #[test]
    fn small_answers_round_trip(
        numbers in any::<(u64, u32, u8, u8, bool)>(),
        slow_down: bool,
        code in prop::sample::select(ErrorCode::all().skip(1).collect::<Vec<_>>()),
        text in ".{0,100}",
        rows in prop::collection::vec((any::<(u64, u32)>(), 0..3_u8), 0..20),
    ) {
        let receipt = Receipt {
            range: OffsetRange { first: Offset(numbers.0), count: numbers.1 },
            class: numbers.2,
            copies: numbers.3,
            duplicate: numbers.4,
            slow_down,
        };
        let settled = rows.into_iter().map(|((first, count), outcome)| Settled {
            range: OffsetRange { first: Offset(first), count },
            outcome: SettleOutcome::from_u8(outcome).unwrap(),
        });
        for response in [
            Response::Enqueued(receipt),
            Response::QueueCreated { created: numbers.4 },
            Response::Error { code, text: text.clone() },
            Response::Fault { code, text },
            Response::Settled(settled.collect()),
        ] {
            assert_round_trip(&response);
        }
    }

    #[test]
    fn greeting_and_metadata_round_trip(
        numbers in any::<(u8, u64, u128, bool, u32, u32, u32, u16)>(),
        server_name in ".{0,60}",
        places in prop::collection::vec(any::<(u32, u32, u16)>(), 0..50),
    ) {
        assert_round_trip(&Response::Hello(HelloAnswer {
            version: numbers.0,
            features: numbers.1,
            session: SessionId(numbers.2),
            resumed: numbers.3,
            node: NodeId(numbers.4),
            server_name,
            frame_bytes_max: numbers.5,
            in_flight_max: numbers.6,
        }));
        let partitions = places.into_iter().map(|(partition, node, port)| PartitionPlace {
            partition: PartitionId(partition),
            node: NodeId(node),
            port,
        });
        assert_round_trip(&Response::Metadata(Metadata {
            node: NodeId(numbers.4),
            shared_port: numbers.7,
            partitions: partitions.collect(),
        }));
    }

    #[test]
    fn lists_round_trip(queues in prop::collection::vec(any_queue(), 0..6), more in any::<bool>()) {
        for queue in &queues {
            let bytes = encode(&Response::Queue(queue.clone()));
            prop_assert_eq!(frame(&bytes).head.len(), queue.encoded_bytes());
        }
        assert_round_trip(&Response::QueueList { queues, more });
    }

    #[test]
    fn deliveries_round_trip(
        runs in prop::collection::vec((any::<u64>(), 1..5_u32, any::<(u32, u64)>()), 1..10),
        lease in any::<(u64, u64, u32)>(),
        consumer in any::<u32>(),
    ) {
        let runs: Vec<_> = runs
            .into_iter()
            .map(|(first, count, (attempt, enqueued))| DeliveryRun {
                first: Offset(first),
                count,
                attempt,
                enqueued: Timestamp(enqueued),
            })
            .collect();
        let mut builder = BatchBuilder::new();
        for run in &runs {
            for _ in 0..run.count {
                let body = &run.attempt.to_le_bytes();
                builder.push(&OutgoingMessage { body, ..OutgoingMessage::default() }).unwrap();
            }
        }
        let batch = builder.finish(ProducerId(1), Sequence(0));
        let deliveries = Deliveries {
            lease: LeaseId { epoch: Epoch(lease.0), lsn: Lsn(lease.1) },
            lease_ms: lease.2,
            runs,
            messages: Batch::read(&batch).unwrap().entries,
        };
        prop_assert_eq!(deliveries.iter().flatten().count() as u64, deliveries.count());
        for response in [
            Response::Dequeued(deliveries.clone()),
            Response::Peeked(deliveries.clone()),
            Response::Delivery { consumer: ConsumerId(consumer), deliveries },
        ] {
            assert_round_trip(&response);
        }
    }

    #[test]
    fn random_fields_never_panic(
        kind in prop::sample::select(vec![0x40_u8, 0x80, 0x81, 0x83, 0x90, 0x91, 0xa0, 0xb1, 0xb2, 0xff]),
        fields in prop::collection::vec(any::<u8>(), 0..120),
        messages in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut bytes = Vec::new();
        let mut writer = FrameWriter::begin(&mut bytes, kind, 0, Correlation(1), Epoch(0));
        writer.fields().extend_from_slice(&fields);
        writer.finish(&[&messages]);
        if let Ok(Response::Delivery { deliveries, .. } | Response::Dequeued(deliveries)) =
            Response::decode(&frame(&bytes))
        {
            deliveries.iter().count();
        }
    }
}
