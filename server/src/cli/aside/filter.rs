//! `--where`: which of the messages that were set aside are meant.

use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use corelane::config::quantity::parse_duration;
use corelane_client::{AsideCause, AsideInfo, Offset, Timestamp};

use super::super::start::now;

/// Conditions that hold together.
#[derive(Debug)]
pub(super) struct Filter {
    conditions: Vec<Condition>,
    /// What an age is counted back from.
    now: Timestamp,
}

/// One condition, as an argument.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Condition {
    /// Why they were set aside.
    Cause { cause: AsideCause, is: bool },
    /// What the consumer said.
    Text { part: String, is: bool },
    /// How often they were given out.
    Attempts(Compare, u64),
    /// How long ago they were set aside.
    Age(Compare, Duration),
    /// Which they are.
    Offset(Compare, u64),
}

/// How a value stands to the one that is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compare {
    Below,
    AtMost,
    Equal,
    AtLeast,
    Above,
}

impl Filter {
    pub(super) fn new(conditions: Vec<Condition>) -> Self {
        let now = now();
        Self { conditions, now }
    }

    /// Whether it says nothing about what happened to a message, so that all between two offsets are meant.
    pub(super) fn is_of_offsets(&self) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.all(|condition| matches!(condition, Condition::Offset(..)))
    }

    /// The offsets that may be meant.
    pub(super) fn offsets(&self) -> Range<Offset> {
        let (mut first, mut end) = (0, u64::MAX);
        for condition in &self.conditions {
            if let Condition::Offset(compare, offset) = condition {
                let (from, to) = compare.range(*offset);
                first = first.max(from);
                end = end.min(to);
            }
        }
        Offset(first)..Offset(end)
    }

    /// Whether messages are meant whose offsets may be.
    pub(super) fn holds(&self, row: &AsideInfo) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Cause { cause, is } => (row.cause == *cause) == *is,
            Condition::Text { part, is } => row.text.contains(part.as_str()) == *is,
            Condition::Attempts(compare, attempts) => {
                compare.holds(&u64::from(row.attempts), attempts)
            }
            Condition::Age(compare, age) => compare.holds(&self.now.since(row.since), age),
            Condition::Offset(..) => true,
        })
    }
}

impl Compare {
    fn holds<T: Ord>(self, value: &T, named: &T) -> bool {
        match self {
            Self::Below => value < named,
            Self::AtMost => value <= named,
            Self::Equal => value == named,
            Self::AtLeast => value >= named,
            Self::Above => value > named,
        }
    }

    /// The first number for which it holds, and the one behind the last.
    const fn range(self, named: u64) -> (u64, u64) {
        let behind = named.saturating_add(1);
        match self {
            Self::Below => (0, named),
            Self::AtMost => (0, behind),
            Self::Equal => (named, behind),
            Self::AtLeast => (named, u64::MAX),
            Self::Above => (behind, u64::MAX),
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let letters = text.bytes().take_while(u8::is_ascii_lowercase).count();
        let (field, rest) = text.split_at(letters);
        let signs = rest.bytes().take_while(|byte| b"<>=!~".contains(byte));
        let (sign, value) = rest.split_at(signs.count());
        let compare = match sign {
            "<" => Some(Compare::Below),
            "<=" => Some(Compare::AtMost),
            "=" => Some(Compare::Equal),
            ">=" => Some(Compare::AtLeast),
            ">" => Some(Compare::Above),
            _ => None,
        };
        let number = || value.parse().map_err(|_| format!("{value:?} is no number"));
        match (field, sign, compare) {
            ("cause", "=" | "!=", _) => Ok(Self::Cause {
                cause: cause(value)?,
                is: sign == "=",
            }),
            ("text", "~" | "!~", _) => Ok(Self::Text {
                part: value.to_owned(),
                is: sign == "~",
            }),
            ("attempts", _, Some(compare)) => Ok(Self::Attempts(compare, number()?)),
            ("offset", _, Some(compare)) => Ok(Self::Offset(compare, number()?)),
            ("age", "<" | ">", Some(compare)) => {
                let age = parse_duration(value).map_err(|error| error.to_string())?;
                Ok(Self::Age(compare, age))
            }
            _ => Err(EXPECTED.to_owned()),
        }
    }
}

fn cause(name: &str) -> Result<AsideCause, String> {
    let causes = [
        AsideCause::Rejected,
        AsideCause::Attempts,
        AsideCause::LeaseExpired,
        AsideCause::Overflow,
    ];
    let mut known = causes.into_iter();
    let found = known.find(|cause| cause.name() == name);
    found.ok_or_else(|| format!("the causes are {}", causes.map(AsideCause::name).join(", ")))
}

const EXPECTED: &str = "expected cause=CAUSE, cause!=CAUSE, text~PART, text!~PART, attempts or \
                        offset with <, <=, =, >= or > and a number, or age with < or > and a time";

#[cfg(test)]
mod tests;
