//! What is measured: a fixed walk of one node through enqueues, deliveries and acks.

use super::client::Client;
use super::node::{Node, Placement};

/// Messages of a step.
pub(super) const MESSAGES: u64 = 8_000;
/// Messages of the warm-up, in which every queue, buffer and table is used once.
const WARM_UP_MESSAGES: u64 = 1_000;
/// Messages that enter or leave in one round, if enough of them are there.
const ROUND_MESSAGES: u64 = 200;
/// Messages that are on their way and not confirmed, at most.
const WINDOW_MESSAGES: u64 = 2 * ROUND_MESSAGES;
/// Messages of a batch, and of a range of acks.
const BATCH_MESSAGES: u64 = 100;
/// More than any step delivers.
const CREDIT: u32 = 100_000;

/// The steps in their order; the warm-up before them is not measured.
pub const STEPS: [&str; 7] = [
    "enqueue",
    "batch_enqueue",
    "deliver",
    "ack",
    "deliver_batches",
    "ack_ranges",
    "together",
];

/// Walks through all steps. Under Callgrind, [`count`](super::count()) reads what each has cost.
///
/// # Panics
/// If the broker answers anything but what the walk wants.
pub fn walk(placement: Placement) {
    let mut walk = Walk::new(placement);
    walk.warm_up();
    step_ends();
    for step in STEPS {
        walk.step(step);
        step_ends();
    }
}

/// Callgrind writes down what was counted, and begins anew, when this is called; it knows it by its name.
#[inline(never)]
fn step_ends() {
    std::hint::black_box(());
}

struct Walk {
    node: Node,
    producer: Client,
    consumer: Client,
    consumers: u32,
}

impl Walk {
    fn new(placement: Placement) -> Self {
        let mut node = Node::new(placement);
        Self {
            producer: Client::connect(&mut node, placement),
            consumer: Client::connect(&mut node, placement),
            consumers: 0,
            node,
        }
    }

    /// Every step in small, in queues of its own.
    fn warm_up(&mut self) {
        for (queue, batch) in [(0, 1), (1, BATCH_MESSAGES)] {
            self.enqueue(queue, WARM_UP_MESSAGES, batch);
            self.deliver(queue, WARM_UP_MESSAGES);
            self.ack(queue, batch);
        }
        self.together(2, WARM_UP_MESSAGES);
    }

    /// One step, from rest to rest.
    fn step(&mut self, step: &str) {
        match step {
            "enqueue" => self.enqueue(3, MESSAGES, 1),
            "batch_enqueue" => self.enqueue(4, MESSAGES, BATCH_MESSAGES),
            "deliver" => self.deliver(3, MESSAGES),
            "ack" => self.ack(3, 1),
            "deliver_batches" => self.deliver(4, MESSAGES),
            "ack_ranges" => self.ack(4, BATCH_MESSAGES),
            "together" => self.together(5, MESSAGES),
            other => panic!("no step is called {other}"),
        }
    }
}

impl Walk {
    /// Enqueues in batches of so many, with a window of unconfirmed messages.
    fn enqueue(&mut self, queue: usize, messages: u64, batch: u64) {
        let queue = self.node.queue(queue);
        let before = self.producer.enqueued;
        let mut sent = 0;
        while self.producer.enqueued - before < messages {
            let confirmed = self.producer.enqueued - before;
            sent = self.send(
                &queue,
                sent,
                (confirmed + WINDOW_MESSAGES).min(messages),
                batch,
            );
            self.node.round();
            self.producer.read(&mut self.node);
        }
        self.node.rest();
    }

    /// Sends the share of one round, up to `sent_max` messages in all; tells how many are sent then.
    fn send(&mut self, queue: &str, mut sent: u64, sent_max: u64, batch: u64) -> u64 {
        let share_max = sent_max.min(sent + ROUND_MESSAGES);
        while sent + batch <= share_max {
            self.producer.enqueue(queue, sent / batch, batch);
            sent += batch;
        }
        self.producer.flush(&mut self.node);
        sent
    }

    /// Subscribes and takes all that waits in the queue.
    fn deliver(&mut self, queue: usize, messages: u64) {
        let queue = self.node.queue(queue);
        let before = self.consumer.delivered;
        self.subscribe(&queue);
        while self.consumer.delivered - before < messages {
            self.node.round();
            self.consumer.read(&mut self.node);
        }
        self.node.rest();
    }

    fn subscribe(&mut self, queue: &str) {
        self.consumers += 1;
        self.consumer.subscribe(queue, self.consumers, CREDIT);
        self.consumer.flush(&mut self.node);
    }

    /// Acks all that was delivered, in ranges of so many, with a window of unconfirmed messages.
    fn ack(&mut self, queue: usize, range: u64) {
        let queue = self.node.queue(queue);
        let messages = self.consumer.delivered - self.consumer.acked;
        let before = self.consumer.acked;
        let mut sent = 0;
        while self.consumer.acked - before < messages {
            let confirmed = self.consumer.acked - before;
            let sent_max = (confirmed + WINDOW_MESSAGES).min(sent + ROUND_MESSAGES);
            while sent < sent_max && sent < messages {
                sent += self.consumer.ack(&queue, range);
            }
            self.consumer.flush(&mut self.node);
            self.node.round();
            self.consumer.read(&mut self.node);
        }
        self.node.rest();
    }

    /// Enqueues singly while all that comes is delivered, and acked in ranges as a client does.
    fn together(&mut self, queue: usize, messages: u64) {
        let queue = self.node.queue(queue);
        let (enqueued, acked) = (self.producer.enqueued, self.consumer.acked);
        self.subscribe(&queue);
        let mut sent = 0;
        while self.consumer.acked - acked < messages {
            let confirmed = self.producer.enqueued - enqueued;
            sent = self.send(&queue, sent, (confirmed + WINDOW_MESSAGES).min(messages), 1);
            while self.consumer.ack(&queue, u64::MAX) > 0 {}
            self.consumer.flush(&mut self.node);
            self.node.round();
            self.producer.read(&mut self.node);
            self.consumer.read(&mut self.node);
        }
        self.node.rest();
    }
}
