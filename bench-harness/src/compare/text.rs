//! A comparison in words and columns.

use std::fmt::{self, Display, Formatter};

use super::report::{Comparison, Floor, Row};
use crate::peers::Class;

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        writeln!(f, "class {}: {}", self.class.name(), self.class.promise())?;
        writeln!(
            f,
            "bodies of {} B, one per enqueue; producers {}, consumers {}, window {}, credit {}; {:.0} s, medians of {} rounds",
            self.body_bytes,
            self.producers,
            self.consumers,
            self.window,
            self.credit,
            self.seconds,
            self.rounds
        )?;
        match (self.broker_core, self.generator_core) {
            (Some(broker), Some(generator)) => {
                writeln!(f, "broker on core {broker}, generator on core {generator}")?;
            }
            _ => writeln!(f, "note: broker and generator share one core")?,
        }
        writeln!(f)?;
        self.fmt_subjects(f)?;
        for load in self.loads() {
            self.fmt_load(load, f)?;
        }
        writeln!(f, "\n{:<32}{:>10}{:>10}", "floors, us", "p50", "p99")?;
        fmt_floor("commit of 4 KiB", &self.commit, f)?;
        fmt_floor("echo of one enqueue", &self.echo, f)
    }
}

impl Class {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Async => "async",
            Self::Memory => "memory",
        }
    }

    const fn promise(self) -> &'static str {
        match self {
            Self::Durable => "confirmed after it is on stable storage",
            Self::Async => "confirmed before it is on stable storage, flushed some time later",
            Self::Memory => "confirmed at once, kept in memory only",
        }
    }
}

impl Comparison {
    fn fmt_subjects(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for subject in &self.subjects {
            let version = subject.version.as_deref().unwrap_or("-");
            let (peer, shape) = (subject.peer, subject.shape);
            writeln!(f, "{peer} {version}: {shape}")?;
            if let Some(reason) = &subject.not_available {
                writeln!(f, "  not available: {}", reason.replace('\n', "\n  "))?;
            }
            for line in &subject.configuration {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }

    /// In their order, each once.
    fn loads(&self) -> Vec<&str> {
        let mut loads: Vec<&str> = self.rows.iter().map(|row| row.load.as_str()).collect();
        loads.dedup();
        let mut seen = Vec::new();
        loads.retain(|load| {
            !seen.contains(load) && {
                seen.push(load);
                true
            }
        });
        loads
    }

    fn fmt_load(&self, load: &str, f: &mut Formatter<'_>) -> fmt::Result {
        let rows = self.rows.iter().filter(|row| row.load == load);
        let is_open = rows.clone().any(|row| row.rounds.iter().any(has_latency));
        write!(f, "\n{load:<22}{:>10}", "class")?;
        if is_open {
            write!(
                f,
                "{:>22}{:>22}",
                "confirm p50/p99 us", "deliver p50/p99 us"
            )?;
        }
        writeln!(f, "{:>12}{:>12}", "messages/s", "CPU s/M")?;
        for subject in &self.subjects {
            let version = subject.version.as_deref().unwrap_or("-");
            let name = format!("{} {version}", subject.peer);
            write!(f, "{name:<22}{:>10}", self.class.name())?;
            match rows.clone().find(|row| row.peer == subject.peer) {
                Some(row) => fmt_row(row, is_open, f)?,
                None => writeln!(f, "  not available")?,
            }
        }
        Ok(())
    }
}

const fn has_latency(figures: &super::Figures) -> bool {
    figures.confirm_p50_us.is_some()
}

fn fmt_row(row: &Row, is_open: bool, f: &mut Formatter<'_>) -> fmt::Result {
    let median = &row.median;
    if is_open {
        for pair in [
            [median.confirm_p50_us, median.confirm_p99_us],
            [median.deliver_p50_us, median.deliver_p99_us],
        ] {
            let [p50, p99] = pair.map(|value| shown(value, 0));
            write!(f, "{:>22}", format!("{p50} / {p99}"))?;
        }
    }
    let cpu = shown(median.cpu_seconds_per_million, 2);
    write!(f, "{:>12}{cpu:>12}", shown(median.per_second, 0))?;
    let verdicts: Vec<&str> = row.verdicts.iter().map(|verdict| verdict.name()).collect();
    writeln!(f, "  {}", verdicts.join(" "))
}

fn fmt_floor(name: &str, floor: &Floor, f: &mut Formatter<'_>) -> fmt::Result {
    let [p50, p99] = [floor.p50_us, floor.p99_us].map(|value| shown(value, 1));
    writeln!(f, "{name:<32}{p50:>10}{p99:>10}")
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}
