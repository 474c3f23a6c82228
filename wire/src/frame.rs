//! The frame: one length-prefixed unit on a socket, and the decoder that cuts a byte stream into frames.
//!
//! ```text
//!  0        4         8      12      16   17   18     20      24            32      40      head     length
//!  | magic  | length  | crc  | head  | v  |kind| code | flags | correlation | epoch | fields | messages |
//!  |<--- covered by crc ---->|       |<--------------- covered by crc -------------------->|
//! ```
//! (the crc field itself is left out; `head` is covered.)
//!
//! Called by connections, on any shard. Invariants:
//! (F1) Nothing of a frame is handed out before its length and checksum were checked.
//! (F2) The decoder holds at most the bytes that arrived of one frame; no length makes it allocate.
//! (F3) After an error the decoder stays in error: a byte stream has no second beginning.

use std::fmt;

use crate::checksum::checksum;
use crate::codec::{CodecError, Reader, length_u32, patch_u32};
use crate::error_code::ErrorCode;
use crate::ids::{Correlation, Epoch};
use crate::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};

/// The first four bytes of every frame.
pub const MAGIC: [u8; 4] = *b"CLN1";
/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;

/// A frame whose length and checksum are right; borrows from the bytes it was read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// What it is: see [`crate::kind`].
    pub kind: u8,
    /// 0 in requests and successful answers, else the number of an [`ErrorCode`].
    pub code: u16,
    /// Chosen by the client, repeated in the answer, 0 in what the server sends unasked.
    pub correlation: Correlation,
    /// 0 in requests; in answers the epoch of the partition that answered.
    pub epoch: Epoch,
    /// The fields after the header, covered by the frame's checksum.
    pub head: &'a [u8],
    /// What follows the head: message entries with checksums of their own.
    pub messages: &'a [u8],
    /// The whole frame, as it must be forwarded.
    pub bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame at the start of `bytes`, with the count of bytes it takes; `None` asks for more bytes.
    ///
    /// A frame that cannot become valid is refused as soon as that is known, not when it is whole.
    ///
    /// # Errors
    /// See [`FrameError`]; length and checksum come before everything but the magic.
    pub fn read(
        bytes: &'a [u8],
        frame_bytes_max: usize,
    ) -> Result<Option<(Self, usize)>, FrameError> {
        let Some(header) = FrameHeader::read(bytes, frame_bytes_max)? else {
            return Ok(None);
        };
        let Some((covered, _)) = bytes.split_at_checked(header.head) else {
            return Ok(None);
        };
        header.check(covered)?;
        Ok(header.frame(bytes).map(|frame| (frame, header.length)))
    }

    /// Views a frame that passed [`Frame::read`] before and has been in memory since.
    ///
    /// `None` if `bytes` are shorter than the frame; nothing else is checked.
    pub fn trusted(bytes: &'a [u8]) -> Option<Self> {
        let (header, _, _) = FrameHeader::fields(bytes).ok()?;
        header.frame(bytes)
    }
}

/// Cuts a stream of bytes into frames.
///
/// A frame that lies whole in one chunk is borrowed from it; one that is split over chunks is put together in a
/// buffer of the decoder's own.
#[derive(Debug)]
pub struct Decoder {
    /// Greatest length accepted; may be raised between frames, once the peer has greeted.
    pub frame_bytes_max: usize,
    partial: Vec<u8>,
    partial_is_taken: bool,
    failed: Option<FrameError>,
}

impl Decoder {
    /// Accepts frames of up to `frame_bytes_max` bytes.
    pub const fn new(frame_bytes_max: usize) -> Self {
        Self {
            frame_bytes_max,
            partial: Vec::new(),
            partial_is_taken: false,
            failed: None,
        }
    }

    /// Takes the next frame, moving `chunk` past what was used; `None` means that all of `chunk` was used.
    ///
    /// # Errors
    /// The first error is returned for ever after: the connection must be closed.
    pub fn next<'s, 'c: 's>(
        &'s mut self,
        chunk: &mut &'c [u8],
    ) -> Result<Option<Frame<'s>>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.release_taken();
        if !self.partial.is_empty() {
            return self.next_carried(chunk);
        }
        let bytes: &'c [u8] = chunk;
        match Frame::read(bytes, self.frame_bytes_max) {
            Ok(Some((frame, used))) => {
                *chunk = bytes.get(used..).unwrap_or_default();
                Ok(Some(frame))
            }
            Ok(None) => {
                self.partial.extend_from_slice(bytes);
                *chunk = &[];
                Ok(None)
            }
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    /// How many bytes of an unfinished frame are held; above 0 at the end of a stream, it was cut.
    pub const fn pending_bytes(&self) -> usize {
        if self.partial_is_taken {
            0
        } else {
            self.partial.len()
        }
    }

    fn next_carried(&mut self, chunk: &mut &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
        match self.carry(chunk) {
            Ok(Some(header)) => {
                self.partial_is_taken = true;
                Ok(header.frame(&self.partial))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    /// Moves bytes from `chunk` to the carried frame; the header once the frame is whole and checked.
    fn carry(&mut self, chunk: &mut &[u8]) -> Result<Option<FrameHeader>, FrameError> {
        let bytes_before = self.partial.len();
        self.fill(chunk, FRAME_HEADER_BYTES);
        let Some(header) = FrameHeader::read(&self.partial, self.frame_bytes_max)? else {
            return Ok(None);
        };
        self.fill(chunk, header.head);
        let Some((covered, _)) = self.partial.split_at_checked(header.head) else {
            return Ok(None);
        };
        // With the whole head there before, it was checked when its last byte came.
        if bytes_before < header.head {
            header.check(covered)?;
        }
        self.fill(chunk, header.length);
        Ok((self.partial.len() == header.length).then_some(header))
    }

    /// Moves bytes until `wanted` are held or the chunk is used up.
    fn fill(&mut self, chunk: &mut &[u8], wanted: usize) {
        let missing = wanted.saturating_sub(self.partial.len());
        let (taken, rest) = chunk.split_at_checked(missing).unwrap_or((chunk, &[]));
        self.partial.extend_from_slice(taken);
        *chunk = rest;
    }

    /// Empties the buffer after its frame was handed out; a large one is given back to the system.
    fn release_taken(&mut self) {
        if self.partial_is_taken {
            self.partial_is_taken = false;
            if self.partial.capacity() > KEPT_BYTES_MAX {
                self.partial = Vec::new();
            } else {
                self.partial.clear();
            }
        }
    }
}

/// Appends one frame to a buffer: header first, then fields, then messages; [`FrameWriter::finish`] completes it.
#[derive(Debug)]
#[must_use = "a frame without `finish` has neither length nor checksum"]
pub struct FrameWriter<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
}

impl<'o> FrameWriter<'o> {
    /// Starts a frame at the end of `out`.
    pub fn begin(
        out: &'o mut Vec<u8>,
        kind: u8,
        code: u16,
        correlation: Correlation,
        epoch: Epoch,
    ) -> Self {
        let start = out.len();
        let mut header = [0; FRAME_HEADER_BYTES];
        header[0..4].copy_from_slice(&MAGIC);
        header[16] = VERSION;
        header[17] = kind;
        header[18..20].copy_from_slice(&code.to_le_bytes());
        header[24..32].copy_from_slice(&correlation.0.to_le_bytes());
        header[32..40].copy_from_slice(&epoch.0.to_le_bytes());
        out.extend_from_slice(&header);
        Self { out, start }
    }

    /// Where the fields after the header are appended.
    pub const fn fields(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Completes the frame with `messages` (slices in order) behind the fields; returns its length.
    ///
    /// # Panics
    /// If the frame exceeds [`FRAME_BYTES_MAX`]; the limits of all that goes into one keep it below.
    pub fn finish(self, messages: &[&[u8]]) -> usize {
        let head = self.out.len() - self.start;
        for slice in messages {
            self.out.extend_from_slice(slice);
        }
        let length = self.out.len() - self.start;
        assert!(
            length <= FRAME_BYTES_MAX,
            "a frame of {length} bytes exceeds the limit of {FRAME_BYTES_MAX}"
        );
        patch_u32(self.out, self.start + 4, length_u32(length));
        patch_u32(self.out, self.start + 12, length_u32(head));
        let (_, frame) = self.out.split_at(self.start);
        let (covered, _) = frame.split_at(head);
        let crc = header_checksum(covered);
        patch_u32(self.out, self.start + 8, crc);
        length
    }
}

/// Why bytes are not a frame; the connection cannot go on after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes do not begin with [`MAGIC`]: the peer speaks another protocol, or the stream lost its place.
    BadMagic {
        /// The first bytes found, as far as they are there; the others 0.
        found: [u8; 4],
    },
    /// Length or head are impossible: `40 <= head <= length` does not hold.
    BadLength {
        /// The length of the frame that the header states.
        length: u32,
        /// The length of its head that the header states.
        head: u32,
    },
    /// The frame is longer than allowed.
    TooLarge {
        /// The length that the header states.
        length: u32,
        /// The greatest allowed.
        bytes_max: usize,
    },
    /// The checksum does not match.
    BadChecksum {
        /// The one in the header.
        stated: u32,
        /// The one of the bytes.
        computed: u32,
    },
    /// The frame has a version that is not spoken here.
    UnsupportedVersion {
        /// The version found.
        version: u8,
    },
    /// A reserved field is not 0.
    ReservedNotZero {
        /// The flags found.
        flags: u32,
    },
}

impl FrameError {
    /// The code for the frame that tells the peer why the connection is closed.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::BadMagic { .. } => ErrorCode::BadMagic,
            Self::BadLength { .. } => ErrorCode::Malformed,
            Self::TooLarge { .. } => ErrorCode::FrameTooLarge,
            Self::BadChecksum { .. } => ErrorCode::BadChecksum,
            Self::UnsupportedVersion { .. } => ErrorCode::UnsupportedVersion,
            Self::ReservedNotZero { .. } => ErrorCode::ReservedNotZero,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadMagic { found } => write!(
                formatter,
                "frame begins with \"{}\", not with \"CLN1\"",
                found.escape_ascii()
            ),
            Self::BadLength { length, head } => write!(
                formatter,
                "frame states length {length} and head {head}, but {FRAME_HEADER_BYTES} <= head <= length must hold"
            ),
            Self::TooLarge { length, bytes_max } => {
                write!(
                    formatter,
                    "frame of {length} bytes, at most {bytes_max} are allowed"
                )
            }
            Self::BadChecksum { stated, computed } => write!(
                formatter,
                "frame states checksum {stated:08x}, its bytes have {computed:08x}"
            ),
            Self::UnsupportedVersion { version } => {
                write!(
                    formatter,
                    "frame has version {version}, spoken is {VERSION}"
                )
            }
            Self::ReservedNotZero { flags } => {
                write!(formatter, "reserved flags are {flags:08x}, not 0")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// The fixed fields, after `magic`, `length` and `head` were found possible.
#[derive(Clone, Copy, Debug)]
struct FrameHeader {
    length: usize,
    crc: u32,
    head: usize,
    version: u8,
    kind: u8,
    code: u16,
    flags: u32,
    correlation: Correlation,
    epoch: Epoch,
}

impl FrameHeader {
    /// `None` asks for more bytes; a wrong magic is refused from its first byte on.
    fn read(bytes: &[u8], frame_bytes_max: usize) -> Result<Option<Self>, FrameError> {
        if !bytes
            .iter()
            .zip(&MAGIC)
            .all(|(found, magic)| found == magic)
        {
            let mut found = [0; 4];
            for (to, from) in found.iter_mut().zip(bytes) {
                *to = *from;
            }
            return Err(FrameError::BadMagic { found });
        }
        let Ok((header, length, head)) = Self::fields(bytes) else {
            return Ok(None);
        };
        if head < length_u32(FRAME_HEADER_BYTES) || length < head {
            return Err(FrameError::BadLength { length, head });
        }
        if header.length > frame_bytes_max {
            return Err(FrameError::TooLarge {
                length,
                bytes_max: frame_bytes_max,
            });
        }
        Ok(Some(header))
    }

    fn fields(bytes: &[u8]) -> Result<(Self, u32, u32), CodecError> {
        let mut reader = Reader::new(bytes);
        reader.bytes(MAGIC.len())?;
        let length = reader.u32()?;
        let crc = reader.u32()?;
        let head = reader.u32()?;
        let header = Self {
            length: length as usize,
            crc,
            head: head as usize,
            version: reader.u8()?,
            kind: reader.u8()?,
            code: reader.u16()?,
            flags: reader.u32()?,
            correlation: Correlation(reader.u64()?),
            epoch: Epoch(reader.u64()?),
        };
        Ok((header, length, head))
    }

    /// Checks the `head` bytes that the checksum covers; only then may version and flags be believed.
    fn check(&self, covered: &[u8]) -> Result<(), FrameError> {
        let computed = header_checksum(covered);
        if computed != self.crc {
            return Err(FrameError::BadChecksum {
                stated: self.crc,
                computed,
            });
        }
        if self.version != VERSION {
            return Err(FrameError::UnsupportedVersion {
                version: self.version,
            });
        }
        if self.flags != 0 {
            return Err(FrameError::ReservedNotZero { flags: self.flags });
        }
        Ok(())
    }

    /// The frame at the start of `bytes`; `None` if they do not hold all of it.
    fn frame<'a>(&self, bytes: &'a [u8]) -> Option<Frame<'a>> {
        let bytes = bytes.get(..self.length)?;
        Some(Frame {
            kind: self.kind,
            code: self.code,
            correlation: self.correlation,
            epoch: self.epoch,
            head: bytes.get(FRAME_HEADER_BYTES..self.head)?,
            messages: bytes.get(self.head..)?,
            bytes,
        })
    }
}

/// The checksum of a head: all but the checksum itself.
fn header_checksum(covered: &[u8]) -> u32 {
    let (before, rest) = covered.split_at_checked(8).unwrap_or((covered, &[]));
    checksum(&[before, rest.get(4..).unwrap_or_default()])
}

/// A buffer that grew beyond this is not kept for the next frame.
const KEPT_BYTES_MAX: usize = 128 * 1_024;

#[cfg(test)]
mod tests;
