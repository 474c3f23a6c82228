//! Measures what the order of keys costs beside competing consumers, with some keys that always fail.
//!
//! A message out of its order fails the run.

#![expect(clippy::print_stdout, reason = "the figures are this program's output")]
#![expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use corelane_tests::by_key::{Book, Shape};
use corelane_tests::process::{Broker, BrokerOptions};
use corelane_tests::raw::RawConnection;
use corelane_wire::{Contract, SessionId};

/// Consumers of messages with keys, some of which always fail, under one contract after the other.
#[derive(Parser)]
struct Options {
    /// The broker's binary; the one beside this program if not given.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Keys.
    #[arg(long, default_value_t = 1_000)]
    keys: usize,
    /// Keys whose first message always fails.
    #[arg(long, default_value_t = 10)]
    failing: usize,
    /// Messages of each key.
    #[arg(long, default_value_t = 100)]
    per_key: u64,
    /// Consumers.
    #[arg(long, default_value_t = 8)]
    consumers: usize,
    /// Messages that each takes at a time.
    #[arg(long, default_value_t = 100)]
    count: u32,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    for failing in [0, options.failing] {
        for contract in [Contract::Competing, Contract::KeyOrdered] {
            let took = measure(&options, failing, contract)?;
            let done = (options.keys - failing) as u64 * options.per_key;
            println!(
                "by-key: {contract:?}, {failing} of {} keys fail: {done} messages in {took:.2?}, {:.0} a second",
                options.keys,
                done as f64 / took.as_secs_f64()
            );
        }
    }
    Ok(())
}

fn measure(options: &Options, failing: usize, contract: Contract) -> anyhow::Result<Duration> {
    let home = tempfile::tempdir()?;
    let mut broker = BrokerOptions::beside_this_program(&home.path().join("data"))?;
    if let Some(binary) = &options.broker {
        broker.binary.clone_from(binary);
    }
    let broker = Broker::start(&broker)?;
    let connect = || RawConnection::connect(broker.address, SessionId::default());
    let book = Book::new(Shape {
        keys: options.keys,
        failing,
        per_key: options.per_key,
        is_ordered: contract == Contract::KeyOrdered,
    });
    let mut connection = connect()?;
    connection.create_with(QUEUE, contract)?;
    book.fill(&mut connection, QUEUE)?;
    let connections = (0..options.consumers).map(|_| connect());
    let connections = connections.collect::<anyhow::Result<Vec<_>>>()?;
    let begin = Instant::now();
    thread::scope(|scope| {
        let work = |mut connection: RawConnection| {
            let book = &book;
            scope.spawn(move || book.work(&mut connection, QUEUE, options.count))
        };
        let workers: Vec<_> = connections.into_iter().map(work).collect();
        book.wait_for(book.total());
        let took = begin.elapsed();
        for worker in workers {
            worker.join().ok().context("a consumer panicked")??;
        }
        Ok(took)
    })
}

const QUEUE: &str = "by-key";
