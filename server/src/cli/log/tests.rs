use std::sync::{Condvar, Mutex};
use std::time::Instant;

use super::*;

/// Longest that the thread may take; never waited for in full.
const PATIENCE: Duration = Duration::from_secs(20);

/// Takes nothing until it is opened.
#[derive(Clone, Default)]
struct Pipe {
    state: Arc<Mutex<State>>,
    opened: Arc<Condvar>,
}

#[derive(Default)]
struct State {
    is_open: bool,
    bytes: Vec<u8>,
}

impl Pipe {
    fn open(&self) {
        self.state.lock().unwrap().is_open = true;
        self.opened.notify_all();
    }

    fn text(&self) -> String {
        String::from_utf8(self.state.lock().unwrap().bytes.clone()).unwrap()
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let state = self.state.lock().unwrap();
        let mut state = self.opened.wait_while(state, |it| !it.is_open).unwrap();
        state.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_are_written_in_order_before_a_flush_returns() {
    let pipe = Pipe::default();
    pipe.open();
    let mut lines = Lines::to(pipe.clone()).unwrap();
    for line in ["one\n", "two\n", "three\n"] {
        lines.write_all(line.as_bytes()).unwrap();
    }
    lines.flush_briefly();
    assert_eq!(pipe.text(), "one\ntwo\nthree\n");
}

#[test]
fn pipe_that_nobody_reads_costs_lines_and_no_time() {
    let pipe = Pipe::default();
    let mut lines = Lines::to(pipe.clone()).unwrap();
    // One may be in the hands of the thread.
    for _ in 0..LINES_MAX + 11 {
        lines.write_all(b"x\n").unwrap();
    }
    lines.flush_briefly();
    assert_eq!(pipe.text(), "");
    pipe.open();
    let begun = Instant::now();
    let count = |text: &str| text.lines().filter(|line| *line == "x").count();
    while count(&pipe.text()) < LINES_MAX {
        std::thread::yield_now();
        assert!(begun.elapsed() < PATIENCE, "{}", pipe.text().len());
    }
    lines.flush_briefly();
    let text = pipe.text();
    assert!(count(&text) <= LINES_MAX + 1, "one was with the thread");
    assert!(text.contains(" log lines were dropped: stderr"), "{text}");
}
