//! Durations and sizes as people write them: `500ms`, `30s`, `5m`, `2h`; `64KiB`, `32MiB`, `1GiB`.

use std::fmt;
use std::time::Duration;

/// Text that is no quantity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuantityError {
    expected: &'static str,
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }
}

impl std::error::Error for QuantityError {}

/// Reads a duration: a whole number and one of the units `ms`, `s`, `m`, `h`, `d`.
///
/// # Errors
/// If the text is anything else or too large.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let error = QuantityError {
        expected: "expected a duration such as 500ms, 30s, 5m or 2h",
    };
    let (number, unit) = split(text).ok_or(error)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(error),
    };
    number
        .checked_mul(unit_ms)
        .map(Duration::from_millis)
        .ok_or(error)
}

/// Reads a size: a whole number and one of the units `B`, `KiB`, `MiB`, `GiB`; none means bytes.
///
/// # Errors
/// If the text is anything else or too large.
pub fn parse_bytes(text: &str) -> Result<usize, QuantityError> {
    let error = QuantityError {
        expected: "expected a size such as 65536, 64KiB, 32MiB or 1GiB",
    };
    let (number, unit) = split(text).ok_or(error)?;
    let unit_bytes = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(error),
    };
    number
        .checked_mul(unit_bytes)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or(error)
}

/// Writes a duration in the largest unit that makes it a whole number; below 1 ms it is cut off.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let whole = units
        .into_iter()
        .find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    match whole {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// Writes a size in the largest unit that makes it a whole number.
#[must_use]
pub fn format_bytes(bytes: usize) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let whole = units
        .into_iter()
        .find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    match whole {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// The leading digits and what follows them.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}
