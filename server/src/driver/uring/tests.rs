use std::net::TcpStream;
use std::path::Path;

use corelane_storage::{Buffer, Directory, DirectoryOptions};

use super::key::{Key, Kind, next_round};
use super::*;
use crate::driver::tests::{Sizes, Tested, has_uring};

impl Tested for Uring {
    fn start(sizes: &Sizes, volumes: &Volumes) -> Result<Self, String> {
        let options = UringOptions {
            recv_buffers: sizes.recv_buffers,
            recv_buffer_bytes: sizes.recv_buffer_bytes,
            commit_mode: sizes.commit_mode,
            sockets_max: sizes.sockets_max,
            ..UringOptions::default()
        };
        Self::new(&options, volumes, Clock::start()).map_err(|error| error.to_string())
    }

    fn listen(&mut self, listener: TcpListener) -> Listener {
        self.add_listener(listener).unwrap()
    }

    fn introduce(drivers: &mut [&mut Self]) {
        let peers: Vec<_> = drivers
            .iter()
            .map(|driver| driver.peer().unwrap())
            .collect();
        for driver in drivers {
            driver.set_peers(peers.clone());
        }
    }

    fn waker(&self) -> Waker {
        self.waker()
    }

    fn stats(&self) -> Arc<DriverStats> {
        self.stats()
    }

    fn adopt(&mut self, file: std::fs::File) -> File {
        let Data::File(file) = self.number(Token(0), file).data else {
            panic!("no file");
        };
        file
    }
}

/// A driver of these sizes with its directory.
fn small(entries: u32, completions: u32) -> Option<(Uring, tempfile::TempDir)> {
    if !has_uring() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(folder.path(), &DirectoryOptions::default());
    let volumes: Volumes = directory.unwrap().into();
    let options = UringOptions {
        entries,
        completions,
        commit_mode: CommitMode::Linked,
        ..UringOptions::default()
    };
    let driver = Uring::new(&options, &volumes, Clock::start()).unwrap();
    Some((driver, folder))
}

/// Waits until this many operations have ended; nothing is given back.
fn ends(driver: &mut Uring, count: usize) -> Vec<Done> {
    let begun = Instant::now();
    let mut done = Vec::new();
    while done.iter().filter(|done: &&Done| !done.more).count() < count {
        assert!(begun.elapsed() < Duration::from_secs(20), "only {done:?}");
        driver
            .wait(Some(Duration::from_secs(1)), &mut done)
            .unwrap();
    }
    done
}

fn connect(driver: &mut Uring) -> (TcpStream, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let listener = driver.add_listener(listener).unwrap();
    let accept = Token(9_000);
    driver.submit(accept, Op::Accept { listener });
    let mut done = Vec::new();
    while done.is_empty() {
        driver
            .wait(Some(Duration::from_secs(1)), &mut done)
            .unwrap();
    }
    driver.cancel(accept);
    done.extend(ends(driver, 1));
    let Some(Data::Socket(socket)) = done.into_iter().next().map(|done| done.data) else {
        panic!("nothing was accepted");
    };
    (stream, socket)
}

#[test]
fn commits_of_a_turn_may_be_many_times_what_the_ring_holds() {
    // With three places a linked pair meets a queue with room for one of it.
    for entries in [2, 4] {
        let Some((mut driver, folder)) = small(entries, 8) else {
            return;
        };
        let path = folder.path().join("file");
        std::fs::write(&path, vec![0; 64 * 4_096]).unwrap();
        let file = std::fs::File::options().read(true).write(true).open(path);
        let file = driver.adopt(file.unwrap());
        for index in 0..64_u8 {
            let mut buffer = Buffer::zeroed(4_096);
            buffer.as_mut_slice().fill(index);
            let write = Op::Write {
                file,
                position: u64::from(index) * 4_096,
                buffer,
                bytes: 4_096,
                durable: index % 3 != 0,
            };
            let token = Token(u64::from(index));
            assert!(driver.submit(token, write).is_none());
        }
        let mut done = ends(&mut driver, 64);
        done.sort_by_key(|done| done.token);
        for (index, done) in done.iter().enumerate() {
            assert_eq!(done.token, Token(index as u64));
            assert_eq!(done.result, Ok(4_096));
        }
        assert_eq!(driver.stats().commit.read().count, 42);
        let written = std::fs::read(folder.path().join("file")).unwrap();
        for (index, block) in written.chunks(4_096).enumerate() {
            assert!(block.iter().all(|byte| usize::from(*byte) == index));
        }
    }
}

#[test]
fn commit_completes_once_whether_one_part_reports_or_both() {
    for is_loud in [false, true] {
        let Some((mut driver, folder)) = small(8, 16) else {
            return;
        };
        if is_loud {
            driver.ring.use_loud_links();
        }
        let path = folder.path().join("file");
        std::fs::write(&path, vec![0; 4_096]).unwrap();
        let open = |path: &Path| std::fs::File::options().write(true).open(path).unwrap();
        let file = driver.adopt(open(&path));
        let full = driver.adopt(open(Path::new("/dev/full")));
        let read_only = driver.adopt(std::fs::File::open(&path).unwrap());
        for (file, expected) in [
            (file, Ok(4_096)),
            (full, Err(Errno::NO_SPACE)),
            (read_only, Err(Errno(libc::EBADF))),
            (file, Ok(4_096)),
        ] {
            let write = Op::Write {
                file,
                position: 0,
                buffer: Buffer::zeroed(4_096),
                bytes: 4_096,
                durable: true,
            };
            driver.submit(Token(5), write);
            let done = ends(&mut driver, 1);
            assert_eq!(done.len(), 1);
            assert_eq!(done[0].result, expected, "loud: {is_loud}");
        }
        // No part of a commit that is over comes late.
        let mut done = Vec::new();
        let pause = Some(Duration::from_millis(20));
        driver.wait(pause, &mut done).unwrap();
        assert!(done.is_empty(), "{done:?}");
        assert_eq!(driver.in_flight, 0);
    }
}

#[test]
fn completions_that_find_no_place_arrive_later_and_streams_go_on() {
    const STREAMS: u64 = 40;
    let Some((mut driver, _folder)) = small(4, 8) else {
        return;
    };
    let mut pairs: Vec<_> = (0..STREAMS).map(|_| connect(&mut driver)).collect();
    for (index, (_, socket)) in pairs.iter().enumerate() {
        let token = Token(index as u64);
        driver.submit(token, Op::Recv { socket: *socket });
    }
    for round in 0..20_u8 {
        for (stream, _) in &mut pairs {
            io::Write::write_all(stream, &[round; 100]).unwrap();
        }
        let mut counts = vec![0; pairs.len()];
        let begun = Instant::now();
        while counts.iter().any(|count| *count < 100) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{counts:?}");
            let mut done = Vec::new();
            driver
                .wait(Some(Duration::from_secs(1)), &mut done)
                .unwrap();
            for done in done {
                let Data::Received(buffer) = done.data else {
                    panic!("a stream ended: {done:?}");
                };
                let bytes = driver.bytes(&buffer);
                assert!(bytes.iter().all(|byte| *byte == round));
                counts[usize::try_from(done.token.0).unwrap()] += bytes.len();
                driver.recycle(buffer);
            }
        }
    }
}

#[test]
fn completion_of_an_earlier_round_reaches_nobody() {
    let Some((mut driver, _folder)) = small(8, 16) else {
        return;
    };
    let (_stream, socket) = connect(&mut driver);
    driver.submit(Token(1), Op::Recv { socket });
    driver.cancel(Token(1));
    assert_eq!(ends(&mut driver, 1)[0].result, Err(Errno::CANCELED));
    driver.submit(Token(2), Op::Recv { socket });
    let buffer = pattern_of(16 << 20);
    driver.submit(Token(3), Op::Send { socket, buffer });
    driver.enter(false, None).unwrap();
    driver.take_completions();
    let round = |driver: &Uring| driver.sockets.get(socket.0).unwrap().round_now();
    let now = round(&driver);
    for (kind, round) in [
        (Kind::Recv, now - 2),
        (Kind::Recv, now),
        (Kind::Send, now - 1),
        (Kind::Send, now + 1),
    ] {
        for result in [0, 5, -libc::ECANCELED, -libc::ECONNRESET] {
            let key = Key::new(kind, round, socket.0);
            driver.on_completion(stale(key, result));
        }
    }
    // Numbers that name nothing: a closed socket, a transfer that is over, another listener.
    for kind in [Kind::Recv, Kind::Send, Kind::Read, Kind::Write, Kind::Sync] {
        driver.on_completion(stale(Key::new(kind, 1, 1 << 20 | socket.0), 4_096));
    }
    driver.on_completion(stale(Key::new(Kind::Accept, 77, 0), -libc::EINVAL));
    driver.on_completion(Completion {
        key: None,
        ..stale(Key::plain(Kind::Wake), 0)
    });
    let mut done = Vec::new();
    driver.wait(Some(Duration::ZERO), &mut done).unwrap();
    assert!(done.is_empty(), "{done:?}");
    driver.cancel(Token(2));
    driver.cancel(Token(3));
    assert_eq!(ends(&mut driver, 2).len(), 2);
}

/// A completion that does not count as the end of an entry.
fn stale(key: Key, result: i32) -> Completion {
    Completion {
        key: Some(key),
        result,
        buffer: None,
        more: true,
    }
}

fn pattern_of(bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(bytes).collect()
}

#[test]
fn keys_come_back_as_they_went() {
    let kinds = [
        Kind::Accept,
        Kind::Recv,
        Kind::Send,
        Kind::Read,
        Kind::Write,
        Kind::Sync,
        Kind::Watch,
        Kind::Wake,
        Kind::Message,
        Kind::Cancel,
    ];
    for kind in kinds {
        for round in [0, 1, (1 << 24) - 1] {
            for number in [0, 1, u32::MAX] {
                let key = Key::new(kind, round, number);
                assert_eq!(Key::decode(key.encode()), Some(key));
            }
        }
    }
    assert_eq!(next_round((1 << 24) - 1), 0);
    assert_eq!(Key::decode(u64::MAX), None);
    assert_eq!(Key::decode(10 << 56), None);
}

#[test]
fn ring_of_another_thread_is_refused_and_its_driver_is_dropped_without_harm() {
    let Some((driver, _folder)) = small(8, 16) else {
        return;
    };
    let mut driver = std::thread::spawn(move || {
        let mut driver = driver;
        let (_stream, socket) = connect(&mut driver);
        driver.submit(Token(1), Op::Recv { socket });
        driver.enter(false, None).unwrap();
        driver
    })
    .join()
    .unwrap();
    let refused = driver.wait(Some(Duration::from_secs(1)), &mut Vec::new());
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EEXIST));
}

#[test]
fn refusals_say_what_to_change() {
    let of = |errno| Refusal::of_setup(&io::Error::from_raw_os_error(errno)).to_string();
    assert!(of(libc::EPERM).contains("seccomp") || of(libc::EPERM).contains("io_uring_disabled"));
    assert!(of(libc::ENOSYS).contains("seccomp"));
    assert!(of(libc::ENOMEM).contains("LimitMEMLOCK="));
    for errno in [libc::EPERM, libc::ENOSYS, libc::ENOMEM, libc::EINVAL] {
        assert!(of(errno).contains("driver = epoll"), "{}", of(errno));
    }
}
