//! Messages that nobody is given until somebody says so: dead and parked.

use std::ops::Range;

use corelane_wire::limits::{LIST_MAX, RETURN_MAX};
use corelane_wire::{Aside, AsideInfo, Offset, SubscriptionAnswer, SubscriptionVerb};

use super::Subscription;
use crate::client::check_count;
use crate::error::Error;

/// Some of the messages that a subscription has set aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AsidePage {
    /// By offset; neighbours with the same history share a row.
    pub rows: Vec<AsideInfo>,
    /// Where to go on; `None` at the end.
    pub next: Option<Offset>,
}

/// What [`Subscription::aside_return`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Returned {
    /// How many messages are ready again.
    pub count: u32,
    /// Where to go on if more than the asked for were there; else the end that was asked for.
    pub next: Offset,
}

impl Subscription {
    /// Lists its dead or parked messages from `from` on, in up to `limit` (1 to 1,000) rows.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad argument.
    ///
    /// ```no_run
    /// # async fn example(billing: corelane_client::Subscription) -> Result<(), corelane_client::Error> {
    /// use corelane_client::{Aside, Offset};
    ///
    /// let mut from = Some(Offset(0));
    /// while let Some(first) = from {
    ///     let page = billing.aside_list(Aside::Dead, first, 1_000).await?;
    ///     for row in page.rows {
    ///         println!("{} and {} more: {}", row.range.first, row.range.count - 1, row.text);
    ///     }
    ///     from = page.next;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn aside_list(
        &self,
        aside: Aside,
        from: Offset,
        limit: u32,
    ) -> Result<AsidePage, Error> {
        check_count("count of rows", limit, LIST_MAX)?;
        let verb = SubscriptionVerb::ListAside { aside, from, limit };
        let answer = self.ask(verb).await?;
        let SubscriptionAnswer::AsideList { rows, more } = answer else {
            return Err(Error::unexpected());
        };
        let end = rows.last().map(|row| row.range.end());
        // Only onwards, whatever the broker says: a list must end.
        let next = end.filter(|end| more && *end > from);
        Ok(AsidePage { rows, next })
    }

    /// Makes up to `max` (1 to 10,000) messages within `offsets` ready that are dead or parked; what is in another
    /// state is skipped.
    ///
    /// What was dead (redriven) begins with attempt 1 again, what was parked (kicked) goes on counting.
    ///
    /// # Errors
    /// What the broker refused with, [`Error::Deadline`], or a bad argument. If the connection broke after the broker
    /// had returned some, the repeated request counts only those that it returned itself.
    pub async fn aside_return(
        &self,
        aside: Aside,
        offsets: Range<Offset>,
        max: u32,
    ) -> Result<Returned, Error> {
        check_count("count of messages", max, RETURN_MAX)?;
        let Range { start: first, end } = offsets;
        if end <= first {
            return Err(Error::OutOfRange {
                what: "end of the offsets",
                value: end.0,
                min: first.0.saturating_add(1),
                max: u64::MAX,
            });
        }
        let verb = SubscriptionVerb::Return {
            aside,
            first,
            end,
            max,
        };
        let SubscriptionAnswer::Returned { count, next } = self.ask(verb).await? else {
            return Err(Error::unexpected());
        };
        Ok(Returned { count, next })
    }
}
