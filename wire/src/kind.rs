//! The kind byte of a frame.
//!
//! Bit 0x80 says that the server answers; what the server sends unasked has kinds of its own.

/// Greets: version, session, tenant, token. The first request on every connection.
pub const HELLO: u8 = 0x01;
/// Asks for a sign of life.
pub const PING: u8 = 0x02;
/// Asks where the partitions are.
pub const METADATA: u8 = 0x03;
/// Adds a message batch to a lane.
pub const ENQUEUE: u8 = 0x10;
/// Takes messages under lease.
pub const DEQUEUE: u8 = 0x11;
/// Asks for pushed deliveries.
pub const SUBSCRIBE: u8 = 0x12;
/// Says how many messages a consumer is willing to hold.
pub const CREDIT: u8 = 0x13;
/// Ends pushed deliveries.
pub const UNSUBSCRIBE: u8 = 0x14;
/// Finishes messages.
pub const ACK: u8 = 0x20;
/// Gives messages back.
pub const NACK: u8 = 0x21;
/// Lengthens leases.
pub const EXTEND: u8 = 0x22;
/// Looks at messages without taking them.
pub const PEEK: u8 = 0x23;
/// Gives messages back because an attempt failed, or sets them aside.
pub const REJECT: u8 = 0x24;
/// Creates a queue.
pub const QUEUE_CREATE: u8 = 0x30;
/// Lists the queues of a partition.
pub const QUEUE_LIST: u8 = 0x31;
/// Shows one queue.
pub const QUEUE_SHOW: u8 = 0x32;
/// Deletes a queue.
pub const QUEUE_DELETE: u8 = 0x33;
/// Creates a subscription.
pub const SUBSCRIPTION_CREATE: u8 = 0x50;
/// Shows one subscription.
pub const SUBSCRIPTION_SHOW: u8 = 0x51;
/// Replaces the configuration of a subscription.
pub const SUBSCRIPTION_CONFIGURE: u8 = 0x52;
/// Lets a subscription give nothing out.
pub const SUBSCRIPTION_PAUSE: u8 = 0x53;
/// Lets a subscription give messages out again.
pub const SUBSCRIPTION_RESUME: u8 = 0x54;
/// Begins a subscription anew elsewhere.
pub const SUBSCRIPTION_SEEK: u8 = 0x55;
/// Deletes a subscription.
pub const SUBSCRIPTION_DELETE: u8 = 0x56;
/// Finishes messages of a subscription without delivering them.
pub const SUBSCRIPTION_PURGE: u8 = 0x57;
/// Lists dead or parked messages.
pub const ASIDE_LIST: u8 = 0x58;
/// Makes dead or parked messages ready.
pub const ASIDE_RETURN: u8 = 0x59;
/// Moves the checkpoint of a reader.
pub const SUBSCRIPTION_CHECKPOINT: u8 = 0x5a;
/// Replaces or shows the configuration of a queue.
pub const QUEUE_CONFIGURE: u8 = 0x5b;
/// Lists messages that are not due yet.
pub const SCHEDULE_LIST: u8 = 0x5c;
/// Finishes messages that are not due yet.
pub const SCHEDULE_CANCEL: u8 = 0x5d;
/// Gives messages that are not due yet another due time.
pub const SCHEDULE_MOVE: u8 = 0x5e;
/// Says to which queue a subscription's dead messages go.
pub const SUBSCRIPTION_DEAD_LETTERS: u8 = 0x60;
/// Server to client, unasked: messages for a consumer.
pub const DELIVERY: u8 = 0x40;
/// Answer to any request that is refused.
pub const ERROR: u8 = 0x80;
/// Answer to ack, nack, reject and extend alike.
pub const SETTLED: u8 = ACK | ANSWER_BIT;
/// Server to client, unasked: why it closes the connection.
pub const FAULT: u8 = 0xff;

/// The kind of the answer to a request that succeeds.
pub const fn answer(request: u8) -> u8 {
    match request {
        NACK | REJECT | EXTEND => SETTLED,
        other => other | ANSWER_BIT,
    }
}

const ANSWER_BIT: u8 = 0x80;
