//! Going over messages that were set aside, and how they are shown.

use std::time::Duration;

use corelane::config::quantity::format_duration;
use corelane_client::{Aside, AsideInfo, Offset, Subscription};
use corelane_wire::OffsetRange;
use corelane_wire::limits::LIST_MAX;
use serde::Serialize;

use super::super::exit::Failure;
use super::super::output::{Row, age, preview};
use super::filter::Filter;

/// The messages for which a filter holds, page by page.
pub(super) struct Pages<'a> {
    subscription: &'a Subscription,
    aside: Aside,
    filter: &'a Filter,
    /// Where to go on; `None` at the end.
    from: Option<Offset>,
    end: Offset,
}

/// Messages with the same history, in JSON or in a line of a table.
#[derive(Serialize)]
pub(super) struct AsideRow {
    first: u64,
    count: u32,
    attempts: u32,
    cause: &'static str,
    since_ms: u64,
    leased_ms: u64,
    session: String,
    text: String,
}

/// The same in a line with everything about the last attempt.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct History<'a>(pub(super) &'a AsideRow);

impl<'a> Pages<'a> {
    /// Of offsets before `end`.
    pub(super) fn new(
        subscription: &'a Subscription,
        aside: Aside,
        filter: &'a Filter,
        end: Offset,
    ) -> Self {
        let offsets = filter.offsets();
        Self {
            subscription,
            aside,
            filter,
            from: Some(offsets.start),
            end: end.min(offsets.end),
        }
    }

    /// What matches of the next page, perhaps nothing; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<AsideInfo>>, Failure> {
        let Some(from) = self.from.filter(|from| *from < self.end) else {
            return Ok(None);
        };
        let page = self
            .subscription
            .aside_list(self.aside, from, LIST_MAX)
            .await?;
        self.from = page.next;
        let rows = page.rows.into_iter();
        let rows = rows.filter_map(|row| clipped(row, from, self.end));
        Ok(Some(rows.filter(|row| self.filter.holds(row)).collect()))
    }
}

/// The part of a row that lies between two offsets.
fn clipped(row: AsideInfo, from: Offset, end: Offset) -> Option<AsideInfo> {
    let first = row.range.first.max(from);
    let end = row.range.end().min(end);
    let count = u32::try_from(end.0.checked_sub(first.0)?).unwrap_or(u32::MAX);
    let range = OffsetRange { first, count };
    (count > 0).then_some(AsideInfo { range, ..row })
}

impl AsideRow {
    /// One message of a row.
    pub(super) fn one(info: &AsideInfo, offset: Offset) -> Self {
        Self {
            first: offset.0,
            count: 1,
            ..Self::from(info)
        }
    }
}

impl From<&AsideInfo> for AsideRow {
    fn from(info: &AsideInfo) -> Self {
        Self {
            first: info.range.first.0,
            count: info.range.count,
            attempts: info.attempts,
            cause: info.cause.name(),
            since_ms: info.since.as_millis(),
            leased_ms: info.leased.as_millis(),
            session: info.session.to_string(),
            text: info.text.clone(),
        }
    }
}

impl Row for AsideRow {
    const HEADINGS: &'static [&'static str] =
        &["FIRST", "COUNT", "ATTEMPTS", "CAUSE", "AGE", "TEXT"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.first.to_string(),
            self.count.to_string(),
            self.attempts.to_string(),
            self.cause.to_owned(),
            age(self.since_ms),
            preview(self.text.as_bytes(), 60),
        ]
    }
}

impl Row for History<'_> {
    const HEADINGS: &'static [&'static str] = &[
        "OFFSET", "ATTEMPTS", "CAUSE", "AGE", "HELD", "SESSION", "TEXT",
    ];

    fn cells(&self) -> Vec<String> {
        let Self(row) = self;
        let held = row.since_ms.saturating_sub(row.leased_ms);
        vec![
            row.first.to_string(),
            row.attempts.to_string(),
            row.cause.to_owned(),
            age(row.since_ms),
            format_duration(Duration::from_millis(held)),
            row.session.clone(),
            preview(row.text.as_bytes(), usize::MAX),
        ]
    }
}
