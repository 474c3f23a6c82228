use super::*;

fn row(count: u64, attempts: u32) -> SetAside {
    SetAside {
        count,
        attempts,
        cause: AsideCause::Rejected,
        since: Timestamp(5),
        leased: Timestamp(3),
        session: SessionId(7),
        text: "why".into(),
    }
}

fn within(set: &AsideSet, first: u64, end: u64) -> Vec<(u64, u64)> {
    let parts = set.within(Offset(first), Offset(end));
    parts.map(|(from, to, _)| (from.0, to.0)).collect()
}

#[test]
fn neighbours_join_only_with_the_same_history() {
    let mut set = AsideSet::new();
    set.put(Offset(0), row(2, 1));
    set.put(Offset(2), row(3, 1));
    set.put(Offset(5), row(1, 2));
    set.put(Offset(9), row(1, 2));
    assert_eq!(within(&set, 0, 100), [(0, 5), (5, 6), (9, 10)]);
    assert_eq!(set.count(), 7);
}

#[test]
fn what_is_taken_leaves_the_rest() {
    let mut set = AsideSet::new();
    set.put(Offset(10), row(10, 1));
    assert_eq!(set.take(Offset(15), 6), None, "beyond the row");
    assert_eq!(set.take(Offset(9), 1), None, "before it");
    assert_eq!(set.take(Offset(13), 2), Some(row(2, 1)));
    assert_eq!(within(&set, 0, 100), [(10, 13), (15, 20)]);
    assert_eq!(within(&set, 11, 17), [(11, 13), (15, 17)]);
    assert_eq!(within(&set, 13, 15), []);
    assert_eq!(within(&set, 13, 16), [(15, 16)]);
    assert_eq!(set.count(), 8);
    assert_eq!(set.rows().len(), 2);
}
