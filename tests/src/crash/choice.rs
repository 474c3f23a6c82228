//! What of the unsynced writes reaches the media.

use crate::sim::disk::{ATOM_BYTES, Disk, Unsynced};
use crate::sim::random::{Concern, Random};

/// With so many writes at most every subset is a choice.
const ALL_SUBSETS_MAX: usize = 12;
/// With more, so many are drawn.
const SUBSETS_DRAWN: u64 = 256;

/// One way in which a machine can stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The process is killed; what it wrote is there, and still not synced. What a failed fdatasync left in doubt is
    /// on the media if so told.
    Kill { keeps_doubtful: bool },
    /// The power goes; the writes whose bits are set reach the media.
    Subset(u128),
    /// The power goes; of this write only the first so many pieces of 512 bytes, of all others everything.
    Prefix(usize, u64),
    /// The power goes; of this write all but this piece, of all others everything.
    Hole(usize, u64),
}

/// Every choice for a disk. Of more than 12 writes some subsets, drawn from `seed`; so many that 128 bits do not hold
/// them are no subject of subsets alone.
pub(super) fn choices(disk: &Disk, seed: u64) -> Vec<Choice> {
    let writes = disk.unsynced();
    let count = writes.len();
    let all = all_of(count);
    let mut found = vec![Choice::Subset(all)];
    if count == 0 {
        return found;
    }
    let doubts: &[bool] = if disk.is_in_doubt() {
        &[true, false]
    } else {
        &[true]
    };
    let kill = |keeps_doubtful: &bool| Choice::Kill {
        keeps_doubtful: *keeps_doubtful,
    };
    found.extend(doubts.iter().map(kill));
    if count <= ALL_SUBSETS_MAX {
        found.extend((0..all).map(Choice::Subset));
    } else {
        let mut random = Random::stream(seed, Concern::Disk);
        let mut draw = || u128::from(random.draw()) << 64 | u128::from(random.draw());
        found.push(Choice::Subset(0));
        let singles = (0..count.min(128)).map(|write| 1 << write);
        found.extend(singles.flat_map(|bit| [Choice::Subset(bit), Choice::Subset(all & !bit)]));
        found.extend((0..SUBSETS_DRAWN).map(|_| Choice::Subset(draw() & all)));
    }
    for (index, write) in writes.iter().enumerate() {
        found.extend((1..pieces(write)).map(|kept| Choice::Prefix(index, kept)));
        found.extend((0..pieces(write)).map(|missing| Choice::Hole(index, missing)));
    }
    found
}

/// Stops the machine in that way.
pub(super) fn stop(disk: &mut Disk, choice: Choice) {
    let writes = disk.unsynced();
    let index_of = |stamp| writes.iter().position(|write| write.stamp == stamp);
    let piece_of = |index: usize, at: u64| (at - writes[index].position) / ATOM_BYTES as u64;
    match choice {
        Choice::Kill { keeps_doubtful } => disk.kill(keeps_doubtful),
        Choice::Subset(bits) => {
            disk.lose(|stamp, _| index_of(stamp).is_some_and(|index| has_bit(bits, index)));
        }
        Choice::Prefix(torn, kept) => {
            disk.lose(|stamp, at| index_of(stamp) != Some(torn) || piece_of(torn, at) < kept);
        }
        Choice::Hole(torn, missing) => {
            disk.lose(|stamp, at| index_of(stamp) != Some(torn) || piece_of(torn, at) != missing);
        }
    }
}

fn all_of(count: usize) -> u128 {
    1_u128
        .checked_shl(u32::try_from(count).unwrap_or(u32::MAX))
        .map_or(u128::MAX, |bit| bit - 1)
}

/// The bits are used again from the first on where there are more writes than bits.
fn has_bit(bits: u128, index: usize) -> bool {
    bits >> (index % 128) & 1 == 1
}

fn pieces(write: &Unsynced) -> u64 {
    (write.end - write.position) / ATOM_BYTES as u64
}
