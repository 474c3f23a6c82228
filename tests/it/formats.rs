//! Data directories of every format level stay readable.
//!
//! `fixtures/level-N.pages` is what [`fill`] left behind a broker that wrote level N and was killed.
//! With `CORELANE_FIXTURE_OUT=FILE` in the environment, [`a_packed_directory_opens`] writes one of today's level, which
//! holds a checkpoint of each partition: those are taken every 30 s.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use corelane_tests::fixture::{pack, unpack};
use corelane_tests::process::{Broker, BrokerOptions};
use corelane_tests::raw::RawConnection;
use corelane_wire::Offset;
use tempfile::TempDir;

use crate::connect;
use crate::queues::show;

const QUEUES: [&str; 4] = ["orders", "letters", "parts", "tools"];
/// Messages of each queue before, among and after those that are too large for one segment.
const COUNTS: [u64; 3] = [100, 5, 20];
const LARGE_BYTES: usize = 1_000_000;
const ACKED: u64 = 5;
const DELAYED: u64 = 1;
const LEASED: u64 = 14;
const PARTITIONS: [&str; 2] = ["0000", "0001"];
/// Beyond any time that passes until a test ends, and beyond the jump of the clock that a log follows.
const DELAY_MS: u64 = 366 * 24 * 3_600_000;

/// The body of a message: nothing but zeros after its name, which cost no room on file.
fn body(queue: &str, offset: u64) -> String {
    let mut body = format!("{queue} {offset}");
    let large = COUNTS[0]..COUNTS[0] + COUNTS[1];
    if large.contains(&offset) {
        body.extend(std::iter::repeat_n('\0', LARGE_BYTES));
    }
    body
}

fn end() -> u64 {
    COUNTS.iter().sum()
}

/// Enqueues into every queue, and settles some of the first messages in each way.
fn fill(connection: &mut RawConnection) {
    for queue in QUEUES {
        let bodies: Vec<String> = (0..end()).map(|offset| body(queue, offset)).collect();
        let (small, rest) = bodies.split_at(50);
        let texts: Vec<&str> = small.iter().map(String::as_str).collect();
        connection.enqueue(queue, &texts).unwrap();
        for text in rest {
            connection.enqueue(queue, &[text.as_str()]).unwrap();
        }
        let count = u32::try_from(ACKED + DELAYED + LEASED).unwrap();
        let taken = connection.dequeue(queue, count, 86_400_000, 0).unwrap();
        for message in &taken[..5] {
            connection.ack(queue, message).unwrap();
        }
        connection.nack(queue, &taken[5], DELAY_MS).unwrap();
    }
}

/// Every message is where and what it was, and what was leased comes back when its session has ended.
fn check(connection: &mut RawConnection) {
    for queue in QUEUES {
        let info = show(connection, queue);
        assert_eq!((info.start, info.end), (Offset(ACKED), Offset(end())));
        let state = &info.subscriptions[0];
        assert_eq!((state.done, state.delayed), (ACKED, DELAYED));
        assert_eq!(state.ready + state.leased, end() - ACKED - DELAYED);
        let mut missing: BTreeSet<u64> = (ACKED + DELAYED..end()).collect();
        while !missing.is_empty() {
            let taken = connection
                .dequeue(queue, 1_000, 86_400_000, 20_000)
                .unwrap();
            assert!(!taken.is_empty(), "{queue}: {missing:?} do not come back");
            for message in taken {
                assert!(
                    missing.remove(&message.offset.0),
                    "{queue} {}",
                    message.offset
                );
                assert!(message.body == body(queue, message.offset.0));
            }
        }
    }
}

fn has_checkpoint(data: &Path, partition: &str) -> bool {
    let mut files = fs::read_dir(data.join("partitions").join(partition)).unwrap();
    files.any(|file| {
        file.unwrap()
            .path()
            .extension()
            .is_some_and(|it| it == "ckpt")
    })
}

fn options(home: &TempDir, name: &str) -> BrokerOptions {
    let mut options = BrokerOptions::beside_this_program(&home.path().join(name)).unwrap();
    options.cores = 1;
    options.arguments = ["--partitions", "2"].map(String::from).to_vec();
    options
}

/// Starts a broker on a packed directory and compares everything in it.
fn open(packed: &[u8]) {
    let home = tempfile::tempdir().unwrap();
    let options = options(&home, "data");
    unpack(packed, &options.data).unwrap();
    let broker = Broker::start(&options).unwrap();
    check(&mut connect(broker.address));
    broker.kill().unwrap();
    // What the check left behind opens too: everything is leased or done.
    let broker = Broker::start(&options).unwrap();
    let info = show(&mut connect(broker.address), QUEUES[0]);
    assert_eq!(info.end, Offset(end()));
}

#[test]
fn a_packed_directory_opens() {
    let home = tempfile::tempdir().unwrap();
    let options = options(&home, "data");
    let broker = Broker::start(&options).unwrap();
    fill(&mut connect(broker.address));
    let out = std::env::var_os("CORELANE_FIXTURE_OUT");
    while out.is_some()
        && !PARTITIONS
            .iter()
            .all(|of| has_checkpoint(&options.data, of))
    {
        std::thread::yield_now();
    }
    broker.kill().unwrap();
    for partition in PARTITIONS {
        let segments = fs::read_dir(options.data.join("partitions").join(partition)).unwrap();
        assert!(segments.count() >= 2, "the fixture holds a closed segment");
    }
    let packed = pack(&options.data).unwrap();
    if let Some(path) = out {
        fs::write(path, &packed).unwrap();
    }
    open(&packed);
}

#[test]
fn a_directory_of_level_1_opens() {
    open(include_bytes!("../fixtures/level-1.pages"));
}

#[test]
fn a_directory_of_level_2_opens() {
    open(include_bytes!("../fixtures/level-2.pages"));
}

#[test]
fn a_directory_of_level_3_opens() {
    open(include_bytes!("../fixtures/level-3.pages"));
}

#[test]
fn a_directory_of_level_4_opens() {
    open(include_bytes!("../fixtures/level-4.pages"));
}
