//! Frames, batches and messages byte by byte, right until a test makes them wrong.

use corelane_wire::{Correlation, Epoch, FrameWriter, checksum, kind};

/// The correlation of what is wrong; frames before it have others.
pub(super) const WRONG: u64 = 7;

pub(super) fn filler(count: usize) -> Vec<u8> {
    vec![b'x'; count]
}

/// Fields one after the other.
pub(super) fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(super) fn frame_of(number: u64, kind: u8, fields: &[u8], messages: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::begin(&mut bytes, kind, 0, Correlation(number), Epoch(0));
    writer.fields().extend_from_slice(fields);
    writer.finish(&[messages]);
    bytes
}

pub(super) fn frame(kind: u8, fields: &[u8]) -> Vec<u8> {
    frame_of(WRONG, kind, fields, &[])
}

pub(super) fn ping() -> Vec<u8> {
    frame(kind::PING, &[])
}

/// The bytes with others written over them.
pub(super) fn with(mut bytes: Vec<u8>, at: usize, over: &[u8]) -> Vec<u8> {
    bytes[at..at + over.len()].copy_from_slice(over);
    bytes
}

/// A frame changed before its checksum was made.
pub(super) fn resealed(bytes: Vec<u8>, at: usize, over: &[u8]) -> Vec<u8> {
    let bytes = with(bytes, at, over);
    let crc = checksum(&[&bytes[..8], &bytes[12..]]);
    with(bytes, 8, &crc.to_le_bytes())
}

pub(super) fn named(name: &[u8]) -> Vec<u8> {
    let length = u16::try_from(name.len()).unwrap();
    join(&[&length.to_le_bytes(), name])
}

/// A queue and its lane.
pub(super) fn target(queue: &str) -> Vec<u8> {
    join(&[&named(queue.as_bytes()), &[0; 4]])
}

/// Fields of HELLO: versions, resume, reserved byte; then features, session, name, tenant, token.
pub(super) fn hello(start: [u8; 4], tenant: &[u8], token: &[u8]) -> Vec<u8> {
    let ends = [named(b"test"), named(tenant), named(token)].concat();
    join(&[&start, &[0; 8 + 16], &ends])
}

pub(super) fn dequeue(queue: &str, [count, lease_ms, wait_ms]: [u32; 3]) -> Vec<u8> {
    let numbers = [count, lease_ms, wait_ms].map(u32::to_le_bytes).concat();
    join(&[&target(queue), &named(b""), &numbers])
}

pub(super) fn subscribe(queue: &str, [consumer, credit, lease_ms]: [u32; 3]) -> Vec<u8> {
    dequeue(queue, [consumer, credit, lease_ms])
}

/// Fields of Ack: the stated count of entries, then entries of offset and count under one lease.
pub(super) fn settle(queue: &str, subscription: &str, stated: u32, of: &[(u64, u32)]) -> Vec<u8> {
    let lease = [[1_u8, 0, 0, 0, 0, 0, 0, 0]; 2].concat();
    let entries = of
        .iter()
        .flat_map(|(first, count)| join(&[&lease, &first.to_le_bytes(), &count.to_le_bytes()]));
    let start = join(&[&target(queue), &named(subscription.as_bytes())]);
    join(&[&start, &stated.to_le_bytes(), &entries.collect::<Vec<_>>()])
}

/// A message with these attributes, which may be anything.
pub(super) fn entry(attributes: &[u8], body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(attributes.len()).unwrap();
    let covered = join(&[&length.to_le_bytes(), &[0; 2], attributes, body]);
    let size = u32::try_from(8 + covered.len()).unwrap();
    let crc = checksum(&[&covered]);
    join(&[&size.to_le_bytes(), &crc.to_le_bytes(), &covered])
}

pub(super) fn attribute(tag: u8, value: &[u8]) -> Vec<u8> {
    join(&[&[tag], &named(value)])
}

/// A message changed before its checksum was made.
pub(super) fn entry_with(at: usize, over: &[u8]) -> Vec<u8> {
    let bytes = with(entry(&attribute(1, b"key"), b"body"), at, over);
    let crc = checksum(&[&bytes[8..]]);
    with(bytes, 4, &crc.to_le_bytes())
}

/// A batch of a producer, whose entries may be anything.
pub(super) fn batch_of(producer: u128, sequence: u64, entries: &[Vec<u8>]) -> Vec<u8> {
    let sizes = entries
        .iter()
        .map(|entry| u32::try_from(entry.len()).unwrap());
    let size: u32 = sizes.clone().sum();
    let numbers = [size, sizes.max().unwrap()].map(u32::to_le_bytes).concat();
    let count = u32::try_from(entries.len()).unwrap().to_le_bytes();
    let start = join(&[&producer.to_le_bytes(), &sequence.to_le_bytes(), &count]);
    let covered = join(&[&start, &[0; 4], &numbers]);
    let crc = checksum(&[&covered]).to_le_bytes();
    join(&[
        &(48 + size).to_le_bytes(),
        &crc,
        &covered,
        &entries.concat(),
    ])
}

/// A batch of one message, changed before its checksum was made.
pub(super) fn batch_with(at: usize, over: &[u8]) -> Vec<u8> {
    let bytes = with(batch_of(0, 0, &[entry(&[], b"body")]), at, over);
    let crc = checksum(&[&bytes[8..48]]);
    with(bytes, 4, &crc.to_le_bytes())
}

/// An enqueue of a batch, which may be anything.
pub(super) fn enqueue(batch: &[u8]) -> Vec<u8> {
    frame_of(WRONG, kind::ENQUEUE, &target("refused"), batch)
}

/// An enqueue to the queue that exists.
pub(super) fn enqueue_to_kept(batch: &[u8]) -> Vec<u8> {
    frame_of(WRONG, kind::ENQUEUE, &target("kept"), batch)
}
