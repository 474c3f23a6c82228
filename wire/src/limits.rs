//! Every bound of the protocol, with the relations between them.
//!
//! A value above its bound is refused with a typed error; nothing here is an option, since peers rely on it.

/// Length of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 40;
/// Greatest length of a frame, header included.
pub const FRAME_BYTES_MAX: usize = (1 << 20) + 64 * KIB;
/// Greatest length of a frame before the client has said who it is.
pub const FRAME_BYTES_MAX_BEFORE_HELLO: usize = 8_192;
/// Greatest length of a queue, subscription or tenant name.
pub const NAME_BYTES_MAX: usize = 128;
/// Greatest length of a whole message entry: header, attributes and body.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Greatest length of a message batch, header included.
pub const BATCH_BYTES_MAX: usize = (1 << 20) + 32 * KIB;
/// Greatest number of messages in a batch.
pub const BATCH_MESSAGES_MAX: usize = 65_536;
/// Greatest length of one message's attributes together.
pub const ATTRIBUTES_BYTES_MAX: usize = 32 * KIB;
/// Greatest number of headers of one message.
pub const HEADERS_MAX: usize = 64;
/// Greatest length of a message's key; the least is 1.
pub const KEY_BYTES_MAX: usize = 1_024;
/// Greatest length of the messages of one delivery; a single message never exceeds it.
pub const DELIVERY_BYTES_MAX: usize = 1 << 20;
/// Greatest number of runs in one delivery; what does not fit goes with the next one.
pub const DELIVERY_RUNS_MAX: usize = 2_048;
/// Greatest number of messages that one dequeue may ask for.
pub const DEQUEUE_MESSAGES_MAX: u32 = 10_000;
/// Greatest credit of one consumer.
pub const CREDIT_MAX: u32 = 100_000;
/// Shortest lease duration.
pub const LEASE_MS_MIN: u32 = 1_000;
/// Longest lease duration: one day.
pub const LEASE_MS_MAX: u32 = 86_400_000;
/// Lease duration that clients ask for unless told otherwise.
pub const LEASE_MS_DEFAULT: u32 = 30_000;
/// Longest wait of one dequeue; a client that waits longer repeats it.
pub const WAIT_MS_MAX: u32 = 30_000;
/// Longest delay of a message that is given back: 366 days.
pub const DELAY_MS_MAX: u64 = 31_622_400_000;
/// Longest time that a queue keeps messages by their age: ten times that, ten years.
pub const RETENTION_MS_MAX: u64 = 10 * DELAY_MS_MAX;
/// Greatest number of entries in one ack, nack or extend.
pub const SETTLE_ENTRIES_MAX: usize = 10_000;
/// Greatest number of messages that one ack, nack or extend names; its answer may need a line for each.
pub const SETTLE_MESSAGES_MAX: usize = 65_536;
/// Greatest number of messages that one peek may ask for.
pub const PEEK_MESSAGES_MAX: u32 = 1_000;
/// Greatest number of queues in one answer to a list request.
pub const LIST_MAX: u32 = 1_000;
/// Greatest length of the queues in one answer to a list request; the answer says that there are more.
pub const LIST_BYTES_MAX: usize = 1 << 20;
/// Greatest number of subscriptions of one queue.
pub const SUBSCRIPTIONS_MAX: usize = 1_000;
/// Greatest length of the text that says why messages are rejected or a subscription paused.
pub const REASON_BYTES_MAX: usize = 256;
/// Greatest number of dead or parked messages that one request returns.
pub const RETURN_MAX: u32 = 10_000;
/// Greatest number of scheduled messages that one request cancels or moves.
pub const RESCHEDULE_MAX: u32 = 10_000;
/// Greatest number of lanes of a queue that this version serves.
pub const LANES_MAX: u32 = 1;
/// Greatest number of partitions of a node or cluster.
pub const PARTITIONS_MAX: usize = 65_536;
/// Greatest length of a client's or server's name in the greeting.
pub const PEER_NAME_BYTES_MAX: usize = 256;
/// Greatest length of a token.
pub const TOKEN_BYTES_MAX: usize = 1_024;
/// Greatest length of the text of an error; longer ones are cut.
pub const TEXT_BYTES_MAX: usize = 512;

const KIB: usize = 1_024;

// Sizes of the fixed parts, used only for the relations below.
const TARGET_BYTES_MAX: usize = 2 + NAME_BYTES_MAX + 4;
const RUN_BYTES: usize = 24;
const DELIVERY_FIXED_BYTES: usize = 4 + 24;
const SETTLE_ENTRY_BYTES: usize = 28;
const SETTLED_BYTES: usize = 13;
const PLACE_BYTES: usize = 10;
const SUBSCRIPTION_INFO_BYTES_MAX: usize = 2 + NAME_BYTES_MAX + 36;
const QUEUE_INFO_BYTES_MAX: usize =
    2 + NAME_BYTES_MAX + 36 + SUBSCRIPTIONS_MAX * SUBSCRIPTION_INFO_BYTES_MAX;
const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - FRAME_HEADER_BYTES;

const _: () = assert!(48 + MESSAGE_BYTES_MAX <= BATCH_BYTES_MAX);
const _: () = assert!(TARGET_BYTES_MAX + BATCH_BYTES_MAX <= BODY_BYTES_MAX);
const _: () = assert!(12 + ATTRIBUTES_BYTES_MAX <= MESSAGE_BYTES_MAX);
const _: () = assert!(ATTRIBUTES_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(MESSAGE_BYTES_MAX <= DELIVERY_BYTES_MAX);
const _: () = assert!(
    DELIVERY_FIXED_BYTES + DELIVERY_RUNS_MAX * RUN_BYTES + DELIVERY_BYTES_MAX <= BODY_BYTES_MAX
);
const _: () =
    assert!(2 * TARGET_BYTES_MAX + 16 + SETTLE_ENTRIES_MAX * SETTLE_ENTRY_BYTES <= BODY_BYTES_MAX);
const _: () = assert!(SETTLE_ENTRIES_MAX <= SETTLE_MESSAGES_MAX);
const _: () = assert!(4 + SETTLE_MESSAGES_MAX * SETTLED_BYTES <= BODY_BYTES_MAX);
const _: () = assert!(12 + PARTITIONS_MAX * PLACE_BYTES <= BODY_BYTES_MAX);
const _: () = assert!(QUEUE_INFO_BYTES_MAX <= LIST_BYTES_MAX);
const _: () = assert!(5 + LIST_BYTES_MAX <= BODY_BYTES_MAX);
const _: () = assert!(
    FRAME_HEADER_BYTES + 34 + PEER_NAME_BYTES_MAX + NAME_BYTES_MAX + TOKEN_BYTES_MAX
        <= FRAME_BYTES_MAX_BEFORE_HELLO
);
const _: () = assert!(LEASE_MS_MIN <= LEASE_MS_DEFAULT && LEASE_MS_DEFAULT <= LEASE_MS_MAX);
