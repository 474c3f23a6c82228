use corelane_client::{AsideCause, SessionId, Timestamp};
use corelane_wire::OffsetRange;

use super::*;

fn row(first: u64, count: u32) -> AsideInfo {
    AsideInfo {
        range: OffsetRange {
            first: Offset(first),
            count,
        },
        attempts: 1,
        cause: AsideCause::Rejected,
        since: Timestamp(0),
        leased: Timestamp(0),
        session: SessionId(0),
        text: String::new(),
    }
}

fn piece(first: u64, end: u64, count: u64) -> Piece {
    let offsets = Offset(first)..Offset(end);
    Piece { offsets, count }
}

#[test]
fn only_neighbours_are_put_together_where_a_gap_may_hold_others() {
    let rows = [row(5, 2), row(7, 1), row(9, 3)];
    assert_eq!(pieces(&rows, false), [piece(5, 8, 3), piece(9, 12, 3)]);
    assert_eq!(pieces(&rows, true), [piece(5, 12, 6)]);
    assert_eq!(pieces(&[], true), []);
}

#[test]
fn rate_is_a_number_per_second() {
    assert_eq!(rate("100/s"), Ok(100));
    for text in ["", "100", "/s", "0/s", "-1/s", "1.5/s", "100/m"] {
        assert!(rate(text).is_err(), "{text}");
    }
}
