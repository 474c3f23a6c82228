//! The Corelane broker as a library: one pinned loop per core over a small driver.
//!
//! Read in this order: [`driver`] (what a loop asks the machine), [`shard`] (the loop itself),
//! [`connection`], [`router`] and [`mail`] (how a request reaches the shard of its partition),
//! [`session`], [`recovery`] (what happens before the loop), [`survey`] (looking at files that no broker
//! uses), [`backup`] (copying those that one uses), [`stats`]. The rest starts and
//! controls the process.
//!
//! A program that wants a broker inside itself needs only [`Embedded`].

pub mod driver;

pub mod shard;

pub mod connection;

pub mod router;

pub mod mail;

pub mod session;

pub mod checkpoint;

pub mod scrub;

pub mod recovery;

pub mod survey;

pub mod backup;

pub mod repair;

pub mod stats;

pub mod clock;

pub mod config;

pub mod control;

pub mod serve;

pub mod inprocess;

pub use serve::{Embedded, EmbeddedBuilder};

#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
struct EmbeddingPage;
