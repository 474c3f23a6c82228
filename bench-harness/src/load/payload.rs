//! What a body says about itself.
//!
//! ```text
//!  0     8          12         20         28    32        length
//!  | run | producer | sequence | intended | crc | filler |
//!  |<------------ covered by crc ---------->|
//! ```
//! The filler is a slice of pseudo-random bytes that follow from the run; where it begins follows from the sequence.
//! So the whole body is known to the consumer, and is compared byte by byte without being kept.

use corelane_wire::codec::{put_u32, put_u64};
use corelane_wire::{CodecError, Reader, checksum};

/// Bytes of the stamp at the start of a body; the least that a body has.
pub const STAMP_BYTES: usize = 32;

/// Which message a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which of the run's producers sent it.
    pub producer: u32,
    /// Its number among that producer's messages.
    pub sequence: u64,
    /// When it was meant to leave, by the run's clock.
    pub intended_ns: u64,
}

/// Makes and checks the bodies of one run.
#[derive(Clone, Debug)]
pub struct Payload {
    run: u64,
    body_bytes: usize,
    filler: Vec<u8>,
}

impl Payload {
    /// For bodies of `body_bytes`, at least [`STAMP_BYTES`].
    pub fn new(run: u64, body_bytes: usize) -> Self {
        let mut state = run | 1;
        let bytes = body_bytes - STAMP_BYTES + PHASES;
        let mut filler = Vec::with_capacity(bytes + 8);
        while filler.len() < bytes {
            // Marsaglia's xorshift64: enough to make bytes that no compression shrinks.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            filler.extend_from_slice(&state.to_le_bytes());
        }
        Self {
            run,
            body_bytes,
            filler,
        }
    }

    /// Appends the body of this message.
    pub fn write(&self, stamp: Stamp, bodies: &mut Vec<u8>) {
        let start = bodies.len();
        put_u64(bodies, self.run);
        put_u32(bodies, stamp.producer);
        put_u64(bodies, stamp.sequence);
        put_u64(bodies, stamp.intended_ns);
        put_u32(bodies, checksum(&[&bodies[start..start + CRC_AT]]));
        bodies.extend_from_slice(self.filler(stamp.sequence));
    }

    /// The stamp of a body of this run; `None` if any byte is not as it was written.
    pub fn read(&self, body: &[u8]) -> Option<Stamp> {
        if body.len() != self.body_bytes {
            return None;
        }
        let (stamped, filler) = body.split_at(STAMP_BYTES);
        let (run, stamp, crc) = fields(stamped).ok()?;
        let is_intact = run == self.run
            && crc == checksum(&[&stamped[..CRC_AT]])
            && filler == self.filler(stamp.sequence);
        is_intact.then_some(stamp)
    }

    fn filler(&self, sequence: u64) -> &[u8] {
        let phase = usize::try_from(sequence % PHASES as u64).unwrap_or(0);
        &self.filler[phase..phase + self.body_bytes - STAMP_BYTES]
    }
}

fn fields(stamped: &[u8]) -> Result<(u64, Stamp, u32), CodecError> {
    let mut reader = Reader::new(stamped);
    let run = reader.u64()?;
    let stamp = Stamp {
        producer: reader.u32()?,
        sequence: reader.u64()?,
        intended_ns: reader.u64()?,
    };
    Ok((run, stamp, reader.u32()?))
}

const CRC_AT: usize = STAMP_BYTES - 4;
/// How many fillers there are; a prime, so that it shares no period with batches.
const PHASES: usize = 1_021;
