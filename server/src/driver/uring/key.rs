//! What an entry of the ring carries to find its way back: 64 bits that say which operation a
//! completion belongs to.
//!
//! ```text
//!   63      56 55                32 31                        0
//!   | kind   | round              | number                   |
//! ```
//! Invariant: (Y1) a completion of an earlier round finds nothing. The number names a socket, a
//! listener or a transfer (which have generations of their own, see `slots`); the round counts
//! what was armed on it. So neither a socket that took a closed one's place nor a receive that was
//! armed again can get what belongs to its predecessor.

/// The operation that an entry stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key {
    pub(super) kind: Kind,
    /// Counts what was armed on the number; 24 bits.
    pub(super) round: u32,
    pub(super) number: u32,
}

/// What kind of operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Accept,
    Recv,
    Send,
    Read,
    Write,
    /// The `fdatasync` that is linked to a write.
    Sync,
    /// The eventfd was written to.
    Watch,
    /// A neighbour's message: it wants this ring's wait to end.
    Wake,
    /// A message to a neighbour's ring; the number is the neighbour's.
    Message,
    /// The cancellation of another operation; nobody asks how it went.
    Cancel,
}

impl Key {
    pub(super) const fn new(kind: Kind, round: u32, number: u32) -> Self {
        Self {
            kind,
            round: round & ROUND_MASK,
            number,
        }
    }

    pub(super) const fn plain(kind: Kind) -> Self {
        Self::new(kind, 0, 0)
    }

    pub(super) fn encode(self) -> u64 {
        let kind = KINDS.iter().position(|kind| *kind == self.kind);
        let kind = kind.expect("every kind is listed") as u64;
        kind << KIND_SHIFT | u64::from(self.round) << ROUND_SHIFT | u64::from(self.number)
    }

    /// `None` for what no key of ours encodes to.
    pub(super) fn decode(bits: u64) -> Option<Self> {
        let kind = usize::try_from(bits >> KIND_SHIFT).ok()?;
        let low = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).expect("masked to 32 bits");
        Some(Self {
            kind: *KINDS.get(kind)?,
            round: low(bits >> ROUND_SHIFT) & ROUND_MASK,
            number: low(bits),
        })
    }
}

/// The round after this one.
pub(super) const fn next_round(round: u32) -> u32 {
    (round + 1) & ROUND_MASK
}

const KINDS: [Kind; 10] = [
    Kind::Accept,
    Kind::Recv,
    Kind::Send,
    Kind::Read,
    Kind::Write,
    Kind::Sync,
    Kind::Watch,
    Kind::Wake,
    Kind::Message,
    Kind::Cancel,
];
const KIND_SHIFT: u32 = 56;
const ROUND_SHIFT: u32 = 32;
const ROUND_MASK: u32 = (1 << (KIND_SHIFT - ROUND_SHIFT)) - 1;
