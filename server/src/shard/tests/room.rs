//! Room in the out-buffer of a client that reads slowly or not at all, and the shards that share it.

use corelane_core::ConnectionId;
use corelane_wire::Correlation;

use super::*;
use crate::driver::{Errno, Socket};
use crate::mail::Mail;
use crate::shard::outlets::{Claim, Room};
use crate::shard::partition::Hosted;

/// More than an out-buffer takes before it is full, so that each message is a turn of room.
const LARGE: usize = 300_000;
const SMALL: usize = 40_000;

/// A client of shard 0 with the same backlog in several partitions, which all shards begin to send at once,
/// before any of them can know what the others send.
struct Backlog {
    world: World,
    reader: Socket,
    /// By consumer, what the reader has got.
    delivered: Vec<u64>,
}

impl Backlog {
    fn new(shards: u16, partitions: &[u32], (messages, bodies_bytes): (u64, &[usize])) -> Self {
        let mut world = World::with_partitions(shards, 3 * u32::from(shards));
        let reader = world.greeted(0);
        let mut credits = [Vec::new(), Vec::new()];
        for (consumer, partition) in (1..).zip(partitions) {
            let queue = queue_of(&world, *partition);
            let owner = (*partition % u32::from(shards)) as usize;
            let consumer = ConsumerId(consumer);
            let subscribe = Request::Subscribe(Subscribe {
                queue: &queue,
                lane: Lane(0),
                subscription: "",
                consumer,
                credit: 0,
                lease_ms: 30_000,
            });
            world.request(0, reader, u64::from(consumer.0), &subscribe);
            world.finish_writes(owner, true);
            let producer = world.greeted(owner);
            for (number, bytes) in (0..messages).zip(bodies_bytes.iter().cycle()) {
                world.enqueue_body(owner, producer, number, (&queue, &vec![7; *bytes]));
                world.finish_writes(owner, true);
            }
            world.finish_writes(owner, true);
            world.answers(owner, producer);
            let credit = 1_000;
            let correlation = Correlation(100 + u64::from(consumer.0));
            let credit = Request::Credit { consumer, credit };
            credit.encode(correlation, &mut credits[usize::from(owner > 0)]);
        }
        world.answers(0, reader);
        world.driver(0).holds_sends = true;
        let [own, others] = credits;
        world.receive(0, reader, others);
        world.turn(0);
        world.receive(0, reader, own);
        for shard in 1..usize::from(shards) {
            world.turn(shard);
        }
        world.settle();
        Self {
            world,
            reader,
            delivered: vec![0; partitions.len()],
        }
    }

    /// Takes note of what the reader has got.
    fn take(&mut self) {
        for (_, response) in self.world.answers(0, self.reader) {
            if let Response::Delivery {
                consumer,
                deliveries,
                ..
            } = response
            {
                self.delivered[consumer.0 as usize - 1] += deliveries.count();
            }
        }
    }

    /// The reader reads to the end. How far one consumer was behind another meanwhile.
    fn drain(&mut self, messages: u64) -> u64 {
        let mut behind = 0;
        for _ in 0..300 {
            self.world.read_once(0);
            self.take();
            let (least, most) = (self.delivered.iter().min(), self.delivered.iter().max());
            behind = behind.max(most.unwrap() - least.unwrap());
        }
        assert_eq!(self.delivered, vec![messages; self.delivered.len()]);
        self.assert_nobody_waits();
        behind
    }

    fn id(&self) -> ConnectionId {
        let connections = &self.world.shards[0].state.outlets.connections;
        let mut all = connections.iter();
        let found = all.find(|(_, connection)| connection.socket == self.reader);
        found.expect("the reader is connected").0
    }

    fn claim(&self, shard: usize) -> Option<Claim> {
        let claims = &self.world.shards[shard].state.outlets.claims;
        claims.get(&self.id()).copied()
    }

    /// The reader has read everything, so that its shard has given room to the next in line; that one, if it is
    /// another shard, does not know it yet.
    fn give_room(&mut self) {
        while !self.world.driver(0).held.is_empty() {
            self.world.finish_sends(0);
            self.world.turn(0);
        }
    }

    /// The connection breaks.
    fn reset(&mut self) {
        let reader = self.reader;
        let driver = self.world.driver(0);
        for (token, _, buffer) in std::mem::take(&mut driver.held) {
            driver.done.push(Done {
                token,
                result: Err(Errno::IO),
                more: false,
                data: Data::Sent(buffer),
            });
        }
        if let Some(token) = driver.receives.remove(&reader) {
            driver.done.push(Done {
                token,
                result: Err(Errno::IO),
                more: false,
                data: Data::None,
            });
        }
    }

    fn assert_nobody_waits(&self) {
        for shard in &self.world.shards {
            let outlets = &shard.state.outlets;
            assert!(outlets.given.is_empty());
            let is_waiting = |claim: &Claim| !matches!(claim, Claim::Ahead(_));
            assert!(!outlets.claims.values().any(is_waiting));
            let mut connections = outlets.connections.iter();
            assert!(connections.all(|(_, connection)| connection.room.is_idle()));
            let serving = || shard.state.partitions.iter().filter_map(Hosted::serving);
            assert!(!serving().any(|partition| partition.pending.holds()));
        }
    }

    /// What is left of a connection that has gone: nothing.
    fn assert_gone(&self) {
        assert_eq!(self.world.shards[0].driver().closed, [self.reader]);
        self.assert_nobody_waits();
        for shard in &self.world.shards {
            assert!(shard.state.outlets.claims.is_empty());
        }
    }
}

#[test]
fn room_in_a_buffer_goes_to_the_partition_and_the_shard_that_wait_longest() {
    for (shards, partitions, behind_max) in [
        (1, &[0, 1, 2][..], 1),
        (2, &[1, 3, 5], 1),
        (2, &[0, 1], 1),
        (3, &[0, 1, 2], 1),
        // The shards take turns, so each of two partitions of one shard gets half as much as the third.
        (2, &[0, 2, 1], 21),
        (2, &[1, 3, 0], 21),
    ] {
        let behind = Backlog::new(shards, partitions, (40, &[LARGE])).drain(40);
        assert!(
            behind <= behind_max,
            "{behind} behind with {shards}, {partitions:?}"
        );
    }
}

#[test]
fn shards_with_small_deliveries_take_turns_as_well() {
    // A buffer that is not full takes 8 messages before anybody waits, and a turn has 13 at most: 512 KiB.
    for (shards, partitions) in [(2, &[0, 1][..]), (3, &[0, 1, 2])] {
        let behind = Backlog::new(shards, partitions, (40, &[SMALL])).drain(40);
        assert!(
            behind <= 21,
            "{behind} behind with {shards}, {partitions:?}"
        );
    }
}

#[test]
fn a_client_that_does_not_read_costs_1_mib_however_many_shards_deliver_to_it() {
    for shards in [1, 2, 3, 5] {
        let partitions: Vec<u32> = (0..u32::from(shards)).collect();
        // Nearly the largest push, several in one, some that go without asking, and all of them.
        for size in [
            (6, &[520_000][..]),
            (40, &[SMALL]),
            (200, &[4_000]),
            (30, &[520_000, 280_000, 20_000, 500_000]),
        ] {
            let mut backlog = Backlog::new(shards, &partitions, size);
            let out_bytes = backlog.world.out_bytes_max;
            assert!(out_bytes > OUT_BYTES_HIGH, "{out_bytes} of {size:?}");
            backlog.drain(size.0);
            let out_bytes = backlog.world.out_bytes_max;
            assert!(
                out_bytes <= 1 << 20,
                "{out_bytes} of {size:?} with {shards}"
            );
        }
    }
}

#[test]
fn one_shard_at_a_time_has_room_whatever_else_the_client_asks_meanwhile() {
    let mut backlog = Backlog::new(5, &[1, 2, 3, 4], (5, &[520_000]));
    backlog.give_room();
    // The one that has room does not know it yet, and the connection is settled again and again.
    for number in 0..5 {
        let mut ping = Vec::new();
        Request::Ping.encode(Correlation(200 + number), &mut ping);
        backlog.world.receive(0, backlog.reader, ping);
        backlog.world.turn(0);
    }
    let id = backlog.id();
    // Its own shard waits like the others.
    let outlets = &mut backlog.world.shards[0].state.outlets;
    assert_eq!(outlets.room(id), Room::Full);
    assert_eq!(backlog.claim(0), Some(Claim::Asked));
    backlog.drain(5);
    let out_bytes = backlog.world.out_bytes_max;
    assert!(out_bytes <= 1 << 20, "{out_bytes}");
    assert_eq!(backlog.claim(0), None);
}

#[test]
fn what_goes_without_asking_is_shared_by_all_other_shards() {
    for shards in [2, 3, 5] {
        let mut backlog = Backlog::new(shards, &[], (0, &[]));
        let id = backlog.id();
        let mut bytes = 0;
        for shard in &mut backlog.world.shards[1..] {
            while shard.state.outlets.take(id, 1_000) {
                bytes += 1_000;
            }
        }
        let expected = (124_000..=128 << 10).contains(&bytes);
        assert!(expected, "{bytes} of {shards} shards");
        backlog.world.settle();
        backlog.assert_nobody_waits();
    }
}

#[test]
fn room_for_which_nothing_is_left_goes_to_the_next_shard() {
    let mut backlog = Backlog::new(3, &[0, 1], (10, &[LARGE]));
    let id = backlog.id();
    // Shard 2 stands in the line, and what it waits with is gone when its turn comes.
    assert!(!backlog.world.shards[2].state.outlets.take(id, LARGE));
    assert_eq!(backlog.claim(2), Some(Claim::Asked));
    backlog.drain(10);
    assert_eq!(backlog.claim(2), None);
}

#[test]
fn a_connection_that_goes_while_shards_wait_for_room_leaves_nothing_behind() {
    let mut backlog = Backlog::new(3, &[0, 1, 2], (10, &[LARGE]));
    assert!((0..3).any(|shard| backlog.claim(shard) == Some(Claim::Asked)));
    backlog.reset();
    backlog.world.settle();
    backlog.assert_gone();
}

#[test]
fn a_connection_that_goes_while_another_shard_has_room_leaves_nothing_behind() {
    // Gone before the room arrives there, before what is delivered comes back, or after that.
    for turns in [&[][..], &[1], &[1, 0], &[1, 0, 1]] {
        let mut backlog = Backlog::new(2, &[1], (10, &[LARGE]));
        backlog.give_room();
        assert_eq!(backlog.claim(1), Some(Claim::Asked));
        for shard in turns {
            backlog.world.turn(*shard);
        }
        backlog.reset();
        backlog.world.turn(0);
        backlog.world.settle();
        backlog.assert_gone();
    }
}

#[test]
fn room_outlasts_a_full_mailbox_and_is_used_then() {
    let mut backlog = Backlog::new(2, &[1], (10, &[LARGE]));
    // Shard 0 stands still, and the mailbox to it is full.
    let nobody = ConnectionId(u64::MAX >> 17);
    for _ in 0..20 {
        let mail = Mail::Disconnected { connection: nobody };
        backlog.world.shards[1].state.mail_all(mail);
        backlog.world.turn(1);
    }
    // Shard 0 gives room before shard 1 learns that the mailbox has emptied.
    backlog.give_room();
    backlog.world.turn(1);
    assert_eq!(backlog.claim(1), Some(Claim::Room(0)));
    backlog.world.turn(1);
    assert_ne!(backlog.claim(1), Some(Claim::Room(0)));
    backlog.drain(10);
}

#[test]
fn room_waits_for_a_read_and_goes_on_when_it_fails() {
    let mut backlog = Backlog::new(2, &[1], (10, &[LARGE]));
    // What shard 1 holds leaves the cache of its log, and the script fails every read.
    let producer = backlog.world.greeted(1);
    assert_eq!(backlog.claim(1), Some(Claim::Asked));
    let (queue, body) = (queue_of(&backlog.world, 1), vec![7; 1_000_000]);
    for number in 0..40 {
        backlog
            .world
            .enqueue_body(1, producer, number, (&queue, &body));
        backlog.world.finish_writes(1, true);
    }
    backlog.give_room();
    backlog.world.turn(1);
    assert_eq!(backlog.claim(1), Some(Claim::Room(0)));
    assert_eq!(backlog.world.shards[1].state.counters.log_reads_total, 1);
    for _ in 0..80 {
        backlog.world.read_once(0);
    }
    assert!(backlog.world.shards[1].state.counters.log_reads_total > 1);
    backlog.assert_nobody_waits();
}

#[test]
fn room_of_a_partition_whose_disk_fails_is_used_and_goes_on() {
    let mut backlog = Backlog::new(2, &[0, 1], (10, &[LARGE]));
    let (queue, producer) = (queue_of(&backlog.world, 1), backlog.world.greeted(1));
    backlog.world.enqueue(1, producer, 1, &queue);
    assert_eq!(backlog.claim(1), Some(Claim::Asked));
    assert_eq!(backlog.world.finish_writes(1, false), 1);
    for _ in 0..40 {
        backlog.world.read_once(0);
    }
    backlog.take();
    assert_eq!(backlog.delivered[0], 10);
    backlog.assert_nobody_waits();
}

#[test]
fn a_stop_ends_the_connection_of_a_client_that_does_not_read() {
    let mut backlog = Backlog::new(2, &[0, 1], (10, &[LARGE]));
    backlog.world.shutdown.stop();
    backlog.world.settle();
    backlog.world.pass(Duration::from_millis(2_100));
    backlog.world.pass(Duration::from_millis(1_100));
    backlog.assert_nobody_waits();
    for shard in &mut backlog.world.shards {
        assert_eq!(shard.turn().unwrap(), Turn::Stopped);
    }
}

#[test]
fn what_one_connection_has_no_room_for_goes_to_another() {
    const MESSAGES: u64 = 120;
    let mut backlog = Backlog::new(2, &[1], (MESSAGES, &[SMALL]));
    let world = &mut backlog.world;
    let queue = queue_of(world, 1);
    let other = world.greeted(1);
    world.request(1, other, 1, &subscribe(&queue, 1_000));
    let mut delivered = 0;
    for _ in 0..MESSAGES {
        world.finish_writes(1, true);
        for (_, response) in world.answers(1, other) {
            if let Response::Delivery { deliveries, .. } = response {
                delivered += deliveries.count();
            }
        }
    }
    // The first has what goes into its buffer, and one push that waits; a push has 13 at most.
    let first = MESSAGES - delivered;
    assert!((13..=26).contains(&first), "{first}");
}
