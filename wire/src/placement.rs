//! Which partition a lane of a queue lives in: a hash, and nothing else.
//!
//! Clients and brokers compute it alike, so that a client finds the owner without asking about a queue.
//! Sources: FNV-1a of Fowler, Noll and Vo; fmix64 is the finalizer of Austin Appleby's `MurmurHash3`. FNV alone
//! spreads its low bits badly over a modulus, hence the finalizer.

use crate::ids::{Lane, PartitionId};

/// The partition of `lane` of `queue`; `partitions` is the fixed count, from the metadata.
///
/// # Panics
/// If `partitions` is 0.
pub fn partition_of(tenant: &str, queue: &str, lane: Lane, partitions: u32) -> PartitionId {
    assert!(partitions > 0, "a node has at least one partition");
    let mut hash = fnv1a(FNV_BASIS, tenant.as_bytes());
    hash = fnv1a(hash, &[0]);
    hash = fnv1a(hash, queue.as_bytes());
    if lane.0 > 0 {
        hash = fnv1a(hash, &[0]);
        hash = fnv1a(hash, &lane.0.to_le_bytes());
    }
    let partition = fmix64(hash) % u64::from(partitions);
    PartitionId(u32::try_from(partition).expect("a remainder is below its u32 divisor"))
}

fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
    })
}

const fn fmix64(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests;
