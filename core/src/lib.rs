//! The delivery state machine of Corelane: pure, deterministic, no I/O.
//!
//! Owns what a partition *means*: queues, subscriptions, leases, producers, and who may see what when.
//! Called by the shard loop of `server`, by recovery and by the simulation; an [`Engine`] lives on its partition's
//! owner shard. The mailbox ring is the one part that two shards share.
//!
//! Invariants:
//! (E1) `start <= committed <= durable <= end`, and no position moves back within a start.
//! (E2) Only `apply` changes replicated state; the live engine, a restart and a replica run the same `apply`.
//! (E3) A reply leaves when `committed` has reached the `end` at which it was computed, but for a receipt of class
//!      memory, and an answer about ephemeral leases, which leave at once; a delivery carries only messages whose Enqueue record is below `committed`.
//! (E4) Between the done prefix and the cursor of a subscription every message is exactly one of done, leased,
//!      returned and delayed; from the cursor on all are ready.
//! (E5) A message is held by at most one lease of a subscription.
//! (E6) Leases expire and delays come due by Tick records only, in the time of the log.
//! (E7) Everything that can grow has a bound in [`limits`]; what is beyond it is answered, not kept.

pub mod ids;
pub mod limits;
pub mod record;

mod checkpoint;
mod engine;
pub mod mailbox;

#[cfg(test)]
mod random;
mod state;
mod time;

pub use checkpoint::{
    ChunkSink, ChunkToRead, ChunkWalk, Cut, LiveStretch, ReadChunk, RestoreError, Written,
};
pub use engine::{
    DeliverTo, Delivery, Engine, FetchFor, Input, Outgoing, Output, Positions, Reply, Requester,
    Run, SparseStretch, Stats, Status, only_looks,
};
pub use ids::{ConnectionId, QueueId, SubscriptionId};
pub use limits::Limits;
pub use record::{Change, Record, RecordDecodeError, Trimmed};
pub use state::ReplayError;
