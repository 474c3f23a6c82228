use std::collections::BTreeSet;

use super::*;

#[test]
fn every_code_has_its_own_number_name_and_a_hint() {
    let numbers: BTreeSet<_> = ErrorCode::all().map(ErrorCode::as_u16).collect();
    let names: BTreeSet<_> = ErrorCode::all().map(ErrorCode::name).collect();
    assert_eq!(ErrorCode::all().count(), 37);
    assert_eq!((numbers.len(), names.len()), (37, 37));
    for code in ErrorCode::all() {
        assert_eq!(ErrorCode::from_u16(code.as_u16()), Some(code));
        assert!(
            !code.hint().is_empty() && code.name() != "unnamed",
            "{code:?}"
        );
    }
}

#[test]
fn class_is_the_number_divided_by_a_thousand() {
    assert_eq!(ErrorCode::Ok.class(), None);
    assert_eq!(ErrorCode::Malformed.class(), Some(Class::Client));
    assert_eq!(ErrorCode::Busy.class(), Some(Class::Retry));
    assert_eq!(ErrorCode::Internal.class(), Some(Class::Fatal));
    assert!(ErrorCode::NotOwner.is_retry() && !ErrorCode::StaleLease.is_retry());
}

#[test]
fn unknown_number_is_taken_by_its_class() {
    for (number, class) in [
        (1_999, Class::Client),
        (2_999, Class::Retry),
        (3_999, Class::Fatal),
        (4_000, Class::Fatal),
        (7, Class::Fatal),
    ] {
        assert_eq!(ErrorCode::from_u16(number), None);
        assert_eq!(ErrorCode::nearest(number).class(), Some(class), "{number}");
    }
    assert_eq!(ErrorCode::nearest(0), ErrorCode::Ok);
}

#[test]
fn the_protocol_page_lists_every_code() {
    let page = include_str!("../../../docs/protocol.md");
    for code in ErrorCode::all() {
        let row = match code.class() {
            Some(class) => format!("| {} | `{}` | {class} |", code.as_u16(), code.name()),
            None => format!("| {} | `{}` | success |", code.as_u16(), code.name()),
        };
        assert!(page.contains(&row), "docs/protocol.md lacks: {row}");
        assert!(
            page.contains(code.hint()),
            "docs/protocol.md lacks: {}",
            code.hint()
        );
    }
}
