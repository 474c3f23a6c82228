//! Waiting, and taking in what has happened.
//!
//! One call submits what the turn collected and waits for what comes next. A send that fits into
//! its socket completes within that call, and its completion would end the wait at once, for
//! nothing: so the call waits for one completion more than there are such sends, which are
//! *hidden*. Only sends that nobody waits for are: those of connections that are being received
//! from. A shard stops receiving before it ends a connection, and while it holds one back.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelane_wire::ShardId;

use super::key::{Key, Kind};
use super::ring::Completion;
use super::{BAD_NUMBER, Data, Done, Errno, File, Token, Uring, at_once};
use crate::driver::jobs::Finished;

impl Uring {
    /// Submits and waits.
    pub(super) fn enter(&mut self, may_block: bool, timeout: Option<Duration>) -> io::Result<()> {
        if !self.is_waker_watched {
            self.is_waker_watched = true;
            let key = Key::plain(Kind::Watch);
            self.ring.watch(key, self.waker.as_fd());
        }
        let hidden = std::mem::take(&mut self.hidden);
        let want = if may_block && timeout != Some(Duration::ZERO) {
            1 + hidden
        } else {
            0
        };
        self.ring.enter(want, self.bounded(timeout, hidden > 0))
    }

    /// The caller's timeout, shortened while a pause of accepting has to end in time, or hidden
    /// sends have to be reported.
    fn bounded(&self, timeout: Option<Duration>, is_hiding: bool) -> Option<Duration> {
        let pause = self
            .accept_paused
            .map(|until| until.saturating_duration_since(Instant::now()));
        let hiding = is_hiding.then_some(HIDE_FOR);
        [timeout, pause, hiding].into_iter().flatten().min()
    }

    /// Takes in what lies ready.
    pub(super) fn take_completions(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.reap(&mut completions);
        for completion in completions.drain(..) {
            self.on_completion(completion);
        }
        self.completions = completions;
    }

    pub(super) fn on_completion(&mut self, completion: Completion) {
        let Some(key) = completion.key else {
            tracing::debug!(?completion, "a completion of nothing of ours");
            return;
        };
        let is_armed_long = matches!(key.kind, Kind::Accept | Kind::Recv | Kind::Send);
        self.in_flight -= usize::from(is_armed_long && !completion.more);
        match key.kind {
            Kind::Accept => self.on_accept(key, completion),
            Kind::Recv => self.on_recv(key, completion),
            Kind::Send => self.on_send(key, completion),
            Kind::Read => self.on_read(key, completion),
            Kind::Write => self.on_write(key, completion),
            Kind::Sync => self.on_sync(key, completion),
            Kind::Watch => self.is_waker_watched = completion.more,
            Kind::Message => self.on_message_failed(key),
            // What a wake means stands in a mailbox. A cancellation that failed found nothing:
            // what it was for has ended meanwhile.
            Kind::Wake | Kind::Cancel => (),
        }
    }

    /// Wakes a neighbour: by a message that leaves with the next wait, which is the next thing
    /// that a shard does. Silent unless it fails.
    pub(super) fn wake(&mut self, shard: ShardId) -> Result<usize, Errno> {
        let number = u32::from(shard.0);
        let peer = self.peers.get(usize::from(shard.0)).ok_or(BAD_NUMBER)?;
        let key = Key::new(Kind::Message, 0, number);
        self.ring
            .message(key, peer.ring.as_fd(), Key::plain(Kind::Wake));
        Ok(0)
    }

    /// The neighbour's ring is not enabled yet, or out of memory: its eventfd always works.
    fn on_message_failed(&mut self, key: Key) {
        if let Some(peer) = self.peers.get(key.number as usize) {
            peer.waker.wake();
        }
    }

    /// Delivers what ended outside of the ring.
    pub(super) fn collect(&mut self) {
        let mut finished = std::mem::take(&mut self.finished);
        self.jobs.take_finished(&mut finished);
        for finished in finished.drain(..) {
            let done = match finished {
                Finished::Done(done) => done,
                Finished::Opened(token, file) => self.number(token, file),
            };
            self.ended.push(done);
        }
        self.finished = finished;
    }

    pub(super) fn number(&mut self, token: Token, file: std::fs::File) -> Done {
        match self.files.insert(Arc::new(file)) {
            Ok(number) => at_once(token, Ok(0), Data::File(File(number))),
            Err(_) => at_once(token, Err(Errno(libc::ENFILE)), Data::None),
        }
    }
}

/// How long a send that is over may stay unreported. A short time would cost more than it hides:
/// a timer that is due before the kernel's next tick has to be programmed into the machine, which
/// took 11 us of each turn in a virtual one.
const HIDE_FOR: Duration = Duration::from_millis(500);
