//! The bound of a log at rest: twice its live bytes and 4 segments, however it was written and whatever stays.

use std::sync::Arc;
use std::time::Duration;

use corelane_storage::Volume;
use corelane_wire::message::{BATCH_HEADER_BYTES, ENTRY_HEADER_BYTES};
use corelane_wire::record::RECORD_HEADER_BYTES;
use corelane_wire::{Dequeue, Lane, PartitionId, ProducerId, Request, Sequence, Settle, Timestamp};

use super::client::{Asked, Client};
use super::driver::shared;
use super::machine::{Machine, open};
use super::setup::{QUEUES, SUBSCRIPTIONS, Setup};
use crate::sim::checker::Verb;
use crate::sim::clock::WALL_AT_BEGIN;
use crate::sim::disk::Disk;
use crate::sim::driver::SharedDisk;
use crate::sim::swarm::DiskFaults;
use crate::sim::volume::SimVolume;

const SEGMENT_BYTES: u64 = 64 << 10;
const BODY_BYTES: usize = 100;
/// One commit each, of a page: 28 segments.
const MESSAGES: u64 = 450;
/// Longer than all that is waited for here.
const LEASE_MS: u32 = 86_400_000;

/// A node with a log of small segments.
struct Node {
    disk: SharedDisk,
    machine: Machine,
    client: Client,
}

impl Node {
    fn new() -> Self {
        let mut setup = Setup::draw(1);
        setup.config.segment_bytes = SEGMENT_BYTES;
        setup.checkpoints.bytes = 1 << 30;
        let disk = shared(Disk::new(setup.seed, DiskFaults::default()));
        let opened = open(&disk, &setup).unwrap();
        let mut machine = Machine::new(&disk, &setup, opened, Timestamp(WALL_AT_BEGIN));
        let client = machine.connect().unwrap();
        Self {
            disk,
            machine,
            client,
        }
    }

    /// Enqueues one message a commit, and takes each at once.
    fn fill(&mut self) {
        for token in 1..=MESSAGES {
            let none = (ProducerId::NONE, Sequence(0));
            self.client.enqueue(0, &[(token, BODY_BYTES)], none);
            self.machine.await_answers(&mut self.client).unwrap();
            let request = Request::Dequeue(Dequeue {
                queue: QUEUES[0],
                lane: Lane(0),
                subscription: SUBSCRIPTIONS[0],
                count: 1,
                lease_ms: LEASE_MS,
                wait_ms: 0,
            });
            self.client.ask(&request, Asked::Dequeue((0, 0)));
            self.machine.await_answers(&mut self.client).unwrap();
        }
        assert_eq!(self.client.held.len() as u64, MESSAGES);
    }

    /// Acks all that is held but every so many; returns how many stay.
    fn ack_but(&mut self, every: usize) -> u64 {
        let held = std::mem::take(&mut self.client.held);
        let mut kept = 0;
        for (at, held) in held.into_iter().enumerate() {
            if at % every == 0 {
                kept += 1;
                continue;
            }
            self.client.settle(held, Verb::Ack, ack);
            self.machine.await_answers(&mut self.client).unwrap();
        }
        kept
    }

    /// Lets checkpoints come and go.
    fn settle_down(&mut self) {
        for _ in 0..2_000 {
            self.machine.now = self.machine.now.add(Duration::from_millis(500));
            self.machine.rest(&mut self.client).unwrap();
        }
    }

    fn disk_bytes(&self) -> u64 {
        let volume = SimVolume::new(Arc::clone(&self.disk));
        let partition = PartitionId(0);
        let segments = volume.segments(partition).unwrap().into_iter();
        let bytes = segments.map(|segment| volume.segment_bytes(partition, segment).unwrap());
        bytes.sum()
    }
}

fn ack(settle: Settle<'_>) -> Request<'_> {
    Request::Ack(settle)
}

/// What a message takes in the log that shares its block with others.
fn live_bytes(messages: u64) -> u64 {
    let head = RECORD_HEADER_BYTES + 48 + BATCH_HEADER_BYTES;
    messages * (head + ENTRY_HEADER_BYTES + BODY_BYTES) as u64
}

#[test]
fn a_backlog_of_one_message_a_commit_is_packed() {
    let mut node = Node::new();
    node.fill();
    let bound = 2 * live_bytes(MESSAGES) + 4 * SEGMENT_BYTES;
    assert!(node.disk_bytes() > 2 * bound, "the log has to be packed");
    node.settle_down();
    assert!(
        node.disk_bytes() <= bound,
        "{} of {bound}",
        node.disk_bytes()
    );
}

#[test]
fn messages_that_stay_do_not_pin_their_neighbours() {
    let mut node = Node::new();
    node.fill();
    let kept = node.ack_but(20);
    node.settle_down();
    let bound = 2 * live_bytes(kept) + 4 * SEGMENT_BYTES;
    assert!(
        node.disk_bytes() <= bound,
        "{} of {bound}",
        node.disk_bytes()
    );
}
