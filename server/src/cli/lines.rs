//! Lines of an input on their way into a queue, each as a message.

use std::io::{self, BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use corelane_client::{Class, Client, Message, Outcome, Pending, Producer};
use serde::Serialize;
use tokio::sync::mpsc;

use super::exit::Failure;
use super::output::{self, Row};
use super::{Common, chat};

/// Where lines come from.
pub(super) struct Source {
    name: String,
    input: Box<dyn Read + Send>,
    /// A line that is longer comes cut, one byte above this.
    line_bytes_max: usize,
}

/// Where the lines went.
#[derive(Serialize)]
struct Summary<'a> {
    queue: &'a str,
    confirmed: u64,
    failed: u64,
    first_offset: Option<u64>,
    last_offset: Option<u64>,
    millis: u64,
}

impl Source {
    pub(super) fn new(
        name: &str,
        input: impl Read + Send + 'static,
        line_bytes_max: usize,
    ) -> Self {
        Self {
            name: name.to_owned(),
            input: Box::new(input),
            line_bytes_max,
        }
    }

    pub(super) fn stdin(line_bytes_max: usize) -> Self {
        Self::new("stdin", io::stdin(), line_bytes_max)
    }
}

/// Where messages go.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) queue: &'a str,
    pub(super) class: Class,
}

/// A producer that gives up when the time of a call is over.
pub(super) fn producer(
    client: &Client,
    common: &Common,
    to: Target<'_>,
) -> Result<Producer, Failure> {
    let builder = client.producer(to.queue).class(to.class);
    Ok(builder.give_up_after(common.timeout).build()?)
}

/// Enqueues every line as the message that `to_message` makes of it, in order, and tells how many
/// are confirmed. Reads no further than the first line that is no message or is not enqueued.
pub(super) async fn enqueue(
    common: &Common,
    to: Target<'_>,
    source: Source,
    to_message: impl Fn(Vec<u8>) -> Result<Message, Failure>,
) -> Result<(), Failure> {
    let client = common.connect().await?;
    let producer = producer(&client, common, to)?;
    let begun = Instant::now();
    let (pending, settled) = mpsc::channel(PENDING_MAX);
    let collector = tokio::spawn(collect(settled));
    let fed = feed(source, to_message, &producer, pending).await;
    let _tally = producer.close().await;
    let collected = collector
        .await
        .map_err(|error| Failure::other(format!("a receipt was lost: {error}")))?;
    client.close().await;
    output::one(common.output, &collected.summary(to.queue, begun.elapsed()))?;
    if let Some((line, failure)) = collected.first_failure {
        return Err(failure.at(&format!("line {line}")));
    }
    fed
}

/// Sends lines until the source ends or a message fails.
async fn feed(
    source: Source,
    to_message: impl Fn(Vec<u8>) -> Result<Message, Failure>,
    producer: &Producer,
    pending: mpsc::Sender<Pending>,
) -> Result<(), Failure> {
    let mut lines = read_lines(source)?;
    let mut progress = Progress::new();
    let mut count = 0_u64;
    while let Some(chunk) = lines.recv().await {
        for line in chunk? {
            count += 1;
            let at_line = |failure: Failure| failure.at(&format!("line {count}"));
            let message = to_message(line).map_err(at_line)?;
            let sent = producer.send(&message).await;
            let sent = sent.map_err(|error| at_line(error.into()))?;
            if pending.send(sent).await.is_err() {
                // The collector met a failure and has its text.
                return Ok(());
            }
        }
        progress.show(count);
    }
    Ok(())
}

/// What became of the lines.
#[derive(Default)]
struct Collected {
    confirmed: u64,
    failed: u64,
    first_offset: Option<u64>,
    last_offset: Option<u64>,
    first_failure: Option<(u64, Failure)>,
}

/// Awaits receipts in the order of the lines; after the first failure it takes no more lines, but
/// counts those that are on their way.
async fn collect(mut pending: mpsc::Receiver<Pending>) -> Collected {
    let mut collected = Collected::default();
    let mut line = 0;
    while let Some(next) = pending.recv().await {
        line += 1;
        collected.count(line, next.await);
        if collected.first_failure.is_some() {
            pending.close();
        }
    }
    collected
}

impl Collected {
    fn summary<'a>(&self, queue: &'a str, took: Duration) -> Summary<'a> {
        Summary {
            queue,
            confirmed: self.confirmed,
            failed: self.failed,
            first_offset: self.first_offset,
            last_offset: self.last_offset,
            millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn count(&mut self, line: u64, outcome: Outcome) {
        match outcome.into_result() {
            Ok(receipt) => {
                self.confirmed += 1;
                self.first_offset.get_or_insert(receipt.offset.0);
                self.last_offset = Some(receipt.offset.0);
            }
            Err(error) => {
                self.failed += 1;
                self.first_failure
                    .get_or_insert_with(|| (line, error.into()));
            }
        }
    }
}

impl Row for Summary<'_> {
    const HEADINGS: &'static [&'static str] =
        &["QUEUE", "CONFIRMED", "FAILED", "FIRST", "LAST", "MILLIS"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.queue.to_owned(),
            self.confirmed.to_string(),
            self.failed.to_string(),
            output::number(self.first_offset),
            output::number(self.last_offset),
            self.millis.to_string(),
        ]
    }
}

/// Some lines, or why there are no more.
type Chunk = Result<Vec<Vec<u8>>, Failure>;

/// The lines of a source, in chunks, read on a thread of their own: a read may block for ever.
fn read_lines(source: Source) -> Result<mpsc::Receiver<Chunk>, Failure> {
    let (chunks, lines) = mpsc::channel(CHUNKS_MAX);
    let cannot_read = format!("cannot read {}", source.name);
    let reason = cannot_read.clone();
    let read = move || {
        let mut input = BufReader::with_capacity(256 * 1024, source.input);
        loop {
            let chunk = read_chunk(&mut input, source.line_bytes_max)
                .map_err(|error| Failure::other(format!("{reason}: {error}")));
            let is_end = !matches!(&chunk, Ok(lines) if !lines.is_empty());
            let is_empty = matches!(&chunk, Ok(lines) if lines.is_empty());
            if (!is_empty && chunks.blocking_send(chunk).is_err()) || is_end {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("lines".to_owned())
        .spawn(read)
        .map_err(|error| Failure::other(format!("{cannot_read}: {error}")))?;
    Ok(lines)
}

/// Some lines without their line ends; none at the end of the input. Returns what there is rather
/// than wait for more, so that lines typed or trickling in leave at once.
fn read_chunk(input: &mut BufReader<impl Read>, line_bytes_max: usize) -> io::Result<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    while lines.len() < CHUNK_LINES_MAX {
        if !lines.is_empty() && !input.buffer().contains(&b'\n') {
            break;
        }
        let mut line = Vec::new();
        let limit = line_bytes_max as u64 + 1;
        if input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        lines.push(line);
    }
    Ok(lines)
}

/// Counts on stderr, at most ten times a second.
struct Progress {
    begun: Instant,
    shown: Instant,
}

impl Progress {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            begun: now,
            shown: now,
        }
    }

    fn show(&mut self, count: u64) {
        if self.shown.elapsed() >= Duration::from_millis(500) {
            self.shown = Instant::now();
            let seconds = self.begun.elapsed().as_secs();
            chat(&format!("{count} lines sent, {seconds} s"));
        }
    }
}

/// Lines in one chunk.
const CHUNK_LINES_MAX: usize = 1_024;
/// Chunks read ahead.
const CHUNKS_MAX: usize = 4;
/// Receipts awaited at once; the producer allows fewer messages in flight.
const PENDING_MAX: usize = 65_536;

#[cfg(test)]
mod tests;
