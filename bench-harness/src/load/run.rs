//! One run: queues made, connections opened and dealt to threads, the threads run, their books put together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use corelane_wire::{Lane, Metadata, Request, Response, partition_of};

use super::connection::Connection;
use super::generator::{Book, Generator, Link, Progress, Role};
use super::payload::Payload;
use super::plan::Plan;
use super::receiver::Receiver;
use super::report::{Hiccups, Report, ThreadReport};
use super::sender::{Sender, Terms};
use crate::clock::{self, Clock};
use crate::pace;
use crate::record::Latencies;

/// Runs the plan against the broker it names, on queues that are made before and deleted after.
///
/// # Errors
/// If the plan cannot be run, or the broker cannot be reached, ends a connection, or answers what it must not.
pub fn run(plan: &Plan) -> Result<Report> {
    plan.check()?;
    let mut control = Connection::open(plan.target)?;
    let places = control.call(&Request::Metadata, |answer| {
        let Response::Metadata(metadata) = answer else {
            bail!("metadata is answered by {answer:?}");
        };
        Ok(metadata.clone())
    })?;
    for index in 0..plan.queues {
        let queue = plan.queue(index);
        let request = Request::QueueCreate {
            queue: &queue,
            lanes: 1,
        };
        control.call(&request, |_| Ok(()))?;
    }
    let books = run_threads(plan, &places);
    for index in 0..plan.queues {
        let queue = plan.queue(index);
        control.call(&Request::QueueDelete { queue: &queue }, |_| Ok(()))?;
    }
    let (books, hiccups) = books?;
    Ok(report(plan, control.server, books, &hiccups))
}

fn run_threads(plan: &Plan, places: &Metadata) -> Result<(Vec<Book>, Latencies)> {
    let mut links = open_links(plan, places)?;
    let payload = Payload::new(plan.run, plan.body_bytes);
    let progress = Progress::default();
    let clock = Clock::new();
    let start_ns = clock.now() + START_NS;
    let hiccups = Hiccup::start();
    let books = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (links, number) in links.drain(..).zip(0..) {
            let terms = Terms {
                plan,
                payload: &payload,
                start_ns,
            };
            let progress = &progress;
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

/// The connections of each thread, open and subscribed.
fn open_links(plan: &Plan, places: &Metadata) -> Result<Vec<Vec<Link>>> {
    let mut links: Vec<Vec<Link>> = (0..plan.threads).map(|_| Vec::new()).collect();
    let count = links.len();
    for (indices, number) in deal(plan.producers, plan.connections).iter().zip(0..) {
        let connection = Connection::open(address(plan, places, indices))?;
        let sender = Sender::new(plan, indices);
        links[number % count].push(Link::new(connection, Role::Send(sender)));
    }
    for (indices, number) in deal(plan.consumers, plan.connections).iter().zip(0..) {
        let mut connection = Connection::open(address(plan, places, indices))?;
        let receiver = Receiver::new(plan, indices);
        receiver.subscribe(plan, &mut connection)?;
        links[number % count].push(Link::new(connection, Role::Receive(receiver)));
    }
    Ok(links)
}

/// Deals the numbers below `count` to as many hands, none of them empty.
fn deal(count: u32, hands: u32) -> Vec<Vec<u32>> {
    let hands = hands.min(count);
    let hand = |first: u32| (first..count).step_by(hands as usize).collect();
    (0..hands).map(hand).collect()
}

/// Where the owner of the first queue answers; requests for others take one hop more.
fn address(plan: &Plan, places: &Metadata, indices: &[u32]) -> SocketAddr {
    let first = indices.first().copied().unwrap_or_default();
    let queue = plan.queue(first % plan.queues);
    let count = u32::try_from(places.partitions.len()).unwrap_or(u32::MAX);
    let partition = partition_of("default", &queue, Lane(0), count.max(1));
    let place = places.partitions.get(partition.0 as usize);
    let port = place.map_or_else(|| plan.target.port(), |place| place.port);
    SocketAddr::new(plan.target.ip(), port)
}

fn report(plan: &Plan, server: String, books: Vec<Book>, hiccups: &Latencies) -> Report {
    let threads = books.iter().map(|book| {
        let busy_ns = book.busy_of_ns.saturating_sub(book.idle_ns);
        ThreadReport {
            busy: ratio(busy_ns, book.busy_of_ns),
        }
    });
    let threads = threads.collect();
    let mut books = books.into_iter();
    let mut sum = books.next().expect("a plan has at least one thread");
    books.for_each(|book| sum.add(book));
    Report::new(plan, server, sum, threads, Hiccups::of(hiccups))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share is shown with three digits"
)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
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
