//! Making messages ready again that were set aside: `dead redrive` and `park kick`.

use std::ops::Range;
use std::time::Duration;

use clap::Args;
use corelane_client::{Aside, AsideInfo, Offset, Subscription};
use corelane_wire::limits::RETURN_MAX;
use serde::Serialize;
use tokio::time::Instant;

use super::super::Common;
use super::super::exit::Failure;
use super::super::output::{self, Row};
use super::Of;
use super::filter::{Condition, Filter};
use super::rows::Pages;

/// Arguments of `dead redrive` and `park kick`.
#[derive(Debug, Args)]
pub(in super::super) struct Return {
    #[command(flatten)]
    of: Of,
    /// Only messages for which this holds, such as cause=attempts, attempts>=3, text~timeout, age<1h
    /// or offset>=100; may be given several times.
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<Condition>,
    /// Messages at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Messages per second at most, such as 100/s.
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<u32>,
    /// Only count the messages that would be returned.
    #[arg(long)]
    dry_run: bool,
}

/// What became of the messages.
#[derive(Serialize)]
struct Sum<'a> {
    queue: &'a str,
    subscription: &'a str,
    matched: u64,
    /// Less if others returned some of them meanwhile.
    returned: u64,
    dry_run: bool,
}

/// Makes messages ready again, not faster than it may.
struct Returner<'a> {
    subscription: &'a Subscription,
    aside: Aside,
    rate: Option<u32>,
    began: Instant,
    returned: u64,
}

impl Return {
    pub(super) async fn run(self, common: &Common, aside: Aside) -> Result<(), Failure> {
        let client = common.connect().await?;
        let admin = client.admin();
        let Of {
            queue,
            subscription,
        } = &self.of;
        // What is set aside from now on may be so for the same reason again: an end must be in sight.
        let end = admin.queue_show(queue).await?.end;
        let on = admin.subscription(queue, subscription);
        let filter = Filter::new(self.conditions);
        let mut pages = Pages::new(&on, aside, &filter, end);
        let mut returner = Returner {
            subscription: &on,
            aside,
            rate: self.rate,
            began: Instant::now(),
            returned: 0,
        };
        let mut left = self.limit.unwrap_or(u64::MAX);
        let mut matched = 0;
        while left > 0
            && let Some(rows) = pages.next().await?
        {
            for piece in pieces(&rows, filter.is_of_offsets()) {
                let count = piece.count.min(left);
                matched += count;
                left -= count;
                if !self.dry_run {
                    returner.give(piece.offsets, count).await?;
                }
            }
        }
        client.close().await;
        output::one(
            common.output,
            &Sum {
                queue,
                subscription,
                matched,
                returned: returner.returned,
                dry_run: self.dry_run,
            },
        )
    }
}

/// Messages that one request can name.
#[derive(PartialEq, Eq, Debug)]
struct Piece {
    offsets: Range<Offset>,
    count: u64,
}

/// Rows put together where nothing else can lie between them; or all, if whatever lies there is meant as well.
fn pieces(rows: &[AsideInfo], is_all_meant: bool) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for row in rows {
        let (first, end) = (row.range.first, row.range.end());
        let count = u64::from(row.range.count);
        match pieces.last_mut() {
            Some(last) if is_all_meant || last.offsets.end == first => {
                last.offsets.end = end;
                last.count += count;
            }
            Some(_) | None => pieces.push(Piece {
                offsets: first..end,
                count,
            }),
        }
    }
    pieces
}

impl Returner<'_> {
    /// Returns up to `count` messages within the offsets.
    async fn give(&mut self, offsets: Range<Offset>, count: u64) -> Result<(), Failure> {
        let Range { mut start, end } = offsets;
        let mut left = count;
        while left > 0 && start < end {
            self.pause().await;
            let at_once = self.at_once();
            let max = u32::try_from(left).map_or(at_once, |left| left.min(at_once));
            let returned = self
                .subscription
                .aside_return(self.aside, start..end, max)
                .await?;
            self.returned += u64::from(returned.count);
            left = left.saturating_sub(u64::from(returned.count));
            // Only onwards, whatever the broker says.
            if returned.next <= start {
                break;
            }
            start = returned.next;
        }
        Ok(())
    }

    /// Until what was returned is not more than the rate allows.
    async fn pause(&self) {
        if let Some(rate) = self.rate {
            #[expect(clippy::cast_precision_loss, reason = "no count comes near 2^52")]
            let seconds = self.returned as f64 / f64::from(rate);
            tokio::time::sleep_until(self.began + Duration::from_secs_f64(seconds)).await;
        }
    }

    /// Messages of one request: a tenth of what a second allows.
    fn at_once(&self) -> u32 {
        self.rate
            .map_or(RETURN_MAX, |rate| (rate / 10).clamp(1, RETURN_MAX))
    }
}

impl Row for Sum<'_> {
    const HEADINGS: &'static [&'static str] = &["QUEUE", "SUBSCRIPTION", "MATCHED", "RETURNED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.queue.to_owned(),
            self.subscription.to_owned(),
            self.matched.to_string(),
            self.returned.to_string(),
        ]
    }
}

/// `N/s` among the arguments.
fn rate(text: &str) -> Result<u32, String> {
    let number = text
        .strip_suffix("/s")
        .and_then(|number| number.parse().ok());
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| "expected messages per second, such as 100/s".to_owned())
}

#[cfg(test)]
mod tests;
