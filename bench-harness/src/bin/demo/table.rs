//! The table at the end.

use std::path::Path;
use std::time::Duration;

use corelane_bench::machine;
use corelane_bench::record::Latencies;

use crate::floors::Floors;
use crate::steady::{Load, Steady};

const MEDIAN: f64 = 0.5;
const LATE: f64 = 0.99;

/// Prints latencies beside floors.
pub(crate) fn print(folder: &Path, load: Load, steady: &Steady, floors: &Floors) {
    println!();
    println!("{}", machine::describe(folder));
    if !floors.is_direct() {
        println!("note: no O_DIRECT on this file system; floors and broker use the page cache");
    }
    println!(
        "{} messages of 256 bytes per second, sent one by one, for {} s",
        load.per_second, load.seconds
    );
    println!();
    println!("{:<26}{:>12}{:>12}{:>14}", "", "p50", "p99", "p50 : floor");
    row("enqueue to confirm", &steady.confirm, Some(floors));
    row("enqueue to deliver", &steady.deliver, Some(floors));
    row("floor: 4 KiB commit", &floors.commit, None);
    let echo = format!("floor: TCP echo, {} B", floors.frame_bytes);
    row(&echo, &floors.echo, None);
    println!();
}

/// The floor of a latency is one commit and one echo.
fn row(name: &str, latencies: &Latencies, floors: Option<&Floors>) {
    let ratio = floors.map_or_else(String::new, |floors| {
        let floor = floors.commit.at(MEDIAN) + floors.echo.at(MEDIAN);
        let ratio = latencies.at(MEDIAN).as_secs_f64() / floor.as_secs_f64();
        format!("{ratio:.2}")
    });
    println!(
        "{name:<26}{:>12}{:>12}{ratio:>14}",
        shown(latencies.at(MEDIAN)),
        shown(latencies.at(LATE))
    );
}

fn shown(duration: Duration) -> String {
    format!("{:.0} us", duration.as_secs_f64() * 1e6)
}
