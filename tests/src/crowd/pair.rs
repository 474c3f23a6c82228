//! A producer and a consumer that go on meanwhile, and how long their messages take.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::bail;
use corelane_wire::SessionId;

use crate::raw::RawConnection;

const QUEUE: &str = "pair";

/// Durations from the enqueue of a message to its delivery.
#[derive(Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// How many were measured.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The duration that all but one in `of` do not exceed; zero if there are none.
    pub fn all_but_one_in(&mut self, of: usize) -> Duration {
        self.0.sort_unstable();
        let above = self.0.len() / of;
        let at = self.0.len().saturating_sub(above + 1);
        self.0.get(at).copied().unwrap_or_default()
    }
}

/// What the pair shares with whoever measures.
#[derive(Debug, Default)]
pub struct Pair {
    latencies: Mutex<Latencies>,
    is_over: AtomicBool,
}

impl Pair {
    /// Starts the pair: one message after the other, each enqueued, delivered and acked.
    pub fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        address: SocketAddr,
    ) -> ScopedJoinHandle<'scope, anyhow::Result<()>> {
        scope.spawn(move || self.run(address))
    }

    /// Forgets what was measured, and measures for `during`.
    pub fn measure(&self, during: Duration) -> Latencies {
        drop(self.take());
        // The measurement is of this stretch of time; nothing is waited for.
        thread::sleep(during);
        self.take()
    }

    /// What was measured since the last look.
    pub fn take(&self) -> Latencies {
        let mut latencies = self.latencies.lock().expect("nobody panics with it");
        std::mem::take(&mut *latencies)
    }

    /// Has the pair stop after its message.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn run(&self, address: SocketAddr) -> anyhow::Result<()> {
        let mut producer = RawConnection::connect(address, SessionId::default())?;
        let mut consumer = RawConnection::connect(address, SessionId::default())?;
        consumer.subscribe(QUEUE, 10, 60_000)?;
        let mut number = 0_u64;
        while !self.is_over.load(Ordering::Relaxed) {
            let body = number.to_string();
            let start = Instant::now();
            producer.enqueue(QUEUE, &[&body])?;
            let taken = consumer.pushed()?;
            let latency = start.elapsed();
            let [message] = taken.as_slice() else {
                bail!("one message was enqueued and {taken:?} came");
            };
            if message.body != body {
                bail!("{body} was enqueued and {message:?} came");
            }
            consumer.ack(QUEUE, message)?;
            let mut latencies = self.latencies.lock().expect("nobody panics with it");
            latencies.0.push(latency);
            number += 1;
        }
        Ok(())
    }
}
