//! The message batch: the same bytes on the wire, in the log and, sliced, in a delivery.
//!
//! Owns the encodings of a message entry (`entry`) and of a batch (`batch`).
//! Called by clients, which encode, and by brokers and clients, which check; nobody encodes a message anew.
//!
//! Invariants:
//! (M1) Every run of entries can be sliced out of a batch and is checked by itself.
//! (M2) An entry that passed [`Message::read`] is taken apart without a further error.

mod batch;
mod batch_header;
mod entry;

pub use batch::{
    BATCH_HEADER_BYTES, Batch, BatchBuilder, BatchError, CLASS_DURABLE, CLASS_MEMORY, renumber,
};
pub use batch_header::BatchPart;
pub use entry::{
    ENTRY_HEADER_BYTES, Header, Headers, Message, MessageError, Messages, OutgoingMessage,
    attribute_name,
};

#[cfg(test)]
mod tests;
