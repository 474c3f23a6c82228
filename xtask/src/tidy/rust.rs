//! Rules for Rust files: sizes, module names, where `unsafe` may stand, leftovers.

use super::Finding;
use super::files::SourceFile;
use super::lexer::{code_only, has_word};

const LINES_SOFT: usize = 500;
const LINES_HARD: usize = 800;

/// Module names that say nothing about what is inside.
const VAGUE_NAMES: [&str; 8] = [
    "util", "utils", "common", "helper", "helpers", "manager", "impls", "misc",
];

/// The only files that may contain `unsafe`, by prefix: the drivers that talk to the kernel, the
/// mailbox ring, and the probes of the load harness.
const UNSAFE_FILES: [&str; 4] = [
    "server/src/driver/glommio",
    "server/src/driver/uring",
    "core/src/mailbox/ring",
    "bench-harness/src/probe",
];

/// A model that is as long as what it is compared with would prove little: its folder, and how many lines of code it may
/// have, without comments and blank lines.
const REFERENCE: &str = "tests/src/model/reference/";
const REFERENCE_LINES: usize = 1_500;

/// Words of unfinished work. They are put together here so that this file is free of them.
const LEFTOVERS: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        check_size(file, &mut findings);
        check_name(file, &mut findings);
        check_leftovers(file, &mut findings);
        check_code(file, &mut findings);
    }
    check_reference(files, &mut findings);
    findings
}

fn check_reference(files: &[SourceFile], findings: &mut Vec<Finding>) {
    let reference = files.iter().filter(|file| file.path.starts_with(REFERENCE));
    let lines: usize = reference.map(lines_of_code).sum();
    if lines > REFERENCE_LINES {
        let message = format!("the model has {lines} lines of code, at most {REFERENCE_LINES}");
        findings.push(Finding::failure(REFERENCE, 1, message));
    }
}

fn lines_of_code(file: &SourceFile) -> usize {
    let code = code_only(&file.text);
    code.lines().filter(|line| !line.trim().is_empty()).count()
}

fn check_size(file: &SourceFile, findings: &mut Vec<Finding>) {
    let lines = file.text.lines().count();
    if lines > LINES_HARD {
        let message = format!("{lines} lines, at most {LINES_HARD}: split it by noun or boundary");
        findings.push(Finding::failure(&file.path, lines, message));
    } else if lines > LINES_SOFT {
        let message = format!("{lines} lines; more than {LINES_SOFT} need a reason");
        findings.push(Finding::warning(&file.path, lines, message));
    }
}

fn check_name(file: &SourceFile, findings: &mut Vec<Finding>) {
    let path = file.path.trim_end_matches(".rs");
    for part in path.split('/') {
        if VAGUE_NAMES.contains(&part) {
            let message = format!("{part:?} is no name for a module: name the noun it holds");
            findings.push(Finding::failure(&file.path, 1, message));
        }
    }
}

fn check_leftovers(file: &SourceFile, findings: &mut Vec<Finding>) {
    for (number, line) in file.lines() {
        for leftover in LEFTOVERS {
            if has_word(line, leftover) {
                let message = format!("{leftover} on main: finish it or file an issue");
                findings.push(Finding::failure(&file.path, number, message));
            }
        }
    }
}

fn check_code(file: &SourceFile, findings: &mut Vec<Finding>) {
    let code = code_only(&file.text);
    let may_be_unsafe = UNSAFE_FILES
        .iter()
        .any(|prefix| file.path.starts_with(prefix));
    for (i, line) in code.lines().enumerate() {
        if let Some(message) = broken_rule(line, may_be_unsafe) {
            findings.push(Finding::failure(&file.path, i + 1, message));
        }
    }
}

/// The rule that this line of code breaks, if any.
fn broken_rule(line: &str, may_be_unsafe: bool) -> Option<&'static str> {
    let line = line.trim();
    if !may_be_unsafe && has_word(line, "unsafe") {
        return Some("unsafe outside the files listed in xtask/src/tidy/rust.rs");
    }
    if line.contains(concat!("dbg", "!(")) {
        return Some("a debugging print");
    }
    if line.starts_with("#[ignore") {
        return Some("an ignored test: a test runs or does not exist");
    }
    if line.starts_with("mod tests {") {
        return Some("tests inside the module: move them to a sibling `tests.rs`");
    }
    if line.starts_with("pub use") && line.contains("::*") {
        return Some("a glob re-export: name what is exported");
    }
    None
}
