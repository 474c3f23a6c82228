use super::*;

fn row(lsn: u64, count: u64) -> BehindRow {
    BehindRow {
        fragment: Fragment { count, attempts: 1 },
        back: Comeback {
            lsn: Lsn(lsn),
            queue_end: Offset(100),
        },
    }
}

fn range(first: u64, count: u32) -> OffsetRange {
    OffsetRange {
        first: Offset(first),
        count,
    }
}

#[test]
fn rows_keep_their_turn_and_join_with_those_that_came_with_them() {
    let mut behind = Behind::new();
    behind.put(Offset(6), row(1, 2));
    behind.put(Offset(0), row(2, 3));
    behind.put(Offset(8), row(2, 1));
    behind.put(Offset(3), row(2, 3));
    let turns: Vec<_> = behind
        .in_turn()
        .map(|(first, row)| (first.0, row.fragment.count))
        .collect();
    assert_eq!(turns, [(6, 2), (0, 6), (8, 1)]);
    assert_eq!(behind.take(range(5, 2)), None, "of two rows");
    let fragment = Fragment {
        count: 6,
        attempts: 1,
    };
    assert_eq!(behind.take(range(1, 2)), Some(fragment));
    let turns: Vec<_> = behind
        .in_turn()
        .map(|(first, row)| (first.0, row.fragment.count))
        .collect();
    assert_eq!(turns, [(6, 2), (0, 1), (3, 3), (8, 1)]);
    assert_eq!(
        behind.row_of(Offset(5)).map(|(first, _)| first),
        Some(Offset(3))
    );
    assert_eq!(behind.row_of(Offset(9)), None);
    let restored = Behind::of(behind.rows().clone());
    assert!(restored.in_turn().eq(behind.in_turn()));
}
