//! Log lines on their way to stderr, which may be a pipe that nobody reads.
//!
//! A write to a full pipe waits for its reader. A shard that waits stands still, and a control
//! plane that waits notices neither that nor SIGTERM. So lines go through a bounded queue to a
//! thread of their own, and lines for which there is no room are dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Takes whole lines and never waits. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    sender: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    /// All lines before it have been written when its receiver hears of it.
    Flush(SyncSender<()>),
}

impl Lines {
    /// Starts the thread that writes to `out`.
    pub(super) fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, items) = sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(out, &items, &counted))?;
        Ok(Self { sender, dropped })
    }

    /// Waits until the lines so far have been written, but not for long.
    pub(super) fn flush_briefly(&self) {
        let (sender, written) = sync_channel(1);
        if self.sender.try_send(Item::Flush(sender)).is_ok() {
            match written.recv_timeout(FLUSH_WITHIN) {
                Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }
}

impl Write for Lines {
    /// Takes one whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sender.try_send(Item::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(mut out: impl Write, items: &Receiver<Item>, dropped: &AtomicU64) {
    while let Ok(item) = items.recv() {
        // A closed stderr leaves nobody to tell.
        let written = match item {
            Item::Line(line) => out.write_all(&line),
            Item::Flush(done) => done.try_send(()).map_err(io::Error::other),
        };
        let count = dropped.swap(0, Ordering::Relaxed);
        if written.is_ok() && count > 0 {
            let told = writeln!(out, "{count} log lines were dropped: stderr was not read");
            told.unwrap_or_default();
        }
    }
}

/// Lines that wait for the thread at most.
const LINES_MAX: usize = 1_024;
/// How long an exit waits for its last lines.
const FLUSH_WITHIN: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
