use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker as TaskWaker};
use std::time::Duration;

use corelane_client::transport::{Connect as _, Transport};
use corelane_storage::{Directory, DirectoryOptions};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};

use super::*;
use crate::clock::Clock;
use crate::driver::epoll::{Epoll, EpollOptions};
use crate::driver::{Data, Done, Driver, Errno, Op, RecvBuffer, Socket, Token};

const ACCEPT: Token = Token(1);
const RECV: Token = Token(2);
const SEND: Token = Token(3);
const CLOSE: Token = Token(4);

/// Longer than anything here takes: a wait that nobody ends fails the test by its count of turns.
const LONG: Option<Duration> = Some(Duration::from_mins(1));

struct Side {
    driver: InProcess<Epoll>,
    connector: InProcessConnector,
    _folder: tempfile::TempDir,
}

fn side() -> Side {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(folder.path(), &DirectoryOptions::default()).unwrap();
    let inner = Epoll::new(&EpollOptions::default(), &directory.into(), Clock::start());
    let inner = inner.unwrap();
    let door = Door::new(inner.waker());
    Side {
        connector: InProcessConnector::new(vec![(7, Arc::clone(&door))]),
        driver: InProcess::new(inner, door),
        _folder: folder,
    }
}

impl Side {
    /// What the next waits bring, once there is something.
    fn wait(&mut self) -> Vec<Done> {
        let mut found = Vec::new();
        while found.is_empty() {
            self.driver.wait(LONG, &mut found).unwrap();
        }
        found
    }

    /// A client and the shard's number for it.
    fn connection(&mut self) -> (Box<dyn Transport>, Socket) {
        let listener = IN_PROCESS;
        assert!(
            self.driver
                .submit(ACCEPT, Op::Accept { listener })
                .is_none()
        );
        let client = self.connector.connect(Some(7)).unwrap();
        let found = self.wait();
        let [
            Done {
                token: ACCEPT,
                more: true,
                data: Data::Socket(socket),
                ..
            },
        ] = found[..]
        else {
            panic!("{found:?}");
        };
        self.driver.cancel(ACCEPT);
        assert_eq!(self.wait()[0].result, Err(Errno::CANCELED));
        (client, socket)
    }

    fn send(&mut self, socket: Socket, bytes: usize) -> Option<Done> {
        let buffer = vec![5; bytes];
        self.driver.submit(SEND, Op::Send { socket, buffer })
    }
}

fn received(done: &Done) -> &[u8] {
    let Data::Received(RecvBuffer::Owned(bytes)) = &done.data else {
        panic!("{done:?}");
    };
    assert!(done.more && done.result == Ok(bytes.len()));
    bytes
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

#[test]
fn bytes_written_before_an_end_goes_are_read_before_the_end() {
    let mut side = side();
    let (mut client, socket) = side.connection();
    block_on(client.write_all(b"farewell")).unwrap();
    drop(client);
    assert!(side.driver.submit(RECV, Op::Recv { socket }).is_none());
    let found = side.wait();
    assert_eq!(received(&found[0]), b"farewell");
    assert!(found[1].result == Ok(0) && !found[1].more);
    let sent = side.send(socket, 1).expect("it fails at once");
    assert_eq!(sent.result, Err(Errno::BROKEN_PIPE));

    let (mut client, socket) = side.connection();
    let sent = side.send(socket, 3).expect("there is room");
    assert_eq!(sent.result, Ok(3));
    let closed = side.driver.submit(CLOSE, Op::Close { socket });
    assert_eq!(closed.expect("nothing is in flight").result, Ok(0));
    let mut all = Vec::new();
    block_on(client.read_to_end(&mut all)).unwrap();
    assert_eq!(all, [5; 3]);
    block_on(client.write_all(b"more")).unwrap_err();
}

#[test]
fn full_ring_makes_its_writer_wait_for_the_reader() {
    const BYTES: usize = 5 << 20;
    let mut side = side();
    let (mut client, socket) = side.connection();
    assert!(
        side.send(socket, BYTES).is_none(),
        "more than the ring holds"
    );
    let (tell, told) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; BYTES];
        block_on(client.read_exact(&mut all)).unwrap();
        assert!(all.iter().all(|&byte| byte == 5));
        // The other way the shard reads nothing, so that this ring fills.
        let mut context = Context::from_waker(TaskWaker::noop());
        let mut written = 0;
        while let Poll::Ready(bytes) = Pin::new(&mut client).poll_write(&mut context, &all) {
            written += bytes.unwrap();
        }
        tell.send(written).unwrap();
        block_on(client.write_all(&all[written..])).unwrap();
        client
    });
    let found = side.wait();
    assert!(found[0].token == SEND && found[0].result == Ok(BYTES));
    assert_eq!(told.recv().unwrap(), 1 << 20, "and no further");
    assert!(side.driver.submit(RECV, Op::Recv { socket }).is_none());
    let mut count = 0;
    while count < BYTES {
        count += side
            .wait()
            .iter()
            .map(|it| received(it).len())
            .sum::<usize>();
    }
    assert_eq!(count, BYTES);
    drop(reader.join().unwrap());
}

#[test]
fn cancelled_operations_end_once() {
    let mut side = side();
    let (client, socket) = side.connection();
    assert!(side.driver.submit(RECV, Op::Recv { socket }).is_none());
    assert!(side.send(socket, 4 << 20).is_none());
    side.driver.cancel(RECV);
    side.driver.cancel(RECV);
    side.driver.cancel(SEND);
    let found = side.wait();
    let ended: Vec<_> = found.iter().map(|done| (done.token, done.result)).collect();
    let canceled = Err(Errno::CANCELED);
    assert_eq!(ended, [(RECV, canceled), (SEND, canceled)]);
    assert!(matches!(&found[1].data, Data::Sent(buffer) if buffer.len() == 4 << 20));
    drop(client);
}

/// Many small round trips, so that both sides fall asleep most of the time.
#[test]
fn no_wake_up_is_lost() {
    const ROUNDS: usize = 20_000;
    let mut side = side();
    let (mut client, socket) = side.connection();
    let pinging = std::thread::spawn(move || {
        block_on(async {
            let mut byte = [0];
            for round in 0..ROUNDS {
                client.write_all(&[round.to_le_bytes()[0]]).await.unwrap();
                client.read_exact(&mut byte).await.unwrap();
                assert_eq!(byte[0], round.to_le_bytes()[0]);
            }
        });
    });
    assert!(side.driver.submit(RECV, Op::Recv { socket }).is_none());
    for _ in 0..ROUNDS {
        let mut found = Vec::new();
        while found.is_empty() {
            let begun = std::time::Instant::now();
            side.driver.wait(LONG, &mut found).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(30), "it overslept");
        }
        let buffer = received(&found[0]).to_vec();
        let sent = side.driver.submit(SEND, Op::Send { socket, buffer });
        assert_eq!(sent.expect("there is room").result, Ok(1));
    }
    pinging.join().unwrap();
}

#[test]
fn nobody_comes_in_when_the_driver_has_gone() {
    let mut side = side();
    let (mut client, _) = side.connection();
    let mut waiting = side.connector.connect(None).unwrap();
    let Side {
        driver, connector, ..
    } = side;
    drop(driver);
    block_on(async {
        for end in [&mut waiting, &mut client] {
            let mut room = [0; 4];
            let mut buffer = ReadBuf::new(&mut room);
            let read = poll_fn(|context| Pin::new(&mut *end).poll_read(context, &mut buffer));
            read.await.unwrap();
            assert!(buffer.filled().is_empty(), "it has ended");
        }
    });
    let error = connector.connect(None).err().expect("nobody is there");
    assert!(error.to_string().contains("has stopped"), "{error}");
}
