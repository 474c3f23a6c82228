//! Where a subscription begins, as people write it.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corelane::config::quantity::parse_duration;
use corelane_client::{Admin, Error, Offset, Start, Timestamp};
use toml::value::{Date, Datetime, Time};

/// A place in a queue, as an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// One that the broker knows by itself.
    Known(Start),
    /// Where the messages of a time begin.
    Since(Timestamp),
    /// Where the messages begin that are at most so old.
    Ago(Duration),
}

impl Place {
    /// Where that is in a queue.
    pub(super) async fn find(self, admin: &Admin, queue: &str) -> Result<Start, Error> {
        let time = match self {
            Self::Known(start) => return Ok(start),
            Self::Since(time) => time,
            Self::Ago(age) => now().sub(age),
        };
        Ok(Start::At(admin.offset_since(queue, time).await?))
    }
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "earliest" {
            return Ok(Self::Known(Start::Earliest));
        }
        if text == "latest" {
            return Ok(Self::Known(Start::Latest));
        }
        if let Ok(offset) = text.parse() {
            return Ok(Self::Known(Start::At(Offset(offset))));
        }
        if let Ok(age) = parse_duration(text) {
            return Ok(Self::Ago(age));
        }
        let time = text.parse().ok().and_then(timestamp);
        time.map(Self::Since).ok_or(
            "expected earliest, latest, an offset, an age such as 30m, or a time such as \
             2026-11-22T08:30:00Z",
        )
    }
}

/// The present, by the clock of this machine.
pub(super) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(0).add(since_epoch.unwrap_or_default())
}

/// A time of RFC 3339 with a zone; none before 1970.
fn timestamp(time: Datetime) -> Option<Timestamp> {
    let (date, clock) = (time.date?, time.time?);
    let zone_minutes = match time.offset? {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let seconds = seconds_of(clock) + days_since_epoch(date) * 86_400 - zone_minutes * 60;
    let whole = Duration::from_secs(u64::try_from(seconds).ok()?);
    let part = Duration::from_nanos(u64::from(clock.nanosecond.unwrap_or(0)));
    Some(Timestamp(0).add(whole).add(part))
}

fn seconds_of(clock: Time) -> i64 {
    let second = clock.second.unwrap_or(0);
    i64::from(clock.hour) * 3_600 + i64::from(clock.minute) * 60 + i64::from(second)
}

/// Days from 1970-01-01 in the Gregorian calendar.
///
/// The year is taken to begin in March, so that a leap day is its last: then the days before a month follow from its
/// number alone. See Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_since_epoch(date: Date) -> i64 {
    let month = i64::from(date.month);
    let year = i64::from(date.year) - i64::from(month <= 2);
    let months_since_march = (month + 9) % 12;
    let day_of_year = (153 * months_since_march + 2) / 5 + i64::from(date.day) - 1;
    let leap_days = year / 4 - year / 100 + year / 400;
    // 0000-03-01 is 719,468 days before the epoch.
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests;
