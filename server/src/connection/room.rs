//! Room in the out-buffer of one connection, and the shards that wait for it.
//!
//! Owned by the connection; lives on its shard, which waits in the same line as the others.
//! Invariants:
//! (G1) One shard at a time has room, and it goes round in the order in which it was asked for.
//! (G2) Room is given while no more than `OUT_BYTES_HIGH` bytes wait to be sent, so that with one turn of it
//!      ([`TURN_BYTES_MAX`]) and what other shards deliver without asking ([`AHEAD_BYTES_MAX`]) a client that
//!      does not read costs at most 1 MiB. What a shard delivered before it asked has come by then (M1 in `mail`).

use std::collections::VecDeque;

use corelane_core::limits::PUSH_BYTES_MAX;
use corelane_wire::ShardId;
use corelane_wire::limits::DELIVERY_RUNS_MAX;

use super::OUT_BYTES_HIGH;

/// What all shards together deliver to a connection of another one before they ask for room.
const AHEAD_BYTES_MAX: usize = 128 << 10;
/// What a shard delivers when it has room, unless its first delivery alone is more.
pub const ROOM_BYTES_MAX: usize = 128 << 10;

/// Fields of a delivery without its runs, or more.
const HEAD_BYTES: usize = 128;
/// One run.
const RUN_BYTES: usize = 24;
/// Fields of the largest delivery.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// What a shard that has room delivers at most, with messages below [`PUSH_BYTES_MAX`].
const TURN_BYTES_MAX: usize = PUSH_BYTES_MAX + HEAD_BYTES_MAX;

const _: () = assert!(DELIVERY_RUNS_MAX * RUN_BYTES + HEAD_BYTES <= HEAD_BYTES_MAX);
const _: () = assert!(ROOM_BYTES_MAX <= TURN_BYTES_MAX);
// G2, for any number of shards: their shares of what is delivered without asking add up to `AHEAD_BYTES_MAX`.
const _: () = assert!(OUT_BYTES_HIGH + TURN_BYTES_MAX + AHEAD_BYTES_MAX <= 1 << 20);
const _: () = assert!(3 * share_of(4) <= AHEAD_BYTES_MAX && share_of(1) == share_of(2));

/// What each of so many shards delivers to a connection of another one before it asks for room.
pub const fn share_of(shards: usize) -> usize {
    match shards {
        0 | 1 => AHEAD_BYTES_MAX,
        _ => AHEAD_BYTES_MAX / (shards - 1),
    }
}

/// What a delivery of so many bytes of messages in so many runs takes at most.
pub const fn delivery_bytes(runs: usize, messages_bytes: usize) -> usize {
    HEAD_BYTES + runs * RUN_BYTES + messages_bytes
}

/// Who has room in an out-buffer, and who waits for it.
#[derive(Debug, Default)]
pub struct RoomLine {
    holder: Option<ShardId>,
    /// Each shard at most once.
    waiting: VecDeque<ShardId>,
}

impl RoomLine {
    /// Whether nobody has room or waits for it.
    pub fn is_idle(&self) -> bool {
        self.holder.is_none() && self.waiting.is_empty()
    }

    /// A shard asks for room; if it had some, that is used up.
    pub fn ask(&mut self, shard: ShardId) {
        self.used(shard);
        debug_assert!(
            !self.waiting.contains(&shard),
            "G1: shard {} asks twice",
            shard.0
        );
        self.waiting.push_back(shard);
    }

    /// A shard needs no more of the room that it has.
    pub fn used(&mut self, shard: ShardId) {
        self.holder.take_if(|holder| *holder == shard);
    }

    /// Gives room to the shard that waits longest, unless another one has it (G1).
    pub fn give(&mut self) -> Option<ShardId> {
        if self.holder.is_none() {
            self.holder = self.waiting.pop_front();
            return self.holder;
        }
        None
    }
}
