//! The connections of one shard, by slot and generation.
//!
//! Invariant: (C1) a [`ConnectionId`] names one connection for ever: shard in the top 16 bits,
//! then 24 bits of the slot's generation, then 24 bits of slot. Mail and completions for a
//! connection that has gone find nothing.

use std::collections::BTreeSet;

use corelane_core::ConnectionId;
use corelane_wire::{ShardId, Timestamp};

use crate::connection::Connection;

const SLOT_BITS: u32 = 24;
const FIELD_MASK: u64 = (1 << SLOT_BITS) - 1;

/// The shard that accepted a connection.
pub(super) fn shard_of(connection: ConnectionId) -> ShardId {
    let shard = connection.0 >> (2 * SLOT_BITS);
    ShardId(u16::try_from(shard).expect("the top 16 bits of 64"))
}

/// The connection on which a shard itself asks: its slot is never given to a client.
pub(super) fn own_connection(shard: ShardId) -> ConnectionId {
    ConnectionId(u64::from(shard.0) << (2 * SLOT_BITS) | FIELD_MASK)
}

/// The table.
#[derive(Debug)]
pub(super) struct Connections {
    shard: ShardId,
    slots: Vec<Slot>,
    free: Vec<usize>,
    count: usize,
    /// Connections to settle this turn; each stands there once (`Connection::listed`).
    changed: Vec<ConnectionId>,
    /// When unfinished greetings, frames and endings are looked at. May name connections without
    /// a deadline, or with a later one.
    deadlines: BTreeSet<(Timestamp, ConnectionId)>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u64,
    connection: Option<Connection>,
}

impl Connections {
    pub(super) fn new(shard: ShardId) -> Self {
        Self {
            shard,
            slots: Vec::new(),
            free: Vec::new(),
            count: 0,
            changed: Vec::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// How many there are, closing ones included.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Takes a new connection in.
    pub(super) fn insert(&mut self, connection: Connection) -> ConnectionId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        assert!((index as u64) < FIELD_MASK, "C1: {index} connections");
        self.slots[index].connection = Some(connection);
        self.count += 1;
        let id = self.id(index);
        self.changed(id);
        self.note_deadline(id);
        id
    }

    /// The connection, unless it has gone.
    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.slots[..].get(self.index(id)?)?.connection.as_ref()
    }

    /// The connection, unless it has gone.
    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let index = self.index(id)?;
        self.slots[index].connection.as_mut()
    }

    /// Forgets a connection whose socket is closed.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        let Some(index) = self.index(id) else { return };
        let slot = &mut self.slots[index];
        slot.connection = None;
        slot.generation = (slot.generation + 1) & FIELD_MASK;
        self.free.push(index);
        self.count -= 1;
    }

    /// Has the connection settled before the turn ends.
    pub(super) fn changed(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id)
            && !connection.listed
        {
            connection.listed = true;
            self.changed.push(id);
        }
    }

    /// The next connection to settle.
    pub(super) fn next_changed(&mut self) -> Option<ConnectionId> {
        while let Some(id) = self.changed.pop() {
            if let Some(connection) = self.get_mut(id) {
                connection.listed = false;
                return Some(id);
            }
        }
        None
    }

    /// Has the connection looked at when its deadline comes. Cheap where an earlier entry stands
    /// for it: deadlines of frames come and go with every chunk of a busy connection.
    pub(super) fn note_deadline(&mut self, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let Some(deadline) = connection.deadline else {
            return;
        };
        if connection.deadline_noted.is_none_or(|at| deadline < at) {
            connection.deadline_noted = Some(deadline);
            self.deadlines.insert((deadline, id));
        }
    }

    /// The first deadline, if any.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// A connection whose deadline has passed.
    pub(super) fn next_late(&mut self, now: Timestamp) -> Option<ConnectionId> {
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            let (at, id) = self.deadlines.pop_first()?;
            let Some(connection) = self.get_mut(id) else {
                continue;
            };
            connection.deadline_noted.take_if(|noted| *noted == at);
            if connection.deadline.is_some_and(|deadline| deadline <= now) {
                return Some(id);
            }
            self.note_deadline(id);
        }
        None
    }

    /// All connections, in order of their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let connection = slot.connection.as_ref()?;
            Some((self.id(index), connection))
        })
    }

    fn id(&self, index: usize) -> ConnectionId {
        let slot = index as u64;
        let shard = u64::from(self.shard.0);
        let generation = self.slots[index].generation;
        ConnectionId(shard << (2 * SLOT_BITS) | generation << SLOT_BITS | slot)
    }

    /// Where the connection stands, unless another one stands there now.
    fn index(&self, id: ConnectionId) -> Option<usize> {
        let index = usize::try_from(id.0 & FIELD_MASK).ok()?;
        let slot = self.slots.get(index)?;
        let same = slot.connection.is_some() && self.id(index) == id;
        same.then_some(index)
    }
}
