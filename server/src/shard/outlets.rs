//! Everywhere a frame can leave to: the out-buffers of this shard's connections, and the
//! mailboxes to the shards of others.
//!
//! Invariant: (U1) an answer or delivery is encoded once, straight into the buffer that is sent
//! or handed over; nobody decides here what is in it.

use std::collections::BTreeSet;

use corelane_core::{ConnectionId, Requester};
use corelane_wire::{Correlation, Epoch, ErrorCode, Response, ShardId};

use super::connections::{Connections, shard_of};
use crate::connection::OUT_BYTES_HIGH;
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

/// The outlets of one shard.
#[derive(Debug)]
pub(super) struct Outlets {
    pub(super) shard: ShardId,
    pub(super) connections: Connections,
    pub(super) mail: Mailboxes,
    /// Connections of other shards whose out-buffer is full.
    unwritable: BTreeSet<ConnectionId>,
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
            unwritable: BTreeSet::new(),
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
                Some(found) if found.is_open() => found.out_bytes() > OUT_BYTES_HIGH,
                Some(_) | None => return Room::Gone,
            }
        } else {
            self.unwritable.contains(&connection) || self.mail.is_full(shard_of(connection))
        };
        if is_full { Room::Full } else { Room::Free }
    }

    /// What another shard said about the out-buffer of a connection of its own.
    pub(super) fn set_writable(&mut self, connection: ConnectionId, writable: bool) {
        if writable {
            self.unwritable.remove(&connection);
        } else {
            self.unwritable.insert(connection);
        }
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
