//! Feeds bytes to the stream decoder, whole and in chunks, and encodes again what parses.
//!
//! The first byte of the input seeds the lengths of the chunks, the rest is the stream.
//! With the second byte's lowest bit set, the checksums of the stream are made right first, because a fuzzer does not
//! guess them: without that it would never get behind the frame's head.

#![no_main]

use corelane_fuzz::frames::repair;
use corelane_wire::frame::MAGIC;
use corelane_wire::limits::FRAME_BYTES_MAX;
use corelane_wire::{Batch, Decoder, Deliveries, Frame, FrameError, Messages, Request, Response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(([seed, options], stream)) = input.split_first_chunk::<2>() else {
        return;
    };
    let mut stream = stream.to_vec();
    if options & 1 == 1 {
        repair(&mut stream);
    }
    let whole = decode(&[&stream]);
    let pieces = decode(&cut(&stream, *seed));
    assert_eq!(whole.frames, pieces.frames, "frames depend on the chunks");
    // The values in an error may: a mistake is reported as soon as it is seen.
    assert_eq!(whole.error.is_some(), pieces.error.is_some());
    assert_eq!(whole.pending_bytes, pieces.pending_bytes);
    for bytes in &whole.frames {
        let (frame, used) = Frame::read(bytes, FRAME_BYTES_MAX)
            .expect("the decoder accepted it")
            .expect("the decoder gave all of it");
        assert_eq!(used, bytes.len());
        check_request(&frame);
        check_response(&frame);
    }
});

/// What came out of a stream.
struct Decoded {
    frames: Vec<Vec<u8>>,
    error: Option<FrameError>,
    pending_bytes: usize,
}

fn decode(chunks: &[&[u8]]) -> Decoded {
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    let mut frames = Vec::new();
    for chunk in chunks {
        let mut rest = *chunk;
        loop {
            match decoder.next(&mut rest) {
                Ok(Some(frame)) => frames.push(frame.bytes.to_vec()),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next(&mut &MAGIC[..]), Err(error), "an error stays");
                    return Decoded {
                        frames,
                        error: Some(error),
                        pending_bytes: 0,
                    };
                }
            }
        }
        assert!(rest.is_empty(), "bytes were left without a frame");
    }
    Decoded {
        frames,
        error: None,
        pending_bytes: decoder.pending_bytes(),
    }
}

/// Cuts the stream into chunks of pseudo-random lengths, most of them short.
fn cut(stream: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut chunks = Vec::new();
    let mut rest = stream;
    let mut state = u32::from(seed).wrapping_add(1);
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = 1 + (state >> 16) as usize % (1 << (1 + (state >> 28) as usize % 9));
        let (chunk, after) = rest.split_at(rest.len().min(length));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

fn check_request(frame: &Frame<'_>) {
    let Ok(request) = Request::decode(frame) else {
        return;
    };
    let mut bytes = Vec::new();
    request.encode(frame.correlation, &mut bytes);
    assert_eq!(bytes, frame.bytes, "a request has one encoding");
    if let Request::Enqueue(enqueue) = request {
        check_batch(enqueue.batch);
    }
}

fn check_batch(bytes: &[u8]) {
    let trusted = Batch::trusted(bytes);
    if let Ok(view) = trusted {
        // Lying counts must stay within bounds, checked or not.
        for (first, count) in [(0, view.count), (1, 1), (view.count / 2, 1), (u32::MAX, 2)] {
            let _slice = view.messages(first, count);
        }
    }
    let Ok(batch) = Batch::read(bytes) else {
        return;
    };
    assert_eq!(trusted, Ok(batch));
    assert_eq!(batch.messages(0, batch.count), Some(batch.entries));
    let messages: Vec<_> = batch.iter().flatten().collect();
    assert_eq!(
        messages.len(),
        batch.count as usize,
        "every entry was checked before"
    );
    let middle = batch.count / 2;
    let slice = batch
        .messages(middle, 1)
        .expect("a batch has a message in its middle");
    assert_eq!(slice, messages[middle as usize].bytes);
    for message in &messages {
        assert!(message.headers().count() <= 64);
    }
}

fn check_response(frame: &Frame<'_>) {
    let Ok(response) = Response::decode(frame) else {
        return;
    };
    if let Response::Dequeued(deliveries)
    | Response::Peeked(deliveries)
    | Response::Delivery { deliveries, .. } = &response
    {
        check_deliveries(deliveries);
        if deliveries.runs.len() > corelane_wire::limits::DELIVERY_RUNS_MAX {
            return;
        }
    }
    let mut bytes = Vec::new();
    response.encode(frame.correlation, frame.epoch, &mut bytes);
    let (again, _) = Frame::read(&bytes, FRAME_BYTES_MAX)
        .expect("what was encoded decodes")
        .expect("what was encoded is whole");
    assert_eq!(
        (again.correlation, again.epoch),
        (frame.correlation, frame.epoch)
    );
    if is_canonical(frame, &response) {
        assert_eq!(Response::decode(&again).as_ref(), Ok(&response));
    }
}

/// Long texts are cut and unknown codes replaced, so that these do not come back as they were.
fn is_canonical(frame: &Frame<'_>, response: &Response<'_>) -> bool {
    let is_short = match response {
        Response::Error { text, .. } | Response::Fault { text, .. } => text.len() <= 512,
        Response::Hello(answer) => answer.server_name.len() <= 256,
        _ => true,
    };
    is_short && response.code().as_u16() == frame.code
}

fn check_deliveries(deliveries: &Deliveries<'_>) {
    let delivered: Vec<_> = deliveries.iter().collect();
    let ok = delivered.iter().filter(|item| item.is_ok()).count() as u64;
    assert!(ok <= deliveries.count());
    assert!(ok == deliveries.count() || delivered.last().is_some_and(Result::is_err));
    assert!(Messages::new(deliveries.messages).count() as u64 >= ok);
}
