//! The checker: judges the history of a seed as it streams by. It shares no code with the broker's core.
//!
//! | rule | says |
//! |---|---|
//! | C1 | what was confirmed was delivered to each subscription that covers it, and is found done after the drain |
//! | C2 | nothing was delivered or peeked that was not enqueued; bodies are whole |
//! | C3 | nothing is leased again after its ack was confirmed; no ack of a superseded lease is accepted |
//! | C4 | a `LeaseId` belongs to one receiver and names an offset once (the log judges the rest) |
//! | C5 | attempts begin at 1 (the log judges the rest); epochs only grow |
//! | C7 | one offset per message, one message per offset, one receipt per batch |
//! | C11 | what was refused has no effect |
//! | C12 | duplicates are counted, and are 0 in a quiet seed |
//! | order | a quiet seed's first deliveries are in the order of offsets |
//! | credit | a consumer never holds more than its credit |
//! | delete | every confirmed deletion of a queue is in the log |

pub mod evidence;
pub mod history;
mod ledger;
pub mod verdict;

#[cfg(test)]
mod tests;

pub use history::{
    BatchKey, Body, Delivered, Event, QueueIndex, Receiver, SubscriptionIndex, SubscriptionKey,
    Token, Verb,
};
pub use ledger::{Checker, Message};

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: &'static str,
    /// What happened.
    pub text: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.rule, self.text)
    }
}

/// What a judgement says.
pub type Verdict<T = ()> = Result<T, Violation>;

/// A broken rule, told.
///
/// # Errors
/// Always: the violation is the error.
pub fn violation<T>(rule: &'static str, text: String) -> Verdict<T> {
    Err(Violation { rule, text })
}
