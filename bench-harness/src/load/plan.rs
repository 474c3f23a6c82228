//! What a run is asked to do.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use corelane_wire::limits::{
    BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, CREDIT_MAX, LEASE_MS_MAX, LEASE_MS_MIN,
};

use super::payload::STAMP_BYTES;

/// When batches leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// At fixed instants, whatever comes back.
    Open {
        /// Messages per second of all producers together.
        per_second: u64,
    },
    /// As soon as the window has room: finds the greatest throughput, says nothing about latency.
    Closed,
    /// So many messages are enqueued as fast as the window allows; then the consumers come, and take them all.
    Backlog {
        /// Messages of all producers together.
        messages: u64,
    },
}

/// How a generator waits for the next instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacing {
    /// Sleeps until the instant; wakes some microseconds late.
    Sleep,
    /// Sleeps until 50 us before it and polls from there on.
    Hybrid,
    /// Never sleeps.
    Spin,
}

/// One operating point.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The broker's shared data port.
    pub target: SocketAddr,
    /// Drawn for each run; in every payload and queue name.
    pub run: u64,
    /// When batches leave.
    pub mode: Loop,
    /// How generators wait.
    pub pacing: Pacing,
    /// Bytes of a message's body.
    pub body_bytes: usize,
    /// Messages per enqueue.
    pub batch: u32,
    /// Class of the enqueues, as on the wire.
    pub class: u8,
    /// Whether the queues keep their messages in memory only; the class is memory then.
    pub is_memory_only: bool,
    /// Whether producers have ids, so that the broker recognises retries.
    pub is_idempotent: bool,
    /// Queues; producers and consumers are dealt over them.
    pub queues: u32,
    /// Producers, each with a schedule and a sequence of its own.
    pub producers: u32,
    /// Consumers; with none nothing is delivered and loss cannot be seen.
    pub consumers: u32,
    /// Connections of all producers, and as many of all consumers.
    pub connections: u32,
    /// Enqueues that may be unanswered on one connection.
    pub window: u32,
    /// Messages that one consumer may hold.
    pub credit: u32,
    /// Lease of the consumers, in milliseconds.
    pub lease_ms: u32,
    /// Threads of the generator.
    pub threads: u32,
    /// Cores that the threads are pinned to, in turn; empty leaves them free.
    pub cores: Vec<usize>,
    /// Sent and verified, but not measured.
    pub warm_up: Duration,
    /// What is measured.
    pub duration: Duration,
    /// How long after the end late messages are still sent, and how long after the last sign of life to wait for
    /// what is missing.
    pub drain: Duration,
    /// The latency that the run is meant to judge; what the generator and the machine add must stay far below.
    pub objective: Duration,
}

impl Plan {
    /// A small plan that other values are filled into: 1,000 messages of 256 B per second for 10 s.
    pub fn new(target: SocketAddr, run: u64) -> Self {
        Self {
            target,
            run,
            mode: Loop::Open { per_second: 1_000 },
            pacing: Pacing::Hybrid,
            body_bytes: 256,
            batch: 1,
            class: corelane_wire::CLASS_DURABLE,
            is_memory_only: false,
            is_idempotent: true,
            queues: 1,
            producers: 1,
            consumers: 1,
            connections: 1,
            window: 256,
            credit: 1_000,
            lease_ms: 60_000,
            threads: 1,
            cores: Vec::new(),
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            objective: Duration::from_millis(1),
        }
    }

    /// Refuses what cannot be run.
    ///
    /// # Errors
    /// The first number that is outside its range, with the range.
    pub fn check(&self) -> Result<()> {
        let entry_bytes = self.body_bytes + ENTRY_HEADER_BYTES;
        let batch_bytes = BATCH_HEADER_BYTES + entry_bytes * self.batch as usize;
        ensure!(
            self.body_bytes >= STAMP_BYTES,
            "a body of {} bytes has no room for its stamp of {STAMP_BYTES}",
            self.body_bytes
        );
        ensure!(
            self.batch >= 1 && self.batch as usize <= BATCH_MESSAGES_MAX,
            "a batch of {} messages, 1 to {BATCH_MESSAGES_MAX} are allowed",
            self.batch
        );
        ensure!(
            batch_bytes <= BATCH_BYTES_MAX,
            "a batch of {batch_bytes} bytes, at most {BATCH_BYTES_MAX} are allowed"
        );
        ensure!(
            self.mode != Loop::Open { per_second: 0 },
            "a rate of 0 sends nothing"
        );
        ensure!(
            !self.duration.is_zero(),
            "a run of no time measures nothing"
        );
        if let Loop::Backlog { messages } = self.mode {
            ensure!(
                messages > 0 && self.consumers > 0,
                "a backlog of {messages} messages for {} consumers: nothing to drain",
                self.consumers
            );
        }
        self.check_counts()
    }

    fn check_counts(&self) -> Result<()> {
        for (name, count, least, most) in [
            ("queues", self.queues, 1, 10_000),
            ("producers", self.producers, 1, 100_000),
            ("consumers", self.consumers, 0, 100_000),
            ("connections", self.connections, 1, 10_000),
            ("window", self.window, 1, WINDOW_MAX),
            ("credit", self.credit, 1, CREDIT_MAX),
            ("lease-ms", self.lease_ms, LEASE_MS_MIN, LEASE_MS_MAX),
            ("threads", self.threads, 1, 1_000),
        ] {
            ensure!(
                (least..=most).contains(&count),
                "{name} is {count}, {least} to {most} are allowed"
            );
        }
        ensure!(
            self.queues <= self.producers,
            "{} queues for {} producers: some would get nothing",
            self.queues,
            self.producers
        );
        ensure!(
            self.consumers == 0 || self.queues <= self.consumers,
            "{} queues for {} consumers: some would not be read",
            self.queues,
            self.consumers
        );
        Ok(())
    }

    /// When sending ends, in nanoseconds from its start; a backlog has no such time.
    pub(super) fn end_ns(&self) -> u64 {
        if self.is_backlog() {
            0
        } else {
            nanoseconds(self.warm_up) + nanoseconds(self.duration)
        }
    }

    /// Whether something meant for this instant, counted from the start, is measured.
    pub(super) fn is_measured(&self, instant_ns: u64) -> bool {
        (nanoseconds(self.warm_up)..self.end_ns()).contains(&instant_ns)
    }

    /// The name of a queue; runs do not share queues.
    pub fn queue(&self, index: u32) -> String {
        format!("bench-{:016x}-{index}", self.run)
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.mode, Loop::Open { .. })
    }

    pub(super) const fn is_backlog(&self) -> bool {
        matches!(self.mode, Loop::Backlog { .. })
    }
}

/// Whole nanoseconds; a run lasts less than 500 years.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The broker remembers 1,024 batches of a producer, and reads no more requests than that ahead.
const WINDOW_MAX: u32 = 1_000;
const ENTRY_HEADER_BYTES: usize = 12;
const BATCH_HEADER_BYTES: usize = 48;
