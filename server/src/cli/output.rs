//! What goes to stdout: tables for people, JSON for programs, both from the same value.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::exit::Failure;

/// Form of the output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Format {
    /// Aligned columns, or just the bodies of messages.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document per line and item.
    Jsonl,
}

/// Something that stands in a line of a table.
pub(super) trait Row: Serialize {
    /// The names of the columns.
    const HEADINGS: &'static [&'static str];

    /// The cells of this item, one per heading, each on one line.
    fn cells(&self) -> Vec<String>;
}

/// A JSON document: a list under its name, and the version of the schema.
#[derive(Serialize)]
struct Document<'a, T> {
    v: u32,
    items: &'a [T],
}

/// One item with the version of the schema.
#[derive(Serialize)]
struct Item<'a, T> {
    v: u32,
    #[serde(flatten)]
    item: &'a T,
}

/// Writes a list of items.
pub(super) fn list<T: Row>(format: Format, items: &[T]) -> Result<(), Failure> {
    match format {
        Format::Table => line(&table(items)),
        Format::Json => line(&json(&Document { v: 1, items })?),
        Format::Jsonl => items.iter().try_for_each(|item| one(format, item)),
    }
}

/// Writes one item.
pub(super) fn one<T: Row>(format: Format, item: &T) -> Result<(), Failure> {
    match format {
        Format::Table => line(&table(std::slice::from_ref(item))),
        Format::Json | Format::Jsonl => line(&item_json(item)?),
    }
}

/// One item as a JSON document on one line.
pub(super) fn item_json<T: Serialize>(item: &T) -> Result<String, Failure> {
    json(&Item { v: 1, item })
}

/// Writes a line and makes sure that it has left.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    bytes(&[text.as_bytes(), b"\n"])
}

/// Writes bytes as they are and makes sure that they have left.
pub(super) fn bytes(parts: &[&[u8]]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for part in parts {
        out.write_all(part)?;
    }
    out.flush()?;
    Ok(())
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|error| Failure::other(format!("cannot write JSON: {error}")))
}

/// Columns as wide as their widest cell, two spaces apart; numbers to the right.
fn table<T: Row>(items: &[T]) -> String {
    let headings = T::HEADINGS.iter().map(|&heading| heading.to_owned());
    let mut lines = vec![headings.collect::<Vec<_>>()];
    lines.extend(items.iter().map(Row::cells));
    let width = |column: usize| {
        let cells = lines.iter().map(|cells| cells[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..T::HEADINGS.len()).map(width).collect();
    let is_number = |column: usize| {
        lines.len() > 1
            && lines[1..]
                .iter()
                .all(|cells| cells[column].parse::<u64>().is_ok())
    };
    let right: Vec<_> = (0..T::HEADINGS.len()).map(is_number).collect();
    let shown = lines.iter().map(|cells| {
        let padded = cells.iter().enumerate().map(|(column, cell)| {
            let width = widths[column];
            if right[column] {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    shown.collect::<Vec<_>>().join("\n")
}

/// A number that may be missing, in a table.
pub(super) fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |it| it.to_string())
}

/// How long ago something was, in its largest unit.
pub(super) fn age(since_ms: u64) -> String {
    largest_unit(now_ms().saturating_sub(since_ms) / 1_000)
}

/// In how long something will be, in its largest unit.
pub(super) fn until(due_ms: u64) -> String {
    largest_unit(due_ms.saturating_sub(now_ms()).div_ceil(1_000))
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

fn largest_unit(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A message's bytes on one line of at most `chars_max` characters.
pub(super) fn preview(bytes: &[u8], chars_max: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(chars_max).flat_map(plain).collect();
    if text.chars().nth(chars_max).is_some() {
        shown.push('…');
    }
    shown
}

/// Control characters, which could move the cursor, become escapes.
fn plain(letter: char) -> impl Iterator<Item = char> {
    let escaped = letter.is_control().then(|| letter.escape_default());
    let kept = (!letter.is_control()).then_some(letter);
    escaped.into_iter().flatten().chain(kept)
}

#[cfg(test)]
mod tests;
