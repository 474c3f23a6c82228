//! What many connections cost a real broker: processor time, memory, and the latency of others.

mod meter;
mod pair;
mod report;
mod sockets;

pub use meter::{Meter, raise_file_limit};
pub use pair::{Latencies, Pair};
pub use report::{Report, Wanted};
pub use sockets::{Sources, await_end, greet};
