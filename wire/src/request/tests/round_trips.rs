use proptest::prelude::*;

use super::*;

const NAME: &str = "[A-Za-z0-9._-]{1,128}";
const OPTIONAL_NAME: &str = "[A-Za-z0-9._-]{0,20}";

proptest! {
    #[test]
    fn consuming_requests_round_trip(
        queue in NAME,
        subscription in OPTIONAL_NAME,
        consumer in any::<u32>(),
        numbers in (1..=10_000_u32, 1_000..=86_400_000_u32, 0..=30_000_u32, 0..=100_000_u32),
    ) {
        let (count, lease_ms, wait_ms, credit) = numbers;
        let (queue, subscription, lane) = (&*queue, &*subscription, Lane(0));
        let consumer = ConsumerId(consumer);
        for request in [
            Request::Dequeue(Dequeue { queue, lane, subscription, count, lease_ms, wait_ms }),
            Request::Subscribe(Subscribe { queue, lane, subscription, consumer, credit, lease_ms }),
            Request::Credit { consumer, credit },
            Request::Unsubscribe { consumer },
        ] {
            prop_assert_eq!(code_of(&request), ErrorCode::Ok);
        }
    }

    #[test]
    fn settling_requests_round_trip(
        queue in NAME,
        subscription in OPTIONAL_NAME,
        rows in prop::collection::vec((any::<(u64, u64)>(), 0..1_u64 << 60, 1..100_u32), 1..50),
        numbers in (0..=31_622_400_000_u64, any::<bool>(), 1_000..=86_400_000_u32),
    ) {
        let rows: Vec<_> = rows
            .into_iter()
            .map(|((epoch, lsn), first, count)| SettleEntry {
                lease: LeaseId { epoch: Epoch(epoch), lsn: Lsn(lsn) },
                range: OffsetRange { first: Offset(first), count },
            })
            .collect();
        let mut bytes = Vec::new();
        for row in &rows {
            row.put(&mut bytes);
        }
        let entries = SettleEntries::read(&bytes).unwrap();
        prop_assert_eq!(entries.iter().collect::<Vec<_>>(), rows);
        let settle = Settle { queue: &queue, lane: Lane(0), subscription: &subscription, entries };
        let (delay_ms, count_attempt, lease_ms) = numbers;
        for request in [
            Request::Ack(settle),
            Request::Nack(Nack { settle, delay_ms, count_attempt }),
            Request::Extend(Extend { settle, lease_ms }),
        ] {
            prop_assert_eq!(code_of(&request), ErrorCode::Ok);
        }
    }

    #[test]
    fn administrative_requests_round_trip(
        queue in NAME,
        after in OPTIONAL_NAME,
        numbers in (any::<u32>(), any::<u64>(), 1..=1_000_u32),
    ) {
        let (partition, from, count) = numbers;
        let queue = &*queue;
        for request in [
            Request::Ping,
            Request::Metadata,
            Request::QueueCreate { queue, lanes: 1 },
            Request::QueueShow { queue },
            Request::QueueDelete { queue },
            Request::Peek(Peek { queue, lane: Lane(0), from: Offset(from), count }),
            Request::QueueList(QueueList {
                partition: PartitionId(partition),
                after: &after,
                limit: count,
            }),
        ] {
            prop_assert_eq!(code_of(&request), ErrorCode::Ok);
        }
    }

    #[test]
    fn hello_round_trip(
        versions in (any::<u8>(), any::<u8>()),
        bits in (any::<u64>(), 1..u128::MAX, any::<bool>()),
        client_name in ".{0,60}",
        tenant in OPTIONAL_NAME,
        token in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let hello = Hello {
            version_min: versions.0.min(versions.1),
            version_max: versions.0.max(versions.1),
            features: bits.0,
            session: SessionId(bits.1),
            resume: bits.2,
            client_name: &client_name,
            tenant: &tenant,
            token: &token,
        };
        prop_assert_eq!(code_of(&Request::Hello(hello)), ErrorCode::Ok);
    }

    #[test]
    fn random_fields_never_panic(
        kind in prop::sample::select(vec![1_u8, 0x10, 0x11, 0x12, 0x20, 0x21, 0x22, 0x23, 0x31]),
        fields in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let _read = decode_fields(kind, &fields);
    }
}
