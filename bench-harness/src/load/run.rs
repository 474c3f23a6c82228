//! One run: queues made, connections opened and dealt to threads, the threads run, their books put together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::book::Book;
use super::corelane::Corelane;
use super::generator::{Generator, Link, Links, Progress, Role};
use super::payload::Payload;
use super::plan::Plan;
use super::protocol::{Broker, Consumers, Producers};
use super::receiver::Receiver;
use super::report::{Hiccups, Report, ThreadReport};
use super::sender::{Sender, Terms};
use crate::clock::{self, Clock};
use crate::pace;
use crate::record::Latencies;

/// Runs the plan against the Corelane that it names.
///
/// # Errors
/// If the plan cannot be run, or the broker cannot be reached, ends a connection, or answers what it must not.
pub fn run(plan: &Plan) -> Result<Report> {
    run_on(plan, &mut Corelane::connect(plan.target)?)
}

/// Runs the plan against any broker, on queues that are made before and deleted after.
///
/// # Errors
/// As [`run`].
pub fn run_on<B: Broker>(plan: &Plan, broker: &mut B) -> Result<Report> {
    plan.check()?;
    let server = broker.prepare(plan)?;
    let outcome = if plan.is_backlog() {
        run_backlog(plan, broker)
    } else {
        run_at_once(plan, broker)
    };
    broker.clear(plan)?;
    Ok(Report::new(plan, server, outcome?))
}

/// What all threads saw, and what it took.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) book: Book,
    pub(super) threads: Vec<ThreadReport>,
    pub(super) hiccups: Hiccups,
    /// Time that the broker's processes used.
    pub(super) cpu: Option<Duration>,
    /// Time of the enqueues that are counted, and of the deliveries.
    pub(super) enqueuing: Duration,
    pub(super) consuming: Duration,
}

/// Producers and consumers together, for the plan's time.
fn run_at_once<B: Broker>(plan: &Plan, broker: &mut B) -> Result<Outcome> {
    let mut links = open_producers(plan, broker)?;
    for (thread, consumers) in links.iter_mut().zip(open_consumers(plan, broker)?) {
        thread.extend(consumers);
    }
    let cpu = broker.cpu()?;
    let (books, hiccups) = run_threads(plan, links, &Progress::default(), START_NS)?;
    let cpu = used_since(cpu, broker)?;
    Ok(outcome(books, &hiccups, cpu, [plan.duration; 2]))
}

/// Producers first; consumers when all is confirmed, from whose coming on time and work are counted.
fn run_backlog<B: Broker>(plan: &Plan, broker: &mut B) -> Result<Outcome> {
    let filling = Plan {
        consumers: 0,
        ..plan.clone()
    };
    let links = open_producers(&filling, broker)?;
    let begin = Instant::now();
    let (books, _) = run_threads(&filling, links, &Progress::default(), 0)?;
    let enqueuing = begin.elapsed();
    let filled = sum(books);
    let cpu = broker.cpu()?;
    let begin = Instant::now();
    let links = open_consumers(plan, broker)?;
    let progress = Progress::behind(filled.confirmed);
    let (books, hiccups) = run_threads(plan, links, &progress, 0)?;
    let consuming = begin.elapsed();
    let cpu = used_since(cpu, broker)?;
    let mut outcome = outcome(books, &hiccups, cpu, [enqueuing, consuming]);
    outcome.book.add(filled);
    Ok(outcome)
}

fn used_since<B: Broker>(before: Option<Duration>, broker: &B) -> Result<Option<Duration>> {
    let after = broker.cpu()?;
    Ok(before
        .zip(after)
        .map(|(before, after)| after.saturating_sub(before)))
}

/// Runs the links of each thread, from `delay_ns` after now.
fn run_threads<P: Producers, C: Consumers>(
    plan: &Plan,
    mut links: Vec<Vec<Link<P, C>>>,
    progress: &Progress,
    delay_ns: u64,
) -> Result<(Vec<Book>, Latencies)> {
    let payload = Payload::new(plan.run, plan.body_bytes);
    let clock = Clock::new();
    let start_ns = clock.now() + delay_ns;
    let hiccups = Hiccup::start();
    let books = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (links, number) in links.drain(..).zip(0..) {
            let terms = Terms {
                plan,
                payload: &payload,
                start_ns,
            };
            threads.push(scope.spawn(move || {
                if let Some(&core) = plan.cores.get(number % plan.cores.len().max(1)) {
                    clock::pin(core)?;
                }
                // A refusal only makes the schedule coarser, which the own lag then shows.
                drop(pace::sharpen_sleep());
                Generator::new(terms, clock, progress, links)?.run()
            }));
        }
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Book>>| {
            thread
                .join()
                .map_err(|_| anyhow!("a thread of the generator panicked"))?
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    Ok((books, hiccups.stop()))
}

/// The producers' connections of each thread.
fn open_producers<B: Broker>(plan: &Plan, broker: &mut B) -> Result<Vec<Links<B>>> {
    deal_links(plan, plan.producers, |indices| {
        let (connection, protocol) = broker.producers(plan, indices)?;
        let sender = Sender::new(plan, indices, protocol);
        Ok(Link::new(connection, Role::Send(sender)))
    })
}

/// The consumers' connections of each thread, subscribed.
fn open_consumers<B: Broker>(plan: &Plan, broker: &mut B) -> Result<Vec<Links<B>>> {
    deal_links(plan, plan.consumers, |indices| {
        let (connection, protocol) = broker.consumers(plan, indices)?;
        let receiver = Receiver::new(plan, indices, protocol);
        Ok(Link::new(connection, Role::Receive(receiver)))
    })
}

/// Deals `count` producers or consumers over connections, and these over threads.
fn deal_links<L>(
    plan: &Plan,
    count: u32,
    mut open: impl FnMut(&[u32]) -> Result<L>,
) -> Result<Vec<Vec<L>>> {
    let mut threads: Vec<Vec<L>> = (0..plan.threads).map(|_| Vec::new()).collect();
    let hands = threads.len();
    for (indices, number) in deal(count, plan.connections).iter().zip(0..) {
        threads[number % hands].push(open(indices)?);
    }
    Ok(threads)
}

/// Deals the numbers below `count` to as many hands, none of them empty.
fn deal(count: u32, hands: u32) -> Vec<Vec<u32>> {
    let hands = hands.min(count);
    let hand = |first: u32| (first..count).step_by(hands as usize).collect();
    (0..hands).map(hand).collect()
}

fn outcome(
    books: Vec<Book>,
    hiccups: &Latencies,
    cpu: Option<Duration>,
    [enqueuing, consuming]: [Duration; 2],
) -> Outcome {
    let threads = books.iter().map(|book| ThreadReport { busy: book.busy });
    Outcome {
        threads: threads.collect(),
        book: sum(books),
        hiccups: Hiccups::of(hiccups),
        cpu,
        enqueuing,
        consuming,
    }
}

fn sum(books: Vec<Book>) -> Book {
    let mut books = books.into_iter();
    let mut sum = books.next().expect("a plan has at least one thread");
    books.for_each(|book| sum.add(book));
    sum
}

/// A thread that sleeps for 1 ms again and again: how late it wakes is what the machine adds to any measurement.
struct Hiccup {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<Latencies>,
}

impl Hiccup {
    fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            drop(pace::sharpen_sleep());
            let mut late = Latencies::default();
            while !seen.load(Ordering::Relaxed) {
                let begin = Instant::now();
                thread::sleep(HICCUP_SLEEP);
                late.record(begin.elapsed().saturating_sub(HICCUP_SLEEP));
            }
            late
        });
        Self { is_over, thread }
    }

    fn stop(self) -> Latencies {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

const HICCUP_SLEEP: Duration = Duration::from_millis(1);
/// Time for the threads to start before the first instant of the schedules.
const START_NS: u64 = 20_000_000;
