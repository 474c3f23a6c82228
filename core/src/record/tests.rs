use super::*;
use corelane_wire::{
    Aside, Contract, LeaseId, Lsn, OffsetRange, Overflow, PurgeStates, ReturnTo, Storage,
    SubscriptionConfig,
};

fn range(first: u64, count: u32) -> OffsetRange {
    OffsetRange {
        first: Offset(first),
        count,
    }
}

fn entry(lsn: u64, first: u64, count: u32) -> SettleEntry {
    SettleEntry {
        lease: LeaseId {
            epoch: Epoch(7),
            lsn: Lsn(lsn),
        },
        range: range(first, count),
    }
}

const QUEUE: QueueId = QueueId(2);
const SUBSCRIPTION: SubscriptionId = SubscriptionId(3);

fn samples() -> Vec<(Record, &'static str)> {
    let mut samples = samples_of_queues();
    samples.extend(samples_of_settlements());
    samples.extend(samples_of_subscriptions());
    samples.extend(samples_of_letters());
    samples.extend(samples_of_rescheduling());
    samples.push(sample_of_a_schedule());
    samples.push(sample_of_an_expire());
    samples.push(sample_of_a_queue_config());
    samples.push(sample_of_a_trim());
    samples
}

fn samples_of_letters() -> Vec<(Record, &'static str)> {
    let of = |change| Record::Change {
        queue: QueueId(2),
        subscription: SubscriptionId(3),
        change,
    };
    vec![
        (
            of(Change::DeadLetters {
                to: Some("graves".into()),
            }),
            "02000000 03000000 01 0600 677261766573",
        ),
        (
            of(Change::DeadLetters { to: None }),
            "02000000 03000000 00 0000",
        ),
        (
            of(Change::Forward { range: range(9, 2) }),
            "02000000 03000000 0900000000000000 02000000",
        ),
        (
            of(Change::Forwarded { arrived: true }),
            "02000000 03000000 01",
        ),
    ]
}

fn samples_of_subscriptions() -> Vec<(Record, &'static str)> {
    let (queue, subscription) = (QUEUE, SUBSCRIPTION);
    let reject = Record::Reject {
        queue,
        subscription,
        fate: Fate::Park,
        text: "why".into(),
        entries: vec![entry(4, 9, 2)],
    };
    let of = |change| Record::Change {
        queue,
        subscription,
        change,
    };
    let reason = |reason: Option<&str>| Change::Pause {
        reason: reason.map(Into::into),
    };
    let config = SubscriptionConfig {
        contract: Contract::AtMostOnce,
        returned: ReturnTo::Back,
        in_flight_max: 6,
        rate_max: 7,
        attempts_max: 5,
        backoff_ms: 0x0102,
        backoff_max_ms: 0x0304,
    };
    let aside = Aside::Dead;
    let ranges = vec![range(9, 2)];
    vec![
        (
            reject,
            "02000000 03000000 02 0300 776879 01000000 \
             0700000000000000 0400000000000000 0900000000000000 02000000",
        ),
        (
            of(Change::Configure(config)),
            "02000000 03000000 81 06000000 07000000 05000000 0201000000000000 0403000000000000",
        ),
        (of(reason(Some("why"))), "02000000 03000000 01 0300 776879"),
        (of(reason(None)), "02000000 03000000 00 0000"),
        (
            of(Change::Return { aside, ranges }),
            "02000000 03000000 01 01000000 0900000000000000 02000000",
        ),
        (
            of(Change::Purge(PurgeStates::from_bits(5).unwrap())),
            "02000000 03000000 05",
        ),
        (
            of(Change::Seek { from: Offset(9) }),
            "02000000 03000000 0900000000000000",
        ),
        (of(Change::Unsubscribe), "02000000 03000000"),
        (
            Record::Take {
                queue,
                subscription,
                ranges: vec![range(9, 2)],
            },
            "02000000 03000000 01000000 0900000000000000 02000000",
        ),
    ]
}

fn samples_of_rescheduling() -> Vec<(Record, &'static str)> {
    let of = |due| Record::Reschedule {
        queue: QUEUE,
        due,
        ranges: vec![range(9, 2)],
    };
    vec![
        (
            of(Some(Timestamp(0x0102))),
            "02000000 0201000000000000 01000000 0900000000000000 02000000",
        ),
        (
            of(None),
            "02000000 0000000000000000 01000000 0900000000000000 02000000",
        ),
    ]
}

fn sample_of_a_schedule() -> (Record, &'static str) {
    let queue = QUEUE;
    (
        Record::Enqueue {
            queue,
            first: Offset(9),
            count: 4,
            bytes: 0x400,
            largest: 0x100,
            producer: ProducerId(0xaa),
            sequence: Sequence(5),
            schedule: Some(Box::new([Scheduled {
                index: 1,
                count: 2,
                due: Timestamp(0x0304),
                ttl_ms: 0,
            }])),
        },
        "02000000 0900000000000000 04000000 00040000 00010000 aa000000000000000000000000000000 0500000000000000 \
             01000000 01000000 02000000 0403000000000000",
    )
}

fn sample_of_an_expire() -> (Record, &'static str) {
    let of = |index, due, ttl_ms| Scheduled {
        index,
        count: 2,
        due,
        ttl_ms,
    };
    let schedule = [of(0, AT_ONCE, 0x0506), of(2, Timestamp(0x0304), 0)];
    (
        Record::Enqueue {
            queue: QueueId(2),
            first: Offset(9),
            count: 4,
            bytes: 0x400,
            largest: 0x100,
            producer: ProducerId(0xaa),
            sequence: Sequence(5),
            schedule: Some(Box::new(schedule)),
        },
        "02000000 0900000000000000 04000000 00040000 00010000 aa000000000000000000000000000000 0500000000000000 \
             02000000 00000000 02000000 0000000000000000 0605000000000000 \
             02000000 02000000 0403000000000000 0000000000000000",
    )
}

fn sample_of_a_queue_config() -> (Record, &'static str) {
    let config = QueueConfig {
        retention_ms: 1,
        retention_bytes: 2,
        retention_count: 3,
        messages_max: 4,
        bytes_max: 5,
        overflow: Overflow::Dead,
        ttl_ms: 6,
        slow_down_at: 7,
        storage: Storage::Memory,
    };
    let (queue, config) = (QUEUE, Box::new(config));
    (
        Record::ConfigureQueue { queue, config },
        "02000000 0100000000000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000 02 \
             0600000000000000 0700000000000000 01",
    )
}

fn sample_of_a_trim() -> (Record, &'static str) {
    let (queue, end, how) = (QUEUE, Offset(258), Trimmed::Dead);
    let record = Record::Trim { queue, end, how };
    (record, "02000000 0201000000000000 01")
}

fn samples_of_queues() -> Vec<(Record, &'static str)> {
    let (queue, subscription) = (QUEUE, SUBSCRIPTION);
    vec![
        (
            Record::Epoch {
                epoch: Epoch(7),
                jump_ns: 0x0102,
            },
            "0700000000000000 0201000000000000",
        ),
        (
            Record::Create {
                queue,
                name: "mail".into(),
            },
            "02000000 0400 6d61696c",
        ),
        (
            Record::Enqueue {
                queue,
                first: Offset(9),
                count: 4,
                bytes: 0x400,
                largest: 0x100,
                producer: ProducerId(0xaa),
                sequence: Sequence(5),
                schedule: None,
            },
            "02000000 0900000000000000 04000000 00040000 00010000 aa000000000000000000000000000000 0500000000000000",
        ),
        (
            Record::Relocate {
                queue,
                first: Offset(9),
                count: 4,
                bytes: 0x400,
                largest: 0x100,
                enqueued: Timestamp(6),
            },
            "02000000 0900000000000000 04000000 00040000 00010000 0600000000000000",
        ),
        (Record::Tick, ""),
        (
            Record::Release {
                session: SessionId(0xbb),
            },
            "bb000000000000000000000000000000",
        ),
        (Record::Delete { queue }, "02000000"),
        (
            Record::Subscribe {
                queue,
                subscription,
                name: "a".into(),
                from: Offset(9),
            },
            "02000000 03000000 0100 61 0900000000000000",
        ),
    ]
}

fn samples_of_settlements() -> Vec<(Record, &'static str)> {
    let (queue, subscription) = (QUEUE, SUBSCRIPTION);
    vec![
        (
            Record::Lease {
                queue,
                subscription,
                session: SessionId(0xbb),
                lease_ms: 1_000,
                ranges: vec![range(9, 2), range(20, 1)],
            },
            "02000000 03000000 bb000000000000000000000000000000 e8030000 02000000 \
             0900000000000000 02000000 1400000000000000 01000000",
        ),
        (
            Record::Ack {
                queue,
                subscription,
                entries: vec![entry(12, 9, 2)],
            },
            "02000000 03000000 01000000 0700000000000000 0c00000000000000 0900000000000000 02000000",
        ),
        (
            Record::Nack {
                queue,
                subscription,
                delay_ms: 5,
                count_attempt: true,
                entries: vec![entry(12, 9, 2)],
            },
            "02000000 03000000 0500000000000000 01 01000000 \
             0700000000000000 0c00000000000000 0900000000000000 02000000",
        ),
        (
            Record::Extend {
                queue,
                subscription,
                lease_ms: 2_000,
                entries: vec![entry(12, 9, 2)],
            },
            "02000000 03000000 d0070000 01000000 0700000000000000 0c00000000000000 0900000000000000 02000000",
        ),
    ]
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn every_record_has_its_golden_bytes() {
    for (record, golden) in samples() {
        let mut bytes = Vec::new();
        record.encode_head(&mut bytes);
        assert_eq!(bytes, hex(golden), "{record:?}");
        assert_eq!(Record::decode(record.kind(), &bytes), Ok(record));
    }
}

#[test]
fn every_shortened_payload_is_an_error() {
    for (record, golden) in samples() {
        let bytes = hex(golden);
        for length in 0..bytes.len() {
            let decoded = Record::decode(record.kind(), &bytes[..length]);
            assert!(decoded.is_err(), "{length} bytes of {record:?}");
        }
    }
}

#[test]
fn bytes_behind_a_head_are_a_batch_or_an_error() {
    for (record, golden) in samples() {
        let mut bytes = hex(golden);
        bytes.push(0);
        let decoded = Record::decode(record.kind(), &bytes);
        assert_eq!(decoded.is_ok(), record.has_batch(), "{record:?}");
    }
}

#[test]
fn list_longer_than_its_bytes_is_refused_before_it_is_allocated() {
    let mut bytes = hex("02000000 03000000");
    bytes.extend(u32::MAX.to_le_bytes());
    assert_eq!(
        Record::decode(record_kind::ACK, &bytes),
        Err(RecordDecodeError::BadCount {
            stated: u32::MAX,
            possible: 0
        })
    );
}

#[test]
fn range_beyond_the_greatest_offset_is_refused() {
    let mut bytes = hex("02000000");
    bytes.extend(u64::MAX.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend([0; 32]);
    assert!(matches!(
        Record::decode(record_kind::ENQUEUE, &bytes),
        Err(RecordDecodeError::BadRange { .. })
    ));
}

#[test]
fn unknown_kind_is_never_skipped() {
    for kind in [0, 31, 255] {
        assert_eq!(
            Record::decode(kind, &[]),
            Err(RecordDecodeError::UnknownKind { kind })
        );
    }
}
