//! Waiting, and taking in what has happened.

use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelane_wire::ShardId;
use rustix::event::Timespec;
use rustix::event::epoll::{self as sys, Event, EventFlags};

use super::{
    BAD_NUMBER, Data, Done, Epoll, Errno, File, LISTENER, Listener, Socket, Token, WAKE, at_once,
};
use crate::driver::jobs::{Finished, Job};

impl Epoll {
    /// The caller's timeout, shortened while a pause of accepting has to end in time.
    pub(super) fn bounded(&self, timeout: Option<Duration>) -> Option<Duration> {
        let Some(until) = self.accept_paused else {
            return timeout;
        };
        let pause = until.saturating_duration_since(Instant::now());
        Some(timeout.map_or(pause, |timeout| timeout.min(pause)))
    }

    pub(super) fn poll<'a>(
        &self,
        timeout: Option<Duration>,
        room: &'a mut [MaybeUninit<Event>],
    ) -> io::Result<&'a [Event]> {
        // A timeout too long for the system's type is as good as none.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match sys::wait(&self.poller, room, timeout.as_ref()) {
            Ok((events, _)) => Ok(events),
            Err(rustix::io::Errno::INTR) => Ok(&[]),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn on_event(&mut self, event: Event, done: &mut Vec<Done>) {
        let number = event.data.u64();
        let flags = event.flags;
        if number == WAKE {
            // What it means is collected after the events.
            return;
        }
        let low = u32::try_from(number & u64::from(u32::MAX)).expect("masked to 32 bits");
        if number & LISTENER != 0 {
            self.accept(Listener(low), done);
            return;
        }
        // What the event is about may have ended earlier in the same batch: each step looks at
        // the present state, and a number that was closed names nothing.
        let is_broken = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        if is_broken || flags.contains(EventFlags::IN) {
            self.receive(Socket(low), done);
        }
        if is_broken || flags.contains(EventFlags::OUT) {
            self.progress_sends(Socket(low), done);
        }
    }

    /// Delivers what ended outside of epoll.
    pub(super) fn collect(&mut self, done: &mut Vec<Done>) {
        done.extend(self.ended.drain(..));
        let mut finished = std::mem::take(&mut self.finished);
        self.jobs.take_finished(&mut finished);
        for finished in finished.drain(..) {
            done.push(match finished {
                Finished::Done(done) => done,
                Finished::Opened(token, file) => self.number(token, file),
            });
        }
        self.finished = finished;
    }

    pub(super) fn number(&mut self, token: Token, file: std::fs::File) -> Done {
        match self.files.insert(Arc::new(file)) {
            Ok(number) => at_once(token, Ok(0), Data::File(File(number))),
            Err(_) => at_once(token, Err(Errno(libc::ENFILE)), Data::None),
        }
    }

    pub(super) fn start_job(&mut self, token: Token, job: Job) -> Option<Done> {
        let Err(refused) = self.jobs.submit(token, job) else {
            return None;
        };
        let data = match refused {
            Job::Read { buffer, .. } | Job::Write { buffer, .. } => Data::Block(buffer),
            Job::Open { .. } | Job::Housekeeping(_) => Data::None,
        };
        Some(at_once(token, Err(Errno(libc::EAGAIN)), data))
    }

    pub(super) fn wake(&self, shard: ShardId) -> Result<usize, Errno> {
        let peer = self.peers.get(usize::from(shard.0)).ok_or(BAD_NUMBER)?;
        peer.wake();
        Ok(0)
    }
}
