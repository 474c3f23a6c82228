//! The control plane: everything that is not on the path of a message.
//!
//! One thread with a current-thread tokio runtime. It serves `/livez`, `/readyz` and `/metrics`,
//! keeps node time close to the wall clock, and watches the shards. It reads what the shards
//! publish and never makes them wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;

use self::health::{Live, Ready};
use self::listener::Bounded;
use self::watchdog::{Stuck, Watchdog};
use crate::clock::Clock;
use crate::driver::DriverStats;
use crate::stats::ShardStats;

pub mod health;
pub mod metrics;

mod listener;
mod watchdog;

/// What the control plane sees of a running broker.
#[derive(Debug)]
pub struct Observed {
    /// Node time, which the control plane disciplines.
    pub clock: Clock,
    /// Wall clock at the start, in seconds since the Unix epoch.
    pub started_seconds: f64,
    /// What each shard publishes.
    pub shards: Vec<Arc<ShardStats>>,
    /// What each shard's driver counts.
    pub drivers: Vec<Arc<DriverStats>>,
    /// Set when the broker is told to stop.
    pub stopping: AtomicBool,
    /// Wall minus node time in nanoseconds, as last measured.
    pub clock_distance: AtomicI64,
    /// How long the slowest shard has stood still, in milliseconds.
    pub slowest_ms: AtomicU64,
}

impl Observed {
    /// A view of shards that were just made.
    #[must_use]
    pub fn new(clock: Clock, shards: Vec<Arc<ShardStats>>, drivers: Vec<Arc<DriverStats>>) -> Self {
        let started = Duration::from_nanos(clock.now().0);
        Self {
            clock,
            started_seconds: started.as_secs_f64(),
            shards,
            drivers,
            stopping: AtomicBool::new(false),
            clock_distance: AtomicI64::new(0),
            slowest_ms: AtomicU64::new(0),
        }
    }

    fn turns(&self) -> Vec<u64> {
        let turns = |shard: &Arc<ShardStats>| shard.read().turns_total;
        self.shards.iter().map(turns).collect()
    }
}

/// The routes of the control port.
pub fn routes(observed: Arc<Observed>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(serve_metrics))
        .with_state(observed)
}

/// Serves the control port until the future is dropped.
///
/// # Errors
/// If accepting fails for good.
pub async fn serve(listener: TcpListener, observed: Arc<Observed>) -> std::io::Result<()> {
    let listener = Bounded::new(listener, CONNECTIONS_MAX, SILENCE_MAX);
    axum::serve(listener, routes(observed)).await
}

/// Keeps node time and watches the shards, until the future is dropped. Aborts the process when a
/// shard stands still for `limit` (zero: never): its clients hang, its partitions cannot be taken
/// over while it lives, and nothing in the process could mend it.
pub async fn watch(observed: Arc<Observed>, limit: Duration) {
    let period = period_for(limit);
    let mut watchdog = Watchdog::new(observed.shards.len(), limit, period);
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let distance = observed.clock.discipline();
        observed.clock_distance.store(distance, Ordering::Relaxed);
        if let Some(stuck) = watchdog.look(Instant::now(), &observed.turns()) {
            abort(stuck);
        }
        let slowest = watchdog
            .slowest()
            .map_or(Duration::ZERO, |slowest| slowest.stood);
        let slowest_ms = u64::try_from(slowest.as_millis()).unwrap_or(u64::MAX);
        observed.slowest_ms.store(slowest_ms, Ordering::Relaxed);
    }
}

/// Tells on a thread of its own, and ends whether or not that could be told: whoever does not take
/// log lines may be what the shard waits for.
fn abort(stuck: Stuck) -> ! {
    let told = std::thread::Builder::new().spawn(move || {
        tracing::error!(
            event = "watchdog",
            shard = stuck.shard,
            stood_ms = stuck.stood.as_millis(),
            "shard stands still; aborting the process (setting: watchdog)"
        );
    });
    if told.is_ok() {
        std::thread::sleep(TELL_WITHIN);
    }
    std::process::abort()
}

/// How often the watchdog looks: ten times within the limit, once a second at least.
fn period_for(limit: Duration) -> Duration {
    let tenth = limit / 10;
    if limit.is_zero() {
        LONGEST_PERIOD
    } else {
        tenth.clamp(SHORTEST_PERIOD, LONGEST_PERIOD)
    }
}

async fn livez(State(observed): State<Arc<Observed>>) -> Response {
    let live = Live::of(&observed);
    answer(live.live, &live)
}

async fn readyz(State(observed): State<Arc<Observed>>) -> Response {
    let ready = Ready::of(&observed);
    answer(ready.ready, &ready)
}

fn answer(is_good: bool, body: &impl serde::Serialize) -> Response {
    let status = if is_good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body)).into_response()
}

async fn serve_metrics(State(observed): State<Arc<Observed>>) -> Response {
    match metrics::encode(&observed) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Binds the control port.
///
/// # Errors
/// If the system refuses it.
pub fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connections of the control port at most; further ones wait.
const CONNECTIONS_MAX: usize = 32;
/// How long one of them may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long the last log line may take to leave the process.
const TELL_WITHIN: Duration = Duration::from_millis(200);
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);
const LONGEST_PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
