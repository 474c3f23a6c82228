//! Whether a queue has room for a batch, and how it gets some where the oldest messages make way.

use std::collections::VecDeque;

use corelane_wire::{Batch, ErrorCode, Offset, Overflow, Timestamp};

use super::request::Refusal;
use super::{Engine, Output};
use crate::ids::QueueId;
use crate::limits::ASIDE_ROWS_MAX;
use crate::record::{Record, Trimmed};
use crate::state::Queue;
use crate::state::runs::record_bytes;

impl Engine {
    /// Makes room for a batch in a bounded queue, or refuses it.
    pub(super) fn make_room(
        &mut self,
        now: Timestamp,
        id: QueueId,
        batch: &Batch<'_>,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), Refusal> {
        let Some(queue) = self.state.queues.get(id) else {
            return Ok(());
        };
        let left = room_beside(queue, batch)?;
        if queue.waiting() <= left {
            return Ok(());
        }
        let how = match queue.config.overflow {
            Overflow::DropOldest => Trimmed::Gone,
            Overflow::Dead if !queue.subscriptions.is_empty() => way_of_the_dead(queue),
            // Nobody has the oldest ready, so that they could be dead for nobody.
            Overflow::Refuse | Overflow::Dead => return Err(full(queue)),
        };
        let end = end_of_oldest(queue, left, how);
        if end > Offset(0) {
            let queue = id;
            self.append(now, Record::Trim { queue, end, how }, outputs);
        }
        Ok(())
    }
}

/// How many messages may wait beside those of a batch; a refusal if even the batch alone is too much.
fn room_beside(queue: &Queue, batch: &Batch<'_>) -> Result<u64, Refusal> {
    let config = &queue.config;
    let refuse = |has: String, max: u64| {
        let name = &queue.name;
        let text = format!(
            "a batch of {has}, queue {name} holds at most {max}: send smaller batches or raise the bound"
        );
        Err((ErrorCode::LimitExceeded, text))
    };
    let count = u64::from(batch.count);
    let mut left = u64::MAX;
    if config.messages_max > 0 {
        match config.messages_max.checked_sub(count) {
            Some(of_messages) => left = of_messages,
            None => return refuse(format!("{count} messages"), config.messages_max),
        }
    }
    if config.bytes_max > 0 {
        let bytes = record_bytes(batch.entries.len() as u64);
        let Some(of_bytes) = config.bytes_max.checked_sub(bytes) else {
            return refuse(format!("{bytes} bytes"), config.bytes_max);
        };
        let (kept, kept_bytes) = queue.runs.kept();
        // By their mean length: so no message has to be looked at.
        let messages = u128::from(of_bytes) * u128::from(kept) / u128::from(kept_bytes.max(1));
        let messages = u64::try_from(messages).unwrap_or(u64::MAX);
        left = left.min(if kept == 0 { u64::MAX } else { messages });
    }
    Ok(left)
}

fn full(queue: &Queue) -> Refusal {
    let (name, waiting, config) = (&queue.name, queue.waiting(), &queue.config);
    let text = format!(
        "{waiting} messages wait in queue {name}, which holds at most {} messages and {} bytes (0: any number): consume some, or raise the bound",
        config.messages_max, config.bytes_max
    );
    (ErrorCode::QueueFull, text)
}

/// The oldest are dead, or gone where there is no room for more that are dead.
fn way_of_the_dead(queue: &Queue) -> Trimmed {
    let mut subscriptions = queue.subscriptions.iter();
    let has_room = subscriptions.all(|of| of.dead.rows().len() + of.fragments() < ASIDE_ROWS_MAX);
    if has_room {
        Trimmed::Dead
    } else {
        Trimmed::Gone
    }
}

/// Where the oldest end that have to make way, so that at most `left` wait in each subscription; what is leased cannot,
/// nor can what is delayed be dead.
fn end_of_oldest(queue: &Queue, left: u64, how: Trimmed) -> Offset {
    if queue.subscriptions.is_empty() {
        return Offset(queue.end.0.saturating_sub(left));
    }
    let with_delayed = how == Trimmed::Gone;
    let ends = queue.subscriptions.iter().map(|of| {
        let surplus = of.waiting(queue.end).saturating_sub(left);
        of.end_of_first(surplus, with_delayed, queue.end)
    });
    ends.max().unwrap_or_default()
}
