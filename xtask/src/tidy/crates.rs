//! Which crate may know which: the edges of the architecture, and the lints they share.

use super::Finding;
use super::files::SourceFile;

/// What one package may depend on.
struct Edges {
    manifest: &'static str,
    /// Packages of ours, in any kind of dependency.
    ours: &'static [&'static str],
    /// Foreign packages that the library itself may use; `None` means any.
    foreign: Option<&'static [&'static str]>,
}

/// The graph of docs/architecture.md. A new edge needs an ADR.
const ALLOWED: [Edges; 8] = [
    Edges {
        manifest: "wire/Cargo.toml",
        ours: &[],
        foreign: Some(&["crc32fast"]),
    },
    Edges {
        manifest: "core/Cargo.toml",
        ours: &["corelane-wire"],
        foreign: Some(&["tracing", "rkyv"]),
    },
    Edges {
        manifest: "storage/Cargo.toml",
        ours: &["corelane-wire"],
        foreign: Some(&["tracing", "libc", "rustix"]),
    },
    Edges {
        manifest: "clients/rust/Cargo.toml",
        ours: &["corelane-wire"],
        foreign: None,
    },
    Edges {
        manifest: "bench-harness/Cargo.toml",
        ours: &["corelane-wire", "corelane-client"],
        foreign: None,
    },
    Edges {
        manifest: "server/Cargo.toml",
        ours: &[
            "corelane-wire",
            "corelane-core",
            "corelane-storage",
            "corelane-client",
        ],
        foreign: None,
    },
    Edges {
        manifest: "tests/Cargo.toml",
        ours: &[
            "corelane-wire",
            "corelane-core",
            "corelane-storage",
            "corelane-client",
            "corelane-bench",
            "corelane",
        ],
        foreign: None,
    },
    Edges {
        manifest: "xtask/Cargo.toml",
        ours: &[],
        foreign: Some(&["anyhow"]),
    },
];

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        if let Some(edges) = ALLOWED.iter().find(|edges| edges.manifest == file.path) {
            check_edges(file, edges, &mut findings);
            check_lints(file, &mut findings);
        }
    }
    check_clippy(files, &mut findings);
    findings
}

fn check_edges(file: &SourceFile, edges: &Edges, findings: &mut Vec<Finding>) {
    for (line, dependency) in dependencies(file) {
        let name = dependency.name.as_str();
        let is_allowed = if is_ours(name) {
            edges.ours.contains(&name)
        } else {
            let listed = edges.foreign.is_none_or(|foreign| foreign.contains(&name));
            listed || dependency.is_for_tests
        };
        if !is_allowed {
            let message = format!(
                "{name} is not an allowed dependency here: see section 6 of docs/architecture.md"
            );
            findings.push(Finding::failure(&file.path, line, message));
        }
    }
}

fn is_ours(name: &str) -> bool {
    name == "corelane" || name == "xtask" || name.starts_with("corelane-")
}

struct Dependency {
    name: String,
    is_for_tests: bool,
}

/// The dependencies named in a manifest, with their lines.
fn dependencies(file: &SourceFile) -> Vec<(usize, Dependency)> {
    let mut found = Vec::new();
    let mut section = String::new();
    for (number, line) in file.lines() {
        let line = line.trim();
        if line.starts_with('[') {
            line.trim_matches(['[', ']']).clone_into(&mut section);
            // `[dependencies.NAME]` opens the table of one dependency.
            if let Some((kind, name)) = section.rsplit_once("dependencies.") {
                let is_for_tests = kind.ends_with("dev-");
                found.push((number, dependency(name, is_for_tests)));
            }
        } else if section.ends_with("dependencies")
            && let Some((key, _)) = line.split_once('=')
            && !line.starts_with('#')
        {
            let name = key.trim().split('.').next().unwrap_or(key);
            found.push((
                number,
                dependency(name, section.ends_with("dev-dependencies")),
            ));
        }
    }
    found
}

fn dependency(name: &str, is_for_tests: bool) -> Dependency {
    Dependency {
        name: name.trim().trim_matches('"').to_owned(),
        is_for_tests,
    }
}

fn check_lints(file: &SourceFile, findings: &mut Vec<Finding>) {
    let inherits = file.text.contains("[lints]\nworkspace = true");
    if !inherits {
        let message = "the crate does not inherit the lints: [lints] workspace = true";
        findings.push(Finding::failure(&file.path, 1, message));
    }
}

/// A crate's own `clippy.toml` is used instead of the root's, so it must repeat the thresholds.
fn check_clippy(files: &[SourceFile], findings: &mut Vec<Finding>) {
    let Some(root) = files.iter().find(|file| file.path == "clippy.toml") else {
        return;
    };
    let own = files
        .iter()
        .filter(|file| file.path.ends_with("/clippy.toml"));
    for file in own {
        for (_, line) in root.lines().filter(|(_, line)| line.contains('=')) {
            if !file.lines().any(|(_, other)| other.trim() == line.trim()) {
                let message = format!("the root's setting `{line}` is not repeated");
                findings.push(Finding::failure(&file.path, 1, message));
            }
        }
    }
}
