//! `corelane schedule`: messages that are not due yet.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use corelane_client::{Offset, OffsetRange, Schedule, ScheduledInfo};
use serde::Serialize;

use super::exit::Failure;
use super::output::{self, Row, until};
use super::{Common, duration};

/// Commands about messages that are not due yet.
#[derive(Debug, Subcommand)]
pub(super) enum Scheduled {
    /// List the messages that are not due yet, by offset.
    Ls(Ls),
    /// Finish messages that are not due yet, without delivering them, in every subscription.
    Cancel(Which),
    /// Give messages that are not due yet another due time.
    Move(Move),
}

/// Arguments of `schedule ls`.
#[derive(Debug, Args)]
pub(super) struct Ls {
    /// The queue.
    queue: String,
    /// Rows at most; neighbours with the same due time share one.
    #[arg(short = 'n', long = "count", value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Which messages.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The queue.
    queue: String,
    /// Offsets such as 17, or ranges such as 17-20, both ends included.
    #[arg(required = true, value_name = "OFFSET", value_parser = range)]
    offsets: Vec<OffsetRange>,
}

/// Arguments of `schedule move`.
#[derive(Debug, Args)]
pub(super) struct Move {
    #[command(flatten)]
    which: Which,
    /// In how long they are due from now on, up to 366 days.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    delay: Duration,
}

/// Messages that are due at the same time, in JSON or in a line of a table.
#[derive(Serialize)]
struct DueRow {
    first: u64,
    count: u32,
    due_ms: u64,
}

/// What became of messages.
#[derive(Serialize)]
struct Changed {
    queue: String,
    change: &'static str,
    count: u64,
}

impl Scheduled {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        match self {
            Self::Ls(ls) => ls.run(common).await,
            Self::Cancel(which) => which.cancel(common).await,
            Self::Move(to) => to.run(common).await,
        }
    }
}

impl Ls {
    async fn run(self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        let schedule = client.admin().schedule(&self.queue);
        let count_max = self.count.unwrap_or(u64::MAX);
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
        let rows = list(&schedule, count_max).await?;
        client.close().await;
        output::list(common.output, &rows)
    }
}

async fn list(schedule: &Schedule, count_max: usize) -> Result<Vec<DueRow>, Failure> {
    let mut rows: Vec<DueRow> = Vec::new();
    let mut next = Some(Offset(0));
    while let Some(from) = next.filter(|_| rows.len() < count_max) {
        let page = schedule.list(from).await?;
        rows.extend(page.rows.iter().map(DueRow::from));
        next = page.next;
    }
    rows.truncate(count_max);
    Ok(rows)
}

impl Which {
    async fn cancel(self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        let schedule = client.admin().schedule(&self.queue);
        let count = schedule.cancel(&self.offsets).await?;
        client.close().await;
        tell(common, self.queue, "cancelled", count)
    }
}

impl Move {
    async fn run(self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        let Which { queue, offsets } = self.which;
        let schedule = client.admin().schedule(&queue);
        let due = SystemTime::now() + self.delay;
        let count = schedule.move_to(due, &offsets).await?;
        client.close().await;
        tell(common, queue, "moved", count)
    }
}

fn tell(common: &Common, queue: String, change: &'static str, count: u64) -> Result<(), Failure> {
    let changed = Changed {
        queue,
        change,
        count,
    };
    output::one(common.output, &changed)
}

/// An offset, or two with a dash between them.
fn range(text: &str) -> Result<OffsetRange, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    let (first, last) = (number(first)?, number(last)?);
    let count = last.checked_sub(first).and_then(|more| more.checked_add(1));
    let count = count.and_then(|count| u32::try_from(count).ok());
    let count = count.ok_or("the range is empty, or has more than 4,294,967,295 messages")?;
    let first = Offset(first);
    Ok(OffsetRange { first, count })
}

impl From<&ScheduledInfo> for DueRow {
    fn from(info: &ScheduledInfo) -> Self {
        Self {
            first: info.range.first.0,
            count: info.range.count,
            due_ms: info.due.as_millis(),
        }
    }
}

impl Row for DueRow {
    const HEADINGS: &'static [&'static str] = &["FIRST", "COUNT", "DUE"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.first.to_string(),
            self.count.to_string(),
            format!("in {}", until(self.due_ms)),
        ]
    }
}

impl Row for Changed {
    const HEADINGS: &'static [&'static str] = &["QUEUE", "CHANGE", "MESSAGES"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.queue.clone(),
            self.change.to_owned(),
            self.count.to_string(),
        ]
    }
}
