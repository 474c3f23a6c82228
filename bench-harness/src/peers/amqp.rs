//! Frames of AMQP 0-9-1, as far as a work queue needs them.
//!
//! ```text
//!  0      1         3        7           7 + size
//!  | kind | channel | size   | payload   | 0xCE |
//! ```
//! All numbers are big-endian. The payload of a method begins with its class and number.

use anyhow::{Context, Result, bail, ensure};

/// A method by class and number.
pub(super) type Method = (u16, u16);

pub(super) const CONNECTION_START: Method = (10, 10);
pub(super) const CONNECTION_START_OK: Method = (10, 11);
pub(super) const CONNECTION_TUNE: Method = (10, 30);
pub(super) const CONNECTION_TUNE_OK: Method = (10, 31);
pub(super) const CONNECTION_OPEN: Method = (10, 40);
pub(super) const CONNECTION_OPEN_OK: Method = (10, 41);
const CONNECTION_CLOSE: Method = (10, 50);
pub(super) const CHANNEL_OPEN: Method = (20, 10);
pub(super) const CHANNEL_OPEN_OK: Method = (20, 11);
const CHANNEL_CLOSE: Method = (20, 40);
pub(super) const QUEUE_DECLARE: Method = (50, 10);
pub(super) const QUEUE_DECLARE_OK: Method = (50, 11);
pub(super) const QUEUE_DELETE: Method = (50, 40);
pub(super) const QUEUE_DELETE_OK: Method = (50, 41);
pub(super) const BASIC_QOS: Method = (60, 10);
pub(super) const BASIC_QOS_OK: Method = (60, 11);
pub(super) const BASIC_CONSUME: Method = (60, 20);
pub(super) const BASIC_CONSUME_OK: Method = (60, 21);
pub(super) const BASIC_CANCEL: Method = (60, 30);
pub(super) const BASIC_CANCEL_OK: Method = (60, 31);
const BASIC_PUBLISH: Method = (60, 40);
pub(super) const BASIC_DELIVER: Method = (60, 60);
pub(super) const BASIC_ACK: Method = (60, 80);
pub(super) const BASIC_NACK: Method = (60, 120);
pub(super) const CONFIRM_SELECT: Method = (85, 10);
pub(super) const CONFIRM_SELECT_OK: Method = (85, 11);

/// One frame that came.
#[derive(Clone, Copy, Debug)]
pub(super) enum Frame<'a> {
    Method(Method, Fields<'a>),
    /// Bytes of the body that follows.
    Header(u64),
    Body(&'a [u8]),
}

/// The fields of a method, read from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self
            .bytes
            .split_first_chunk()
            .context("a method is cut off")?;
        self.bytes = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_be_bytes(self.take()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.take()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    /// A text of up to 255 bytes.
    pub(super) fn short(&mut self) -> Result<&'a str> {
        let length = self.u8()?.into();
        let (text, rest) = self
            .bytes
            .split_at_checked(length)
            .context("a text is cut off")?;
        self.bytes = rest;
        Ok(std::str::from_utf8(text)?)
    }
}

/// The first frame of `bytes` and its length; none if it is not whole.
///
/// # Errors
/// If it is no frame, or the server ends the channel or the connection with it.
pub(super) fn frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>> {
    let mut head = Fields::new(bytes);
    let Some(size) = bytes.get(3..FRAME_HEAD_BYTES) else {
        return Ok(None);
    };
    let size = Fields::new(size).u32()? as usize;
    let used = FRAME_HEAD_BYTES + size + 1;
    let Some(whole) = bytes.get(..used) else {
        return Ok(None);
    };
    ensure!(whole[used - 1] == FRAME_END, "a frame without its end");
    let payload = &whole[FRAME_HEAD_BYTES..used - 1];
    let mut fields = Fields::new(payload);
    let frame = match head.u8()? {
        FRAME_METHOD => {
            let method = (fields.u16()?, fields.u16()?);
            if method == CONNECTION_CLOSE || method == CHANNEL_CLOSE {
                bail!("the server closes: {} {}", fields.u16()?, fields.short()?);
            }
            Frame::Method(method, fields)
        }
        FRAME_HEADER => {
            fields.u32()?;
            Frame::Header(fields.u64()?)
        }
        FRAME_BODY => Frame::Body(payload),
        kind => bail!("a frame of kind {kind}"),
    };
    Ok(Some((frame, used)))
}

/// Encodes a method on a channel, whose fields `write` appends.
pub(super) fn put_method(
    out: &mut Vec<u8>,
    channel: u16,
    method: Method,
    write: impl FnOnce(&mut Vec<u8>),
) {
    put_frame(out, FRAME_METHOD, channel, |out| {
        out.extend_from_slice(&method.0.to_be_bytes());
        out.extend_from_slice(&method.1.to_be_bytes());
        write(out);
    });
}

/// Encodes a message for a queue, to be kept on disk.
pub(super) fn put_message(out: &mut Vec<u8>, channel: u16, queue: &str, body: &[u8]) {
    put_method(out, channel, BASIC_PUBLISH, |out| {
        // Reserved; the default exchange, which routes by the names of queues; no bits.
        out.extend_from_slice(&[0, 0, 0]);
        put_short(out, queue);
        out.push(0);
    });
    put_frame(out, FRAME_HEADER, channel, |out| {
        out.extend_from_slice(&BASIC_PUBLISH.0.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(body.len() as u64).to_be_bytes());
        out.extend_from_slice(&PROPERTY_DELIVERY_MODE.to_be_bytes());
        out.push(PERSISTENT);
    });
    for part in body.chunks(BODY_PART_BYTES_MAX) {
        put_frame(out, FRAME_BODY, channel, |out| out.extend_from_slice(part));
    }
}

/// Encodes a text of up to 255 bytes.
pub(super) fn put_short(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).expect("names are short"));
    out.extend_from_slice(text.as_bytes());
}

/// Encodes what has its length before it in four bytes: a text, or a table.
pub(super) fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("texts and tables are short");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn put_frame(out: &mut Vec<u8>, kind: u8, channel: u16, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    out.extend_from_slice(&channel.to_be_bytes());
    let start = out.len() + 4;
    out.extend_from_slice(&[0; 4]);
    write(out);
    let size = u32::try_from(out.len() - start).expect("frames are small");
    out[start - 4..start].copy_from_slice(&size.to_be_bytes());
    out.push(FRAME_END);
}

/// What the client says first: the protocol and its version.
pub(super) const PROTOCOL: &[u8] = b"AMQP\0\0\x09\x01";
/// What the server offers without a word in its configuration; every size of frame is asked for as the same.
pub(super) const FRAME_BYTES_MAX: u32 = 131_072;
const BODY_PART_BYTES_MAX: usize = FRAME_BYTES_MAX as usize - FRAME_HEAD_BYTES - 1;
const FRAME_HEAD_BYTES: usize = 7;
const FRAME_METHOD: u8 = 1;
const FRAME_HEADER: u8 = 2;
const FRAME_BODY: u8 = 3;
const FRAME_END: u8 = 0xCE;
const PROPERTY_DELIVERY_MODE: u16 = 0x1000;
const PERSISTENT: u8 = 2;
