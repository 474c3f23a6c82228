//! Format pages that cannot fall behind: each carries a hash of the code it describes.
//!
//! A change to that code fails tidy until somebody has looked at the page and blessed it with
//! `cargo xtask tidy --bless`. Comments, blank lines and tests are not part of the hash.

use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;
use super::files::{self, SourceFile};

/// A page and the sources that it describes: files, or folders ending in a slash.
struct Format {
    page: &'static str,
    sources: &'static [&'static str],
}

const FORMATS: [Format; 2] = [
    Format {
        page: "docs/protocol.md",
        sources: &["wire/src/"],
    },
    Format {
        page: "docs/storage-format.md",
        sources: &[
            "storage/src/layout.rs",
            "storage/src/fixed.rs",
            "storage/src/block.rs",
            "storage/src/segment.rs",
            "storage/src/segment_table.rs",
            "storage/src/superblock.rs",
            "storage/src/checkpoint/format.rs",
            "wire/src/record.rs",
        ],
    },
];

const PREFIX: &str = "<!-- source-hash: ";
const SUFFIX: &str = " -->";

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    FORMATS
        .iter()
        .filter_map(|format| check_format(format, files))
        .collect()
}

fn check_format(format: &Format, files: &[SourceFile]) -> Option<Finding> {
    for source in format.sources {
        if !files.iter().any(|file| is_part(&file.path, source)) {
            let message = format!("{source}, which this page describes, is gone");
            return Some(Finding::failure(format.page, 1, message));
        }
    }
    let Some(page) = files.iter().find(|file| file.path == format.page) else {
        return Some(Finding::failure(format.page, 1, "the page does not exist"));
    };
    let expected = stamp(format, files);
    let Some((line, found)) = page.lines().find(|(_, line)| line.starts_with(PREFIX)) else {
        let message = "no source hash: check the page, then run cargo xtask tidy --bless";
        return Some(Finding::failure(format.page, 1, message));
    };
    (found != expected).then(|| {
        let message = format!(
            "the sources changed ({}): check the page, then run cargo xtask tidy --bless",
            format.sources.join(", ")
        );
        Finding::failure(format.page, line, message)
    })
}

/// Writes the present hashes into the pages that exist.
pub(super) fn bless(root: &Path) -> Result<()> {
    let files = files::load(root)?;
    for format in &FORMATS {
        let Some(page) = files.iter().find(|file| file.path == format.page) else {
            continue;
        };
        let blessed = with_stamp(&page.text, &stamp(format, &files));
        if blessed != page.text {
            std::fs::write(root.join(format.page), blessed)
                .with_context(|| format!("cannot write {}", format.page))?;
            println!("blessed {}", format.page);
        }
    }
    Ok(())
}

/// The page with its stamp line replaced, or appended if it has none.
fn with_stamp(text: &str, stamp: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    match lines.iter_mut().find(|line| line.starts_with(PREFIX)) {
        Some(line) => *line = stamp,
        None => lines.extend(["", stamp]),
    }
    lines.join("\n") + "\n"
}

fn stamp(format: &Format, files: &[SourceFile]) -> String {
    let mut hash = Fnv::default();
    for file in files {
        let is_source = format
            .sources
            .iter()
            .any(|source| is_part(&file.path, source));
        if is_source && !is_test(&file.path) {
            hash.update(file.path.as_bytes());
            hash_code(&file.text, &mut hash);
        }
    }
    format!("{PREFIX}{:016x}{SUFFIX}", hash.0)
}

fn is_part(path: &str, source: &str) -> bool {
    path == source || (source.ends_with('/') && path.starts_with(source))
}

fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/") || path.contains("/testdata/")
}

fn hash_code(text: &str, hash: &mut Fnv) {
    for line in text.lines().map(str::trim) {
        if !line.is_empty() && !line.starts_with("//") {
            hash.update(line.as_bytes());
            hash.update(b"\n");
        }
    }
}

/// FNV-1a, 64 bits: the standard library has no hash that is the same in every release.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests;
