//! Wire protocol and record formats of Corelane: bytes to types and back.
//!
//! Owns every byte that crosses a socket and the two formats that the log shares with it (message batch and
//! record header).
//! Called by all other packages, on any thread: there is no I/O, no clock and no state that changes in here.
//!
//! Invariants:
//! (W1) Decoding never panics, whatever the bytes, and never allocates by a declared length.
//! (W2) Length and checksum are checked before anything else of a frame is looked at.
//! (W3) Decoding borrows: message bytes are neither copied nor encoded anew on their way through the broker.
//!
//! The byte tables are in `docs/protocol.md`; one changed byte needs a version, a golden vector and an ADR.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod checkpoint;
pub mod checksum;
pub mod codec;
pub mod error_code;
pub mod frame;
pub mod ids;
pub mod kind;
pub mod limits;
pub mod message;
pub mod names;
pub mod placement;
pub mod record;
pub mod request;
pub mod response;

#[cfg(test)]
mod golden;

pub use checkpoint::ChunkPlace;
pub use checksum::checksum;
pub use codec::{CodecError, Reader};
pub use error_code::{Class, ErrorCode};
pub use frame::{Decoder, Frame, FrameError, FrameWriter};
pub use ids::{
    ConsumerId, Correlation, Epoch, Lane, LeaseId, Lsn, NodeId, Offset, OffsetRange, PartitionId,
    ProducerId, Sequence, SessionId, ShardId, Timestamp,
};
pub use message::{
    Batch, BatchBuilder, BatchError, BatchPart, CLASS_DURABLE, CLASS_MEMORY, Header, Headers,
    Message, MessageError, Messages, OutgoingMessage, renumber,
};
pub use names::{NameError, check_name, check_subscription_name, is_ephemeral};
pub use placement::partition_of;
pub use record::{RECORD_HEADER_BYTES, RECORD_VERSION, RecordError, RecordHeader, record_kind};
pub use request::{
    Aside, Contract, DeadLetters, Dequeue, Enqueue, Extend, Fate, Hello, Nack, OffsetRanges,
    OnSchedule, OnSubscription, Overflow, Peek, PurgeStates, QueueConfig, QueueList, Reject,
    Request, RequestError, ReturnTo, ScheduleVerb, Settle, SettleEntries, SettleEntriesIter,
    SettleEntry, Start, Storage, Subscribe, SubscriptionConfig, SubscriptionVerb,
};
pub use response::{
    AsideCause, AsideInfo, Delivered, DeliveredIter, Deliveries, DeliveryHead, DeliveryKind,
    DeliveryRun, HelloAnswer, Metadata, PartitionPlace, QueueInfo, Receipt, Response,
    ResponseError, ScheduleAnswer, ScheduledInfo, SettleOutcome, Settled, SubscriptionAnswer,
    SubscriptionDetail, SubscriptionInfo,
};
