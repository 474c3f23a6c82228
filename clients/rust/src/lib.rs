//! Rust client of Corelane: producers with receipts, consumers as streams, and the calls of an administrator
//! ([`Admin`]).
//!
//! Owns: everything between a program and a broker's socket. [`protocol`] is the part without sockets, tasks and
//! clocks; around it stands a tokio face with one task per connection.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use corelane_client::{Client, Message};
//!
//! let client = Client::connect("127.0.0.1:7400").await?;
//!
//! // Pipelined: many messages are under way, each receipt is awaited later.
//! let producer = client.producer("orders").build()?;
//! let mut pending = Vec::new();
//! for number in 0..1_000 {
//!     pending.push(producer.send(&Message::new(format!("order {number}"))).await?);
//! }
//! for receipt in pending {
//!     receipt.await.into_result()?;
//! }
//! let tally = producer.close().await;
//! assert_eq!(tally.confirmed, 1_000);
//!
//! let mut orders = client.consumer("orders").credit(100).subscribe().await?;
//! while let Some(delivery) = orders.next().await {
//!     let delivery = delivery?;
//!     println!("{}: {}", delivery.offset(), String::from_utf8_lossy(delivery.body()));
//!     delivery.ack().await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What is certain after what: see `docs/client-rust.md`.

pub mod protocol;
pub mod transport;

mod admin;
mod answer;
mod attachment;
mod builder;
mod client;
mod clock;
mod consumer;
mod delivery;
mod dequeue;
mod error;
mod holder;
mod link;
mod message;
mod outcome;
mod producer;
mod queue;
mod reader;
mod schedule;
mod subscription;
mod topology;

#[cfg(test)]
mod tests;

pub use admin::{Admin, Peeked};
pub use builder::ClientBuilder;
pub use client::Client;
pub use consumer::{Consumer, ConsumerBuilder};
pub use corelane_wire::{
    Aside, AsideCause, AsideInfo, Contract, DeadLetters, ErrorCode, Header, LeaseId, Metadata,
    Offset, OffsetRange, Overflow, PartitionPlace, PurgeStates, QueueConfig, QueueInfo, ReturnTo,
    ScheduledInfo, SessionId, Start, Storage, SubscriptionConfig, SubscriptionDetail,
    SubscriptionInfo, Timestamp, is_ephemeral,
};
pub use delivery::{Acked, Delivery, Settling};
pub use dequeue::DequeueOptions;
pub use error::Error;
pub use message::Message;
pub use outcome::{Class, EnqueueError, Outcome, Receipt};
pub use producer::{Pending, Producer, ProducerBuilder, Tally};
pub use protocol::UnknownReason;
pub use queue::QueueOptions;
pub use reader::{Reader, ReaderBuilder};
pub use schedule::{Schedule, SchedulePage};
pub use subscription::{AsidePage, Returned, Subscription, SubscriptionOptions};
