//! How a message is shown: in JSON, which can be read back, and in a line of a table.

use std::fmt;
use std::time::Duration;

use base64::DecodeError;
use base64::prelude::{BASE64_STANDARD, Engine};
use corelane_client::{Delivery, Header, Message, Offset, Peeked, Timestamp};
use corelane_wire::limits::MESSAGE_BYTES_MAX;
use serde::{Deserialize, Serialize};

use super::exit::Failure;
use super::output::{Row, age, preview};

/// A message in JSON or in a line of a table.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    /// Only read: a line gets it from [`output::item_json`](super::output::item_json), and an item
    /// of a list has none.
    #[serde(rename = "v", skip_serializing)]
    _version: Version,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    enqueued_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// When it is due at the earliest, if its producer said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_ms: Option<u64>,
    /// How long it lives from then on, if its producer said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Bytes>,
    /// In the order of the message; a name may stand there more than once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<ShownHeader>,
    body: Bytes,
}

/// The one version of the schema.
#[derive(Deserialize)]
#[serde(try_from = "u32")]
struct Version;

/// A named value of a message.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShownHeader {
    name: String,
    value: Bytes,
}

/// Bytes as a JSON string where they are UTF-8, else as `{"base64": "..."}`.
#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "expected a string or {\"base64\": \"...\"}"
)]
enum Bytes {
    Text(String),
    Binary { base64: String },
}

/// Why a line is no message.
#[derive(Debug)]
pub(super) enum LineError {
    /// It is longer than [`LINE_BYTES_MAX`].
    TooLong,
    /// It is no JSON, or other JSON.
    Json(serde_json::Error),
    /// What stands there as base64 is none.
    Base64 {
        /// What it should have been.
        field: &'static str,
        /// What is wrong with it.
        error: DecodeError,
    },
}

impl Shown {
    pub(super) fn of_delivery(delivery: &Delivery) -> Self {
        Self {
            attempt: Some(delivery.attempt()),
            due_ms: delivery.due().map(Timestamp::as_millis),
            ttl_ms: delivery.ttl().map(millis),
            ..Self::new(
                delivery.offset(),
                delivery.enqueued(),
                delivery.key(),
                &delivery.headers(),
                delivery.body(),
            )
        }
    }

    pub(super) fn of_peeked(message: &Peeked) -> Self {
        Self {
            due_ms: message.due().map(Timestamp::as_millis),
            ttl_ms: message.ttl().map(millis),
            ..Self::new(
                message.offset(),
                message.enqueued(),
                message.key(),
                &message.headers(),
                message.body(),
            )
        }
    }

    pub(super) fn new(
        offset: Offset,
        enqueued: Timestamp,
        key: Option<&[u8]>,
        headers: &[Header<'_>],
        body: &[u8],
    ) -> Self {
        let headers = headers.iter();
        Self {
            _version: Version,
            offset: offset.0,
            enqueued_ms: enqueued.as_millis(),
            attempt: None,
            due_ms: None,
            ttl_ms: None,
            key: key.map(Bytes::of),
            headers: headers
                .map(|header| ShownHeader {
                    name: header.name.to_owned(),
                    value: Bytes::of(header.value),
                })
                .collect(),
            body: Bytes::of(body),
        }
    }

    /// Reads a line of JSON back.
    pub(super) fn read(line: &[u8]) -> Result<Self, LineError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(LineError::TooLong);
        }
        serde_json::from_slice(line).map_err(LineError::Json)
    }

    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The message to enqueue for the same key, headers, due time, time to live and body.
    pub(super) fn into_message(self) -> Result<Message, LineError> {
        let mut message = Message::new(self.body.into_bytes("the body")?);
        if let Some(key) = self.key {
            message = message.key(key.into_bytes("the key")?);
        }
        if let Some(due_ms) = self.due_ms {
            message = message.due(Timestamp::from_millis(due_ms));
        }
        if let Some(ttl_ms) = self.ttl_ms {
            message = message.ttl(Duration::from_millis(ttl_ms));
        }
        for header in self.headers {
            message = message.header(header.name, header.value.into_bytes("a header")?);
        }
        Ok(message)
    }
}

impl Row for Shown {
    const HEADINGS: &'static [&'static str] = &["OFFSET", "AGE", "BYTES", "KEY", "BODY"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.offset.to_string(),
            age(self.enqueued_ms),
            self.body.count().to_string(),
            self.key
                .as_ref()
                .map_or_else(|| "-".to_owned(), |key| key.preview(20)),
            self.body.preview(60),
        ]
    }
}

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        match number {
            1 => Ok(Self),
            _ => Err(format!("\"v\" is {number}, and this version reads 1")),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Binary {
                base64: BASE64_STANDARD.encode(bytes),
            },
        }
    }

    fn into_bytes(self, field: &'static str) -> Result<Vec<u8>, LineError> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Binary { base64 } => BASE64_STANDARD
                .decode(base64)
                .map_err(|error| LineError::Base64 { field, error }),
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary { base64 } => {
                let padding = base64
                    .bytes()
                    .rev()
                    .take_while(|byte| *byte == b'=')
                    .count();
                base64.len() / 4 * 3 - padding
            }
        }
    }

    fn preview(&self, chars_max: usize) -> String {
        match self {
            Self::Text(text) => preview(text.as_bytes(), chars_max),
            Self::Binary { base64 } => format!("base64:{}", preview(base64.as_bytes(), chars_max)),
        }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a message: ")?;
        match self {
            Self::TooLong => write!(formatter, "longer than {LINE_BYTES_MAX} bytes"),
            Self::Json(error) => {
                // The line is the caller's to tell: here it is always the first.
                let text = error.to_string();
                let place = format!(" at line {} column {}", error.line(), error.column());
                let text = text.strip_suffix(&place).unwrap_or(&text);
                write!(formatter, "{text} (column {})", error.column())
            }
            Self::Base64 { field, error } => {
                write!(formatter, "the base64 of {field} is none: {error}")
            }
        }
    }
}

impl From<LineError> for Failure {
    fn from(error: LineError) -> Self {
        Self::other(format!(
            "{error}\n  nothing from this line on is enqueued; what came before it is"
        ))
    }
}

/// Longest line that is read: JSON has up to six characters for a byte, and blanks.
pub(super) const LINE_BYTES_MAX: usize = 8 * MESSAGE_BYTES_MAX;

#[cfg(test)]
mod tests;
