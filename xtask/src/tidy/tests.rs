use super::files::SourceFile;
use super::lexer::code_only;
use super::{check, crates, files, markdown, rust, words};
use crate::shell;

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

/// Number of findings that a rule has in one file.
fn count(rule: fn(&[SourceFile]) -> Vec<super::Finding>, path: &str, text: &str) -> usize {
    rule(&[file(path, text)]).len()
}

#[test]
fn repository_keeps_its_own_rules() {
    let files = files::load(&shell::root()).unwrap();
    let mut findings = check(&files);
    findings.retain(|finding| !finding.is_warning);
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

#[test]
fn lexer_blanks_comments_and_literals_and_keeps_lines() {
    let text = "a // unsafe\n\"un\\\"safe\" r#\"unsafe\n\"# 'x' '\\'' &'a b /* unsafe /* */ */ c";
    let code = code_only(text);
    assert_eq!(code.lines().count(), 2 + 1);
    assert!(!code.contains("safe"), "{code}");
    assert!(code.contains("&'a b"), "{code}");
    assert!(code.trim_end().ends_with('c'), "{code}");
}

#[test]
fn long_files_warn_then_fail() {
    let found = rust::check(&[file("core/src/a.rs", &"x\n".repeat(501))]);
    assert!(found.len() == 1 && found[0].is_warning);
    let found = rust::check(&[file("core/src/a.rs", &"x\n".repeat(801))]);
    assert!(found.len() == 1 && !found[0].is_warning);
    assert_eq!(count(rust::check, "core/src/a.rs", &"x\n".repeat(500)), 0);
}

#[test]
fn a_long_reference_model_fails() {
    let part = |name| {
        let path = format!("tests/src/model/reference/{name}.rs");
        file(&path, &format!("{}// says it\n\n", "x\n".repeat(500)))
    };
    let parts = [part("a"), part("b"), part("c")];
    assert_eq!(rust::check(&parts).len(), 3, "each is long");
    let more = file("tests/src/model/reference/d.rs", "x\n");
    let [a, b, c] = parts;
    let found = rust::check(&[a, b, c, more]);
    assert_eq!(found.iter().filter(|one| !one.is_warning).count(), 1);
}

#[test]
fn unsafe_stands_only_in_listed_files() {
    let text = "fn f() { unsafe { g() } }\n";
    assert_eq!(count(rust::check, "core/src/engine.rs", text), 1);
    assert_eq!(count(rust::check, "core/src/mailbox/ring.rs", text), 0);
    assert_eq!(count(rust::check, "wire/src/a.rs", "// unsafe\n"), 0);
    assert_eq!(
        count(rust::check, "wire/src/a.rs", "#![deny(unsafe_code)]\n"),
        0
    );
}

#[test]
fn vague_names_leftovers_and_inline_tests_fail() {
    assert_eq!(count(rust::check, "core/src/util.rs", ""), 1);
    assert_eq!(count(rust::check, "core/src/common/ring.rs", ""), 1);
    let leftover = concat!("// TO", "DO: later\n");
    assert_eq!(count(rust::check, "core/src/a.rs", leftover), 1);
    assert_eq!(
        count(rust::check, "core/src/a.rs", concat!("dbg", "!(1);\n")),
        1
    );
    assert_eq!(count(rust::check, "core/src/a.rs", "mod tests {\n"), 1);
    assert_eq!(count(rust::check, "core/src/a.rs", "mod tests;\n"), 0);
    assert_eq!(count(rust::check, "core/src/a.rs", "pub use a::*;\n"), 1);
    assert_eq!(count(rust::check, "core/src/a.rs", "#[ignore]\n"), 1);
}

#[test]
fn crate_edges_are_the_architectures() {
    let tail = "[lints]\nworkspace = true\n";
    let wire = format!("[dependencies]\ncrc32fast.workspace = true\n{tail}");
    assert_eq!(count(crates::check, "wire/Cargo.toml", &wire), 0);
    let upward = format!("[dependencies]\ncorelane-storage.workspace = true\n{tail}");
    assert_eq!(count(crates::check, "core/Cargo.toml", &upward), 1);
    let foreign = format!("[dependencies]\ntokio = \"1\"\n{tail}");
    assert_eq!(count(crates::check, "core/Cargo.toml", &foreign), 1);
    let table = format!("[dependencies.tokio]\nversion = \"1\"\n{tail}");
    assert_eq!(count(crates::check, "core/Cargo.toml", &table), 1);
    let tests = format!("[dev-dependencies]\nproptest.workspace = true\n{tail}");
    assert_eq!(count(crates::check, "core/Cargo.toml", &tests), 0);
    let upward = format!("[dev-dependencies]\ncorelane.workspace = true\n{tail}");
    assert_eq!(count(crates::check, "clients/rust/Cargo.toml", &upward), 1);
    assert_eq!(
        count(crates::check, "xtask/Cargo.toml", "[dependencies]\n"),
        1
    );
}

#[test]
fn a_crates_clippy_file_repeats_the_roots_settings() {
    let root = file("clippy.toml", "too-many-lines-threshold = 70\n");
    let own = file("core/clippy.toml", "too-many-lines-threshold = 90\n");
    assert_eq!(crates::check(&[root, own]).len(), 1);
}

#[test]
fn pages_have_one_title_and_live_links() {
    let page = "# A\n\n[b](b.md) `[x](dead.md)`\n```\n# no title\n[c](dead.md)\n```\n";
    let other = file(
        "docs/b.md",
        "# B\n[up](../README.md#top) [site](https://example.org)\n",
    );
    let readme = file("README.md", "# R\n[docs](docs)\n");
    assert!(markdown::check(&[file("docs/a.md", page), other, readme]).is_empty());
    assert_eq!(count(markdown::check, "docs/a.md", "# A\n[b](b.md)\n"), 1);
    assert_eq!(count(markdown::check, "docs/a.md", "# A\n# B\n"), 1);
    assert_eq!(count(markdown::check, "docs/a.md", "text\n"), 1);
}

#[test]
fn paths_in_code_spans_exist() {
    let code = || file("wire/src/frame.rs", "");
    let page = |text: &str| file("docs/a.md", &format!("# A\n{text}\n"));
    let alive = page("`wire/src/frame.rs` `wire/` `wire/src/NAME/x.rs` `and/or` `1/2`");
    assert!(markdown::check(&[alive, code()]).is_empty());
    let dead = page("see `wire/src/gone.rs` and `wire/src/frame.rs`");
    assert_eq!(markdown::check(&[dead, code()]).len(), 1);
}

#[test]
fn summary_lists_every_page() {
    let summary = || file("docs/SUMMARY.md", "# Summary\n- [A](a.md)\n");
    let page = || file("docs/a.md", "# A\n");
    assert!(markdown::check(&[summary(), page()]).is_empty());
    let forgotten = file("docs/adr/0001-x.md", "# X\n");
    assert_eq!(markdown::check(&[summary(), page(), forgotten]).len(), 1);
}

#[test]
fn machine_paths_and_registry_hosts_fail() {
    let path = concat!("open(\"/wo", "rk/x\")\n");
    assert_eq!(count(words::check, "a.rs", path), 1);
    assert_eq!(
        count(words::check, "a.rs", "target/work/x and $DIR/work/x\n"),
        0
    );
    let host = concat!("see https://static.crates", ".io/\n");
    assert_eq!(count(words::check, "a.md", host), 1);
    assert_eq!(count(words::check, "Cargo.lock", host), 0);
}
