//! One thread of the generator.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use super::book::Book;
use super::connection::Connection;
use super::plan::{Pacing, nanoseconds};
use super::protocol::{Broker, Consumers, Producers};
use super::receiver::Receiver;
use super::sender::{Sender, Terms};
use crate::clock::Clock;
use crate::pace::POLLED;

/// What the threads tell each other while the run goes on; sums over all of them.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Generators whose producers have nothing unanswered and nothing more to send.
    settled: AtomicU64,
    confirmed: AtomicU64,
    delivered: AtomicU64,
    /// Anything that came, for telling that nothing comes any more.
    arrivals: AtomicU64,
}

impl Progress {
    /// Of threads whose consumers are to get messages that were confirmed before.
    pub(super) fn behind(confirmed: u64) -> Self {
        Self {
            confirmed: AtomicU64::new(confirmed),
            ..Self::default()
        }
    }
}

/// What a connection is for.
#[derive(Debug)]
pub(super) enum Role<P, C> {
    Send(Sender<P>),
    Receive(Receiver<C>),
}

/// A connection with its role.
#[derive(Debug)]
pub(super) struct Link<P, C> {
    pub(super) connection: Connection,
    pub(super) role: Role<P, C>,
    is_blocked: bool,
}

/// The links of one thread to a broker.
pub(super) type Links<B> = Vec<Link<<B as Broker>::Producers, <B as Broker>::Consumers>>;

/// One thread of the load generator.
#[derive(Debug)]
pub(super) struct Generator<'a, P, C> {
    terms: Terms<'a>,
    clock: Clock,
    progress: &'a Progress,
    links: Vec<Link<P, C>>,
    epoll: OwnedFd,
    book: Book,
    told: (u64, u64, u64),
    /// Whether what is due is still sent.
    is_emitting: bool,
}

impl<P, C> Link<P, C> {
    pub(super) const fn new(connection: Connection, role: Role<P, C>) -> Self {
        Self {
            connection,
            role,
            is_blocked: false,
        }
    }
}

impl<'a, P: Producers, C: Consumers> Generator<'a, P, C> {
    pub(super) fn new(
        terms: Terms<'a>,
        clock: Clock,
        progress: &'a Progress,
        links: Vec<Link<P, C>>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (link, number) in links.iter().zip(0..) {
            link.connection.unblock()?;
            let data = epoll::EventData::new_u64(number);
            epoll::add(&epoll, &link.connection.stream, data, epoll::EventFlags::IN)?;
        }
        let book = Book::new(terms.plan);
        Ok(Self {
            terms,
            clock,
            progress,
            links,
            epoll,
            book,
            told: (0, 0, 0),
            is_emitting: true,
        })
    }

    /// Runs from the start to the end of the drain.
    pub(super) fn run(mut self) -> Result<Book> {
        let stop_ns = self.terms.start_ns + self.terms.plan.end_ns();
        self.wait_for_start()?;
        for link in &mut self.links {
            // What came together with the answer to a subscribe wakes nobody.
            link.take(self.clock.now(), &self.terms, &mut self.book)?;
        }
        while self.clock.now() < stop_ns {
            self.turn()?;
        }
        let is_backlog = self.terms.plan.is_backlog();
        if is_backlog {
            self.drain()?;
        }
        self.book.close(self.clock.now() - self.terms.start_ns);
        if !is_backlog {
            self.drain()?;
        }
        let now_ns = self.clock.now();
        for link in &mut self.links {
            if let Role::Send(sender) = &mut link.role {
                sender.censor(now_ns, &self.terms, &mut self.book);
            }
        }
        Ok(self.book)
    }

    fn wait_for_start(&mut self) -> Result<()> {
        while self.clock.now() < self.terms.start_ns {
            let left_ns = self.terms.start_ns - self.clock.now();
            self.sleep(left_ns)?;
        }
        Ok(())
    }

    /// Emits, flushes, and reads or waits once.
    fn turn(&mut self) -> Result<()> {
        let begin_ns = self.clock.now();
        let mut has_emitted = false;
        for link in &mut self.links {
            if let Role::Send(sender) = &mut link.role
                && self.is_emitting
            {
                has_emitted |=
                    sender.emit(begin_ns, &self.terms, &mut link.connection, &mut self.book);
            }
        }
        self.flush()?;
        let wait_ns = self.wait_ns();
        let wait_begin_ns = self.clock.now();
        self.sleep(wait_ns)?;
        let wait_end_ns = self.clock.now();
        let has_read = self.read_ready()?;
        if wait_ns > 0 {
            self.book.idle_ns += wait_end_ns - wait_begin_ns;
        } else if !has_emitted && !has_read {
            self.book.idle_ns += self.clock.now() - begin_ns;
        }
        self.tell();
        Ok(())
    }

    /// How long to sleep before the next due instant, or for news of the other threads.
    fn wait_ns(&self) -> u64 {
        let due = self.links.iter().filter_map(|link| match &link.role {
            Role::Send(sender) if self.is_emitting => sender.next_due(),
            Role::Send(_) | Role::Receive(_) => None,
        });
        let Some(due_ns) = due.min() else {
            return SLEEP_NS_MAX;
        };
        let due_ns = self.terms.start_ns.saturating_add(due_ns);
        let left_ns = due_ns.saturating_sub(self.clock.now());
        match self.terms.plan.pacing {
            Pacing::Spin => 0,
            Pacing::Sleep => left_ns.min(SLEEP_NS_MAX),
            Pacing::Hybrid => left_ns
                .saturating_sub(nanoseconds(POLLED))
                .min(SLEEP_NS_MAX),
        }
    }

    /// Sleeps until a connection is ready or the time is over; 0 does not sleep.
    fn sleep(&self, nanoseconds: u64) -> Result<()> {
        if nanoseconds == 0 {
            return Ok(());
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(nanoseconds / 1_000_000_000)?,
            tv_nsec: i64::try_from(nanoseconds % 1_000_000_000)?,
        };
        let mut sources = [PollFd::new(&self.epoll, PollFlags::IN)];
        match poll(&mut sources, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands out-buffers to the kernel, and stamps what was encoded in this turn.
    fn flush(&mut self) -> Result<()> {
        for (link, number) in self.links.iter_mut().zip(0..) {
            if link.connection.outbox.waiting() > 0 {
                let is_blocked = !link.connection.flush()?;
                if is_blocked != link.is_blocked {
                    link.is_blocked = is_blocked;
                    let mut flags = epoll::EventFlags::IN;
                    flags.set(epoll::EventFlags::OUT, is_blocked);
                    let data = epoll::EventData::new_u64(number);
                    epoll::modify(&self.epoll, &link.connection.stream, data, flags)?;
                }
            }
            if let Role::Send(sender) = &mut link.role {
                sender.on_handed_over(self.clock.now(), &self.terms, &mut self.book);
            }
        }
        Ok(())
    }

    /// Reads every connection that has something, once; true if any had.
    fn read_ready(&mut self) -> Result<bool> {
        let mut events = [MaybeUninit::uninit(); EVENTS_MAX];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let (ready, _) = match epoll::wait(&self.epoll, &mut events, Some(&now)) {
            Ok(ready) => ready,
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mut has_read = false;
        for event in ready {
            let number = usize::try_from(event.data.u64())?;
            let link = self
                .links
                .get_mut(number)
                .context("an event of no connection")?;
            has_read |= link.read(&self.clock, &self.terms, &mut self.book)?;
        }
        Ok(has_read)
    }

    /// Sends what is late, waits for what is missing, and lets the consumers go.
    ///
    /// Time in which this thread did not run, because the machine or a person stopped it, is nobody's silence: no
    /// turn counts for more than twice what it meant to sleep.
    fn drain(&mut self) -> Result<()> {
        let plan = self.terms.plan;
        let drain_ns = nanoseconds(plan.drain);
        let (mut drained_ns, mut silent_ns) = (0, 0);
        let mut arrivals = 0;
        let mut has_told = false;
        while silent_ns <= drain_ns && !self.is_complete() {
            // In a closed loop nothing was meant to leave at any instant, so nothing is late; a backlog is all
            // emitted here, however long that takes.
            self.is_emitting = plan.is_backlog() || (plan.is_open() && drained_ns <= drain_ns);
            let begin_ns = self.clock.now();
            self.turn()?;
            let turn_ns = (self.clock.now() - begin_ns).min(2 * SLEEP_NS_MAX);
            drained_ns += turn_ns;
            silent_ns += turn_ns;
            let seen = self.progress.arrivals.load(Ordering::SeqCst);
            if seen != arrivals {
                (arrivals, silent_ns) = (seen, 0);
            }
            if !has_told && self.is_settled() {
                has_told = true;
                self.progress.settled.fetch_add(1, Ordering::SeqCst);
            }
        }
        self.is_emitting = false;
        self.leave()
    }

    /// Unsubscribes; what was already on its way to a consumer still comes before the answer.
    fn leave(&mut self) -> Result<()> {
        let begin_ns = self.clock.now();
        loop {
            let mut has_left = true;
            for link in &mut self.links {
                if let Role::Receive(receiver) = &mut link.role {
                    receiver.leave(&mut link.connection.outbox.bytes);
                    has_left &= receiver.has_left();
                }
            }
            if has_left || self.clock.now() - begin_ns > LEAVE_NS_MAX {
                return Ok(());
            }
            self.turn()?;
        }
    }

    fn is_settled(&self) -> bool {
        self.links.iter().all(|link| match &link.role {
            Role::Send(sender) => sender.is_settled(self.is_emitting),
            Role::Receive(_) => true,
        })
    }

    /// Whether no receipt and no delivery is missing, on any thread.
    fn is_complete(&self) -> bool {
        let plan = self.terms.plan;
        let delivered = &self.progress.delivered;
        self.progress.settled.load(Ordering::SeqCst) == u64::from(plan.threads)
            && (plan.consumers == 0
                || delivered.load(Ordering::SeqCst)
                    >= self.progress.confirmed.load(Ordering::SeqCst))
    }

    /// Tells the other threads what is new.
    fn tell(&mut self) {
        let book = &self.book;
        let now = (book.confirmed, book.delivered, book.arrivals);
        if now != self.told {
            let (confirmed, delivered, arrivals) = self.told;
            let progress = self.progress;
            let add = |sum: &AtomicU64, more| sum.fetch_add(more, Ordering::SeqCst);
            add(&progress.confirmed, now.0 - confirmed);
            add(&progress.delivered, now.1 - delivered);
            add(&progress.arrivals, now.2 - arrivals);
            self.told = now;
        }
    }
}

impl<P: Producers, C: Consumers> Link<P, C> {
    /// Reads what is there, once; true if anything.
    fn read(&mut self, clock: &Clock, terms: &Terms<'_>, book: &mut Book) -> Result<bool> {
        let has_read = self.connection.fill()? > 0;
        self.take(clock.now(), terms, book)?;
        Ok(has_read)
    }

    /// Takes what came by `now_ns`.
    fn take(&mut self, now_ns: u64, terms: &Terms<'_>, book: &mut Book) -> Result<()> {
        let Connection { inbox, outbox, .. } = &mut self.connection;
        let (bytes, kept) = (inbox.unused(), (book, &mut outbox.bytes));
        let used = match &mut self.role {
            Role::Send(sender) => sender.read(bytes, now_ns, terms, kept)?,
            Role::Receive(receiver) => receiver.read(bytes, now_ns, terms, kept)?,
        };
        inbox.consume(used);
        Ok(())
    }
}

/// Threads look at each other's progress this often.
const SLEEP_NS_MAX: u64 = 1_000_000;
const LEAVE_NS_MAX: u64 = 5_000_000_000;
const EVENTS_MAX: usize = 64;
