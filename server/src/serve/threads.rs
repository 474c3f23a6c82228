//! The threads of the shards.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use corelane_wire::ShardId;
use tokio::sync::mpsc;

use super::limits::pin_to;
use super::making::Made;
use crate::driver::{Driver, Waker};
use crate::shard::{Shard, Shutdown, Turn};

/// A shard's loop has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) shard: ShardId,
    pub(super) result: io::Result<()>,
}

/// The running shards.
#[derive(Debug)]
pub(super) struct Threads {
    shutdown: Arc<Shutdown>,
    wakers: Vec<Waker>,
    handles: Vec<JoinHandle<()>>,
    running: usize,
}

impl Threads {
    /// Starts a thread per shard, pinned where `cores` names one for each.
    pub(super) fn spawn<D: Driver + Send + 'static>(
        made: Made<D>,
        cores: &[usize],
    ) -> io::Result<(Self, mpsc::Receiver<Ended>)> {
        let (sender, ended) = mpsc::channel(made.shards.len());
        let mut threads = Self {
            shutdown: made.shutdown,
            wakers: made.wakers,
            handles: Vec::new(),
            running: made.shards.len(),
        };
        for (number, shard) in made.shards.into_iter().enumerate() {
            let core = cores.get(number).copied();
            let sender = sender.clone();
            let shard_id = ShardId(u16::try_from(number).expect("shards are numbered by u16"));
            let body = move || {
                let guard = AbortOnPanic;
                if let Some(core) = core {
                    pin_to(core);
                }
                let result = turn_until_stopped(shard);
                let end = Ended {
                    shard: shard_id,
                    result,
                };
                // There is room for one end per shard; without a receiver nobody waits for it.
                if sender.try_send(end).is_err() {
                    tracing::debug!(shard = shard_id.0, "nobody waits for this shard's end");
                }
                drop(guard);
            };
            let name = format!("shard{number}");
            let handle = std::thread::Builder::new().name(name).spawn(body)?;
            threads.handles.push(handle);
        }
        Ok((threads, ended))
    }

    /// Asks all shards to stop, and wakes them so that they notice.
    pub(super) fn stop(&self) {
        self.shutdown.stop();
        for waker in &self.wakers {
            waker.wake();
        }
    }

    /// An [`Ended`] was received.
    pub(super) const fn note_end(&mut self) {
        self.running -= 1;
    }

    /// Whether some shard has not reported its end.
    pub(super) const fn are_running(&self) -> bool {
        self.running > 0
    }

    /// Waits for threads that have reported their end.
    pub(super) fn join(&mut self) {
        for handle in self.handles.drain(..) {
            if handle.join().is_err() {
                tracing::error!("a shard panicked");
            }
        }
    }
}

fn turn_until_stopped<D: Driver>(mut shard: Shard<D>) -> io::Result<()> {
    loop {
        match shard.turn()? {
            Turn::Continue => {}
            Turn::Stopped => return Ok(()),
        }
    }
}

/// Ends the process when the thread that holds it panics, embedded or not: the state of a shard
/// after a broken invariant is worth nothing, and its neighbours would wait for it for ever.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
