use proptest::prelude::*;

use super::*;
use crate::golden;
use crate::limits::FRAME_BYTES_MAX_BEFORE_HELLO;
use crate::message::Batch;
use crate::request::Request;

fn sample(fields: &[u8], messages: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = FrameWriter::begin(&mut out, 2, 0, Correlation(7), Epoch(0));
    writer.fields().extend_from_slice(fields);
    assert_eq!(
        writer.finish(&[messages]),
        40 + fields.len() + messages.len()
    );
    out
}

/// Changes a field and makes the checksum right again.
fn forged(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = sample(b"fields", b"");
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = header_checksum(&frame);
    patch_u32(&mut frame, 8, crc);
    frame
}

/// Everything the decoder gives for a stream cut into `chunks`.
fn decode_all(chunks: &[&[u8]], max: usize) -> (Vec<Vec<u8>>, Option<FrameError>, usize) {
    let mut decoder = Decoder::new(max);
    let mut frames = Vec::new();
    for chunk in chunks {
        let mut rest = *chunk;
        loop {
            match decoder.next(&mut rest) {
                Ok(Some(frame)) => frames.push(frame.bytes.to_vec()),
                Ok(None) => break,
                Err(error) => return (frames, Some(error), 0),
            }
        }
        assert!(rest.is_empty(), "the decoder left {} bytes", rest.len());
    }
    (frames, None, decoder.pending_bytes())
}

/// All golden frames as one stream.
fn stream() -> Vec<u8> {
    let (batch, entries) = (golden::batch(), golden::settle_entries());
    let mut bytes = Vec::new();
    for (_, request) in golden::requests(&batch, &entries) {
        request.encode(Correlation(1), &mut bytes);
    }
    for (_, response) in golden::responses(Batch::read(&batch).unwrap().entries) {
        response.encode(Correlation(2), Epoch(3), &mut bytes);
    }
    bytes
}

/// Cuts `bytes` after the given lengths, again and again.
fn cut<'a>(bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut chunks = Vec::new();
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at(rest.len().min(*length));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

#[test]
fn a_trusted_frame_is_the_frame_that_was_read() {
    let frame = sample(b"fields", b"messages");
    let (read, _) = Frame::read(&frame, FRAME_BYTES_MAX).unwrap().unwrap();
    assert_eq!(Frame::trusted(read.bytes), Some(read));
    for length in 0..frame.len() {
        assert_eq!(Frame::trusted(&frame[..length]), None, "{length}");
    }
}

#[test]
fn truncated_frame_asks_for_more_at_every_byte() {
    let frame = sample(b"fields", b"messages");
    for length in 0..frame.len() {
        assert_eq!(
            Frame::read(&frame[..length], FRAME_BYTES_MAX),
            Ok(None),
            "{length}"
        );
    }
    let (read, used) = Frame::read(&frame, FRAME_BYTES_MAX).unwrap().unwrap();
    assert_eq!(
        (read.head, read.messages),
        (&b"fields"[..], &b"messages"[..])
    );
    assert_eq!((used, read.bytes), (frame.len(), &frame[..]));
}

#[test]
fn any_flipped_bit_of_a_head_is_detected() {
    const STEP: usize = if cfg!(miri) { 23 } else { 1 };
    let frame = sample(b"fields", b"messages");
    let following = [frame.clone(), sample(b"next", b"")].concat();
    for stream in [frame, following] {
        for bit in (0..46 * 8).step_by(STEP) {
            let mut damaged = stream.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let read = Frame::read(&damaged, FRAME_BYTES_MAX);
            assert!(read.is_err(), "bit {bit} was not detected: {read:?}");
            let (frames, error, _) = decode_all(&cut(&damaged, &[7]), FRAME_BYTES_MAX);
            assert!(
                frames.is_empty() && error.is_some(),
                "bit {bit} passed the decoder"
            );
        }
    }
}

#[test]
fn impossible_lengths_are_refused() {
    for (length, head) in [
        (0, 40),
        (39, 39),
        (40, 39),
        (46, 47),
        (0, 0),
        (46, u32::MAX),
    ] {
        let mut frame = sample(b"fields", b"");
        patch_u32(&mut frame, 4, length);
        patch_u32(&mut frame, 12, head);
        let refused = Err(FrameError::BadLength { length, head });
        assert_eq!(Frame::read(&frame, FRAME_BYTES_MAX), refused);
    }
}

#[test]
fn length_is_checked_against_the_limit_before_it_is_believed() {
    for length in [u32::MAX, 8_193] {
        let mut frame = sample(b"fields", b"");
        patch_u32(&mut frame, 4, length);
        let mut decoder = Decoder::new(FRAME_BYTES_MAX_BEFORE_HELLO);
        let too_large = FrameError::TooLarge {
            length,
            bytes_max: 8_192,
        };
        assert_eq!(decoder.next(&mut &frame[..]), Err(too_large));
        assert_eq!(decoder.partial.capacity(), 0);
    }
    let exact = sample(&[7; 8_192 - 40], b"");
    assert!(Decoder::new(8_192).next(&mut &exact[..]).unwrap().is_some());
    let beyond = sample(&[7; 8_193 - 40], b"");
    assert!(Decoder::new(8_192).next(&mut &beyond[..]).is_err());
}

#[test]
fn other_protocols_are_refused_at_their_first_byte() {
    for (bytes, found) in [
        (&b"GET / HTTP/1.1\r\n"[..], *b"GET "),
        (b"\x16\x03\x01", *b"\x16\x03\x01\0"),
        (b"CLN2", *b"CLN2"),
        (b"X", *b"X\0\0\0"),
    ] {
        let refused = Err(FrameError::BadMagic { found });
        assert_eq!(Frame::read(bytes, FRAME_BYTES_MAX), refused);
    }
    assert_eq!(Frame::read(b"CL", FRAME_BYTES_MAX), Ok(None));
}

#[test]
fn other_versions_and_reserved_bits_are_refused() {
    for version in [0, 2, 255] {
        let refused = Err(FrameError::UnsupportedVersion { version });
        assert_eq!(
            Frame::read(&forged(16, &[version]), FRAME_BYTES_MAX),
            refused
        );
    }
    for bit in 0..32 {
        let flags: u32 = 1 << bit;
        let refused = Err(FrameError::ReservedNotZero { flags });
        assert_eq!(
            Frame::read(&forged(20, &flags.to_le_bytes()), FRAME_BYTES_MAX),
            refused
        );
    }
}

#[test]
fn decoder_stays_in_error() {
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    let error = decoder.next(&mut &b"x"[..]).unwrap_err();
    let good = sample(b"fields", b"");
    assert_eq!(decoder.next(&mut &good[..]), Err(error));
    assert_eq!(error.code(), ErrorCode::BadMagic);
}

#[test]
fn decoder_borrows_whole_frames_and_carries_split_ones() {
    let frame = sample(b"fields", b"messages");
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    let mut chunk = &frame[..];
    let whole = decoder.next(&mut chunk).unwrap().unwrap();
    assert_eq!(whole.bytes.as_ptr(), frame.as_ptr());
    assert_eq!(decoder.next(&mut &frame[..50]), Ok(None));
    assert_eq!(decoder.pending_bytes(), 50);
    let mut chunk = &frame[50..];
    let carried = decoder.next(&mut chunk).unwrap().unwrap();
    assert_eq!((carried.bytes, chunk.len()), (&frame[..], 0));
    assert_eq!(decoder.pending_bytes(), 0);
}

#[test]
fn decoder_holds_no_more_than_arrived_and_gives_large_buffers_back() {
    let frame = sample(b"", &vec![1; 1 << 20]);
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    assert_eq!(decoder.next(&mut &frame[..100]), Ok(None));
    assert!(
        decoder.partial.capacity() < 1_000,
        "{}",
        decoder.partial.capacity()
    );
    assert!(decoder.next(&mut &frame[100..]).unwrap().is_some());
    assert_eq!(decoder.next(&mut &frame[..10]), Ok(None));
    assert!(decoder.partial.capacity() <= KEPT_BYTES_MAX);
}

#[test]
fn limit_can_be_raised_between_frames() {
    let (small, large) = (sample(b"a", b""), sample(b"a", &[0; 9_000]));
    let stream = [small, large].concat();
    let mut decoder = Decoder::new(FRAME_BYTES_MAX_BEFORE_HELLO);
    let mut chunk = &stream[..];
    assert!(decoder.next(&mut chunk).unwrap().is_some());
    decoder.frame_bytes_max = FRAME_BYTES_MAX;
    assert!(decoder.next(&mut chunk).unwrap().is_some());
}

#[test]
fn stream_cut_anywhere_decodes_like_the_whole() {
    const STEP: usize = if cfg!(miri) { 66 } else { 1 };
    let stream = stream();
    let whole = decode_all(&[&stream], FRAME_BYTES_MAX);
    assert_eq!((whole.1, whole.2), (None, 0));
    for length in (1..200).step_by(STEP) {
        assert_eq!(decode_all(&cut(&stream, &[length]), FRAME_BYTES_MAX), whole);
    }
}

#[test]
#[should_panic(expected = "exceeds the limit")]
fn frame_beyond_the_limit_is_not_written() {
    sample(&[], &vec![0; FRAME_BYTES_MAX - 39]);
}

proptest! {
    #[test]
    fn frame_round_trip(
        numbers in any::<(u8, u16, u64, u64)>(),
        fields in prop::collection::vec(any::<u8>(), 0..200),
        messages in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (kind, code, correlation, epoch) = numbers;
        let mut out = vec![0xaa; 3];
        let mut writer =
            FrameWriter::begin(&mut out, kind, code, Correlation(correlation), Epoch(epoch));
        writer.fields().extend_from_slice(&fields);
        let length = writer.finish(&[&messages[..messages.len() / 2], &messages[messages.len() / 2..]]);
        let frame = Frame {
            kind,
            code,
            correlation: Correlation(correlation),
            epoch: Epoch(epoch),
            head: &fields,
            messages: &messages,
            bytes: &out[3..],
        };
        prop_assert_eq!(Frame::read(&out[3..], FRAME_BYTES_MAX), Ok(Some((frame, length))));
    }

    #[test]
    fn random_chunks_decode_like_the_whole(lengths in prop::collection::vec(1_usize..3_000, 1..40)) {
        let stream = stream();
        prop_assert_eq!(
            decode_all(&cut(&stream, &lengths), FRAME_BYTES_MAX),
            decode_all(&[&stream], FRAME_BYTES_MAX)
        );
    }

    #[test]
    fn damaged_streams_never_panic_and_fail_alike(
        at in 0_usize..4_000,
        byte in any::<u8>(),
        lengths in prop::collection::vec(1_usize..300, 1..20),
    ) {
        let mut stream = stream();
        let place = at % stream.len();
        stream[place] = byte;
        let (frames, error, pending) = decode_all(&[&stream], FRAME_BYTES_MAX);
        let cut = decode_all(&cut(&stream, &lengths), FRAME_BYTES_MAX);
        prop_assert_eq!(&frames, &cut.0);
        prop_assert_eq!(error.is_some(), cut.1.is_some());
        prop_assert_eq!(pending, cut.2);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut stream = MAGIC.to_vec();
        stream.extend_from_slice(&bytes);
        for bytes in [&bytes, &stream] {
            if let Ok(Some((frame, _))) = Frame::read(bytes, FRAME_BYTES_MAX) {
                let _read = Request::decode(&frame);
            }
        }
    }
}
