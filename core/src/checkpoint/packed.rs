//! The runs of one stretch as few bytes: each field is the difference to what the run before suggests.
//!
//! Numbers are LEB128: seven bits a byte, least first, the high bit says that there is more. A run that does not follow
//! the one before has a count of 0, the length of the gap, and then what others have.

use corelane_wire::{Lsn, Offset, Timestamp};

use crate::state::EnqueueRun;
use crate::state::runs::RUNS_MAX;

/// Packs runs in a row.
pub(super) fn pack(runs: &[EnqueueRun]) -> Vec<u8> {
    let mut out = Vec::with_capacity(10 * runs.len() + 32);
    put(&mut out, runs.len() as u64);
    let mut before = (Lsn(0), Timestamp(0));
    let mut next = runs.first().map_or(Offset(0), |run| run.first);
    put(&mut out, next.0);
    for run in runs {
        put(&mut out, run.lsn.0.wrapping_sub(before.0.0));
        if run.first != next {
            put(&mut out, 0);
            put(&mut out, run.first.0 - next.0);
        }
        next = run.end();
        put(&mut out, u64::from(run.count));
        put(&mut out, u64::from(run.bytes));
        if run.count > 1 {
            put(&mut out, u64::from(run.largest));
        }
        put(&mut out, run.time.0.wrapping_sub(before.1.0));
        before = (run.lsn, run.time);
    }
    out
}

/// The runs again; `None` if the bytes are not those of packed runs.
pub(crate) fn unpack(mut bytes: &[u8]) -> Option<Vec<EnqueueRun>> {
    let count = usize::try_from(take(&mut bytes)?).ok()?;
    if count > RUNS_MAX {
        return None;
    }
    let mut first = Offset(take(&mut bytes)?);
    let mut before = (Lsn(0), Timestamp(0));
    let mut runs = Vec::with_capacity(count);
    for _ in 0..count {
        let lsn = Lsn(before.0.0.wrapping_add(take(&mut bytes)?));
        let mut count = take(&mut bytes)?;
        if count == 0 {
            first = Offset(first.0.checked_add(take(&mut bytes)?)?);
            count = take(&mut bytes)?;
        }
        let count = u32::try_from(count).ok()?;
        let length = u32::try_from(take(&mut bytes)?).ok()?;
        let largest = if count > 1 {
            u32::try_from(take(&mut bytes)?).ok()?
        } else {
            length
        };
        let time = Timestamp(before.1.0.wrapping_add(take(&mut bytes)?));
        runs.push(EnqueueRun {
            lsn,
            first,
            count,
            bytes: length,
            largest,
            time,
        });
        first = Offset(first.0.checked_add(u64::from(count))?);
        before = (lsn, time);
    }
    bytes.is_empty().then_some(runs)
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
