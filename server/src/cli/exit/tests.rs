use super::CODES;

#[test]
fn every_code_stands_in_the_manual() {
    let manual = include_str!("../../../../docs/cli.md");
    for (code, meaning) in CODES {
        let line = format!("| {code} | {meaning} |");
        assert!(manual.contains(&line), "docs/cli.md lacks {line}");
    }
}
