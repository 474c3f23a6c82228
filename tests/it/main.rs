//! Integration tests of the whole broker: real processes, real sockets, real files.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers fail like the test itself"
)]

mod backlog;
mod backup;
mod bad_input;
mod bench;
mod cli;
mod client;
mod contracts;
mod credit;
mod dead_letters;
mod delivery;
mod disk_full;
mod docs;
mod ephemeral;
mod examples;
mod formats;
mod health;
mod keeping;
mod lifecycle;
mod memory;
mod protocol;
mod queues;
mod readers;
mod scrubber;
mod sessions;
mod stalled_disk;
mod start_errors;
mod subscriptions;
mod ttl;

use std::net::SocketAddr;

use corelane_tests::process::{Broker, BrokerOptions};
use corelane_tests::raw::RawConnection;
use corelane_wire::SessionId;
use tempfile::TempDir;

/// A broker on a directory of its own; both vanish with the test.
struct Fixture {
    broker: Broker,
    options: BrokerOptions,
    _home: TempDir,
}

impl Fixture {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let options = BrokerOptions::beside_this_program(&home.path().join("data")).unwrap();
        Self {
            broker: Broker::start(&options).unwrap(),
            options,
            _home: home,
        }
    }

    fn connect(&self) -> RawConnection {
        connect(self.broker.address)
    }

    /// Kills the broker and starts it again on the same files.
    fn crash(self) -> Self {
        self.crash_and(|_| {})
    }

    /// The same, and does something to the files in between.
    fn crash_and(mut self, look: impl FnOnce(&BrokerOptions)) -> Self {
        self.broker.kill().unwrap();
        look(&self.options);
        self.broker = Broker::start(&self.options).unwrap();
        self
    }
}

fn connect(address: SocketAddr) -> RawConnection {
    RawConnection::connect(address, SessionId::default()).unwrap()
}

fn bodies(taken: &[corelane_tests::raw::Taken]) -> Vec<&str> {
    taken.iter().map(|message| message.body.as_str()).collect()
}
