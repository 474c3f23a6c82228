//! Connections: accept, receive, send, close.

use super::*;

over_every_driver!(
    echo_returns_every_byte_in_order,
    several_connections_are_kept_apart,
    large_send_to_slow_reader_completes_once_with_all_bytes,
    cancelled_receive_ends_once_and_leaves_the_bytes_to_the_next,
    cancelled_send_gives_its_buffer_back_once,
    cancel_of_an_unknown_token_does_nothing,
    cancelled_accept_takes_no_more_connections,
    close_over_armed_operations_cancels_them_before_it_completes,
    number_of_a_closed_socket_does_not_name_its_successor,
    end_of_stream_is_zero_bytes_and_the_other_direction_lives_on,
    reset_ends_the_receive_and_fails_the_send,
    reset_ends_a_send_that_waits_for_room,
    hang_up_that_nobody_asked_about_does_not_spin,
    last_frame_reaches_a_peer_whose_bytes_were_never_read,
    stream_stalls_while_all_buffers_are_lent_and_goes_on_after_recycle,
    connection_beyond_the_maximum_is_closed_at_once,
);

fn echo_returns_every_byte_in_order<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let (mut stream, socket) = bench.connect();
    bench.arm(RECV, socket);
    for round in 1..200 {
        let sent = pattern(round * 37);
        stream.write_all(&sent).unwrap();
        let received = bench.receive(RECV, sent.len());
        assert_eq!(bench.send_whole(socket, &received), Ok(sent.len()));
        let mut echoed = vec![0; sent.len()];
        stream.read_exact(&mut echoed).unwrap();
        assert_eq!(echoed, sent);
    }
}

fn several_connections_are_kept_apart<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let mut pairs: Vec<_> = (0..16_u8).map(|index| (index, bench.connect())).collect();
    for (index, (stream, socket)) in &mut pairs {
        bench.arm(Token(100 + u64::from(*index)), *socket);
        stream.write_all(&[*index; 100]).unwrap();
    }
    for (index, _) in pairs {
        let received = bench.receive(Token(100 + u64::from(index)), 100);
        assert_eq!(received, [index; 100]);
    }
}

fn large_send_to_slow_reader_completes_once_with_all_bytes<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let (mut stream, socket) = bench.connect();
    let sent = pattern(16 << 20);
    assert!(bench.send(SEND, socket, &sent).is_none());
    // The second waits behind the first and must not overtake it.
    assert!(bench.send(Token(20), socket, b"tail").is_none());
    bench.expect_quiet();
    let expected = sent.len() + 4;
    let reader = std::thread::spawn(move || {
        let mut read = Vec::new();
        let mut chunk = [0; 3_000];
        while read.len() < expected {
            let count = stream.read(&mut chunk).unwrap();
            read.extend_from_slice(&chunk[..count]);
        }
        read
    });
    let done = bench.next(SEND);
    assert_eq!(done.result, Ok(sent.len()));
    assert!(matches!(done.data, Data::Sent(buffer) if buffer == sent));
    assert_eq!(bench.next(Token(20)).result, Ok(4));
    let read = reader.join().unwrap();
    assert_eq!(&read[..sent.len()], &sent);
    assert_eq!(&read[sent.len()..], b"tail");
    bench.expect_quiet();
}

fn cancelled_receive_ends_once_and_leaves_the_bytes_to_the_next<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let (mut stream, socket) = bench.connect();
    bench.arm(RECV, socket);
    bench.driver.cancel(RECV);
    bench.driver.cancel(RECV);
    let done = bench.next(RECV);
    assert_eq!(done.result, Err(Errno::CANCELED));
    assert!(!done.more);
    stream.write_all(b"later").unwrap();
    bench.expect_quiet();
    bench.arm(Token(30), socket);
    assert_eq!(bench.receive(Token(30), 5), b"later");
}

fn cancelled_send_gives_its_buffer_back_once<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let (_stream, socket) = bench.connect();
    assert!(bench.send(SEND, socket, &pattern(16 << 20)).is_none());
    bench.driver.cancel(SEND);
    bench.driver.cancel(SEND);
    let done = bench.next(SEND);
    assert_eq!(done.result, Err(Errno::CANCELED));
    assert!(matches!(done.data, Data::Sent(buffer) if buffer.len() == 16 << 20));
    bench.expect_quiet();
}

fn cancel_of_an_unknown_token_does_nothing<D: Tested>() {
    let mut bench = Bench::<D>::new();
    bench.driver.cancel(Token(77));
    bench.expect_quiet();
}

fn cancelled_accept_takes_no_more_connections<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let (listener, address) = bench.listen();
    bench.driver.submit(RECV, Op::Accept { listener });
    bench.driver.cancel(RECV);
    assert_eq!(bench.next(RECV).result, Err(Errno::CANCELED));
    let _waiting = TcpStream::connect(address).unwrap();
    bench.expect_quiet();
    // Armed again, it takes the connection that waited.
    bench.driver.submit(SEND, Op::Accept { listener });
    assert!(matches!(bench.next(SEND).data, Data::Socket(_)));
}

fn close_over_armed_operations_cancels_them_before_it_completes<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let (mut stream, socket) = bench.connect();
    bench.arm(RECV, socket);
    assert!(bench.send(SEND, socket, &pattern(16 << 20)).is_none());
    stream.write_all(b"unread").unwrap();
    assert!(bench.driver.submit(CLOSE, Op::Close { socket }).is_none());
    bench.until(|done| done.iter().any(|done| done.token == CLOSE).then_some(()));
    bench.recycle_received();
    let ends = bench.done.drain(..);
    let mut ends: Vec<_> = ends.map(|done| (done.token, done.result)).collect();
    assert_eq!(ends.pop(), Some((CLOSE, Ok(0))));
    ends.sort_by_key(|(token, _)| *token);
    let cancelled = Err(Errno::CANCELED);
    assert_eq!(ends, [(RECV, cancelled), (SEND, cancelled)]);
    bench.expect_quiet();
    // The number is dead.
    let done = bench.send(SEND, socket, b"x").unwrap();
    assert_eq!(done.result, Err(Errno(libc::EBADF)));
    bench.arm(RECV, socket);
    assert_eq!(bench.next(RECV).result, Err(Errno(libc::EBADF)));
}

fn number_of_a_closed_socket_does_not_name_its_successor<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let (_first_stream, first) = bench.connect();
    let closed = bench.driver.submit(CLOSE, Op::Close { socket: first });
    assert_eq!(closed.unwrap().result, Ok(0));
    let (mut second_stream, second) = bench.connect();
    assert_ne!(first, second);
    bench.arm(RECV, second);
    let again = bench.driver.submit(CLOSE, Op::Close { socket: first });
    assert_eq!(again.unwrap().result, Err(Errno(libc::EBADF)));
    second_stream.write_all(b"alive").unwrap();
    assert_eq!(bench.receive(RECV, 5), b"alive");
}

fn end_of_stream_is_zero_bytes_and_the_other_direction_lives_on<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let (mut stream, socket) = bench.connect();
    bench.arm(RECV, socket);
    stream.write_all(b"last words").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(bench.receive(RECV, 10), b"last words");
    let done = bench.next(RECV);
    assert_eq!(done.result, Ok(0));
    assert!(!done.more);
    bench.expect_quiet();
    assert_eq!(bench.send_whole(socket, b"bye"), Ok(3));
    let mut answer = [0; 3];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"bye");
}

fn reset_ends_the_receive_and_fails_the_send<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let (stream, socket) = bench.connect();
    bench.arm(RECV, socket);
    reset(stream);
    let done = bench.next(RECV);
    assert_eq!(done.result, Err(Errno::RESET));
    assert!(!done.more);
    bench.expect_quiet();
    let buffer = b"x".to_vec();
    let done = bench.run(SEND, Op::Send { socket, buffer });
    assert_eq!(done.result, Err(Errno::BROKEN_PIPE));
    assert!(matches!(done.data, Data::Sent(_)));
}

fn reset_ends_a_send_that_waits_for_room<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let (stream, socket) = bench.connect();
    assert!(bench.send(SEND, socket, &pattern(16 << 20)).is_none());
    reset(stream);
    let done = bench.next(SEND);
    assert!(done.result.is_err(), "{:?}", done.result);
    bench.expect_quiet();
}

fn hang_up_that_nobody_asked_about_does_not_spin<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let (stream, _socket) = bench.connect();
    reset(stream);
    let begun = Instant::now();
    let pause = Duration::from_millis(30);
    bench.driver.wait(Some(pause), &mut bench.done).unwrap();
    assert!(bench.done.is_empty());
    assert!(begun.elapsed() >= pause);
}

/// Ends a connection with a reset instead of an orderly end.
fn reset(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

fn last_frame_reaches_a_peer_whose_bytes_were_never_read<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let (mut stream, socket) = bench.connect();
    stream.write_all(&pattern(50_000)).unwrap();
    assert_eq!(bench.send_whole(socket, b"fault"), Ok(5));
    assert_eq!(
        bench.run(CLOSE, Op::Close { socket }).result,
        Ok(0),
        "closing"
    );
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap();
    assert_eq!(read, b"fault");
}

fn stream_stalls_while_all_buffers_are_lent_and_goes_on_after_recycle<D: Tested>() {
    let options = Sizes {
        recv_buffers: 4,
        recv_buffer_bytes: 1_024,
        ..Sizes::default()
    };
    let mut bench = Bench::<D>::with(&options);
    let (mut stream, socket) = bench.connect();
    let (mut other_stream, other) = bench.connect();
    bench.arm(RECV, socket);
    bench.arm(Token(40), other);
    let sent = pattern(64 * 1_024);
    stream.write_all(&sent).unwrap();
    let mut lent = bench.until(|done| (done.len() == 4).then(|| std::mem::take(done)));
    other_stream.write_all(b"other").unwrap();
    bench.expect_quiet();
    bench.expect_quiet();
    let mut received = Vec::new();
    let mut other_received = Vec::new();
    while received.len() < sent.len() || other_received.len() < 5 {
        for done in lent.drain(..) {
            let Data::Received(buffer) = done.data else {
                panic!("no bytes in {done:?}");
            };
            let to = if done.token == RECV {
                &mut received
            } else {
                &mut other_received
            };
            to.extend_from_slice(bench.driver.bytes(&buffer));
            bench.driver.recycle(buffer);
        }
        if received.len() < sent.len() || other_received.len() < 5 {
            lent = bench.until(|done| (!done.is_empty()).then(|| std::mem::take(done)));
        }
    }
    assert_eq!(received, sent);
    assert_eq!(other_received, b"other");
    assert!(bench.driver.stats().starved.load(Ordering::Relaxed) > 0);
}

fn connection_beyond_the_maximum_is_closed_at_once<D: Tested>() {
    let options = Sizes {
        sockets_max: 1,
        ..Sizes::default()
    };
    let mut bench = Bench::<D>::with(&options);
    let (listener, address) = bench.listen();
    bench.driver.submit(RECV, Op::Accept { listener });
    let _first = TcpStream::connect(address).unwrap();
    let done = bench.next(RECV);
    let Data::Socket(socket) = done.data else {
        panic!("no socket in {done:?}");
    };
    let mut second = TcpStream::connect(address).unwrap();
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    let stats = bench.driver.stats();
    let refused = || stats.refused.load(Ordering::Relaxed);
    bench.until(|_| (refused() == 1).then_some(()));
    assert_eq!(second.read(&mut [0; 1]).unwrap(), 0);
    bench.run(CLOSE, Op::Close { socket });
    let _third = TcpStream::connect(address).unwrap();
    assert!(matches!(bench.next(RECV).data, Data::Socket(_)));
}
