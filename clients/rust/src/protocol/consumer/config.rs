//! What a consumer asks for.

use std::time::Duration;

use corelane_wire::{ConsumerId, Lane};

use super::SettleTarget;

/// What a consumer asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerConfig {
    /// The subscription.
    pub target: SettleTarget,
    /// Number of the consumer, unique on the connection.
    pub consumer: ConsumerId,
    /// How many messages it is willing to hold.
    pub credit: u32,
    /// How long a message stays leased.
    pub lease_ms: u32,
    /// Above so many bytes that wait to be taken, the credit is withdrawn until half of them are gone.
    pub buffer_bytes_max: usize,
    /// After so long without a sign that the broker knows the consumer, it is asked: of the deletion of a queue its
    /// consumers are told nothing.
    pub ask_after: Duration,
    /// A reader: after a reconnect the broker begins at the checkpoint again, so what is buffered goes with the connection.
    pub rereads: bool,
}

impl ConsumerConfig {
    /// The default subscription of a queue, with the usual bounds.
    pub fn new(queue: &str, consumer: ConsumerId) -> Self {
        Self {
            target: SettleTarget {
                queue: queue.to_owned(),
                lane: Lane(0),
                subscription: String::new(),
            },
            consumer,
            credit: 1_000,
            lease_ms: corelane_wire::limits::LEASE_MS_DEFAULT,
            buffer_bytes_max: 64 << 20,
            ask_after: Duration::from_secs(5),
            rereads: false,
        }
    }
}
