//! The pages of the manual: every command in them is run, and what they show is compared.
//!
//! The convention for writers of pages is in `docs/testing.md`.

mod session;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use self::session::Session;
use crate::Fixture;

/// What a fenced block may be called; only `console` is run.
const KINDS: [&str; 6] = ["console", "text", "json", "toml", "rust", "rust,no_run"];

/// What a page may tell to type in a block that is not run: what builds the broker.
const NOT_RUN: [&str; 2] = ["$ cargo ", "$ export PATH="];

struct Page {
    name: String,
    text: String,
}

struct Block<'a> {
    line: usize,
    kind: &'a str,
    lines: Vec<&'a str>,
}

/// A command of a page, and the output shown below it.
struct Command<'a> {
    line: usize,
    typed: &'a str,
    shown: Vec<&'a str>,
}

fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap().to_owned()
}

fn page(name: &str) -> Page {
    let text = fs::read_to_string(root().join(name)).unwrap();
    let name = name.to_owned();
    Page { name, text }
}

fn pages() -> Vec<Page> {
    let mut names = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = PathBuf::from("docs").join(entry.unwrap().file_name());
        if name.extension().is_some_and(|extension| extension == "md") {
            names.push(name.to_str().unwrap().to_owned());
        }
    }
    names.sort();
    names.iter().map(|name| page(name)).collect()
}

impl Page {
    fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks: Vec<Block<'_>> = Vec::new();
        let mut is_open = false;
        for (index, text) in self.text.lines().enumerate() {
            if let Some(kind) = text.strip_prefix("```") {
                is_open = !is_open;
                if is_open {
                    let line = index + 1;
                    let lines = Vec::new();
                    blocks.push(Block { line, kind, lines });
                }
            } else if is_open {
                blocks.last_mut().unwrap().lines.push(text);
            }
        }
        blocks
    }

    /// The commands of all `console` blocks.
    fn commands(&self) -> Vec<Command<'_>> {
        let mut commands: Vec<Command<'_>> = Vec::new();
        for block in self.blocks() {
            let is_console = block.kind == "console";
            for (index, &text) in block.lines.iter().filter(|_| is_console).enumerate() {
                let line = block.line + 1 + index;
                if let Some(typed) = text.strip_prefix("$ ") {
                    let shown = Vec::new();
                    commands.push(Command { line, typed, shown });
                } else {
                    assert!(index > 0, "{}:{line}: a block begins with `$ `", self.name);
                    commands.last_mut().unwrap().shown.push(text);
                }
            }
        }
        commands
    }
}

#[test]
fn every_command_in_the_docs_does_what_the_docs_show() {
    let mut count = 0;
    for page in pages() {
        let commands = page.commands();
        if commands.is_empty() {
            continue;
        }
        let mut session = Session::start(&root());
        for command in &commands {
            let came = session.run(command.typed);
            let shown = command.shown.join("\n");
            let place = format!("{}:{}: {}", page.name, command.line, command.typed);
            assert!(came.is_success, "{place}\n{}", came.output);
            assert!(
                shown.is_empty() || agree(&shown, &came.output),
                "{place}\nshown:\n{shown}\ncame:\n{}",
                came.output
            );
        }
        count += commands.len();
    }
    assert!(count >= 20, "only {count} commands were found");
}

#[test]
fn every_block_of_the_docs_says_what_it_is() {
    let usage = fs::read_to_string(root().join("xtask/src/main.rs")).unwrap();
    for page in pages() {
        for block in page.blocks() {
            let place = format!("{}:{}", page.name, block.line);
            assert!(KINDS.contains(&block.kind), "{place}: {:?}", block.kind);
            if block.kind == "json" {
                let text = block.lines.join("\n");
                serde_json::from_str::<serde_json::Value>(&text).expect(&place);
            }
            for line in block.lines.iter().filter(|_| block.kind != "console") {
                let is_command = line.starts_with("$ ") || line.starts_with("corelane serve");
                let is_known = NOT_RUN.iter().any(|start| line.starts_with(start));
                assert!(!is_command || is_known, "{place}: {line:?} is not run");
            }
        }
        for rest in page.text.split("cargo xtask ").skip(1) {
            let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
            let task: String = rest.chars().take_while(|c| is_name(*c)).collect();
            let is_task = task.is_empty() || usage.contains(&format!("\n  {task} "));
            assert!(is_task, "{}: cargo xtask {task}", page.name);
        }
    }
}

#[test]
fn the_page_of_metrics_lists_what_a_broker_gives() {
    let fixture = Fixture::start();
    let (_, metrics) = corelane_tests::control::get(fixture.broker.control, "/metrics").unwrap();
    let given = metric_rows(&metrics);
    let page = page("docs/metrics.md");
    let rows = page.text.lines().filter(|row| row.starts_with("| `"));
    let listed: BTreeSet<String> = rows.map(str::to_owned).collect();
    let missing: Vec<_> = given.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&given).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/metrics.md lacks {missing:#?}\nand has {gone:#?}"
    );
}

#[derive(Default)]
struct Metric<'a> {
    name: &'a str,
    kind: &'a str,
    unit: &'a str,
    labels: BTreeSet<&'a str>,
    help: &'a str,
}

impl Metric<'_> {
    fn row(&self) -> String {
        let suffix = match self.kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let cells = [
            format!("`{}{suffix}`", self.name),
            self.kind.to_owned(),
            self.unit.to_owned(),
            self.labels.iter().copied().collect::<Vec<_>>().join(", "),
            self.help.to_owned(),
        ];
        format!("| {} |", cells.join(" | "))
    }
}

/// The rows of the page, made of a scrape: name, type, unit, labels, meaning.
fn metric_rows(scrape: &str) -> BTreeSet<String> {
    let mut metrics: Vec<Metric<'_>> = Vec::new();
    for line in scrape.lines() {
        let mut words = line.splitn(4, ' ');
        let (first, what) = (words.next(), words.next());
        let (name, text) = (words.next(), words.next().unwrap_or_default());
        if let (Some("#"), Some("HELP"), Some(name)) = (first, what, name) {
            metrics.push(Metric {
                name,
                help: text,
                ..Metric::default()
            });
        }
        let Some(metric) = metrics.last_mut() else {
            continue;
        };
        match (first, what) {
            (Some("#"), Some("TYPE")) => metric.kind = text,
            (Some("#"), Some("UNIT")) => metric.unit = text,
            (Some("#") | None, _) => {}
            (Some(sample), _) => metric.labels.extend(labels(sample)),
        }
    }
    metrics.iter().map(Metric::row).collect()
}

/// The labels of a sample; `le` belongs to every histogram.
fn labels(sample: &str) -> impl Iterator<Item = &str> {
    let (_, inside) = sample.split_once('{').unwrap_or_default();
    inside
        .split(',')
        .filter_map(|label| label.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| *name != "le")
}

/// Whether an output is what a page shows: blanks count once, and `...` stands for anything.
fn agree(shown: &str, came: &str) -> bool {
    let (shown, came) = (with_single_blanks(shown), with_single_blanks(came));
    let Some((start, rest)) = shown.split_once("...") else {
        return shown == came;
    };
    let Some(mut came) = came.strip_prefix(start) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split("...").collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = came.find(piece) else {
            return false;
        };
        came = &came[at + piece.len()..];
    }
    came.ends_with(last)
}

fn with_single_blanks(text: &str) -> String {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = text.trim_end().lines().map(words).collect();
    lines.join("\n")
}

#[test]
fn outputs_are_compared_but_for_what_the_dots_stand_for() {
    for (shown, came, expected) in [
        ("a  b\nc", "a b\nc\n", true),
        ("a b", "a c", false),
        ("a", "a\nb", false),
        ("in ... us\nend", "in 12 us\nend", true),
        ("in ... us\nend", "in 12 ms\nend", false),
        ("...\nlast", "first\nlast", true),
        ("first\n...", "first\nand more\nlast", true),
        ("x ... y ... z", "x 1 y 2 y 3 z", true),
        ("x ... x", "x", false),
    ] {
        assert_eq!(agree(shown, came), expected, "{shown:?} and {came:?}");
    }
}
