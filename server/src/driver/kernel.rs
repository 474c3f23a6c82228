//! Which kernel this is.

use std::fs;

/// Major and minor number of the running kernel, if it says so.
pub(super) fn release() -> Option<(u32, u32)> {
    parse(&fs::read_to_string("/proc/sys/kernel/osrelease").ok()?)
}

fn parse(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests;
