//! The rows of what an enqueue carries.

use corelane_wire::ErrorCode;

use super::super::made::{
    attribute, batch_of, batch_with, enqueue, entry, entry_with, filler, join, with,
};
use super::{Row, refused};

pub(super) fn batches() -> Vec<Row> {
    let large = entry(&[], &filler((1 << 20) - 12));
    let long = batch_of(0, 0, &[large, entry(&[], &filler(32_768))]);
    let right = batch_of(0, 0, &[entry(&[], b"body")]);
    vec![
        refused(
            "a batch whose lengths or counts contradict each other",
            ErrorCode::Malformed,
            vec![
                enqueue(&right[..47]),
                enqueue(&right[..50]),
                enqueue(&join(&[&right, &[0]])),
                enqueue(&with(right.clone(), 0, &[0; 4])),
                enqueue(&batch_with(32, &[2])),
                enqueue(&batch_with(40, &[15])),
                enqueue(&batch_with(44, &[15])),
            ],
        ),
        refused(
            "a batch of no message, of more than 65,536, or of an unknown class",
            ErrorCode::OutOfRange,
            vec![
                enqueue(&batch_with(32, &0_u32.to_le_bytes())),
                enqueue(&batch_with(32, &65_537_u32.to_le_bytes())),
                enqueue(&batch_with(32, &(1_u32 << 31).to_le_bytes())),
                enqueue(&batch_with(36, &[2])),
            ],
        ),
        refused(
            "a sequence without a producer",
            ErrorCode::Malformed,
            vec![enqueue(&batch_of(0, 1, &[entry(&[], b"body")]))],
        ),
        refused(
            "a batch of more than 1,081,344 bytes",
            ErrorCode::MessageTooLarge,
            vec![enqueue(&long)],
        ),
        refused(
            "a reserved field of a batch or a message other than 0",
            ErrorCode::ReservedNotZero,
            vec![
                enqueue(&batch_with(37, &[1])),
                enqueue(&batch_with(39, &[1])),
                enqueue(&batch_of(0, 0, &[entry_with(10, &[1])])),
            ],
        ),
        refused(
            "a batch or a message with a wrong checksum",
            ErrorCode::BadMessageChecksum,
            vec![
                enqueue(&with(right.clone(), 4, &[!right[4]])),
                enqueue(&with(right.clone(), 24, &[1])),
                enqueue(&with(right.clone(), 52, &[!right[52]])),
                enqueue(&with(right, 60, b"B")),
            ],
        ),
    ]
}

pub(super) fn messages() -> Vec<Row> {
    let of = |attributes: &[u8]| enqueue(&batch_of(0, 0, &[entry(attributes, b"body")]));
    let tagged = |tag: u8| of(&attribute(tag, b"value"));
    let due = attribute(0x86, &[0; 8]);
    let key = attribute(1, b"k");
    let header = attribute(2, b"\x01\x00nv");
    let ttl = attribute(0x87, &7_u64.to_le_bytes());
    vec![
        refused(
            "a message or an attribute that is longer than what holds it",
            ErrorCode::Malformed,
            vec![
                enqueue(&batch_of(0, 0, &[entry_with(0, &[11])])),
                enqueue(&batch_of(0, 0, &[entry_with(0, &[200])])),
                enqueue(&batch_of(0, 0, &[entry_with(8, &[200])])),
                enqueue(&batch_of(0, 0, &[entry_with(13, &[200])])),
                of(&key[..2]),
            ],
        ),
        refused(
            "a message of more than 1 MiB",
            ErrorCode::MessageTooLarge,
            vec![enqueue(&batch_of(
                0,
                0,
                &[entry(&[], &filler((1 << 20) - 11))],
            ))],
        ),
        refused(
            "two keys, due times or times to live, one of those times of other than 8 bytes, or a header without a name or with one that is no UTF-8",
            ErrorCode::Malformed,
            vec![
                of(&join(&[&key, &key])),
                of(&join(&[&due, &due])),
                of(&attribute(0x86, &[0; 7])),
                of(&join(&[&ttl, &ttl])),
                of(&attribute(2, b"\x00\x00v")),
                of(&attribute(2, b"\x01\x00\xff")),
                of(&attribute(2, b"")),
            ],
        ),
        refused(
            "a key of no byte or more than 1,024, more than 64 headers, attributes of more than 32,768 bytes, a time to live of 0 or more than 366 days",
            ErrorCode::OutOfRange,
            vec![
                of(&attribute(1, b"")),
                of(&attribute(1, &[0; 1_025])),
                of(&header.repeat(65)),
                of(&header.repeat(8_000)),
                of(&attribute(0x87, &[0; 8])),
                of(&attribute(0x87, &31_622_400_001_u64.to_le_bytes())),
            ],
        ),
        refused(
            "an attribute that this version does not serve, or an unknown critical one",
            ErrorCode::NotSupported,
            [0x03, 0x04, 0x80, 0x85, 0xff].map(tagged).into(),
        ),
    ]
}
