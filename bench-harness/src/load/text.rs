//! A report in words and columns.

use std::fmt::{self, Display, Formatter};

use super::report::{Quantiles, Report};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; {}", self.server, self.machine)?;
        writeln!(
            f,
            "{} loop, {} B, batch {}, {}; producers {}, consumers {}, queues {}, connections {}, window {}",
            self.mode,
            self.body_bytes,
            self.batch,
            self.class,
            self.producers,
            self.consumers,
            self.queues,
            self.connections,
            self.window
        )?;
        if let Some(offered) = self.offered_per_second {
            write!(f, "offered {offered}/s  ")?;
        }
        write!(f, "achieved {:.0}/s", self.achieved_per_second)?;
        if let Some(consumed) = self.consumed_per_second {
            write!(f, "  consumed {consumed:.0}/s")?;
        }
        writeln!(f, "  over {:.1} s", self.seconds)?;
        self.fmt_series(f)?;
        let account = &self.account;
        writeln!(
            f,
            "sent {} confirmed {} refused {} unknown {} delivered {} censored {} unsent {}",
            account.sent,
            account.confirmed,
            account.refused,
            account.unknown,
            account.delivered,
            self.censored,
            self.unsent
        )?;
        writeln!(
            f,
            "lost {} duplicates {} reordered {} corrupt {} phantoms {}",
            account.lost, account.duplicates, account.reordered, account.corrupt, account.phantoms
        )?;
        let busy: Vec<String> = self
            .threads
            .iter()
            .map(|one| format!("{:.0} %", one.busy * 100.0))
            .collect();
        writeln!(
            f,
            "generator busy {}; a sleep of 1 ms ends late by p99 {:.0} us, max {:.0} us",
            busy.join(" "),
            self.hiccups.p99_us,
            self.hiccups.max_us
        )?;
        if self.shares_cores {
            writeln!(
                f,
                "note: broker and generator share the cores of this machine"
            )?;
        }
        if let Some(refusal) = &self.refusal {
            writeln!(f, "first refusal: {refusal}")?;
        }
        for verdict in &self.verdicts {
            writeln!(f, "{}", verdict.describe())?;
        }
        Ok(())
    }
}

impl Report {
    fn fmt_series(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let floors = self.floors.as_ref();
        let rows = [
            ("response", self.response),
            ("service", self.service),
            ("send lag", self.send_lag),
            ("own lag", self.own_lag),
            ("end to end", self.end_to_end),
            ("floor: echo", floors.map(|floors| floors.echo)),
            ("floor: commit", floors.and_then(|floors| floors.commit)),
        ];
        if rows.iter().all(|(_, series)| series.is_none()) {
            return writeln!(
                f,
                "throughput only: without instants there are no latencies"
            );
        }
        writeln!(
            f,
            "{:<14}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}  us",
            "", "p50", "p90", "p99", "p99.9", "p99.99", "max"
        )?;
        for (name, series) in rows {
            let Some(series) = series else { continue };
            write!(f, "{name:<14}")?;
            for value in [
                series.p50_us,
                series.p90_us,
                series.p99_us,
                series.p999_us,
                series.p9999_us,
                Some(series.max_us),
            ] {
                match value {
                    Some(value) => write!(f, "{value:>10.1}")?,
                    None => write!(f, "{:>10}", "-")?,
                }
            }
            writeln!(f)?;
        }
        self.fmt_ratios(f)
    }

    /// A latency says something only beside what the machine does without a broker.
    fn fmt_ratios(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let p50 = |series: Option<Quantiles>| series.and_then(|series| series.p50_us);
        let (Some(floors), Some(response)) = (&self.floors, p50(self.response)) else {
            return Ok(());
        };
        for (name, floor) in [("echo", Some(floors.echo)), ("commit", floors.commit)] {
            if let Some(floor) = p50(floor) {
                let ratio = response / floor;
                writeln!(f, "response p50 is {ratio:.1} times the {name}'s")?;
            }
        }
        Ok(())
    }
}
