//! Everywhere a frame can leave to: the out-buffers of this shard's connections, and the
//! mailboxes to the shards of others.
//!
//! Invariants:
//! (U1) An answer or delivery is encoded once, straight into the buffer that is sent or handed over;
//!      nobody decides here what is in it.
//! (U2) Room that was given is given back: in the turn in which nothing waits here for the connection,
//!      or by asking again when the next delivery is too much for it.

use std::collections::BTreeMap;

use corelane_core::{ConnectionId, Requester};
use corelane_wire::{Correlation, Epoch, ErrorCode, Response, ShardId};

use super::connections::{Connections, own_connection, shard_of};
use crate::connection::{OUT_BYTES_HIGH, ROOM_BYTES_MAX, share_of};
use crate::mail::{Mail, Mailboxes};

/// Whether a delivery may go to a connection now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Room {
    /// Yes.
    Free,
    /// No: room was asked for, or the mailbox on the way there is full.
    Full,
    /// The connection has gone.
    Gone,
}

/// What this shard may deliver to a connection. One of its own stands for nothing here while nobody waits for
/// room there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Claim {
    /// So many bytes were delivered to a connection of another shard since there was room last.
    Ahead(usize),
    /// Room was asked for; nothing is delivered before the answer.
    Asked,
    /// There is room, and so many bytes of it are used.
    Room(usize),
}

/// The outlets of one shard.
#[derive(Debug)]
pub(super) struct Outlets {
    pub(super) shard: ShardId,
    pub(super) connections: Connections,
    pub(super) mail: Mailboxes,
    pub(super) claims: BTreeMap<ConnectionId, Claim>,
    /// What goes to a connection of another shard without asking.
    ahead_bytes_max: usize,
    /// Connections that may have a [`Claim::Room`].
    pub(super) given: Vec<ConnectionId>,
    /// How many places in line were given out.
    places: u64,
    /// Letters of this shard that were answered, and with what.
    pub(super) letters_answered: Vec<(Correlation, ErrorCode)>,
    /// Connections of this shard that must be closed because an answer will never come.
    pub(super) abandoned: Vec<ConnectionId>,
}

impl Outlets {
    pub(super) fn new(mail: Mailboxes) -> Self {
        let shard = mail.shard();
        Self {
            shard,
            connections: Connections::new(shard),
            ahead_bytes_max: share_of(mail.shard_count()),
            mail,
            claims: BTreeMap::new(),
            given: Vec::new(),
            places: 0,
            letters_answered: Vec::new(),
            abandoned: Vec::new(),
        }
    }

    /// The connection on which the shard itself asks: no client has it.
    pub(super) fn own_connection(&self) -> ConnectionId {
        own_connection(self.shard)
    }

    /// Whether a connection belongs to this shard.
    pub(super) fn is_local(&self, connection: ConnectionId) -> bool {
        shard_of(connection) == self.shard
    }

    /// Whether something may go to `connection` now; if not, room is asked for.
    pub(super) fn room(&mut self, connection: ConnectionId) -> Room {
        let is_local = self.is_local(connection);
        if is_local {
            let found = self.connections.get(connection);
            let Some(found) = found.filter(|found| found.is_open()) else {
                return Room::Gone;
            };
            if found.room.is_idle() && found.writable && found.out_bytes() <= OUT_BYTES_HIGH {
                return Room::Free;
            }
        } else if self.mail.is_full(shard_of(connection)) {
            return Room::Full;
        }
        match self.claims.get(&connection) {
            Some(Claim::Room(_)) => return Room::Free,
            Some(Claim::Asked) => return Room::Full,
            None if !is_local => return Room::Free,
            Some(Claim::Ahead(bytes)) if *bytes < self.ahead_bytes_max => return Room::Free,
            None | Some(Claim::Ahead(_)) => {}
        }
        self.ask(connection);
        Room::Full
    }

    /// The last place in the line of those that wait for room.
    pub(super) fn place_in_line(&mut self) -> u64 {
        self.places += 1;
        self.places
    }

    /// Whether a delivery of so many bytes may go to a connection that is [`Room::Free`]; it is counted if so, and
    /// room is asked for if not.
    ///
    /// A shard sees the out-buffers of its own connections only. Without a bound here it would put its whole
    /// backlog into the mailbox before it learned that the client does not read.
    pub(super) fn take(&mut self, connection: ConnectionId, bytes: usize) -> bool {
        let is_local = self.is_local(connection);
        let is_taken = match self.claims.get_mut(&connection) {
            None if is_local => true,
            None => {
                self.claims.insert(connection, Claim::Ahead(bytes));
                bytes <= self.ahead_bytes_max
            }
            Some(Claim::Ahead(before)) => add(before, bytes, self.ahead_bytes_max),
            // One delivery of any size, or several within the bound.
            Some(Claim::Room(used)) => add(used, bytes, ROOM_BYTES_MAX.max(bytes)),
            Some(Claim::Asked) => return false,
        };
        if !is_taken {
            self.ask(connection);
        }
        is_taken
    }

    /// Stands in the line for room in an out-buffer; room that there was counts as used.
    fn ask(&mut self, connection: ConnectionId) {
        self.claims.insert(connection, Claim::Asked);
        let shard = self.shard;
        if self.is_local(connection) {
            self.asked_for_room(connection, shard);
        } else {
            let batch = self.mail.to(shard_of(connection));
            batch.push(Mail::AskRoom { connection, shard });
        }
    }

    /// A shard asks for room; it is answered when the connection is settled.
    pub(super) fn asked_for_room(&mut self, connection: ConnectionId, by: ShardId) {
        if let Some(found) = self.connections.get_mut(connection) {
            found.room.ask(by);
            self.connections.changed(connection);
        }
    }

    /// A shard needs no more of the room that it had; the next one gets it when the connection is settled.
    pub(super) fn room_used(&mut self, connection: ConnectionId, by: ShardId) {
        if let Some(found) = self.connections.get_mut(connection) {
            found.room.used(by);
            self.connections.changed(connection);
        }
    }

    /// This shard has the room that it asked for.
    pub(super) fn room_given(&mut self, connection: ConnectionId) {
        if let Some(claim) = self.claims.get_mut(&connection)
            && *claim == Claim::Asked
        {
            *claim = Claim::Room(0);
            self.given.push(connection);
        }
    }

    /// Gives back what is left of the room in connections for which nothing waits (U2).
    pub(super) fn return_room(&mut self, is_waiting: impl Fn(ConnectionId) -> bool) {
        let mut given = std::mem::take(&mut self.given);
        given.retain(|connection| {
            let Some(Claim::Room(used)) = self.claims.get(connection).copied() else {
                return false;
            };
            let is_waiting = is_waiting(*connection);
            if !is_waiting {
                self.give_back(*connection, used);
            }
            is_waiting
        });
        self.given = given;
    }

    fn give_back(&mut self, connection: ConnectionId, used: usize) {
        let (shard, is_local) = (self.shard, self.is_local(connection));
        if is_local || used == 0 {
            self.claims.remove(&connection);
        } else {
            self.claims.insert(connection, Claim::Ahead(used));
        }
        if is_local {
            self.room_used(connection, shard);
        } else {
            let batch = self.mail.to(shard_of(connection));
            batch.push(Mail::RoomUsed { connection, shard });
        }
    }

    /// A connection has gone.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.claims.remove(&connection);
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
        if id == self.own_connection() {
            self.letters_answered.push((correlation, code));
        } else if let Some(connection) = self.connections.get_mut(id)
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

/// Adds to a count that has a bound, or leaves it.
fn add(count: &mut usize, bytes: usize, max: usize) -> bool {
    let is_within = *count + bytes <= max;
    *count += if is_within { bytes } else { 0 };
    is_within
}
