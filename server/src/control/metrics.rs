//! `/metrics`: a fixed number of series per shard, read from plain counters at each scrape.
//!
//! No label ever names a connection, a queue or a message, so a scrape costs the same with ten
//! queues and with a million.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::Observed;
use super::health::Ready;
use crate::driver::{DriverStats, DurationsRead};
use crate::stats::Counters;

/// Content type of the text that [`encode`] makes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of a broker as text.
///
/// # Errors
/// Never in practice: the text goes to memory.
pub fn encode(observed: &Arc<Observed>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(Arc::clone(observed))));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

/// A number that each shard has, read from what the shard publishes.
struct ShardMetric {
    /// Name without the unit and without `_total`.
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
    is_counter: bool,
    read: fn(&Counters) -> f64,
}

#[derive(Debug)]
struct Scrape(Arc<Observed>);

type Label = [(&'static str, String); 1];

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let observed = &self.0;
        encode_node(&mut encoder, observed)?;
        let shards: Vec<_> = observed.shards.iter().map(|shard| shard.read()).collect();
        for metric in shard_metrics() {
            let kind = if metric.is_counter {
                MetricType::Counter
            } else {
                MetricType::Gauge
            };
            let mut family =
                encoder.encode_descriptor(metric.name, metric.help, metric.unit.as_ref(), kind)?;
            for (shard, counters) in shards.iter().enumerate() {
                let value = (metric.read)(counters);
                let label = label(shard);
                encode_value(&mut family.encode_family(&label)?, metric.is_counter, value)?;
            }
        }
        encode_drivers(&mut encoder, &observed.drivers)
    }
}

fn label(shard: usize) -> Label {
    [("shard", shard.to_string())]
}

fn encode_value(
    encoder: &mut MetricEncoder<'_>,
    is_counter: bool,
    value: f64,
) -> Result<(), fmt::Error> {
    if is_counter {
        encoder.encode_counter::<Label, f64, f64>(&value, None)
    } else {
        encoder.encode_gauge(&value)
    }
}

fn encode_node(encoder: &mut DescriptorEncoder<'_>, observed: &Observed) -> Result<(), fmt::Error> {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    encoder
        .encode_descriptor(
            "corelane_build",
            "Version of the broker.",
            None,
            MetricType::Info,
        )?
        .encode_info(&version)?;
    let distance = observed.clock_distance.load(Ordering::Relaxed);
    let gauges = [
        (
            "corelane_start_time",
            "Wall clock at the start, since the Unix epoch.",
            Some(Unit::Seconds),
            observed.started_seconds,
        ),
        (
            "corelane_clock_distance",
            "Wall clock minus node time; node time is slewed towards the wall at most 500 ppm.",
            Some(Unit::Seconds),
            rounded(distance.unsigned_abs()) / 1e9 * if distance < 0 { -1.0 } else { 1.0 },
        ),
        (
            "corelane_ready",
            "Whether /readyz answers 200.",
            None,
            f64::from(u8::from(Ready::of(observed).ready)),
        ),
        (
            "corelane_slowest_shard",
            "How long the slowest shard has stood still.",
            Some(Unit::Seconds),
            rounded(observed.slowest_ms.load(Ordering::Relaxed)) / 1e3,
        ),
    ];
    for (name, help, unit, value) in gauges {
        encoder
            .encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?
            .encode_gauge(&value)?;
    }
    Ok(())
}

/// A histogram that each driver has.
struct DriverHistogram {
    name: &'static str,
    help: &'static str,
    read: fn(&DriverStats) -> DurationsRead,
}

/// A counter that each driver has.
struct DriverCounter {
    name: &'static str,
    help: &'static str,
    read: fn(&DriverStats) -> u64,
}

fn encode_drivers(
    encoder: &mut DescriptorEncoder<'_>,
    drivers: &[Arc<DriverStats>],
) -> Result<(), fmt::Error> {
    for metric in DRIVER_HISTOGRAMS {
        let unit = Some(&Unit::Seconds);
        let kind = MetricType::Histogram;
        let mut family = encoder.encode_descriptor(metric.name, metric.help, unit, kind)?;
        for (shard, stats) in drivers.iter().enumerate() {
            let read = (metric.read)(stats);
            let label = label(shard);
            let mut encoder = family.encode_family(&label)?;
            encoder.encode_histogram::<Label>(read.sum, read.count, &read.buckets, None)?;
        }
    }
    for metric in DRIVER_COUNTERS {
        let kind = MetricType::Counter;
        let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
        for (shard, stats) in drivers.iter().enumerate() {
            let value = rounded((metric.read)(stats));
            let label = label(shard);
            encode_value(&mut family.encode_family(&label)?, true, value)?;
        }
    }
    Ok(())
}

const DRIVER_HISTOGRAMS: &[DriverHistogram] = &[
    DriverHistogram {
        name: "corelane_commit",
        help: "Duration of a commit in its thread: write and fdatasync.",
        read: |stats| stats.commit.read(),
    },
    DriverHistogram {
        name: "corelane_log_read",
        help: "Duration of a read from a segment in its thread.",
        read: |stats| stats.read.read(),
    },
];

const DRIVER_COUNTERS: &[DriverCounter] = &[
    DriverCounter {
        name: "corelane_connections_shed",
        help: "Connections closed by the driver before the shard saw them.",
        read: |stats| stats.refused.load(Ordering::Relaxed),
    },
    DriverCounter {
        name: "corelane_accept_pauses",
        help: "Times that accepting paused because no file descriptor was left.",
        read: |stats| stats.accept_paused.load(Ordering::Relaxed),
    },
    DriverCounter {
        name: "corelane_receive_stalls",
        help: "Times that a connection was left unread because all receive buffers were in use.",
        read: |stats| stats.starved.load(Ordering::Relaxed),
    },
];

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus reads every number as f64; counts are exact to 2^53"
)]
fn rounded(count: u64) -> f64 {
    count as f64
}

mod shard_metrics;

use self::shard_metrics::shard_metrics;
