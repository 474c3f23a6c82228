//! How far above the floors of its machine a broker is.
//!
//! A *pair* is the floors, and right after them a fresh broker under load: both drift together with a machine that is
//! not one's own. The floors are paced in an open loop at the broker's rate, on the broker's core, and the echo's
//! other side on the generator's. The fastest way to commit is the floor, whichever way the broker commits.
//!
//! # Invariants
//!
//! (F1) The broker's latency counts from the intended instant, those of the floors from their own start: whatever the
//! schedule adds is charged to the broker.
//! (F2) A pair whose messages were lost, duplicated or changed has no ratio; it is an error.
//! (F3) All figures of the result are medians over the pairs, the ratio too.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::broker::Broker;
use crate::clock;
use crate::load::{self, Loop, Plan, Report, Verdict};
use crate::probe::{DiskProbe, EchoProbe, Way};
use crate::record::Latencies;

/// What to compare, and for how long.
#[derive(Clone, Debug)]
pub struct FloorRatio {
    /// The `corelane` binary.
    pub corelane: PathBuf,
    /// Arguments of `corelane serve` beyond those that name its folder and ports.
    pub serve: Vec<String>,
    /// Folder on the disk to measure.
    pub folder: PathBuf,
    /// Pairs of floors and broker.
    pub pairs: u32,
    /// Measured time of the broker at the slower rate; a third of it at the faster one.
    pub duration: Duration,
}

/// One pair, in microseconds.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Median of a commit, by way.
    pub commits: BTreeMap<&'static str, f64>,
    /// Median of an echo.
    pub echo: f64,
    /// The broker at [`SLOW`] messages per second.
    pub slow: Point,
    /// The broker at [`FAST`] messages per second.
    pub fast: Point,
}

/// What a broker did at one rate, in microseconds.
#[derive(Clone, Debug)]
pub struct Point {
    /// Enqueue to confirm: p50 and p99.
    pub confirm: [f64; 2],
    /// Enqueue to deliver: p50 and p99.
    pub deliver: [f64; 2],
    /// Why the run is not to be believed, if so.
    pub verdicts: Vec<Verdict>,
}

/// All pairs.
#[derive(Clone, Debug)]
pub struct Ratios {
    /// In the order in which they were measured.
    pub pairs: Vec<Pair>,
}

/// Messages per second of the two points.
pub const SLOW: u64 = 1_000;
/// See [`SLOW`].
pub const FAST: u64 = 10_000;
/// A broker above this many times the floor fails.
pub const RATIO_MAX: f64 = 1.3;

impl FloorRatio {
    /// Measures all pairs, and tells each to `seen`.
    ///
    /// # Errors
    /// If a broker does not serve, a run cannot be made, or a message was lost, duplicated or changed.
    pub fn measure(&self, mut seen: impl FnMut(&Pair)) -> Result<Ratios> {
        ensure!(self.pairs > 0, "no pairs measure nothing");
        let cores = clock::cores()?;
        let (Some(&first), Some(&last)) = (cores.first(), cores.last()) else {
            return Err(anyhow!("the system names no core"));
        };
        let mut pairs = Vec::new();
        for number in 0..self.pairs {
            let folder = self
                .folder
                .join(format!("floor-ratio-{}-{number}", std::process::id()));
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            let pair = self.pair(&folder, (first, last));
            fs::remove_dir_all(&folder)?;
            let pair = pair?;
            seen(&pair);
            pairs.push(pair);
        }
        Ok(Ratios { pairs })
    }

    fn pair(&self, folder: &Path, (broker_core, load_core): (usize, usize)) -> Result<Pair> {
        let commits = on_core(broker_core, || commits(folder))?;
        let echo = on_core(load_core, || {
            let mut echo = EchoProbe::new(FRAME_BYTES, Some(broker_core))?;
            echo.run(FLOOR_COUNT, u32::try_from(SLOW).unwrap_or(u32::MAX))
        })?;
        let broker = Broker::start_with(&self.corelane, folder, &self.serve)?;
        let point = |rate, duration| {
            let mut plan = Plan::new(broker.address, rate);
            plan.mode = Loop::Open { per_second: rate };
            plan.cores = vec![load_core];
            plan.warm_up = WARM_UP;
            plan.duration = duration;
            Point::of(&load::run(&plan)?)
        };
        Ok(Pair {
            commits,
            echo: median_of(&echo),
            slow: point(SLOW, self.duration)?,
            fast: point(FAST, self.duration / 3)?,
        })
    }
}

/// The median of a commit each way; a way that the machine does not allow is left out.
fn commits(folder: &Path) -> io::Result<BTreeMap<&'static str, f64>> {
    let probe = DiskProbe::new(folder)?;
    let mut commits = BTreeMap::new();
    for (name, way) in [
        ("linked", Way::Linked),
        ("rwf-dsync", Way::RwfDsync),
        ("blocking", Way::Blocking),
    ] {
        match probe.run_at(way, FLOOR_COUNT, u32::try_from(SLOW).unwrap_or(u32::MAX)) {
            Ok(latencies) => {
                commits.insert(name, median_of(&latencies));
            }
            Err(error) if way == Way::Blocking => return Err(error),
            Err(error) => eprintln!("note: {name} commits are left out: {error}"),
        }
    }
    Ok(commits)
}

/// Runs the work on a thread of its own that stays on one core.
fn on_core<T: Send>(core: usize, work: impl FnOnce() -> io::Result<T> + Send) -> Result<T> {
    let pinned = || {
        // A refusal only makes the schedule coarser.
        drop(crate::pace::sharpen_sleep());
        clock::pin(core)?;
        work()
    };
    let result = thread::scope(|scope| scope.spawn(pinned).join());
    Ok(result.map_err(|_| anyhow!("a probe panicked"))??)
}

fn median_of(latencies: &Latencies) -> f64 {
    latencies.at(0.5).as_secs_f64() * 1e6
}

impl Point {
    fn of(report: &Report) -> Result<Self> {
        ensure!(
            report.account.is_intact(),
            "messages were lost, duplicated or changed: {:?}",
            report.account
        );
        let [confirm, deliver] = [report.response, report.end_to_end].map(|series| {
            let series = series?;
            Some([series.p50_us?, series.p99_us?])
        });
        let few = "too few samples for a p99: give it more seconds";
        Ok(Self {
            confirm: confirm.context(few)?,
            deliver: deliver.context(few)?,
            verdicts: report.verdicts.clone(),
        })
    }
}

impl Pair {
    /// The fastest commit and one echo.
    pub fn floor(&self) -> f64 {
        self.commits.values().copied().fold(f64::INFINITY, f64::min) + self.echo
    }

    /// Enqueue to confirm over the floor.
    pub fn ratio(&self) -> f64 {
        self.slow.confirm[0] / self.floor()
    }
}

impl Ratios {
    /// The median ratio of all pairs.
    pub fn ratio(&self) -> f64 {
        self.median(Pair::ratio)
    }

    /// Whether the broker is near enough to the floor.
    pub fn is_near(&self) -> bool {
        self.ratio() <= RATIO_MAX
    }

    fn median(&self, figure: impl Fn(&Pair) -> f64) -> f64 {
        let mut figures: Vec<f64> = self.pairs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        if figures.len().is_multiple_of(2) {
            f64::midpoint(figures[middle - 1], figures[middle])
        } else {
            figures[middle]
        }
    }
}

impl Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "commit")?;
        for (name, median) in &self.commits {
            write!(f, " {name} {median:.0}")?;
        }
        write!(f, "  echo {:.0}  floor {:.0}", self.echo, self.floor())?;
        write!(f, "  {SLOW}/s {}", self.slow)?;
        write!(f, "  {FAST}/s {}", self.fast)?;
        write!(f, "  ratio {:.2}", self.ratio())
    }
}

impl Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([confirm, confirm_late], [deliver, deliver_late]) = (self.confirm, self.deliver);
        write!(
            f,
            "confirm {confirm:.0}/{confirm_late:.0} deliver {deliver:.0}/{deliver_late:.0}"
        )?;
        for verdict in &self.verdicts {
            write!(f, " ({})", verdict.name())?;
        }
        Ok(())
    }
}

impl Display for Ratios {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "floor-ratio: p50_ratio {:.2} p99_us {:.0} p50_10k_us {:.0} p99_10k_us {:.0}",
            self.ratio(),
            self.median(|pair| pair.slow.confirm[1]),
            self.median(|pair| pair.fast.confirm[0]),
            self.median(|pair| pair.fast.confirm[1]),
        )
    }
}

/// Bytes of an enqueue with a body of 256 B.
const FRAME_BYTES: usize = 388;
/// Samples of each floor, in two seconds.
const FLOOR_COUNT: u32 = 2_000;
/// In which a new broker makes its first segments.
const WARM_UP: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
