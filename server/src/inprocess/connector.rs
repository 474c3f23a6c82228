//! How the Rust client reaches the shards of its own program.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corelane_client::transport::{Connect, Transport};

use super::door::Door;

/// Opens connections to the shards of a broker in this program.
#[derive(Debug)]
pub struct InProcessConnector {
    /// The port by which metadata names each shard, and its door.
    doors: Vec<(u16, Arc<Door>)>,
    /// Who takes the next connection that may go anywhere.
    next: AtomicUsize,
}

impl InProcessConnector {
    /// For shards with these ports, which are mere names.
    ///
    /// # Panics
    /// If there are none.
    #[must_use]
    pub fn new(doors: Vec<(u16, Arc<Door>)>) -> Self {
        assert!(!doors.is_empty(), "a broker has a shard");
        Self {
            doors,
            next: AtomicUsize::new(0),
        }
    }
}

impl Connect for InProcessConnector {
    fn connect(&self, port: Option<u16>) -> io::Result<Box<dyn Transport>> {
        let named = port.and_then(|port| self.doors.iter().find(|(name, _)| *name == port));
        let (_, door) = named.unwrap_or_else(|| {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            &self.doors[next % self.doors.len()]
        });
        Ok(Box::new(door.enter()?))
    }

    fn name(&self) -> &'static str {
        "the broker of this program"
    }
}
