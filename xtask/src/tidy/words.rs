//! Words that tie the repository to one machine or one mirror.

use super::Finding;
use super::files::SourceFile;

/// Put together here so that this file is free of them.
const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
const REGISTRY_HOSTS: [&str; 5] = [
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("npmjs", ".org"),
    concat!("deb.debian", ".org"),
    concat!("proxy.golang", ".org"),
];

/// Pages of the project's design folder, which a reader of the repository does not have.
const FOREIGN_PAGES: [&str; 4] = [
    concat!("CLARIFI", "CATIONS"),
    concat!("RUNTIME", " part"),
    concat!("ARCHITECTURE", " section"),
    concat!("TESTING", ".md"),
];

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Cargo writes the name of its registry into lock files.
    for file in files.iter().filter(|file| file.name() != "Cargo.lock") {
        for (number, line) in file.lines() {
            if let Some(word) = forbidden_word(line) {
                let message = format!("{word:?} does not belong in the repository");
                findings.push(Finding::failure(&file.path, number, message));
            }
            if let Some(page) = FOREIGN_PAGES.into_iter().find(|page| line.contains(page)) {
                let message = format!("{page:?} is no page of this repository: cite one in docs/");
                findings.push(Finding::warning(&file.path, number, message));
            }
        }
    }
    findings
}

fn forbidden_word(line: &str) -> Option<&'static str> {
    let path = MACHINE_PATHS.into_iter().find(|path| {
        line.match_indices(path)
            .any(|(at, _)| is_path_start(line, at))
    });
    path.or_else(|| REGISTRY_HOSTS.into_iter().find(|host| line.contains(host)))
}

/// Whether a path that begins here is absolute, not the tail of a longer one.
fn is_path_start(line: &str, at: usize) -> bool {
    let before = line[..at].chars().next_back();
    !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '}' | '*'))
}
