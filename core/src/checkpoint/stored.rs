//! The forms in which a checkpoint holds the state: plain numbers, so that the layout depends on nothing else.
//!
//! Read with checks only, after the checksum of the chunk was compared.

use corelane_wire::ChunkPlace;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Error, Strategy};
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

/// Of the forms below; those before are in `former`.
pub(super) const FORM: u32 = 4;

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Root {
    pub(super) form: u32,
    pub(super) end: u64,
    pub(super) epoch: u64,
    pub(super) log_time: u64,
    pub(super) jumps: u64,
    pub(super) next_queue: u32,
    pub(super) queues: Vec<Place>,
    pub(super) leases: Vec<Place>,
    pub(super) windows: Vec<Place>,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy)]
pub(super) struct Place {
    pub(super) file: u32,
    pub(super) bytes: u32,
    pub(super) position: u64,
    pub(super) crc: u32,
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Queue {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) created: u64,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) enqueued: u64,
    pub(super) stretches: Vec<Stretch>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) next_subscription: u32,
    pub(super) scheduled: Map<Scheduled>,
    pub(super) config: QueueConfig,
    /// Messages from here on are kept although everybody is done with them.
    pub(super) retained_from: Option<u64>,
    pub(super) expiring: Map<Expiring>,
    /// Which of them is looked at next; none if no message ever had a time to live.
    pub(super) swept: Option<Expiring>,
    pub(super) lapsed: Map<DonePage>,
}

#[derive(Archive, Serialize, Deserialize, Default)]
pub(super) struct QueueConfig {
    pub(super) retention_ms: u64,
    pub(super) retention_bytes: u64,
    pub(super) retention_count: u64,
    pub(super) messages_max: u64,
    pub(super) bytes_max: u64,
    pub(super) overflow: u8,
    pub(super) ttl_ms: u64,
    pub(super) slow_down_at: u64,
    pub(super) storage: u8,
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Stretch {
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) first_lsn: u64,
    pub(super) last_lsn: u64,
    pub(super) bytes: u64,
    pub(super) count: u64,
    pub(super) live: u64,
    pub(super) is_relocated: bool,
    pub(super) runs: Runs,
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) enum Runs {
    /// As in `packed`.
    Inline(Vec<u8>),
    Apart(Place),
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Subscription {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) contract: u8,
    pub(super) in_flight_max: u32,
    pub(super) rate_max: u32,
    pub(super) attempts_max: u32,
    pub(super) backoff_ms: u64,
    pub(super) backoff_max_ms: u64,
    pub(super) pause: Option<Pause>,
    pub(super) begin: u64,
    pub(super) gone: u64,
    pub(super) acked: u64,
    pub(super) expired: u64,
    pub(super) purged: u64,
    pub(super) done: u64,
    pub(super) cursor: u64,
    pub(super) done_set: Map<DonePage>,
    pub(super) returned: Map<Returned>,
    pub(super) behind: Map<Behind>,
    pub(super) delayed: Map<Delayed>,
    pub(super) ahead: Map<Ahead>,
    pub(super) dead: Map<SetAside>,
    pub(super) parked: Map<SetAside>,
    pub(super) dead_letters: Option<String>,
    pub(super) letter: Option<Letter>,
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Pause {
    pub(super) reason: String,
    pub(super) since: u64,
}

/// A map: its entries if they are few, else the places of its pages.
#[derive(Archive, Serialize, Deserialize)]
pub(super) enum Map<E> {
    Inline(Vec<E>),
    Pages(Vec<Place>),
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct DonePage {
    pub(super) page: u64,
    /// None if all are set.
    pub(super) words: Vec<u64>,
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Returned {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) attempts: u32,
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Behind {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) attempts: u32,
    pub(super) lsn: u64,
    pub(super) queue_end: u64,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy)]
pub(super) struct Delayed {
    pub(super) due: u64,
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) attempts: u32,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy)]
pub(super) struct Scheduled {
    pub(super) due: u64,
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) ttl_ms: u64,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy)]
pub(super) struct Expiring {
    pub(super) at: u64,
    pub(super) first: u64,
    pub(super) count: u32,
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Ahead {
    pub(super) first: u64,
    pub(super) count: u64,
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct SetAside {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) attempts: u32,
    pub(super) cause: u8,
    pub(super) since: u64,
    pub(super) leased: u64,
    /// Low half, high half.
    pub(super) session: [u64; 2],
    pub(super) text: String,
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Letter {
    pub(super) epoch: u64,
    pub(super) lsn: u64,
    pub(super) to: String,
    pub(super) row: SetAside,
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) epoch: u64,
    pub(super) lsn: u64,
    pub(super) queue: u32,
    pub(super) subscription: u32,
    /// Low half, high half.
    pub(super) session: [u64; 2],
    pub(super) given: u64,
    pub(super) runs: Vec<Held>,
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) first: u64,
    pub(super) count: u32,
    pub(super) attempt: u32,
    pub(super) deadline: u64,
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Window {
    pub(super) queue: u32,
    /// Low half, high half.
    pub(super) producer: [u64; 2],
    pub(super) next: u64,
    pub(super) used: u64,
    pub(super) runs: Vec<WindowRun>,
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct WindowRun {
    pub(super) sequence: u64,
    pub(super) first: u64,
    pub(super) count: u32,
    pub(super) batches: u64,
}

impl From<ChunkPlace> for Place {
    fn from(place: ChunkPlace) -> Self {
        Self {
            file: place.file,
            bytes: place.bytes,
            position: place.position,
            crc: place.crc,
        }
    }
}

impl From<Place> for ChunkPlace {
    fn from(place: Place) -> Self {
        Self {
            file: place.file,
            bytes: place.bytes,
            position: place.position,
            crc: place.crc,
        }
    }
}

/// The two halves of a number that is aligned like its halves.
pub(super) fn halves(number: u128) -> [u64; 2] {
    let bytes = number.to_le_bytes();
    let (low, high) = bytes.split_at(8);
    [low, high].map(|half| u64::from_le_bytes(half.try_into().expect("a half has 8 bytes")))
}

/// The number again.
pub(super) fn whole([low, high]: [u64; 2]) -> u128 {
    u128::from(low) | u128::from(high) << 64
}

/// The bytes of one chunk.
pub(super) fn encode<T>(value: &T) -> AlignedVec
where
    T: for<'a> Serialize<
        rkyv::api::high::HighSerializer<AlignedVec, rkyv::ser::allocator::ArenaHandle<'a>, Error>,
    >,
{
    rkyv::to_bytes::<Error>(value).expect("writing to memory does not fail")
}

/// What a chunk holds, after every check.
pub(super) fn decode<T>(bytes: &[u8]) -> Result<T, String>
where
    T: Archive,
    T::Archived: for<'a> CheckBytes<rkyv::api::high::HighValidator<'a, Error>>
        + Deserialize<T, Strategy<rkyv::de::Pool, Error>>,
{
    let mut aligned = AlignedVec::<16>::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    rkyv::from_bytes::<T, Error>(&aligned).map_err(|error| error.to_string())
}
