//! Everywhere a frame can leave to: the out-buffers of this shard's connections, and the
//! mailboxes to the shards of others.
//!
//! Invariant: (U1) an answer or delivery is encoded once, straight into the buffer that is sent
//! or handed over; nobody decides here what is in it.

use std::collections::BTreeMap;

use corelane_core::{ConnectionId, Requester};
use corelane_wire::{Correlation, Epoch, ErrorCode, Response, ShardId};

use super::connections::{Connections, shard_of};
use crate::connection::{DELIVERED_AHEAD_MAX, OUT_BYTES_HIGH};
use crate::mail::{Mail, Mailboxes};

/// Whether a delivery may go to a connection now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Room {
    /// Yes.
    Free,
    /// Its out-buffer, or the mailbox on the way there, is full.
    Full,
    /// The connection has gone.
    Gone,
}

/// How far deliveries to a connection of another shard are ahead of what that shard knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ahead {
    /// By so many bytes.
    Bytes(usize),
    /// So far that its shard was asked; nothing is delivered before the answer.
    Asked,
}

/// The outlets of one shard.
#[derive(Debug)]
pub(super) struct Outlets {
    pub(super) shard: ShardId,
    pub(super) connections: Connections,
    pub(super) mail: Mailboxes,
    /// What was delivered to connections of other shards that did not say since that they have room.
    ahead: BTreeMap<ConnectionId, Ahead>,
    /// How many places in line were given out.
    places: u64,
    /// Connections of this shard that must be closed because an answer will never come.
    pub(super) abandoned: Vec<ConnectionId>,
}

impl Outlets {
    pub(super) fn new(mail: Mailboxes) -> Self {
        let shard = mail.shard();
        Self {
            shard,
            connections: Connections::new(shard),
            mail,
            ahead: BTreeMap::new(),
            places: 0,
            abandoned: Vec::new(),
        }
    }

    /// Whether a connection belongs to this shard.
    pub(super) fn is_local(&self, connection: ConnectionId) -> bool {
        shard_of(connection) == self.shard
    }

    /// Whether a delivery may go to `connection` now.
    pub(super) fn room(&self, connection: ConnectionId) -> Room {
        let is_full = if self.is_local(connection) {
            match self.connections.get(connection) {
                Some(found) if found.is_open() => {
                    !found.writable || found.out_bytes() > OUT_BYTES_HIGH
                }
                Some(_) | None => return Room::Gone,
            }
        } else {
            let is_asked = self.ahead.get(&connection) == Some(&Ahead::Asked);
            is_asked || self.mail.is_full(shard_of(connection))
        };
        if is_full { Room::Full } else { Room::Free }
    }

    /// The last place in the line of those that wait for room.
    pub(super) fn place_in_line(&mut self) -> u64 {
        self.places += 1;
        self.places
    }

    /// So many bytes were delivered to a connection.
    ///
    /// A shard sees the out-buffers of its own connections only. Without a bound here it would put its whole
    /// backlog into the mailbox before it learned that the client does not read.
    pub(super) fn delivered(&mut self, connection: ConnectionId, bytes: usize) {
        if self.is_local(connection) {
            return;
        }
        let ahead = self.ahead.entry(connection).or_insert(Ahead::Bytes(0));
        if let Ahead::Bytes(before) = ahead {
            *before += bytes;
            if *before > DELIVERED_AHEAD_MAX {
                *ahead = Ahead::Asked;
                let shard = self.shard;
                let batch = self.mail.to(shard_of(connection));
                batch.push(Mail::AskRoom { connection, shard });
            }
        }
    }

    /// Another shard asks for a connection of this one; it is answered when the connection is settled.
    pub(super) fn asked_for_room(&mut self, connection: ConnectionId, by: ShardId) {
        if let Some(found) = self.connections.get_mut(connection) {
            found.askers.push(by);
            self.connections.changed(connection);
        }
    }

    /// The shard of a connection answered.
    pub(super) fn has_room(&mut self, connection: ConnectionId) {
        self.ahead.remove(&connection);
    }

    /// A connection has gone.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.ahead.remove(&connection);
    }

    /// Writes the answer to a request of a partition, `code` being what it says.
    pub(super) fn answer(
        &mut self,
        to: Requester,
        code: ErrorCode,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Requester {
            connection: id,
            correlation,
            ..
        } = to;
        if self.is_local(id) {
            self.answer_local(id, correlation, code, write);
        } else {
            let batch = self.mail.to(shard_of(id));
            batch.push_with(write, |bytes| Mail::Answer {
                to: id,
                correlation,
                code,
                bytes,
            });
        }
    }

    /// Writes the answer to a request of a connection of this shard.
    pub(super) fn answer_local(
        &mut self,
        id: ConnectionId,
        correlation: Correlation,
        code: ErrorCode,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        if let Some(connection) = self.connections.get_mut(id)
            && connection.is_heard()
        {
            write(connection.out());
            connection.answered(correlation, code);
            self.connections.changed(id);
        }
    }

    /// Refuses a request of a partition.
    pub(super) fn refuse(&mut self, to: Requester, epoch: Epoch, code: ErrorCode, text: &str) {
        let text = String::from(text);
        self.answer(to, code, |out| {
            Response::Error { code, text }.encode(to.correlation, epoch, out);
        });
    }

    /// Has a connection closed because an answer will never come.
    pub(super) fn abandon(&mut self, connection: ConnectionId) {
        if self.is_local(connection) {
            self.abandoned.push(connection);
        } else {
            let batch = self.mail.to(shard_of(connection));
            batch.push(Mail::Abandon { connection });
        }
    }

    /// Writes a frame that answers nothing.
    pub(super) fn push(&mut self, to: ConnectionId, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.is_local(to) {
            let batch = self.mail.to(shard_of(to));
            batch.push_with(write, |bytes| Mail::Delivery { to, bytes });
        } else if let Some(connection) = self.connections.get_mut(to)
            && connection.is_heard()
        {
            write(connection.out());
            self.connections.changed(to);
        }
    }
}
