//! `corelane peek`, and going over a queue page by page.

use clap::Args;
use corelane_client::{Admin, Offset};
use corelane_wire::limits::PEEK_MESSAGES_MAX;

use super::Common;
use super::exit::Failure;
use super::output;
use super::shown::Shown;

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

/// The messages of a queue from an offset on; nothing is taken.
pub(super) struct Pages<'a> {
    admin: &'a Admin,
    queue: &'a str,
    from: u64,
    /// What the last page ended with.
    failure: Option<Failure>,
}

impl Peek {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let client = common.connect().await?;
        let admin = client.admin();
        let mut pages = Pages::new(&admin, &self.queue, self.from);
        let mut shown = Vec::new();
        let mut result = Ok(());
        while (shown.len() as u64) < self.count {
            match pages.next(self.count - shown.len() as u64).await {
                Ok(page) if page.is_empty() => break,
                Ok(page) => shown.extend(page),
                Err(failure) => {
                    result = Err(failure);
                    break;
                }
            }
        }
        client.close().await;
        if result.is_ok() || !shown.is_empty() {
            output::list(common.output, &shown)?;
        }
        result
    }
}

impl<'a> Pages<'a> {
    pub(super) const fn new(admin: &'a Admin, queue: &'a str, from: u64) -> Self {
        Self {
            admin,
            queue,
            from,
            failure: None,
        }
    }

    /// The next messages, at most so many; none at the end. A message that cannot be read fails the
    /// call after the one that shows those before it.
    pub(super) async fn next(&mut self, count_max: u64) -> Result<Vec<Shown>, Failure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let limit = u64::from(PEEK_MESSAGES_MAX);
        let count = u32::try_from(count_max.min(limit)).unwrap_or(PEEK_MESSAGES_MAX);
        let messages = self
            .admin
            .peek(self.queue, Offset(self.from), count)
            .await?;
        let mut page = Vec::new();
        for message in messages {
            match message {
                Ok(message) => {
                    self.from = message.offset().0 + 1;
                    page.push(Shown::of_peeked(&message));
                }
                Err(error) if page.is_empty() => return Err(error.into()),
                Err(error) => {
                    self.failure = Some(error.into());
                    break;
                }
            }
        }
        Ok(page)
    }
}
