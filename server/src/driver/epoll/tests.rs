use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use corelane_storage::{Buffer, DirectoryOptions, SegmentNumber, SpareId, Task};
use corelane_wire::{PartitionId, ShardId};

use super::*;

/// Longest that any one thing in these tests may take; never waited for in full.
const PATIENCE: Duration = Duration::from_secs(20);

/// A driver on a directory of its own, and what it completed.
struct Bench {
    driver: Epoll,
    done: Vec<Done>,
    directory: Directory,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with(&EpollOptions::default())
    }

    fn with(options: &EpollOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = open_directory(folder.path());
        let driver = Epoll::new(options, &directory, Clock::start()).unwrap();
        Self {
            driver,
            done: Vec::new(),
            directory,
            _folder: folder,
        }
    }

    /// Waits until `found` takes something out of the completions.
    fn until<T>(&mut self, mut found: impl FnMut(&mut Vec<Done>) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = found(&mut self.done) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing but {:?}", self.done);
            self.driver.wait(Some(PATIENCE), &mut self.done).unwrap();
        }
    }

    /// The next completion of a token.
    fn next(&mut self, token: Token) -> Done {
        self.until(|done| {
            let index = done.iter().position(|done| done.token == token)?;
            Some(done.remove(index))
        })
    }

    /// Nothing more has completed, and nothing does within one turn.
    fn expect_quiet(&mut self) {
        self.driver
            .wait(Some(Duration::ZERO), &mut self.done)
            .unwrap();
        assert!(self.done.is_empty(), "unexpected {:?}", self.done);
    }

    /// Exactly these complete, in this order.
    fn next_in_order(&mut self, tokens: &[Token]) {
        self.until(|done| (done.len() >= tokens.len()).then_some(()));
        let order: Vec<_> = self.done.iter().map(|done| done.token).collect();
        assert_eq!(order, tokens);
        self.done.clear();
    }

    fn listen(&mut self) -> (Listener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (self.driver.add_listener(listener).unwrap(), address)
    }

    /// A connection to the driver, with the driver's end of it.
    fn connect(&mut self) -> (TcpStream, Socket) {
        let (listener, address) = self.listen();
        let accept = Token(u64::from(listener.0) + 1_000);
        assert!(
            self.driver
                .submit(accept, Op::Accept { listener })
                .is_none()
        );
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let done = self.next(accept);
        let Data::Socket(socket) = done.data else {
            panic!("no socket in {done:?}");
        };
        assert!(done.more);
        self.driver.cancel(accept);
        assert_eq!(self.next(accept).result, Err(Errno::CANCELED));
        (stream, socket)
    }

    fn arm(&mut self, token: Token, socket: Socket) {
        assert!(self.driver.submit(token, Op::Recv { socket }).is_none());
    }

    /// Receives until `count` bytes have come.
    fn receive(&mut self, token: Token, count: usize) -> Vec<u8> {
        let mut received = Vec::new();
        while received.len() < count {
            let done = self.next(token);
            let Data::Received(buffer) = done.data else {
                panic!("no bytes in {done:?}");
            };
            assert!(done.more);
            received.extend_from_slice(self.driver.bytes(&buffer));
            self.driver.recycle(buffer);
        }
        received
    }

    fn send(&mut self, token: Token, socket: Socket, bytes: &[u8]) -> Option<Done> {
        let buffer = bytes.to_vec();
        self.driver.submit(token, Op::Send { socket, buffer })
    }

    /// Does an operation that is not multishot.
    fn run(&mut self, token: Token, op: Op) -> Done {
        self.driver
            .submit(token, op)
            .unwrap_or_else(|| self.next(token))
    }

    /// An installed segment of a partition, opened.
    fn segment(&mut self, bytes: u64) -> File {
        let spare = SpareId(1);
        let (partition, segment) = (PartitionId(0), SegmentNumber(0));
        let make = Task::MakeSpare { spare, bytes };
        let install = Task::Install {
            spare,
            partition,
            segment,
        };
        for task in [make, install] {
            let done = self.run(Token(1), Op::Housekeeping(task));
            assert_eq!(done.result, Ok(0));
        }
        let done = self.run(Token(2), Op::OpenSegment { partition, segment });
        let Data::File(file) = done.data else {
            panic!("no file: {done:?}");
        };
        file
    }

    /// Numbers a file that is no segment.
    fn adopt(&mut self, path: &Path) -> File {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let Data::File(file) = self.driver.number(Token(0), file).data else {
            panic!("no file");
        };
        file
    }
}

fn open_directory(path: &Path) -> Directory {
    Directory::open(path, &DirectoryOptions::default()).unwrap()
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(bytes).collect()
}

const RECV: Token = Token(10);
const SEND: Token = Token(11);
const CLOSE: Token = Token(12);

#[test]
fn no_wake_from_another_thread_is_lost() {
    const WAKES: u32 = 10_000;
    let mut bench = Bench::new();
    let waker = bench.driver.waker();
    let (ask, asked) = std::sync::mpsc::channel();
    let peer = std::thread::spawn(move || {
        for () in asked {
            waker.wake();
        }
    });
    for _ in 0..WAKES {
        let begun = Instant::now();
        ask.send(()).unwrap();
        bench.driver.wait(Some(PATIENCE), &mut bench.done).unwrap();
        assert!(begun.elapsed() < PATIENCE, "a wake was lost");
        assert!(bench.done.is_empty());
    }
    drop(ask);
    peer.join().unwrap();
}

#[test]
fn wake_before_the_wait_ends_it() {
    let mut first = Bench::new();
    let mut second = Bench::new();
    let peers = vec![first.driver.waker(), second.driver.waker()];
    first.driver.set_peers(peers);
    let done = first.run(Token(1), Op::Wake { shard: ShardId(1) });
    assert_eq!(done.result, Ok(0));
    let begun = Instant::now();
    second
        .driver
        .wait(Some(PATIENCE), &mut second.done)
        .unwrap();
    assert!(begun.elapsed() < PATIENCE);
    let done = first.run(Token(1), Op::Wake { shard: ShardId(2) });
    assert_eq!(done.result, Err(BAD_NUMBER));
}

#[test]
fn wait_ends_with_its_timeout_when_nothing_happens() {
    let mut bench = Bench::new();
    let begun = Instant::now();
    let pause = Duration::from_millis(20);
    bench.driver.wait(Some(pause), &mut bench.done).unwrap();
    assert!(begun.elapsed() >= pause);
    bench.expect_quiet();
}

#[test]
fn node_time_of_a_driver_never_goes_back() {
    let bench = Bench::new();
    let mut last = bench.driver.now();
    for _ in 0..10_000 {
        let now = bench.driver.now();
        assert!(now >= last);
        last = now;
    }
}

mod files;
mod streams;
