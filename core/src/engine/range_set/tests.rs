use super::*;

fn set(ranges: &[(u64, u64)]) -> RangeSet {
    let mut set = RangeSet::default();
    for &(first, end) in ranges {
        set.insert(Offset(first), Offset(end));
    }
    set
}

fn list(set: &RangeSet) -> Vec<(u64, u64)> {
    set.iter().map(|(first, end)| (first.0, end.0)).collect()
}

#[test]
fn touching_ranges_join() {
    let joined = set(&[(10, 20), (30, 40), (20, 30), (5, 10), (50, 60), (60, 70)]);
    assert_eq!(list(&joined), [(5, 40), (50, 70)]);
}

#[test]
fn lookups_know_inclusive_start_and_exclusive_end() {
    let ranges = set(&[(10, 20), (30, 40)]);
    assert_eq!(ranges.end_of(Offset(9)), None);
    assert_eq!(ranges.end_of(Offset(10)), Some(Offset(20)));
    assert_eq!(ranges.end_of(Offset(19)), Some(Offset(20)));
    assert_eq!(ranges.end_of(Offset(20)), None);
    assert_eq!(ranges.next_after(Offset(9)), Some(Offset(10)));
    assert_eq!(ranges.next_after(Offset(10)), Some(Offset(30)));
    assert_eq!(ranges.next_after(Offset(30)), None);
}

#[test]
#[should_panic(expected = "R1")]
fn overlap_is_a_programmers_error() {
    set(&[(10, 20), (19, 21)]);
}
