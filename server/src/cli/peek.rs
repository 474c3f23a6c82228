//! `corelane peek`, and how a message is shown.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, Engine};
use clap::Args;
use corelane_client::{Delivery, Header, Offset, Peeked, Timestamp};
use corelane_wire::limits::PEEK_MESSAGES_MAX;
use serde::Serialize;

use super::Common;
use super::exit::Failure;
use super::output::{self, Row, preview};

/// Arguments of `peek`.
#[derive(Debug, Args)]
pub(super) struct Peek {
    /// The queue.
    queue: String,
    /// Messages to show at most.
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Offset to begin with.
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from: u64,
}

/// A message in JSON or in a line of a table.
#[derive(Serialize)]
pub(super) struct Shown {
    offset: u64,
    enqueued_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Bytes>,
    /// In the order of the message; a name may stand there more than once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<ShownHeader>,
    body: Bytes,
}

/// A named value of a message.
#[derive(Serialize)]
struct ShownHeader {
    name: String,
    value: Bytes,
}

/// Bytes as a JSON string where they are UTF-8, else as `{"base64": "..."}`.
#[derive(Serialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Binary { base64: String },
}

impl Peek {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        let mut shown = Vec::new();
        let mut from = self.from;
        let mut failure = None;
        while (shown.len() as u64) < self.count && failure.is_none() {
            let left = self.count - shown.len() as u64;
            let count =
                u32::try_from(left).map_or(PEEK_MESSAGES_MAX, |left| left.min(PEEK_MESSAGES_MAX));
            let messages = client
                .admin()
                .peek(&self.queue, Offset(from), count)
                .await?;
            if messages.is_empty() {
                break;
            }
            for message in messages {
                match message {
                    Ok(message) => {
                        from = message.offset().0 + 1;
                        shown.push(Shown::of_peeked(&message));
                    }
                    Err(error) => failure = Some(Failure::from(error)),
                }
            }
        }
        client.close().await;
        output::list(common.output, &shown)?;
        failure.map_or(Ok(()), Err)
    }
}

impl Shown {
    pub(super) fn of_delivery(delivery: &Delivery) -> Self {
        Self {
            attempt: Some(delivery.attempt()),
            ..Self::new(
                delivery.offset(),
                delivery.enqueued(),
                delivery.key(),
                &delivery.headers(),
                delivery.body(),
            )
        }
    }

    fn of_peeked(message: &Peeked) -> Self {
        Self::new(
            message.offset(),
            message.enqueued(),
            message.key(),
            &message.headers(),
            message.body(),
        )
    }

    fn new(
        offset: Offset,
        enqueued: Timestamp,
        key: Option<&[u8]>,
        headers: &[Header<'_>],
        body: &[u8],
    ) -> Self {
        let headers = headers.iter();
        Self {
            offset: offset.0,
            enqueued_ms: enqueued.as_millis(),
            attempt: None,
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

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Binary {
                base64: BASE64_STANDARD.encode(bytes),
            },
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

/// How long ago something was, in its largest unit.
pub(super) fn age(since_ms: u64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let seconds = now_ms.saturating_sub(since_ms) / 1_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
