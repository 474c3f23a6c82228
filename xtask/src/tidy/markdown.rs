//! Rules for Markdown: one title, live links, paths that exist, and a book that lists its pages.

use super::Finding;
use super::files::SourceFile;

const SUMMARY: &str = "docs/SUMMARY.md";

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_markdown()) {
        check_title(file, &mut findings);
        check_links(file, files, &mut findings);
        check_paths(file, files, &mut findings);
    }
    check_summary(files, &mut findings);
    findings
}

/// Lines outside fenced code, with their numbers.
fn prose(file: &SourceFile) -> impl Iterator<Item = (usize, &str)> {
    let mut is_fenced = false;
    file.lines().filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        !is_fenced && !is_fence
    })
}

fn check_title(file: &SourceFile, findings: &mut Vec<Finding>) {
    let titles: Vec<usize> = prose(file)
        .filter(|(_, line)| line.starts_with("# "))
        .map(|(number, _)| number)
        .collect();
    if titles.len() != 1 {
        let line = titles.get(1).copied().unwrap_or(1);
        let message = format!("{} titles (`# `), a page has one", titles.len());
        findings.push(Finding::failure(&file.path, line, message));
    }
}

fn check_links(file: &SourceFile, files: &[SourceFile], findings: &mut Vec<Finding>) {
    for (number, target) in links(file) {
        let path = target.split('#').next().unwrap_or_default();
        let is_foreign = target.contains("://") || target.starts_with("mailto:");
        if is_foreign || path.is_empty() {
            continue;
        }
        if !exists(&resolve(&file.path, path), files) {
            let message = format!("dead link to {target}");
            findings.push(Finding::failure(&file.path, number, message));
        }
    }
}

fn exists(path: &str, files: &[SourceFile]) -> bool {
    let folder = format!("{path}/");
    files
        .iter()
        .any(|file| file.path == path || file.path.starts_with(&folder))
}

/// Paths in code spans, such as `wire/src/frame.rs`: a page must not point at what has moved.
fn check_paths(file: &SourceFile, files: &[SourceFile], findings: &mut Vec<Finding>) {
    for (number, line) in prose(file) {
        for span in line.split('`').skip(1).step_by(2) {
            let path = span.trim_end_matches('/');
            if is_our_path(path, files) && !exists(path, files) {
                let message = format!("{span} does not exist");
                findings.push(Finding::failure(&file.path, number, message));
            }
        }
    }
}

/// Whether a code span is meant as a path from the root: it begins with a source folder, and no
/// part of it is a placeholder in capitals.
fn is_our_path(span: &str, files: &[SourceFile]) -> bool {
    let Some((top, rest)) = span.split_once('/') else {
        return false;
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let is_placeholder = |part: &str| part.chars().all(|c| c.is_ascii_uppercase());
    !rest.is_empty()
        && rest.chars().all(is_plain)
        && !rest.split('/').any(is_placeholder)
        && !top.starts_with('.')
        && exists(top, files)
}

/// The targets of all `[text](target)` links outside code.
fn links(file: &SourceFile) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(file) {
        let mut rest = line;
        while let Some(at) = rest.find("](") {
            let is_code = line[..line.len() - rest.len() + at].matches('`').count() % 2 == 1;
            rest = &rest[at + 2..];
            let target = rest.split(')').next().unwrap_or_default();
            if !is_code {
                found.push((number, target));
            }
        }
    }
    found
}

/// A link's path from the root, given the page that contains it.
fn resolve(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

fn check_summary(files: &[SourceFile], findings: &mut Vec<Finding>) {
    let Some(summary) = files.iter().find(|file| file.path == SUMMARY) else {
        return;
    };
    let listed: Vec<String> = links(summary)
        .into_iter()
        .map(|(_, target)| resolve(SUMMARY, target))
        .collect();
    for file in files.iter().filter(|file| file.is_markdown()) {
        let is_page = file.path.starts_with("docs/") && file.path != SUMMARY;
        if is_page && !listed.contains(&file.path) {
            let message = format!("{SUMMARY} does not list this page");
            findings.push(Finding::failure(&file.path, 1, message));
        }
    }
}
