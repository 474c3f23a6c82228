//! From request to frame.

use super::{Hello, QueueList, Request, Settle, Subscribe};
use crate::codec::{
    length_u32, put_bool, put_bytes16, put_str16, put_u8, put_u32, put_u64, put_u128,
};
use crate::error_code::ErrorCode;
use crate::frame::FrameWriter;
use crate::ids::{Correlation, Epoch, Lane};

impl Request<'_> {
    /// Appends the request's frame to `out`.
    ///
    /// Nothing is checked here: a request outside the ranges is refused by the broker.
    ///
    /// # Panics
    /// If a string has more than 65,535 bytes, or the frame exceeds [`crate::limits::FRAME_BYTES_MAX`].
    pub fn encode(&self, correlation: Correlation, out: &mut Vec<u8>) {
        let code = ErrorCode::Ok.as_u16();
        let mut writer = FrameWriter::begin(out, self.kind(), code, correlation, Epoch(0));
        let fields = writer.fields();
        let mut messages: &[u8] = &[];
        match self {
            Self::Hello(hello) => put_hello(fields, hello),
            Self::Ping | Self::Metadata => {}
            Self::Enqueue(enqueue) => {
                put_target(fields, enqueue.queue, enqueue.lane);
                messages = enqueue.batch;
            }
            Self::Dequeue(dequeue) => {
                put_target(fields, dequeue.queue, dequeue.lane);
                put_str16(fields, dequeue.subscription);
                put_u32(fields, dequeue.count);
                put_u32(fields, dequeue.lease_ms);
                put_u32(fields, dequeue.wait_ms);
            }
            Self::Subscribe(subscribe) => put_subscribe(fields, subscribe),
            Self::Credit { consumer, credit } => {
                put_u32(fields, consumer.0);
                put_u32(fields, *credit);
            }
            Self::Unsubscribe { consumer } => put_u32(fields, consumer.0),
            Self::Ack(settle) => put_settle(fields, settle),
            Self::Nack(nack) => {
                put_u64(fields, nack.delay_ms);
                put_bool(fields, nack.count_attempt);
                put_settle(fields, &nack.settle);
            }
            Self::Reject(reject) => {
                put_u8(fields, reject.fate.as_u8());
                put_str16(fields, reject.text);
                put_settle(fields, &reject.settle);
            }
            Self::Extend(extend) => {
                put_u32(fields, extend.lease_ms);
                put_settle(fields, &extend.settle);
            }
            Self::Peek(peek) => {
                put_target(fields, peek.queue, peek.lane);
                put_u64(fields, peek.from.0);
                put_u32(fields, peek.count);
            }
            Self::QueueCreate { queue, lanes } => {
                put_str16(fields, queue);
                put_u32(fields, *lanes);
            }
            Self::QueueList(list) => put_list(fields, list),
            Self::QueueShow { queue } | Self::QueueDelete { queue } => put_str16(fields, queue),
            Self::QueueConfigure { queue, config } => {
                put_str16(fields, queue);
                put_bool(fields, config.is_some());
                if let Some(config) = config {
                    config.put(fields);
                }
            }
            Self::Subscription(on) => on.put(fields),
            Self::Schedule(on) => on.put(fields),
        }
        writer.finish(&[messages]);
    }
}

fn put_hello(out: &mut Vec<u8>, hello: &Hello<'_>) {
    put_u8(out, hello.version_min);
    put_u8(out, hello.version_max);
    put_bool(out, hello.resume);
    put_u8(out, 0);
    put_u64(out, hello.features);
    put_u128(out, hello.session.0);
    put_str16(out, hello.client_name);
    put_str16(out, hello.tenant);
    put_bytes16(out, hello.token);
}

fn put_subscribe(out: &mut Vec<u8>, subscribe: &Subscribe<'_>) {
    put_target(out, subscribe.queue, subscribe.lane);
    put_str16(out, subscribe.subscription);
    put_u32(out, subscribe.consumer.0);
    put_u32(out, subscribe.credit);
    put_u32(out, subscribe.lease_ms);
}

fn put_settle(out: &mut Vec<u8>, settle: &Settle<'_>) {
    put_target(out, settle.queue, settle.lane);
    put_str16(out, settle.subscription);
    put_u32(out, length_u32(settle.entries.count()));
    out.extend_from_slice(settle.entries.bytes());
}

fn put_list(out: &mut Vec<u8>, list: &QueueList<'_>) {
    put_u32(out, list.partition.0);
    put_str16(out, list.after);
    put_u32(out, list.limit);
}

fn put_target(out: &mut Vec<u8>, queue: &str, lane: Lane) {
    put_str16(out, queue);
    put_u32(out, lane.0);
}
