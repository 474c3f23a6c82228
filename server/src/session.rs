//! Sessions of clients: how many connections of each are open on this node.
//!
//! Every shard keeps its own copy, fed by its own connections and by the `SessionOpened` and
//! `SessionClosed` mails of its neighbours, and tells its engines when a count leaves or reaches
//! zero. What a lost session means is the engine's business.
//! Invariant: (N1) a session is listed exactly while it is open or was lost less than
//! [`REMEMBERED`] ago, so the table is bounded by the node's connections and their churn.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use corelane_wire::{SessionId, Timestamp};

/// How long a session without connections is still called *resumed* when it comes back. The
/// engines keep its leases as long.
pub const REMEMBERED: Duration = Duration::from_secs(5);

/// Bound of the lost sessions that are remembered; the oldest is forgotten first.
const LOST_MAX: usize = 16_384;

/// What a change of a session's count means to the engines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Nothing: other connections of the session are open.
    None,
    /// The first connection opened.
    Resumed,
    /// The last connection closed.
    Lost,
}

/// What is kept of one session.
#[derive(Debug, Default)]
struct Known {
    /// Open connections on this node; zero while the session is only remembered.
    connections: u32,
    /// How often it stands in `lost`: it can come back and be lost again before it is forgotten.
    losses: u32,
}

/// The table of one shard.
#[derive(Debug, Default)]
pub struct Sessions {
    known: BTreeMap<SessionId, Known>,
    /// When sessions were lost, oldest first. May name sessions that have come back since.
    lost: VecDeque<(Timestamp, SessionId)>,
}

impl Sessions {
    /// Whether the session is open or was lost a moment ago.
    pub fn knows(&self, session: SessionId) -> bool {
        self.known.contains_key(&session)
    }

    /// A connection of the session opened, here or on another shard.
    pub fn opened(&mut self, session: SessionId) -> Change {
        let known = self.known.entry(session).or_default();
        known.connections += 1;
        if known.connections == 1 {
            Change::Resumed
        } else {
            Change::None
        }
    }

    /// A connection of the session closed, here or on another shard.
    pub fn closed(&mut self, now: Timestamp, session: SessionId) -> Change {
        let known = self
            .known
            .get_mut(&session)
            .filter(|known| known.connections > 0)
            .expect("N1: a session closes as often as it opened");
        known.connections -= 1;
        if known.connections > 0 {
            return Change::None;
        }
        known.losses += 1;
        self.lost.push_back((now, session));
        self.forget(now);
        Change::Lost
    }

    /// Drops what was lost too long ago, or too much of it.
    fn forget(&mut self, now: Timestamp) {
        while let Some((since, session)) = self.lost.front().copied() {
            if self.lost.len() <= LOST_MAX && now < since.add(REMEMBERED) {
                break;
            }
            self.lost.pop_front();
            if let Some(known) = self.known.get_mut(&session) {
                known.losses -= 1;
                if known.losses == 0 && known.connections == 0 {
                    self.known.remove(&session);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
