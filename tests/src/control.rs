//! The control port of a broker, as a monitoring system asks it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Context;

/// Status and body of the answer to a GET of `path`.
///
/// # Errors
/// If the broker does not answer, or not in HTTP.
pub fn get(control: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect(control)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP head")?;
    let status = head.split(' ').nth(1).context("no HTTP status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// Asks for `path` until the answer is the one that is waited for, and returns that; a test runner bounds how long.
///
/// # Errors
/// If the broker does not answer, or not in HTTP.
pub fn wait_for(
    control: SocketAddr,
    path: &str,
    is_wanted: impl Fn(&str) -> bool,
) -> anyhow::Result<(u16, String)> {
    loop {
        let (status, body) = get(control, path)?;
        if is_wanted(&body) {
            return Ok((status, body));
        }
        // A broker is not to be kept busy with answers.
        thread::sleep(Duration::from_millis(5));
    }
}

/// The counter `name` in an answer of `/metrics`, over all its labels.
///
/// # Errors
/// If a line of it is no counter.
pub fn counter(metrics: &str, name: &str) -> anyhow::Result<u64> {
    let mut sum = 0;
    for line in metrics.lines().filter(|line| line.starts_with(name)) {
        let (_, value) = line.rsplit_once(' ').context("a metric without a value")?;
        sum += value.trim_end_matches(".0").parse::<u64>()?;
    }
    Ok(sum)
}
