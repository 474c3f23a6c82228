use proptest::prelude::*;

use super::*;

fn sample() -> Vec<u8> {
    let header = RecordHeader {
        bytes: 32 + 4 + 5,
        kind: record_kind::ENQUEUE,
        lsn_delta: 3,
        time: Timestamp(1_000),
        payload_head: 4,
    };
    [&header.write(b"head")[..], b"head", b"batch"].concat()
}

#[test]
fn truncated_record_is_an_error_at_every_byte() {
    let record = sample();
    for length in 0..record.len() {
        assert!(RecordHeader::read(&record[..length]).is_err(), "{length}");
        assert!(
            RecordHeader::trusted(&record[..length]).is_err(),
            "{length}"
        );
    }
    assert!(RecordHeader::read(&record).is_ok());
    assert_eq!(RecordHeader::trusted(&record), RecordHeader::read(&record));
}

#[test]
fn flipped_bits_are_detected_up_to_the_batch() {
    const STEP: usize = if cfg!(miri) { 23 } else { 1 };
    let record = sample();
    for bit in (0..36 * 8).step_by(STEP) {
        let mut damaged = record.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(RecordHeader::read(&damaged).is_err(), "bit {bit}");
    }
    let mut damaged = record;
    damaged[36] ^= 1;
    assert!(RecordHeader::read(&damaged).is_ok());
}

#[test]
fn other_versions_and_reserved_fields_are_refused() {
    for (at, error) in [
        (5, RecordError::UnsupportedVersion { version: 0x81 }),
        (6, RecordError::ReservedNotZero),
        (12, RecordError::ReservedNotZero),
    ] {
        let mut record = sample();
        record[at] ^= 0x80;
        let crc = checksum(&[&record[..28], b"head"]);
        record[28..32].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(RecordHeader::read(&record), Err(error));
    }
}

#[test]
fn all_zero_bytes_are_no_record() {
    let refused = RecordError::BadLength {
        bytes: 0,
        payload_head: 0,
    };
    assert_eq!(RecordHeader::read(&[0; 64]), Err(refused));
    assert_eq!(refused.code(), ErrorCode::Damaged);
}

proptest! {
    #[test]
    fn record_round_trip(
        numbers in any::<(u8, u32, u64)>(),
        head in prop::collection::vec(any::<u8>(), 0..50),
        rest in prop::collection::vec(any::<u8>(), 0..50),
        after in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let header = RecordHeader {
            bytes: u32::try_from(32 + head.len() + rest.len()).unwrap(),
            kind: numbers.0,
            lsn_delta: numbers.1,
            time: Timestamp(numbers.2),
            payload_head: u32::try_from(head.len()).unwrap(),
        };
        let payload = [&head[..], &rest[..]].concat();
        let record = [&header.write(&head)[..], &payload, &after].concat();
        prop_assert_eq!(RecordHeader::read(&record), Ok((header, &payload[..])));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _read = RecordHeader::read(&bytes);
    }
}
