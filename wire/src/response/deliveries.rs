//! Messages on their way to a consumer: a small head of runs, and slices of the batches they were enqueued with.

use super::ResponseError;
use crate::codec::{CodecError, Reader, length_u32, put_u32, put_u64};
use crate::error_code::ErrorCode;
use crate::frame::FrameWriter;
use crate::ids::{ConsumerId, Correlation, Epoch, LeaseId, Lsn, Offset, Timestamp};
use crate::kind;
use crate::limits::DELIVERY_RUNS_MAX;
use crate::message::{ENTRY_HEADER_BYTES, Message, MessageError, Messages};

/// Messages of one lane under one lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deliveries<'a> {
    /// The lease to name in ack, nack and extend; zero if nothing is leased.
    pub lease: LeaseId,
    /// How long the lease lasts from the delivery on, in milliseconds.
    pub lease_ms: u32,
    /// Which messages, in the order of their bytes.
    pub runs: Vec<DeliveryRun>,
    /// The entries of all runs, one after the other; checked one by one by [`Deliveries::iter`].
    pub messages: &'a [u8],
}

/// Consecutive messages that were enqueued together and have been given out equally often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeliveryRun {
    /// The first offset.
    pub first: Offset,
    /// How many; at least 1.
    pub count: u32,
    /// Which delivery of the messages this is, from 1; 0 in an answer to a peek.
    pub attempt: u32,
    /// When they were enqueued, in log time.
    pub enqueued: Timestamp,
}

/// One message of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivered<'a> {
    /// Its offset in the lane.
    pub offset: Offset,
    /// Which delivery of it this is, from 1; 0 in an answer to a peek.
    pub attempt: u32,
    /// When it was enqueued, in log time.
    pub enqueued: Timestamp,
    /// The message.
    pub message: Message<'a>,
}

/// Which frame deliveries go out in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliveryKind {
    /// The answer to a dequeue.
    Dequeued,
    /// The answer to a peek.
    Peeked,
    /// Unasked, to this consumer.
    Pushed(ConsumerId),
}

/// What stands before the messages of a delivery; encodes it without the messages in one piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeliveryHead<'a> {
    /// Which frame.
    pub kind: DeliveryKind,
    /// See [`Deliveries::lease`].
    pub lease: LeaseId,
    /// See [`Deliveries::lease_ms`].
    pub lease_ms: u32,
    /// See [`Deliveries::runs`]; at most [`DELIVERY_RUNS_MAX`].
    pub runs: &'a [DeliveryRun],
}

impl<'a> Deliveries<'a> {
    /// Deliveries of nothing.
    pub const fn empty() -> Self {
        Self {
            lease: LeaseId {
                epoch: Epoch(0),
                lsn: Lsn(0),
            },
            lease_ms: 0,
            runs: Vec::new(),
            messages: &[],
        }
    }

    /// How many messages.
    pub fn count(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.count)).sum()
    }

    /// The messages with their offsets, each checked as it comes; ends after the first error.
    pub fn iter(&self) -> DeliveredIter<'a, '_> {
        DeliveredIter {
            runs: self.runs.iter(),
            run: None,
            messages: Messages::new(self.messages),
            is_over: false,
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>, messages: &'a [u8]) -> Result<Self, ResponseError> {
        let lease = LeaseId {
            epoch: Epoch(reader.u64()?),
            lsn: Lsn(reader.u64()?),
        };
        let lease_ms = reader.u32()?;
        let count = reader.u32()?;
        let runs = read_runs(reader, count)?;
        let deliveries = Self {
            lease,
            lease_ms,
            runs,
            messages,
        };
        let entries_max = (messages.len() / ENTRY_HEADER_BYTES) as u64;
        if deliveries.count() > entries_max || (count == 0 && !messages.is_empty()) {
            return Err(ResponseError::WrongMessages {
                bytes: messages.len(),
            });
        }
        Ok(deliveries)
    }
}

impl<'a, 'r> IntoIterator for &'r Deliveries<'a> {
    type Item = Result<Delivered<'a>, MessageError>;
    type IntoIter = DeliveredIter<'a, 'r>;

    fn into_iter(self) -> DeliveredIter<'a, 'r> {
        self.iter()
    }
}

impl DeliveryHead<'_> {
    /// Appends the frame, with the slices of entries in the order of the runs.
    ///
    /// # Panics
    /// If there are more than [`DELIVERY_RUNS_MAX`] runs, or the frame exceeds
    /// [`crate::limits::FRAME_BYTES_MAX`].
    pub fn encode(
        &self,
        correlation: Correlation,
        epoch: Epoch,
        messages: &[&[u8]],
        out: &mut Vec<u8>,
    ) {
        assert!(
            self.runs.len() <= DELIVERY_RUNS_MAX,
            "a delivery of {} runs exceeds the limit of {DELIVERY_RUNS_MAX}",
            self.runs.len()
        );
        let kind = match self.kind {
            DeliveryKind::Dequeued => kind::answer(kind::DEQUEUE),
            DeliveryKind::Peeked => kind::answer(kind::PEEK),
            DeliveryKind::Pushed(_) => kind::DELIVERY,
        };
        let mut writer = FrameWriter::begin(out, kind, ErrorCode::Ok.as_u16(), correlation, epoch);
        let fields = writer.fields();
        if let DeliveryKind::Pushed(consumer) = self.kind {
            put_u32(fields, consumer.0);
        }
        put_u64(fields, self.lease.epoch.0);
        put_u64(fields, self.lease.lsn.0);
        put_u32(fields, self.lease_ms);
        put_u32(fields, length_u32(self.runs.len()));
        for run in self.runs {
            put_u64(fields, run.first.0);
            put_u32(fields, run.count);
            put_u32(fields, run.attempt);
            put_u64(fields, run.enqueued.0);
        }
        writer.finish(messages);
    }
}

/// Iterates over the messages of [`Deliveries`].
#[derive(Clone, Debug)]
pub struct DeliveredIter<'a, 'r> {
    runs: std::slice::Iter<'r, DeliveryRun>,
    run: Option<DeliveryRun>,
    messages: Messages<'a>,
    is_over: bool,
}

impl<'a> Iterator for DeliveredIter<'a, '_> {
    type Item = Result<Delivered<'a>, MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let item = self.advance();
        self.is_over = !matches!(item, Some(Ok(_)));
        item
    }
}

impl<'a> DeliveredIter<'a, '_> {
    fn advance(&mut self) -> Option<Result<Delivered<'a>, MessageError>> {
        let Some(run) = self.run.take().or_else(|| self.runs.next().copied()) else {
            return self.left_over();
        };
        let message = match self.messages.next() {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Some(Err(error)),
            None => {
                return Some(Err(MessageError::Codec(CodecError::Truncated {
                    needed: ENTRY_HEADER_BYTES,
                    left: 0,
                })));
            }
        };
        if run.count > 1 {
            self.run = Some(DeliveryRun {
                // Saturates only for offsets that no broker gives out.
                first: Offset(run.first.0.saturating_add(1)),
                count: run.count - 1,
                ..run
            });
        }
        Some(Ok(Delivered {
            offset: run.first,
            attempt: run.attempt,
            enqueued: run.enqueued,
            message,
        }))
    }

    /// Bytes beyond the last run are an error: their offsets are unknown.
    fn left_over(&mut self) -> Option<Result<Delivered<'a>, MessageError>> {
        match self.messages.next()? {
            Ok(message) => Some(Err(MessageError::Codec(CodecError::TrailingBytes {
                left: message.bytes.len(),
            }))),
            Err(error) => Some(Err(error)),
        }
    }
}

fn read_runs(reader: &mut Reader<'_>, count: u32) -> Result<Vec<DeliveryRun>, ResponseError> {
    let mut rows = Reader::new(reader.bytes(count as usize * RUN_BYTES)?);
    let mut runs = Vec::with_capacity(rows.left() / RUN_BYTES);
    while rows.left() > 0 {
        let run = DeliveryRun {
            first: Offset(rows.u64()?),
            count: rows.u32()?,
            attempt: rows.u32()?,
            enqueued: Timestamp(rows.u64()?),
        };
        if run.count == 0 {
            return Err(ResponseError::OutOfRange {
                what: "count of a run",
                value: 0,
            });
        }
        runs.push(run);
    }
    Ok(runs)
}

const RUN_BYTES: usize = 24;
