//! A job queue: a pool of workers, retries with growing pauses, dead letters, and a redrive once the cause is gone.
//!
//! With a broker on this machine: `cargo run -p corelane-client --example job_queue [HOST:PORT]`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use corelane_client::{
    Aside, AsideCause, Client, Delivery, DequeueOptions, Message, Offset, PurgeStates,
    Subscription, SubscriptionConfig, SubscriptionOptions,
};
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let address = std::env::args().nth(1);
    let client = Client::connect(address.as_deref().unwrap_or("127.0.0.1:7400")).await?;
    let jobs = client.admin().subscription(QUEUE, WORKERS);
    // Three attempts, with a pause of up to 10 ms after the first and of up to 20 ms after the second.
    let config = SubscriptionConfig {
        attempts_max: 3,
        backoff_ms: 10,
        backoff_max_ms: 1_000,
        ..SubscriptionConfig::default()
    };
    let start = None;
    jobs.create(SubscriptionOptions { start, config }).await?;

    enqueue_jobs(&client).await?;
    run_workers(&client, Printer::OnFire).await?;
    show_dead(&jobs).await?;

    // The printer is mended: what failed because of it is tried again, from its first attempt on.
    let redriven = redrive_what_used_up_its_attempts(&jobs).await?;
    println!("{redriven} jobs redriven");
    run_workers(&client, Printer::Mended).await?;

    // The others would never do better.
    let states = PurgeStates {
        waiting: false,
        parked: false,
        dead: true,
    };
    println!("{} dead jobs purged", jobs.purge(states).await?);
    let end = jobs.show().await?;
    println!(
        "{} jobs: {} done, {} purged",
        end.enqueued, end.done, end.purged
    );
    client.close().await;
    Ok(())
}

async fn enqueue_jobs(client: &Client) -> Outcome<()> {
    let producer = client.producer(QUEUE).build()?;
    let mut pending = Vec::new();
    for number in 0..JOBS {
        pending.push(
            producer
                .send(&Message::new(format!("print {number}")))
                .await?,
        );
    }
    for receipt in pending {
        receipt.await.into_result()?;
    }
    println!("{JOBS} jobs enqueued");
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Printer {
    OnFire,
    Mended,
}

/// Runs a pool of workers until no job is left that could succeed.
async fn run_workers(client: &Client, printer: Printer) -> Outcome<()> {
    let mut pool = JoinSet::new();
    for _ in 0..4 {
        pool.spawn(work(client.clone(), printer));
    }
    let mut done = 0;
    while let Some(worker) = pool.join_next().await {
        done += worker??;
    }
    println!("the workers have done {done} jobs");
    Ok(())
}

/// Takes one job after the other; returns how many are done.
async fn work(client: Client, printer: Printer) -> Outcome<u32> {
    let jobs = client.admin().subscription(QUEUE, WORKERS);
    let mut done = 0;
    loop {
        let options = DequeueOptions {
            subscription: WORKERS,
            wait: Duration::from_millis(100),
            ..DequeueOptions::default()
        };
        let taken = client.dequeue_with(QUEUE, options).await?;
        for job in &taken {
            println!(
                "attempt {} at: {}",
                job.attempt(),
                String::from_utf8_lossy(job.body())
            );
        }
        if taken.is_empty() {
            let left = jobs.show().await?;
            if left.ready + left.delayed + left.leased == 0 {
                return Ok(done);
            }
        }
        for job in taken {
            done += u32::from(handle(job, printer).await?);
        }
    }
}

/// Does a job, and says how it went; true if it is done.
async fn handle(job: Delivery, printer: Printer) -> Outcome<bool> {
    let text = String::from_utf8_lossy(job.body());
    let number = text
        .strip_prefix("print ")
        .and_then(|number| number.parse::<u32>().ok());
    match number {
        // No other attempt would do better.
        Some(7) | None => job.kill("there is no such page").await?,
        Some(number) if number % 5 == 0 && printer == Printer::OnFire => {
            job.fail("the printer is on fire").await?
        }
        Some(_) => {
            job.ack().await?;
            return Ok(true);
        }
    };
    Ok(false)
}

async fn show_dead(jobs: &Subscription) -> Outcome<()> {
    let page = jobs.aside_list(Aside::Dead, Offset(0), 1_000).await?;
    for row in page.rows {
        println!(
            "job {} is dead after {} attempts: {}",
            row.range.first, row.attempts, row.text
        );
    }
    Ok(())
}

async fn redrive_what_used_up_its_attempts(jobs: &Subscription) -> Outcome<u32> {
    let mut redriven = 0;
    let mut from = Some(Offset(0));
    while let Some(first) = from {
        let page = jobs.aside_list(Aside::Dead, first, 1_000).await?;
        for row in page.rows {
            if row.cause == AsideCause::Attempts {
                let offsets = row.range.first..row.range.end();
                redriven += jobs
                    .aside_return(Aside::Dead, offsets, row.range.count)
                    .await?
                    .count;
            }
        }
        from = page.next;
    }
    Ok(redriven)
}

const QUEUE: &str = "jobs";
const WORKERS: &str = "workers";
const JOBS: u32 = 20;
