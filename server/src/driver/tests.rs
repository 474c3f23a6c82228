//! What every driver must do, run over each of them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use corelane_storage::{Directory, DirectoryOptions, SpareId, Task, Volumes};

use super::*;

/// What the tests need of a driver besides the seam.
pub(super) trait Tested: Driver + Send + Sized {
    /// A driver, or why this machine has none.
    fn start(sizes: &Sizes, volumes: &Volumes) -> Result<Self, String>;
    fn listen(&mut self, listener: TcpListener) -> Listener;
    /// Has each of the drivers know all of them, in their order.
    fn introduce(drivers: &mut [&mut Self]);
    fn waker(&self) -> Waker;
    fn stats(&self) -> Arc<DriverStats>;
    /// Numbers a file that is no segment.
    fn adopt(&mut self, file: std::fs::File) -> File;
}

/// What the tests set about a driver.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) recv_buffers: u32,
    pub(super) recv_buffer_bytes: usize,
    pub(super) sockets_max: usize,
    pub(super) commit_mode: CommitMode,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            recv_buffers: 256,
            recv_buffer_bytes: 32 * 1_024,
            sockets_max: 16_384,
            commit_mode: CommitMode::Fdatasync,
        }
    }
}

/// Makes a test of each function and each driver. A machine that refuses `io_uring` says so.
macro_rules! over_every_driver {
    ($($name:ident),+ $(,)?) => {
        mod epoll {
            $(#[test]
            fn $name() {
                super::$name::<crate::driver::epoll::Epoll>();
            })+
        }

        mod uring {
            $(#[test]
            fn $name() {
                if crate::driver::tests::has_uring() {
                    super::$name::<crate::driver::uring::Uring>();
                }
            })+
        }

        #[cfg(feature = "glommio")]
        mod glommio {
            $(#[test]
            fn $name() {
                if crate::driver::tests::has_uring() {
                    super::$name::<crate::driver::glommio::Glommio>();
                }
            })+
        }
    };
}

/// Whether this machine has `io_uring`; tells if not.
pub(super) fn has_uring() -> bool {
    let folder = tempfile::tempdir().unwrap();
    match crate::driver::uring::check(folder.path()) {
        Ok(()) => true,
        Err(refusal) => {
            eprintln!("skipped: {refusal}");
            false
        }
    }
}

/// Longest that any one thing in these tests may take; never waited for in full.
const PATIENCE: Duration = Duration::from_secs(20);

/// A driver on a directory of its own, and what it completed.
pub(super) struct Bench<D> {
    pub(super) driver: D,
    pub(super) done: Vec<Done>,
    /// Room of the driver's sockets for what is sent, if it shall be small.
    pub(super) send_room: Option<usize>,
    volumes: Volumes,
    _folder: tempfile::TempDir,
}

impl<D: Tested> Bench<D> {
    pub(super) fn new() -> Self {
        Self::with(&Sizes::default())
    }

    pub(super) fn with(sizes: &Sizes) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let volumes = open_volumes(folder.path());
        let driver = D::start(sizes, &volumes).unwrap();
        Self {
            driver,
            done: Vec::new(),
            send_room: None,
            volumes,
            _folder: folder,
        }
    }

    /// Waits until `found` takes something out of the completions.
    pub(super) fn until<T>(&mut self, mut found: impl FnMut(&mut Vec<Done>) -> Option<T>) -> T {
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
    pub(super) fn next(&mut self, token: Token) -> Done {
        self.until(|done| {
            let index = done.iter().position(|done| done.token == token)?;
            Some(done.remove(index))
        })
    }

    /// One turn that does not block.
    pub(super) fn turn(&mut self) {
        let timeout = Some(Duration::ZERO);
        self.driver.wait(timeout, &mut self.done).unwrap();
    }

    /// Nothing more has completed, and nothing does within one turn.
    pub(super) fn expect_quiet(&mut self) {
        self.turn();
        assert!(self.done.is_empty(), "unexpected {:?}", self.done);
    }

    /// Takes what has been received meanwhile out of the completions.
    pub(super) fn recycle_received(&mut self) {
        for done in std::mem::take(&mut self.done) {
            if let Data::Received(buffer) = done.data {
                self.driver.recycle(buffer);
            } else {
                self.done.push(done);
            }
        }
    }

    pub(super) fn listen(&mut self) -> (Listener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Some(bytes) = self.send_room {
            // What is accepted inherits it.
            let listener = socket2::SockRef::from(&listener);
            listener.set_send_buffer_size(bytes).unwrap();
        }
        let address = listener.local_addr().unwrap();
        (self.driver.listen(listener), address)
    }

    /// A connection to the driver, with the driver's end of it.
    pub(super) fn connect(&mut self) -> (TcpStream, Socket) {
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

    pub(super) fn arm(&mut self, token: Token, socket: Socket) {
        assert!(self.driver.submit(token, Op::Recv { socket }).is_none());
    }

    /// Receives until `count` bytes have come.
    pub(super) fn receive(&mut self, token: Token, count: usize) -> Vec<u8> {
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

    pub(super) fn send(&mut self, token: Token, socket: Socket, bytes: &[u8]) -> Option<Done> {
        let buffer = bytes.to_vec();
        self.driver.submit(token, Op::Send { socket, buffer })
    }

    /// Sends and waits for the end.
    fn send_whole(&mut self, socket: Socket, bytes: &[u8]) -> Result<usize, Errno> {
        let buffer = bytes.to_vec();
        self.run(SEND, Op::Send { socket, buffer }).result
    }

    /// Does an operation that is not multishot.
    pub(super) fn run(&mut self, token: Token, op: Op) -> Done {
        if let Some(done) = self.driver.submit(token, op) {
            return done;
        }
        // A send that has left may be reported late where a wait would have to end for it alone.
        self.turn();
        self.next(token)
    }

    /// An installed segment of a partition, opened.
    pub(super) fn segment(&mut self, bytes: u64) -> File {
        let spare = SpareId(1);
        let (partition, segment) = (PartitionId(0), SegmentNumber(0));
        let make = Task::MakeSpare { spare, bytes };
        let install = Task::Install {
            spare,
            partition,
            segment,
        };
        for task in [make, install] {
            let done = self.run(Token(1), Op::Housekeeping(Chore::Task(task)));
            assert_eq!(done.result, Ok(1));
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
            .open(path);
        self.driver.adopt(file.unwrap())
    }
}

fn open_volumes(path: &Path) -> Volumes {
    let directory = Directory::open(path, &DirectoryOptions::default());
    directory.unwrap().into()
}

pub(super) fn pattern(bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(bytes).collect()
}

const RECV: Token = Token(10);
const SEND: Token = Token(11);
const CLOSE: Token = Token(12);

over_every_driver!(
    wait_ends_with_its_timeout_when_nothing_happens,
    node_time_of_a_driver_never_goes_back,
);

fn wait_ends_with_its_timeout_when_nothing_happens<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let begun = Instant::now();
    let pause = Duration::from_millis(20);
    bench.driver.wait(Some(pause), &mut bench.done).unwrap();
    assert!(begun.elapsed() >= pause);
    bench.expect_quiet();
}

fn node_time_of_a_driver_never_goes_back<D: Tested>() {
    let bench = Bench::<D>::new();
    let mut last = bench.driver.now();
    for _ in 0..10_000 {
        let now = bench.driver.now();
        assert!(now >= last);
        last = now;
    }
}

mod descriptors;
mod files;
mod hostile;
mod streams;
mod wakes;
