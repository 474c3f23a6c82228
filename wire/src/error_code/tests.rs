use std::collections::BTreeSet;

use super::*;

#[test]
fn every_code_has_its_own_number_name_and_a_hint() {
    let numbers: BTreeSet<_> = ErrorCode::all().map(ErrorCode::as_u16).collect();
    let names: BTreeSet<_> = ErrorCode::all().map(ErrorCode::name).collect();
    assert_eq!(ErrorCode::all().count(), 40);
    assert_eq!((numbers.len(), names.len()), (40, 40));
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
fn the_page_of_error_codes_has_exactly_these_rows() {
    let page = include_str!("../../../docs/error-codes.md");
    let rows = page.lines().filter(|line| line.contains(" | `"));
    // The exit code of the command line, in the fourth cell, is compared where it is made.
    let listed: Vec<_> = rows
        .map(|row| {
            let cells: Vec<_> = row.split(" | ").collect();
            [&cells[..3], &cells[4..]].concat().join(" | ")
        })
        .collect();
    let expected: Vec<_> = ErrorCode::all()
        .map(|code| {
            let class = code
                .class()
                .map_or_else(|| "success".to_owned(), |it| it.to_string());
            let (number, name, hint) = (code.as_u16(), code.name(), code.hint());
            let meaning = meaning_of(number);
            format!("| {number} | `{name}` | {class} | {meaning} | {hint} |")
        })
        .collect();
    assert_eq!(listed, expected);
}

/// The comment of the variant with this number.
fn meaning_of(number: u16) -> &'static str {
    let source = include_str!("../error_code.rs");
    let (before, _) = source.split_once(&format!(" = {number},\n")).unwrap();
    let (_, comment) = before.rsplit_once("/// ").unwrap();
    comment.lines().next().unwrap()
}
