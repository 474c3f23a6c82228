//! Which messages there are: how they lie in queues, and their bytes.

use corelane_wire::Offset;

/// Messages, numbered from 0, in queues of equal length, up to one; each queue has those that follow its first.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// What the names of its queues begin with.
    pub name: String,
    pub messages: u64,
    pub queues: u64,
    /// Of one body.
    pub bytes: usize,
}

impl Layout {
    pub(crate) fn queue_name(&self, queue: u64) -> String {
        format!("{}-{queue}", self.name)
    }

    /// Of `total` things that are spread evenly, how many come before those of this queue.
    const fn before(&self, queue: u64, total: u64) -> u64 {
        queue * total / self.queues
    }

    /// How many of `total` things fall to this queue.
    pub(crate) const fn share(&self, queue: u64, total: u64) -> u64 {
        self.before(queue + 1, total) - self.before(queue, total)
    }

    /// Messages of this queue.
    pub(crate) const fn count(&self, queue: u64) -> u64 {
        self.share(queue, self.messages)
    }

    /// The number of the message at an offset of a queue.
    pub(crate) const fn number(&self, queue: u64, offset: Offset) -> u64 {
        self.before(queue, self.messages) + offset.0
    }

    /// Puts the body of a message into `body`: its number, then bytes that follow from it.
    pub(crate) fn put_body(&self, number: u64, body: &mut Vec<u8>) {
        body.clear();
        body.extend_from_slice(&number.to_le_bytes());
        let mut state = number | 1 << 63;
        while body.len() < self.bytes {
            // Xorshift (Marsaglia 2003): any change of a byte shows.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            body.extend_from_slice(&state.to_le_bytes());
        }
        body.truncate(self.bytes);
    }
}
