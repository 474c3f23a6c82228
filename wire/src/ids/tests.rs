use super::*;

#[test]
fn display_prints_the_number() {
    assert_eq!(Offset(17).to_string(), "17");
    assert_eq!(
        SessionId(0xab).to_string(),
        "000000000000000000000000000000ab"
    );
    let lease = LeaseId {
        epoch: Epoch(3),
        lsn: Lsn(9),
    };
    assert_eq!(lease.to_string(), "3:9");
}

#[test]
fn range_end_is_exclusive_and_saturates() {
    let range = |first, count| OffsetRange {
        first: Offset(first),
        count,
    };
    assert_eq!(range(5, 3).end(), Offset(8));
    assert_eq!(range(5, 3).to_string(), "5..8");
    assert_eq!(range(u64::MAX - 1, 3).end(), Offset(u64::MAX));
}

#[test]
fn timestamp_arithmetic_saturates() {
    let second = Duration::from_secs(1);
    assert_eq!(Timestamp(5).add(second), Timestamp(1_000_000_005));
    assert_eq!(Timestamp(5) + second, Timestamp(5).add(second));
    assert_eq!(Timestamp(5) - second, Timestamp(0));
    assert_eq!(Timestamp(u64::MAX) + second, Timestamp(u64::MAX));
    assert_eq!(Timestamp(1) + Duration::MAX, Timestamp(u64::MAX));
    assert_eq!(Timestamp::from_millis(u64::MAX), Timestamp(u64::MAX));
    assert_eq!(Timestamp::from_millis(12).as_millis(), 12);
    assert_eq!(Timestamp(7).since(Timestamp(9)), Duration::ZERO);
    assert_eq!(Timestamp(9).since(Timestamp(7)), Duration::from_nanos(2));
}
