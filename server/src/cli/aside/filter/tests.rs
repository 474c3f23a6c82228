use corelane_wire::{OffsetRange, SessionId};

use super::*;

fn row(first: u64, count: u32) -> AsideInfo {
    AsideInfo {
        range: OffsetRange {
            first: Offset(first),
            count,
        },
        attempts: 3,
        cause: AsideCause::Attempts,
        since: now().sub(Duration::from_mins(90)),
        leased: Timestamp(0),
        session: SessionId(7),
        text: "no route to bank".to_owned(),
    }
}

fn filter(conditions: &[&str]) -> Filter {
    Filter::new(
        conditions
            .iter()
            .map(|text| text.parse().unwrap())
            .collect(),
    )
}

#[test]
fn a_row_is_meant_if_all_conditions_hold() {
    for (conditions, expected) in [
        (&[][..], true),
        (&["cause=attempts"], true),
        (&["cause!=attempts"], false),
        (&["cause=rejected"], false),
        (&["cause!=lease_expired"], true),
        (&["text~route"], true),
        (&["text!~route"], false),
        (&["text~"], true),
        (&["text~a=b"], false),
        (&["attempts=3"], true),
        (&["attempts>3"], false),
        (&["attempts>=3", "attempts<=3"], true),
        (&["attempts<3"], false),
        (&["age>1h"], true),
        (&["age<1h"], false),
        (&["age<2h", "text~bank", "cause=attempts"], true),
        (&["age<2h", "text~bank", "cause=rejected"], false),
    ] {
        assert_eq!(
            filter(conditions).holds(&row(5, 1)),
            expected,
            "{conditions:?}"
        );
    }
}

#[test]
fn conditions_on_offsets_make_one_range() {
    let all = Offset(0)..Offset(u64::MAX);
    for (conditions, expected) in [
        (&[][..], all.clone()),
        (&["cause=attempts"], all),
        (&["offset=7"], Offset(7)..Offset(8)),
        (&["offset>=7", "offset<10"], Offset(7)..Offset(10)),
        (&["offset>7", "offset<=10"], Offset(8)..Offset(11)),
        (&["offset>=10", "offset<7"], Offset(10)..Offset(7)),
    ] {
        assert_eq!(filter(conditions).offsets(), expected, "{conditions:?}");
    }
    assert!(filter(&["offset>1"]).is_of_offsets());
    assert!(!filter(&["offset>1", "age>1h"]).is_of_offsets());
}

#[test]
fn what_is_no_condition_says_what_one_is() {
    for (text, says) in [
        ("", "expected cause"),
        ("route", "expected cause"),
        ("cause~attempts", "expected cause"),
        ("cause=tired", "rejected, attempts, lease_expired, overflow"),
        ("attempts~3", "expected cause"),
        ("attempts=three", "no number"),
        ("attempts==3", "expected cause"),
        ("age>3", "duration"),
        ("age=1h", "expected cause"),
        ("offset!=3", "expected cause"),
        ("size>3", "expected cause"),
    ] {
        let error = text.parse::<Condition>().unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}
