//! Writes the seed corpora anew: golden vectors as frames, segments that the real log wrote, and checkpoints.
//!
//! Run in the folder of the fuzz targets. Existing files of other names are kept.

use std::fs;
use std::path::Path;

use corelane_fuzz::{checkpoints, edits, written};

fn main() -> std::io::Result<()> {
    let vectors = Path::new("../../wire/src/testdata");
    for entry in fs::read_dir(vectors)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let is_frame = name.starts_with("request_") || name.starts_with("response_");
        if is_frame {
            let frame = bytes_of(&fs::read_to_string(&path)?);
            save("request", &name, &frame)?;
        }
    }
    let files = written::log();
    let mut input = edits::input_for(&files);
    save("block_scan", "segments", &input)?;
    input[0] = edits::REPAIR | edits::RELINK;
    save("block_scan", "segments_relinked", &input)?;
    for (name, options) in [
        ("written", edits::FROM_WRITTEN),
        ("written_repaired", edits::FROM_WRITTEN | edits::REPAIR),
        ("written_relinked", edits::FROM_WRITTEN | edits::RELINK),
    ] {
        // One byte of the second segment's first block.
        save("block_scan", name, &[options, 5, 1, 2, 0, 40, 1])?;
    }
    for (name, options) in [
        ("written", edits::FROM_WRITTEN),
        ("written_repaired", edits::FROM_WRITTEN | edits::REPAIR),
    ] {
        save("checkpoint", name, &[options])?;
        for (page, place) in checkpoints::newest_pages() {
            // One byte of the newest generation.
            let edit = [options, 5, checkpoints::NEWEST, place, 2, 8, 1];
            save("checkpoint", &format!("{name}_{page}"), &edit)?;
        }
    }
    Ok(())
}

fn save(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let folder = Path::new("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}

/// The bytes of a file of hexadecimal digits, with comments behind `#`.
fn bytes_of(text: &str) -> Vec<u8> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let digits: Vec<char> = lines
        .flat_map(str::chars)
        .filter(char::is_ascii_hexdigit)
        .collect();
    let digit = |digit: char| u8::try_from(digit.to_digit(16).unwrap_or(0)).unwrap_or(0);
    digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, it| byte << 4 | digit(*it)))
        .collect()
}
