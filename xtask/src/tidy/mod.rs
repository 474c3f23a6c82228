//! Repository rules that neither rustc nor clippy can check.
//!
//! Every rule is a pure function from the repository's text files to findings, so each has a test
//! with a planted violation, and one test holds the repository itself to all of them.

mod crates;
mod files;
mod formats;
mod lexer;
mod markdown;
mod rust;
mod words;

use std::fmt;

use anyhow::{Result, bail};

use self::files::SourceFile;
use crate::shell;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    message: String,
    is_warning: bool,
}

impl Finding {
    fn failure(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
            is_warning: false,
        }
    }

    fn warning(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            is_warning: true,
            ..Self::failure(path, line, message)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = if self.is_warning { "warning" } else { "error" };
        write!(f, "{}:{}: {level}: {}", self.path, self.line, self.message)
    }
}

/// Checks the repository; `--bless` first rewrites the source hashes in `docs/`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let root = shell::root();
    match arguments {
        [] => {}
        [option] if option == "--bless" => formats::bless(&root)?,
        _ => bail!("tidy takes no argument but --bless"),
    }
    let files = files::load(&root)?;
    let findings = check(&files);
    for finding in &findings {
        println!("{finding}");
    }
    let failures = findings.iter().filter(|one| !one.is_warning).count();
    println!(
        "tidy: {} files, warnings {}, failed {failures}",
        files.len(),
        findings.len() - failures
    );
    if failures > 0 {
        bail!("{failures} rules are broken");
    }
    Ok(())
}

fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(rust::check(files));
    findings.extend(crates::check(files));
    findings.extend(markdown::check(files));
    findings.extend(formats::check(files));
    findings.extend(words::check(files));
    findings
}

#[cfg(test)]
mod tests;
