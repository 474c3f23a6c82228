use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use corelane::router::Topology;
use corelane_core::ChunkWalk;
use corelane_storage::{
    CheckpointConfig, ChunkReader, Directory, DirectoryOptions, Superblock, Volume,
    open_checkpoints,
};
use corelane_tests::control::{counter, get, wait_for};
use corelane_tests::process::{Broker, BrokerOptions};
use corelane_tests::sim::random::{Concern, Random};
use corelane_wire::{Lane, NodeId, PartitionId};

use crate::connect;

const PAGE: u64 = 4_096;
/// Where segment 1 is sure to be below the checkpoint that is taken after 64 MiB of the log.
const BELOW_CHECKPOINT: u64 = 50 << 20;

/// A block of a segment, or a chunk of a checkpoint.
type Place = (String, u64, u64);

/// A queue of each of two partitions.
fn queues() -> [String; 2] {
    let topology = Topology {
        node: NodeId(0),
        partitions: 2,
        shards: Vec::new(),
        shared_port: 0,
    };
    [0, 1].map(|partition| {
        (0..1_000)
            .map(|number| format!("q{number}"))
            .find(|name| topology.partition_of(name, Lane(0)) == PartitionId(partition))
            .unwrap()
    })
}

/// Confirmed messages of this size together, of which some are leased.
fn fill(broker: &Broker, queue: &str, bytes: usize) {
    let mut connection = connect(broker.address);
    let body = "x".repeat(200_000);
    for number in 0..bytes / (4 * body.len()) {
        // Blocks of many lengths.
        let cut = &body[number * 977 % 100_000..];
        connection
            .enqueue(queue, &[cut, cut, cut, cut, cut])
            .unwrap();
        if number % 10 == 0 {
            connection.dequeue(queue, 1, 600_000, 0).unwrap();
        }
    }
}

/// Both copies of the header, the blocks and the footer of a segment file, up to a position.
fn blocks(data: &Path, name: &str, up_to: u64) -> Vec<Place> {
    let file = fs::File::open(data.join(name)).unwrap();
    let mut places = vec![(name.to_owned(), 0, PAGE), (name.to_owned(), PAGE, PAGE)];
    let mut at = 2 * PAGE;
    let mut header = [0; 128];
    while at < up_to && file.read_exact_at(&mut header, at).is_ok() && header.starts_with(b"CLBK") {
        let body = u32::from_le_bytes(header[8..12].try_into().unwrap());
        let bytes = (128 + u64::from(body)).next_multiple_of(PAGE);
        places.push((name.to_owned(), at, bytes));
        at += bytes;
    }
    places
}

/// The chunks of the checkpoints of a partition.
fn chunks(data: &Path, partition: PartitionId) -> Vec<Place> {
    let directory = Directory::open(data, &DirectoryOptions::default()).unwrap();
    let superblock = directory.read_file("superblock").unwrap().unwrap();
    let of = CheckpointConfig {
        partition,
        log_id: Superblock::decode(&superblock).unwrap().log_id,
    };
    let mut places = BTreeSet::new();
    for found in open_checkpoints(&directory, &of).unwrap().found {
        let mut walk = ChunkWalk::new(found.root()).unwrap();
        let mut reader = ChunkReader::new(partition);
        while let Some(chunk) = walk.next_chunk() {
            let place = chunk.place;
            walk.enter(chunk, reader.read(&directory, place).unwrap())
                .unwrap();
            let name = format!("partitions/{:04}/{:08}.ckpt", partition.0, place.file);
            places.insert((name, place.position, u64::from(place.bytes)));
        }
    }
    places.into_iter().collect()
}

fn flip(data: &Path, random: &mut Random, (name, position, bytes): &Place) {
    let path = data.join(name);
    let file = fs::File::options().read(true).write(true).open(path);
    let file = file.unwrap();
    let at = position + random.below(*bytes);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << random.below(8)], at)
        .unwrap();
}

/// Starts a broker, waits until it has read everything, and returns its metrics and the answer of `/readyz`.
fn pass(options: &BrokerOptions) -> (String, String) {
    let broker = Broker::start(options).unwrap();
    let (_, metrics) = wait_for(broker.control, "/metrics", |metrics| {
        counter(metrics, "corelane_scrub_passes_total").unwrap() == 1
    })
    .unwrap();
    let (status, ready) = get(broker.control, "/readyz").unwrap();
    assert_eq!(status, 200, "{ready}");
    broker.kill().unwrap();
    (metrics, ready)
}

#[test]
fn every_planted_bit_flip_is_found_once_and_a_clean_directory_raises_no_alarm() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut options = BrokerOptions::beside_this_program(&data).unwrap();
    options.cores = 1;
    let arguments = ["--partitions", "2", "--scrub-bytes-per-second", "4GiB"];
    options.arguments = arguments.map(str::to_owned).to_vec();
    let broker = Broker::start(&options).unwrap();
    let [flipped_segments, flipped_checkpoints] = queues();
    fill(&broker, &flipped_segments, 72 << 20);
    fill(&broker, &flipped_checkpoints, 72 << 20);
    wait_for(broker.control, "/metrics", |metrics| {
        counter(metrics, "corelane_checkpoints_total").unwrap() >= 2
    })
    .unwrap();
    broker.kill().unwrap();

    let (metrics, ready) = pass(&options);
    assert_eq!(
        counter(&metrics, "corelane_scrub_damaged_total").unwrap(),
        0
    );
    let bytes = counter(&metrics, "corelane_scrubbed_bytes_total").unwrap();
    assert!(bytes > 2 * (64 << 20), "{bytes} bytes");
    assert!(ready.contains("\"reasons\":[]"), "{ready}");

    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Random::stream(seed, Concern::Disk);
    let mut places = blocks(&data, "partitions/0000/00000000.log", u64::MAX);
    // A start goes on behind the checkpoint, in this one, and mends its header.
    let second = blocks(&data, "partitions/0000/00000001.log", BELOW_CHECKPOINT);
    places.extend(second.into_iter().skip(2));
    let mut planted = BTreeSet::new();
    for _ in 0..60 {
        planted.insert(places[random.index(places.len())].clone());
    }
    planted.extend(chunks(&data, PartitionId(1)));
    for place in &planted {
        flip(&data, &mut random, place);
    }
    let (metrics, ready) = pass(&options);
    let found = counter(&metrics, "corelane_scrub_damaged_total").unwrap();
    assert_eq!(found, planted.len() as u64, "{planted:?}");
    assert!(ready.contains("partly_damaged"), "{ready}");
    assert!(ready.contains("\"partitions\":[0,1]"), "{ready}");
}
