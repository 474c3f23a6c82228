use super::*;

fn range(first: u64, count: u32) -> OffsetRange {
    OffsetRange {
        first: Offset(first),
        count,
    }
}

fn asked(ranges: &[OffsetRange]) -> Vec<Vec<OffsetRange>> {
    let read = |bytes: Vec<u8>| OffsetRanges::read(&bytes).unwrap().iter().collect();
    requests(ranges).into_iter().map(read).collect()
}

#[test]
fn ranges_are_put_in_order_and_into_as_many_requests_as_it_takes() {
    assert_eq!(asked(&[]), [[]; 0]);
    let ranges = [range(50, 2), range(0, 3), range(2, 4)];
    assert_eq!(asked(&ranges), [[range(0, 3), range(3, 3), range(50, 2)]]);
    let large = asked(&[range(7, 1), range(10, 25_000)]);
    let wanted = [
        vec![range(7, 1), range(10, 9_999)],
        vec![range(10_009, 10_000)],
        vec![range(20_009, 5_001)],
    ];
    assert_eq!(large, wanted);
    assert_eq!(asked(&[range(u64::MAX - 1, 9)]), [[range(u64::MAX - 1, 1)]]);
}
