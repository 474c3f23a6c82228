//! From answer to frame.

use super::{
    Deliveries, DeliveryHead, DeliveryKind, HelloAnswer, Metadata, QueueInfo, Receipt, Response,
    SettleOutcome, Settled,
};
use crate::codec::{length_u32, put_bool, put_str16, put_u8, put_u16, put_u32, put_u64, put_u128};
use crate::error_code::ErrorCode;
use crate::frame::FrameWriter;
use crate::ids::{Correlation, Epoch};
use crate::kind;
use crate::limits::{PEER_NAME_BYTES_MAX, TEXT_BYTES_MAX};

impl Response<'_> {
    /// Appends the answer's frame to `out`; texts beyond their limit are cut.
    ///
    /// # Panics
    /// If the frame exceeds [`crate::limits::FRAME_BYTES_MAX`]: see the limits of lists and deliveries.
    pub fn encode(&self, correlation: Correlation, epoch: Epoch, out: &mut Vec<u8>) {
        if let Some((kind, deliveries)) = self.deliveries() {
            let head = DeliveryHead {
                kind,
                lease: deliveries.lease,
                lease_ms: deliveries.lease_ms,
                runs: &deliveries.runs,
            };
            head.encode(correlation, epoch, &[deliveries.messages], out);
            return;
        }
        let code = self.code().as_u16();
        let mut writer = FrameWriter::begin(out, self.kind(), code, correlation, epoch);
        self.put_fields(writer.fields());
        writer.finish(&[]);
    }

    /// The kind byte of its frame.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => kind::answer(kind::HELLO),
            Self::Pong => kind::answer(kind::PING),
            Self::Metadata(_) => kind::answer(kind::METADATA),
            Self::Enqueued(_) => kind::answer(kind::ENQUEUE),
            Self::Dequeued(_) => kind::answer(kind::DEQUEUE),
            Self::Subscribed => kind::answer(kind::SUBSCRIBE),
            Self::CreditSet => kind::answer(kind::CREDIT),
            Self::Unsubscribed => kind::answer(kind::UNSUBSCRIBE),
            Self::Settled(_) => kind::SETTLED,
            Self::Peeked(_) => kind::answer(kind::PEEK),
            Self::QueueCreated { .. } => kind::answer(kind::QUEUE_CREATE),
            Self::QueueList { .. } => kind::answer(kind::QUEUE_LIST),
            Self::Queue(_) => kind::answer(kind::QUEUE_SHOW),
            Self::QueueDeleted => kind::answer(kind::QUEUE_DELETE),
            Self::QueueConfigured { .. } => kind::answer(kind::QUEUE_CONFIGURE),
            Self::Subscription(answer) => answer.kind(),
            Self::Schedule(answer) => answer.kind(),
            Self::Delivery { .. } => kind::DELIVERY,
            Self::Error { .. } => kind::ERROR,
            Self::Fault { .. } => kind::FAULT,
        }
    }

    /// The code in its frame: that of a refusal or fault; `StaleLease` if any message settled is stale; else `Ok`.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Error { code, .. } | Self::Fault { code, .. } => *code,
            Self::Settled(settled) => settled_code(settled),
            Self::Hello(_) | Self::Pong | Self::Metadata(_) | Self::Enqueued(_) => ErrorCode::Ok,
            Self::Dequeued(_) | Self::Peeked(_) | Self::Delivery { .. } => ErrorCode::Ok,
            Self::Subscribed | Self::CreditSet | Self::Unsubscribed => ErrorCode::Ok,
            Self::QueueCreated { .. } | Self::QueueList { .. } => ErrorCode::Ok,
            Self::Queue(_) | Self::QueueDeleted | Self::Subscription(_) => ErrorCode::Ok,
            Self::QueueConfigured { .. } | Self::Schedule(_) => ErrorCode::Ok,
        }
    }

    const fn deliveries(&self) -> Option<(DeliveryKind, &Deliveries<'_>)> {
        match self {
            Self::Dequeued(deliveries) => Some((DeliveryKind::Dequeued, deliveries)),
            Self::Peeked(deliveries) => Some((DeliveryKind::Peeked, deliveries)),
            Self::Delivery {
                consumer,
                deliveries,
            } => Some((DeliveryKind::Pushed(*consumer), deliveries)),
            Self::Hello(_) | Self::Pong | Self::Metadata(_) | Self::Enqueued(_) => None,
            Self::Subscribed | Self::CreditSet | Self::Unsubscribed | Self::Settled(_) => None,
            Self::QueueCreated { .. } | Self::QueueList { .. } | Self::Queue(_) => None,
            Self::QueueDeleted | Self::Subscription(_) | Self::QueueConfigured { .. } => None,
            Self::Schedule(_) | Self::Error { .. } | Self::Fault { .. } => None,
        }
    }

    fn put_fields(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(answer) => put_hello(out, answer),
            Self::Metadata(metadata) => put_metadata(out, metadata),
            Self::Enqueued(receipt) => put_receipt(out, *receipt),
            Self::Settled(settled) => put_settled(out, settled),
            Self::QueueCreated { created } => put_bool(out, *created),
            Self::QueueList { queues, more } => {
                put_bool(out, *more);
                put_u32(out, length_u32(queues.len()));
                for queue in queues {
                    put_queue(out, queue);
                }
            }
            Self::Queue(queue) => put_queue(out, queue),
            Self::QueueConfigured { created, config } => {
                put_bool(out, *created);
                config.put(out);
            }
            Self::Subscription(answer) => answer.put(out),
            Self::Schedule(answer) => answer.put(out),
            Self::Error { text, .. } | Self::Fault { text, .. } => {
                put_str16(out, cut(text, TEXT_BYTES_MAX));
            }
            Self::Pong | Self::Subscribed | Self::CreditSet | Self::Unsubscribed => {}
            // Deliveries have an encoder of their own.
            Self::Dequeued(_) | Self::Peeked(_) | Self::Delivery { .. } => {}
            Self::QueueDeleted => {}
        }
    }
}

fn put_hello(out: &mut Vec<u8>, answer: &HelloAnswer) {
    put_u8(out, answer.version);
    put_bool(out, answer.resumed);
    put_u16(out, 0);
    put_u64(out, answer.features);
    put_u128(out, answer.session.0);
    put_u32(out, answer.node.0);
    put_u32(out, answer.frame_bytes_max);
    put_u32(out, answer.in_flight_max);
    put_str16(out, cut(&answer.server_name, PEER_NAME_BYTES_MAX));
}

fn put_metadata(out: &mut Vec<u8>, metadata: &Metadata) {
    put_u32(out, metadata.node.0);
    put_u16(out, metadata.shared_port);
    put_u16(out, 0);
    put_u32(out, length_u32(metadata.partitions.len()));
    for place in &metadata.partitions {
        put_u32(out, place.partition.0);
        put_u32(out, place.node.0);
        put_u16(out, place.port);
    }
}

fn put_receipt(out: &mut Vec<u8>, receipt: Receipt) {
    put_u64(out, receipt.range.first.0);
    put_u32(out, receipt.range.count);
    put_u8(out, receipt.class);
    put_u8(out, receipt.copies);
    put_bool(out, receipt.duplicate);
    put_bool(out, receipt.slow_down);
}

fn put_settled(out: &mut Vec<u8>, settled: &[Settled]) {
    put_u32(out, length_u32(settled.len()));
    for row in settled {
        put_u64(out, row.range.first.0);
        put_u32(out, row.range.count);
        put_u8(out, row.outcome.as_u8());
    }
}

fn put_queue(out: &mut Vec<u8>, queue: &QueueInfo) {
    put_str16(out, &queue.name);
    put_u32(out, queue.partition.0);
    put_u32(out, queue.lanes);
    put_u64(out, queue.created.0);
    put_u64(out, queue.start.0);
    put_u64(out, queue.end.0);
    put_u32(out, length_u32(queue.subscriptions.len()));
    for subscription in &queue.subscriptions {
        put_str16(out, &subscription.name);
        put_u64(out, subscription.ready);
        put_u64(out, subscription.leased);
        put_u64(out, subscription.delayed);
        put_u64(out, subscription.done);
        put_u32(out, subscription.consumers);
    }
}

fn settled_code(settled: &[Settled]) -> ErrorCode {
    if settled
        .iter()
        .any(|row| row.outcome == SettleOutcome::Stale)
    {
        ErrorCode::StaleLease
    } else {
        ErrorCode::Ok
    }
}

/// The longest prefix of whole characters within `bytes_max`.
fn cut(text: &str, bytes_max: usize) -> &str {
    let end = text.floor_char_boundary(bytes_max);
    text.get(..end).unwrap_or_default()
}
