use proptest::prelude::*;

use super::*;
use crate::checksum::checksum;
use crate::error_code::ErrorCode;
use crate::golden;
use crate::ids::{ProducerId, Sequence};
use crate::limits::{
    ATTRIBUTES_BYTES_MAX, BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, DELAY_MS_MAX, HEADERS_MAX,
    KEY_BYTES_MAX, MESSAGE_BYTES_MAX,
};

/// An entry with the given attributes, as a later or a hostile client might encode it.
fn entry(attributes: &[u8], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(12 + attributes.len() + body.len()).unwrap();
    let attributes_bytes = u16::try_from(attributes.len()).unwrap();
    let covered = [
        &attributes_bytes.to_le_bytes()[..],
        &[0, 0],
        attributes,
        body,
    ]
    .concat();
    let crc = checksum(&[&covered]);
    [&length.to_le_bytes()[..], &crc.to_le_bytes(), &covered].concat()
}

fn attribute(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    [&[tag][..], &length.to_le_bytes(), value].concat()
}

fn code_of(attributes: &[u8]) -> ErrorCode {
    Message::read(&entry(attributes, b"")).unwrap_err().code()
}

fn push(message: &OutgoingMessage<'_>) -> Result<(), BatchError> {
    BatchBuilder::new().push(message)
}

/// Changes bytes of the batch header and makes its checksum right again.
fn forged(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = golden::batch();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = checksum(&[&batch[8..48]]);
    batch[4..8].copy_from_slice(&crc.to_le_bytes());
    batch
}

fn batch_of(bodies: &[&[u8]]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for body in bodies {
        let message = OutgoingMessage {
            body,
            ..OutgoingMessage::default()
        };
        builder.push(&message).unwrap();
    }
    builder.finish(ProducerId(1), Sequence(2))
}

#[test]
fn unknown_attribute_is_skipped_unless_critical() {
    let skipped = [attribute(0x33, b"later"), attribute(0x01, b"k")].concat();
    let bytes = entry(&skipped, b"body");
    let (message, rest) = Message::read(&bytes).unwrap();
    assert_eq!((message.key, message.body), (Some(&b"k"[..]), &b"body"[..]));
    assert_eq!((message.headers().count(), rest.len()), (0, 0));
    let critical = entry(&attribute(0xb3, b"later"), b"body");
    let refused = Err(MessageError::NotSupported { tag: 0xb3 });
    assert_eq!(Message::read(&critical), refused);
}

#[test]
fn attributes_not_served_yet_are_refused_by_name() {
    for (tag, name) in [(0x03, "client_id"), (0x04, "reply_to"), (0x85, "priority")] {
        let bytes = entry(&attribute(tag, &[0; 8]), b"");
        let error = Message::read(&bytes).unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotSupported);
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_due_time_is_read_once() {
    let due = attribute(0x86, &7_u64.to_le_bytes());
    let bytes = entry(&due, b"body");
    let (message, _) = Message::read(&bytes).unwrap();
    assert_eq!((message.due_ms, message.body), (Some(7), &b"body"[..]));
    assert_eq!(code_of(&[due.clone(), due].concat()), ErrorCode::Malformed);
    for bytes in [&[0; 7][..], &[0; 9]] {
        assert_eq!(code_of(&attribute(0x86, bytes)), ErrorCode::Malformed);
    }
}

#[test]
fn a_time_to_live_is_read_once_and_has_bounds() {
    let ttl = |ttl: u64| attribute(0x87, &ttl.to_le_bytes());
    for ttl_ms in [1, DELAY_MS_MAX] {
        let bytes = entry(&ttl(ttl_ms), b"body");
        assert_eq!(Message::read(&bytes).unwrap().0.ttl_ms, Some(ttl_ms));
    }
    for ttl_ms in [0, DELAY_MS_MAX + 1, u64::MAX] {
        let error = Message::read(&entry(&ttl(ttl_ms), b"")).unwrap_err();
        assert_eq!(error, MessageError::TimeToLiveOutOfRange { ttl_ms });
        assert_eq!(error.code(), ErrorCode::OutOfRange);
        let outgoing = OutgoingMessage {
            ttl_ms: Some(ttl_ms),
            ..OutgoingMessage::default()
        };
        let refused = BatchBuilder::new().push(&outgoing);
        assert_eq!(
            refused.map_err(|error| error.code()),
            Err(ErrorCode::OutOfRange)
        );
    }
    assert_eq!(code_of(&[ttl(7), ttl(7)].concat()), ErrorCode::Malformed);
    for bytes in [&[1; 7][..], &[1; 9]] {
        assert_eq!(code_of(&attribute(0x87, bytes)), ErrorCode::Malformed);
    }
}

#[test]
fn broken_attributes_are_refused() {
    let key = attribute(0x01, b"k");
    assert_eq!(code_of(&[key.clone(), key].concat()), ErrorCode::Malformed);
    assert_eq!(code_of(&attribute(0x01, b"")), ErrorCode::OutOfRange);
    assert_eq!(
        code_of(&attribute(0x02, b"\x00\x00value")),
        ErrorCode::Malformed
    );
    assert_eq!(
        code_of(&attribute(0x02, b"\x09\x00short")),
        ErrorCode::Malformed
    );
    assert_eq!(
        code_of(&attribute(0x02, b"\x01\x00\xff")),
        ErrorCode::Malformed
    );
    assert_eq!(code_of(&[0x33, 9, 0, 1]), ErrorCode::Malformed);
    let headers = attribute(0x02, b"\x01\x00n").repeat(HEADERS_MAX + 1);
    assert_eq!(code_of(&headers), ErrorCode::OutOfRange);
    assert_eq!(
        code_of(&vec![0; ATTRIBUTES_BYTES_MAX + 1]),
        ErrorCode::OutOfRange
    );
}

#[test]
fn attributes_cannot_reach_beyond_their_entry() {
    let mut bytes = entry(b"", b"body");
    bytes[8] = 200;
    let crc = checksum(&[&bytes[8..]]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(
        Message::read(&bytes).unwrap_err().code(),
        ErrorCode::Malformed
    );
}

#[test]
fn repeated_headers_keep_their_order() {
    let headers = [("a", "1"), ("b", "2"), ("a", "3")].map(|(name, value)| Header {
        name,
        value: value.as_bytes(),
    });
    let mut builder = BatchBuilder::new();
    let message = OutgoingMessage {
        headers: &headers,
        ..OutgoingMessage::default()
    };
    builder.push(&message).unwrap();
    let bytes = builder.finish(ProducerId(1), Sequence(0));
    let message = Batch::read(&bytes).unwrap().iter().next().unwrap().unwrap();
    assert_eq!(message.headers().collect::<Vec<_>>(), headers);
}

#[test]
#[cfg_attr(miri, ignore = "checksums of megabytes take Miri minutes")]
fn limits_of_a_message_hold_at_the_maximum_and_one_beyond() {
    let body = vec![1; MESSAGE_BYTES_MAX - 11];
    let with_body = |body| OutgoingMessage {
        body,
        ..OutgoingMessage::default()
    };
    assert_eq!(push(&with_body(&body[1..])), Ok(()));
    assert_eq!(
        push(&with_body(&body)).unwrap_err().code(),
        ErrorCode::MessageTooLarge
    );
    let longest = batch_of(&[&body[1..]]);
    assert!(Batch::read(&longest).is_ok());
    let mut beyond = entry(b"", &body[1..]);
    beyond.push(0);
    let length = u32::try_from(beyond.len()).unwrap();
    beyond[..4].copy_from_slice(&length.to_le_bytes());
    assert_eq!(
        Message::read(&beyond).unwrap_err().code(),
        ErrorCode::MessageTooLarge
    );

    let key = [b'k'; KEY_BYTES_MAX + 1];
    let with_key = |key| OutgoingMessage {
        key: Some(key),
        ..OutgoingMessage::default()
    };
    assert_eq!(push(&with_key(&key[1..])), Ok(()));
    assert_eq!(
        push(&with_key(&key)).unwrap_err().code(),
        ErrorCode::OutOfRange
    );
    assert_eq!(
        push(&with_key(b"")).unwrap_err().code(),
        ErrorCode::OutOfRange
    );
}

#[test]
fn limits_of_headers_hold_at_the_maximum_and_one_beyond() {
    let header = Header {
        name: "n",
        value: b"",
    };
    let headers = [header; HEADERS_MAX + 1];
    let with = |headers| OutgoingMessage {
        headers,
        ..OutgoingMessage::default()
    };
    assert_eq!(push(&with(&headers[1..])), Ok(()));
    assert_eq!(
        push(&with(&headers)).unwrap_err().code(),
        ErrorCode::OutOfRange
    );
    let value = vec![0; ATTRIBUTES_BYTES_MAX - 5];
    let fits = [Header {
        name: "n",
        value: &value[1..],
    }];
    assert_eq!(push(&with(&fits)), Ok(()));
    let beyond = [Header {
        name: "n",
        value: &value,
    }];
    assert_eq!(
        push(&with(&beyond)).unwrap_err().code(),
        ErrorCode::OutOfRange
    );
    let nameless = [Header {
        name: "",
        value: b"",
    }];
    assert_eq!(
        push(&with(&nameless)).unwrap_err().code(),
        ErrorCode::Malformed
    );
}

#[test]
#[cfg_attr(miri, ignore = "thousands of messages take Miri minutes")]
fn messages_of_a_batch_hold_at_the_maximum_and_one_beyond() {
    let mut builder = BatchBuilder::new();
    for _ in 0..BATCH_MESSAGES_MAX {
        builder.push(&OutgoingMessage::default()).unwrap();
    }
    assert_eq!(
        builder.push(&OutgoingMessage::default()),
        Err(BatchError::Full)
    );
    let batch = builder.finish(ProducerId(1), Sequence(0));
    assert_eq!(Batch::read(&batch).unwrap().count, 65_536);
}

#[test]
#[cfg_attr(miri, ignore = "checksums of megabytes take Miri minutes")]
fn bytes_of_a_batch_hold_at_the_maximum_and_one_beyond() {
    let body = vec![0; 64 * 1_024];
    let message = OutgoingMessage {
        body: &body,
        ..OutgoingMessage::default()
    };
    let mut builder = BatchBuilder::new();
    while builder.push(&message).is_ok() {}
    let rest = BATCH_BYTES_MAX - builder.bytes() - ENTRY_HEADER_BYTES;
    let last = |body| OutgoingMessage {
        body,
        ..OutgoingMessage::default()
    };
    assert_eq!(builder.push(&last(&body[..=rest])), Err(BatchError::Full));
    assert_eq!(builder.push(&last(&body[..rest])), Ok(()));
    assert_eq!(builder.bytes(), BATCH_BYTES_MAX);
    assert!(Batch::read(&builder.finish(ProducerId(1), Sequence(0))).is_ok());
}

#[test]
fn batch_header_must_agree_with_its_entries() {
    for (at, bytes, code) in [
        (32, &[0, 0, 0, 0][..], ErrorCode::OutOfRange),
        (32, &[2, 0, 0, 0], ErrorCode::Malformed),
        (32, &[0xff, 0xff, 0xff, 0x7f], ErrorCode::OutOfRange),
        (36, &[2], ErrorCode::OutOfRange),
        (37, &[1], ErrorCode::ReservedNotZero),
        (38, &[1], ErrorCode::ReservedNotZero),
        (40, &[1, 0, 0, 0], ErrorCode::Malformed),
        (44, &[1, 0, 0, 0], ErrorCode::Malformed),
        (44, &[0xff, 0, 0, 0], ErrorCode::Malformed),
        (8, &[0; 16], ErrorCode::Malformed),
        (0, &[0xff, 0xff, 0xff, 0xff], ErrorCode::Malformed),
        (0, &[0, 0, 0, 0], ErrorCode::Malformed),
    ] {
        let forged = forged(at, bytes);
        assert_eq!(Batch::read(&forged).unwrap_err().code(), code, "at {at}");
    }
}

#[test]
fn truncated_batch_is_an_error_at_every_byte() {
    const STEP: usize = if cfg!(miri) { 7 } else { 1 };
    let batch = golden::batch();
    for length in (0..batch.len()).step_by(STEP) {
        assert!(Batch::read(&batch[..length]).is_err(), "{length}");
        assert!(Batch::trusted(&batch[..length]).is_err(), "{length}");
    }
}

#[test]
fn any_flipped_bit_of_a_batch_is_detected() {
    const STEP: usize = if cfg!(miri) { 101 } else { 1 };
    let batch = golden::batch();
    for bit in (0..batch.len() * 8).step_by(STEP) {
        let mut damaged = batch.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Batch::read(&damaged).is_err(), "bit {bit}");
    }
}

#[test]
fn any_run_of_messages_can_be_sliced_out() {
    for bodies in [
        &[&b"one"[..], b"", b"three"][..],
        &[&b"abc"[..], b"def", b"ghi"],
    ] {
        let bytes = batch_of(bodies);
        let batch = Batch::trusted(&bytes).unwrap();
        for first in 0..=3 {
            for count in 0..=3 - first {
                let slice = batch.messages(first, count).unwrap();
                let read: Vec<_> = Messages::new(slice)
                    .map(|message| message.unwrap().body)
                    .collect();
                let (from, to) = (first as usize, (first + count) as usize);
                assert_eq!(read, bodies[from..to]);
            }
        }
        assert_eq!(batch.messages(0, 4), None);
        assert_eq!(batch.messages(3, 1), None);
        assert_eq!(batch.messages(2, u32::MAX), None);
    }
}

#[test]
fn trusted_view_is_bounded_even_if_its_bytes_lie() {
    let lying = forged(32, &[200, 0, 0, 0]);
    let batch = Batch::trusted(&lying).unwrap();
    assert_eq!(batch.messages(0, 200), None);
    let lying = forged(44, &[0xff, 0xff, 0xff, 0xff]);
    assert!(Batch::trusted(&lying).unwrap().messages(0, 3).is_some());
}

#[test]
fn messages_end_after_the_first_error() {
    let mut bytes = golden::batch();
    let body_at = bytes.len() - 1;
    bytes[body_at] ^= 1;
    let mut messages = Messages::new(&bytes[48..]);
    assert!(messages.next().unwrap().is_ok());
    assert!(messages.next().unwrap().is_ok());
    assert!(messages.next().unwrap().is_err());
    assert_eq!(messages.next(), None);
}

#[test]
fn renumbered_batch_keeps_its_messages() {
    let mut bytes = golden::batch();
    renumber(&mut bytes, ProducerId(77), Sequence(8)).unwrap();
    let batch = Batch::read(&bytes).unwrap();
    assert_eq!(
        (batch.producer, batch.sequence, batch.count),
        (ProducerId(77), Sequence(8), 3)
    );
    assert_eq!(bytes[48..], golden::batch()[48..]);
    assert!(renumber(&mut [0; 48], ProducerId(1), Sequence(1)).is_err());
    assert!(renumber(&mut [], ProducerId(1), Sequence(1)).is_err());
}

type Owned = (Option<Vec<u8>>, Vec<(String, Vec<u8>)>, Vec<u8>);

fn any_message() -> impl Strategy<Value = Owned> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let key = prop::option::of(prop::collection::vec(any::<u8>(), 1..40));
    (
        key,
        prop::collection::vec((".{1,8}", bytes()), 0..4),
        bytes(),
    )
}

proptest! {
    #[test]
    fn batch_round_trip(
        messages in prop::collection::vec(any_message(), 1..20),
        producer in 1..u128::MAX,
        sequence in any::<u64>(),
    ) {
        let mut builder = BatchBuilder::new();
        for (key, headers, body) in &messages {
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| Header { name, value }).collect();
            builder
                .push(&OutgoingMessage {
                    key: key.as_deref(),
                    headers: &headers,
                    due_ms: key.as_ref().map(|key| key.len() as u64),
                    ttl_ms: key.as_ref().map(|key| 1 + key.len() as u64),
                    body,
                })
                .unwrap();
        }
        let bytes = builder.finish(ProducerId(producer), Sequence(sequence));
        let batch = Batch::read(&bytes).unwrap();
        prop_assert_eq!((batch.producer.0, batch.sequence.0), (producer, sequence));
        let read: Vec<Owned> = batch
            .iter()
            .map(|message| {
                let message = message.unwrap();
                assert_eq!(message.due_ms, message.key.map(|key| key.len() as u64));
                assert_eq!(message.ttl_ms, message.due_ms.map(|due_ms| 1 + due_ms));
                let headers = message
                    .headers()
                    .map(|header| (header.name.to_owned(), header.value.to_vec()));
                (message.key.map(<[u8]>::to_vec), headers.collect(), message.body.to_vec())
            })
            .collect();
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn random_attributes_never_panic(
        attributes in prop::collection::vec(any::<u8>(), 0..60),
        bytes in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        if let Ok((message, _)) = Message::read(&entry(&attributes, b"")) {
            message.headers().count();
        }
        let _read = Batch::read(&bytes);
        let _read = Messages::new(&bytes).count();
    }
}
