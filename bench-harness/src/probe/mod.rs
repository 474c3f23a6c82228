//! Floors: the same work without the broker.

mod commit;
mod echo;

pub use commit::{CommitProbe, CommitReport};
pub use echo::EchoProbe;
