//! The forms in which a checkpoint holds the state: plain numbers, so that the layout depends on nothing else.
//!
//! Read with checks only, after the checksum of the chunk was compared.

use corelane_wire::ChunkPlace;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Error, Strategy};
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

/// Of the forms below.
pub(super) const FORM: u32 = 2;
/// The form before: its pages of queues have stretches of another form.
pub(super) const FORM_1: u32 = 1;

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

/// A queue in form 1.
#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Queue1 {
    id: u32,
    name: String,
    created: u64,
    start: u64,
    end: u64,
    enqueued: u64,
    stretches: Vec<Stretch1>,
    subscriptions: Vec<Subscription>,
}

/// A stretch in form 1.
#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Stretch1 {
    first: u64,
    end: u64,
    first_lsn: u64,
    last_lsn: u64,
    bytes: u64,
    live: u64,
    runs: Runs,
}

impl From<Queue1> for Queue {
    fn from(queue: Queue1) -> Self {
        Self {
            id: queue.id,
            name: queue.name,
            created: queue.created,
            start: queue.start,
            end: queue.end,
            enqueued: queue.enqueued,
            stretches: queue.stretches.into_iter().map(Into::into).collect(),
            subscriptions: queue.subscriptions,
        }
    }
}

impl From<Stretch1> for Stretch {
    fn from(stretch: Stretch1) -> Self {
        Self {
            first: stretch.first,
            end: stretch.end,
            first_lsn: stretch.first_lsn,
            last_lsn: stretch.last_lsn,
            bytes: stretch.bytes,
            // Whoever wrote it relocated nothing.
            count: stretch.end.saturating_sub(stretch.first),
            live: stretch.live,
            is_relocated: false,
            runs: stretch.runs,
        }
    }
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) enum Runs {
    /// As in `packed`.
    Inline(Vec<u8>),
    Apart(Place),
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Subscription {
    pub(super) name: String,
    pub(super) done: u64,
    pub(super) cursor: u64,
    pub(super) done_set: Map<DonePage>,
    pub(super) returned: Map<Returned>,
    pub(super) delayed: Map<Delayed>,
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
pub(super) struct Delayed {
    pub(super) due: u64,
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) attempts: u32,
}

#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) epoch: u64,
    pub(super) lsn: u64,
    pub(super) queue: u32,
    pub(super) subscription: u32,
    /// Low half, high half.
    pub(super) session: [u64; 2],
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

/// A page of queues of this form, as of today's.
pub(super) fn decode_queues(form: u32, bytes: &[u8]) -> Result<Vec<Queue>, String> {
    if form == FORM_1 {
        let queues: Vec<Queue1> = decode(bytes)?;
        return Ok(queues.into_iter().map(Into::into).collect());
    }
    decode(bytes)
}

/// Whether a checkpoint of this form can be read.
pub(super) const fn is_readable(form: u32) -> bool {
    matches!(form, FORM | FORM_1)
}
