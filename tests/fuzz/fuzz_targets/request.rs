//! Makes one frame of the input and reads it as a request and as an answer.
//!
//! The lengths and checksums of the frame are made right first, so that every input gets to the fields.
//! What decodes must come back as the same bytes, and hold no more memory than its bytes account for.

#![no_main]

use corelane_fuzz::frames;
use corelane_wire::limits::{
    DELIVERY_RUNS_MAX, FRAME_BYTES_MAX, SETTLE_ENTRIES_MAX, SETTLE_MESSAGES_MAX, TEXT_BYTES_MAX,
};
use corelane_wire::names::check_name;
use corelane_wire::{Deliveries, ErrorCode, Frame, QueueInfo, Request, Response, SettleEntries};
use libfuzzer_sys::fuzz_target;

/// A row of an answer may take so much more memory than bytes: a vector begins with room for four rows.
const MEMORY_PER_BYTE: usize = 16;
const MEMORY_FIXED: usize = 1_024;

fuzz_target!(|input: &[u8]| {
    let mut bytes = input.to_vec();
    if !frames::make_one(&mut bytes) {
        return;
    }
    let (frame, used) = Frame::read(&bytes, FRAME_BYTES_MAX)
        .expect("its header was made right")
        .expect("its length is that of the input");
    assert_eq!(used, bytes.len());
    check_request(&frame);
    check_response(&frame);
});

fn check_request(frame: &Frame<'_>) {
    let request = match Request::decode(frame) {
        Ok(request) => request,
        Err(error) => {
            assert_ne!(error.code(), ErrorCode::Ok);
            assert!(error.to_string().len() <= TEXT_BYTES_MAX, "{error}");
            return;
        }
    };
    let mut bytes = Vec::new();
    request.encode(frame.correlation, &mut bytes);
    assert_eq!(bytes, frame.bytes, "a request has one encoding");
    if let Some((queue, _)) = request.queue() {
        assert_eq!(
            check_name(queue),
            Ok(()),
            "a name goes unchecked to the log"
        );
    }
    match &request {
        Request::Ack(settle) => check_entries(&settle.entries),
        Request::Nack(nack) => check_entries(&nack.settle.entries),
        Request::Reject(reject) => check_entries(&reject.settle.entries),
        Request::Extend(extend) => check_entries(&extend.settle.entries),
        _ => {}
    }
}

fn check_entries(entries: &SettleEntries<'_>) {
    let (mut count, mut messages) = (0, 0);
    for entry in entries.iter() {
        count += 1;
        messages += u64::from(entry.range.count);
        assert!(
            entry
                .range
                .first
                .0
                .checked_add(entry.range.count.into())
                .is_some()
        );
    }
    assert!(count <= SETTLE_ENTRIES_MAX);
    assert!(messages <= SETTLE_MESSAGES_MAX as u64);
}

fn check_response(frame: &Frame<'_>) {
    let Ok(response) = Response::decode(frame) else {
        return;
    };
    let held = memory(&response);
    assert!(
        held <= MEMORY_FIXED + MEMORY_PER_BYTE * frame.bytes.len(),
        "{held} bytes of memory for a frame of {}",
        frame.bytes.len()
    );
    if deliveries(&response).is_some_and(|it| it.runs.len() > DELIVERY_RUNS_MAX) {
        return;
    }
    let mut bytes = Vec::new();
    response.encode(frame.correlation, frame.epoch, &mut bytes);
    if is_canonical(frame, &response) {
        assert_eq!(bytes, frame.bytes, "an answer has one encoding");
    } else {
        Frame::read(&bytes, FRAME_BYTES_MAX).expect("what was encoded decodes");
    }
}

/// Long texts are cut and unknown codes replaced, so that these do not come back as they were.
fn is_canonical(frame: &Frame<'_>, response: &Response<'_>) -> bool {
    let is_short = match response {
        Response::Error { text, .. } | Response::Fault { text, .. } => text.len() <= TEXT_BYTES_MAX,
        Response::Hello(answer) => answer.server_name.len() <= 256,
        _ => true,
    };
    is_short && response.code().as_u16() == frame.code
}

fn deliveries<'r, 'a>(response: &'r Response<'a>) -> Option<&'r Deliveries<'a>> {
    match response {
        Response::Dequeued(it) | Response::Peeked(it) => Some(it),
        Response::Delivery { deliveries, .. } => Some(deliveries),
        _ => None,
    }
}

/// Bytes of the heap that an answer holds.
fn memory(response: &Response<'_>) -> usize {
    match response {
        Response::Hello(answer) => answer.server_name.capacity(),
        Response::Metadata(metadata) => room(&metadata.partitions),
        Response::Settled(settled) => room(settled),
        Response::QueueList { queues, .. } => {
            room(queues) + queues.iter().map(memory_of_queue).sum::<usize>()
        }
        Response::Queue(queue) => memory_of_queue(queue),
        Response::Error { text, .. } | Response::Fault { text, .. } => text.capacity(),
        _ => deliveries(response).map_or(0, |it| room(&it.runs)),
    }
}

fn memory_of_queue(queue: &QueueInfo) -> usize {
    let names = queue.subscriptions.iter().map(|it| it.name.capacity());
    queue.name.capacity() + room(&queue.subscriptions) + names.sum::<usize>()
}

fn room<T>(rows: &Vec<T>) -> usize {
    rows.capacity() * size_of::<T>()
}
