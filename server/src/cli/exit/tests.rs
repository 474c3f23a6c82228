use corelane_client::ErrorCode;

use super::{CODES, OK, of_code};

#[test]
fn every_code_stands_in_the_manual() {
    let manual = include_str!("../../../../docs/cli.md");
    for (code, meaning) in CODES {
        let line = format!("| {code} | {meaning} |");
        assert!(manual.contains(&line), "docs/cli.md lacks {line}");
    }
}

#[test]
fn every_error_code_stands_in_the_manual_with_its_exit_code() {
    let manual = include_str!("../../../../docs/error-codes.md");
    for code in ErrorCode::all() {
        let (class, exit) = match code.class() {
            Some(class) => (class.to_string(), of_code(code)),
            None => ("success".to_owned(), OK),
        };
        let start = format!(
            "| {} | `{}` | {class} | {exit} |",
            code.as_u16(),
            code.name()
        );
        assert!(manual.contains(&start), "docs/error-codes.md lacks {start}");
    }
}
