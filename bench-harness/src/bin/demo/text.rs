//! The text file that the demo sends, one message a line.

use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

const WORDS: [&str; 16] = [
    "lane", "lease", "ledger", "signal", "harbour", "copper", "meadow", "quarry", "lantern",
    "orchard", "granite", "willow", "ferry", "compass", "anvil", "thistle",
];

/// Line `number`: its number, then words that follow from it.
pub(crate) fn line(number: usize) -> String {
    let mut state = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut line = format!("{number:06}");
    for _ in 0..6 + number % 5 {
        state ^= state >> 29;
        state = state.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        line.push(' ');
        line.push_str(WORDS[(state >> 60) as usize]);
    }
    line
}

/// Number of the line that a body claims to be.
pub(crate) fn number(body: &[u8]) -> Option<usize> {
    let digits = body.split(|&byte| byte == b' ').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Writes a file of `count` lines and returns its length.
pub(crate) fn make(path: &Path, count: usize) -> io::Result<u64> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    for i in 0..count {
        writeln!(file, "{}", line(i))?;
    }
    file.flush()?;
    Ok(fs::metadata(path)?.len())
}

/// The lines of a file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<String>> {
    BufReader::new(fs::File::open(path)?).lines().collect()
}

#[cfg(test)]
mod tests;
