//! How long an enqueue takes while backups are taken and while none is: one message after the other.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use corelane_wire::SessionId;

use crate::raw::RawConnection;

/// What goes on beside the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing.
    Nothing,
    /// A backup.
    Backup,
    /// A restore, or a check, which take the machine as well.
    Check,
    /// The run is over.
    End,
}

/// Says what goes on to the thread that measures.
#[derive(Debug, Default)]
pub(super) struct Stage(AtomicU8);

/// Durations of enqueues.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    /// While nothing went on beside the load.
    pub quiet: Vec<Duration>,
    /// While a backup was taken.
    pub backup: Vec<Duration>,
}

impl Stage {
    pub(super) fn set(&self, beside: Beside) {
        self.0.store(beside as u8, Ordering::Relaxed);
    }

    fn is(&self, beside: Beside) -> bool {
        self.0.load(Ordering::Relaxed) == beside as u8
    }
}

/// Enqueues a message to a queue of its own, takes it, acknowledges it, and so on to the end.
///
/// # Errors
/// If the broker refuses any of that.
pub(super) fn probe(broker: SocketAddr, body_bytes: usize, stage: &Stage) -> anyhow::Result<Waits> {
    let mut connection = RawConnection::connect(broker, SessionId::default())?;
    let body = "x".repeat(body_bytes);
    let mut waits = Waits::default();
    while !stage.is(Beside::End) {
        let (quiet, backup) = (stage.is(Beside::Nothing), stage.is(Beside::Backup));
        let begun = Instant::now();
        connection.enqueue(QUEUE, &[&body])?;
        let took = begun.elapsed();
        if quiet && stage.is(Beside::Nothing) {
            waits.quiet.push(took);
        } else if backup && stage.is(Beside::Backup) {
            waits.backup.push(took);
        }
        for taken in connection.dequeue(QUEUE, 10, LEASE_MS, 0)? {
            connection.ack(QUEUE, &taken)?;
        }
    }
    Ok(waits)
}

/// The p99 in microseconds.
pub(super) fn p99_us(waits: &[Duration]) -> u128 {
    let mut sorted = waits.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
    sorted.get(at).map_or(0, Duration::as_micros)
}

const QUEUE: &str = "probe";
const LEASE_MS: u32 = 30_000;
