//! Peers that take little, send much, and go away in the middle.

use super::*;

over_every_driver!(
    half_done_sends_go_on_in_order,
    cancelled_half_done_send_leaves_a_prefix_and_the_rest_of_the_stream_unsent,
    many_streams_share_few_buffers_without_losing_a_byte,
    buffers_that_never_come_back_leave_other_work_alone,
    close_over_an_armed_receive_reaches_the_peer,
    dropped_driver_takes_back_what_is_in_flight,
);

/// Reads a stream in small pieces with pauses, to its end.
fn read_slowly(mut stream: TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    let mut chunk = [0; 1_500];
    loop {
        let count = stream.read(&mut chunk).unwrap();
        if count == 0 {
            return read;
        }
        read.extend_from_slice(&chunk[..count]);
        std::thread::yield_now();
    }
}

fn half_done_sends_go_on_in_order<D: Tested>() {
    let mut bench = Bench::<D>::new();
    bench.send_room = Some(4_096);
    let (stream, socket) = bench.connect();
    bench.arm(RECV, socket);
    let reader = std::thread::spawn(move || read_slowly(stream));
    let mut expected = Vec::new();
    for round in 0..60_usize {
        // From less than fits to many times as much.
        let bytes: Vec<u8> = pattern(1 + round * round * 37)
            .into_iter()
            .map(|byte| byte.wrapping_add(u8::try_from(round).unwrap()))
            .collect();
        expected.extend_from_slice(&bytes);
        let count = bytes.len();
        let buffer = bytes.clone();
        let done = bench.run(SEND, Op::Send { socket, buffer });
        assert_eq!(done.result, Ok(count));
        assert!(matches!(done.data, Data::Sent(buffer) if buffer == bytes));
    }
    bench.driver.cancel(RECV);
    assert_eq!(bench.next(RECV).result, Err(Errno::CANCELED));
    assert_eq!(bench.run(CLOSE, Op::Close { socket }).result, Ok(0));
    assert_eq!(reader.join().unwrap(), expected);
}

fn cancelled_half_done_send_leaves_a_prefix_and_the_rest_of_the_stream_unsent<D: Tested>() {
    let mut bench = Bench::<D>::new();
    bench.send_room = Some(4_096);
    let (stream, socket) = bench.connect();
    let sent = pattern(4 << 20);
    assert!(bench.send(SEND, socket, &sent).is_none());
    bench.expect_quiet();
    bench.driver.cancel(SEND);
    let done = bench.next(SEND);
    assert_eq!(done.result, Err(Errno::CANCELED));
    assert!(matches!(done.data, Data::Sent(buffer) if buffer == sent));
    bench.expect_quiet();
    let reader = std::thread::spawn(move || read_slowly(stream));
    assert_eq!(bench.run(CLOSE, Op::Close { socket }).result, Ok(0));
    let read = reader.join().unwrap();
    assert!(!read.is_empty());
    assert!(read.len() < sent.len());
    assert_eq!(read, sent[..read.len()]);
}

fn many_streams_share_few_buffers_without_losing_a_byte<D: Tested>() {
    const STREAMS: u64 = 16;
    const BYTES: usize = 20_000;
    let sizes = Sizes {
        recv_buffers: 4,
        recv_buffer_bytes: 512,
        ..Sizes::default()
    };
    let mut bench = Bench::<D>::with(&sizes);
    let mut received = vec![Vec::new(); 16];
    let mut streams = Vec::new();
    for index in 0..STREAMS {
        let (mut stream, socket) = bench.connect();
        stream.write_all(&pattern(BYTES)).unwrap();
        bench.arm(Token(100 + index), socket);
        streams.push(stream);
    }
    let mut held = Vec::new();
    while received.iter().any(|bytes| bytes.len() < BYTES) {
        let arrived = bench.until(|done| (!done.is_empty()).then(|| std::mem::take(done)));
        for done in arrived {
            let Data::Received(buffer) = done.data else {
                panic!("a stream ended: {done:?}");
            };
            assert!(done.more);
            let index = usize::try_from(done.token.0 - 100).unwrap();
            received[index].extend_from_slice(bench.driver.bytes(&buffer));
            held.push(buffer);
        }
        // All are held for a while, so that whoever has more to read finds none.
        if held.len() >= 4 || received.iter().all(|bytes| bytes.len() >= BYTES - 2_048) {
            for buffer in held.drain(..) {
                bench.driver.recycle(buffer);
            }
        }
    }
    for bytes in received {
        assert_eq!(bytes, pattern(BYTES));
    }
    let stats = bench.driver.stats();
    let starved = stats.starved.load(Ordering::Relaxed);
    assert!(starved > 0);
    // Each buffer that comes back wakes one stream, not all that wait for one.
    let buffers = STREAMS * u64::try_from(BYTES.div_ceil(512)).unwrap();
    assert!(starved < 4 * buffers, "{starved} times no buffer");
}

fn buffers_that_never_come_back_leave_other_work_alone<D: Tested>() {
    let sizes = Sizes {
        recv_buffers: 2,
        recv_buffer_bytes: 512,
        ..Sizes::default()
    };
    let mut bench = Bench::<D>::with(&sizes);
    let file = bench.segment(1 << 20);
    let (mut stream, socket) = bench.connect();
    bench.arm(RECV, socket);
    stream.write_all(&pattern(8_192)).unwrap();
    let held = bench.until(|done| (done.len() == 2).then(|| std::mem::take(done)));
    let write = Op::Write {
        file,
        position: 0,
        buffer: Buffer::zeroed(4_096),
        bytes: 4_096,
        durable: true,
    };
    assert_eq!(bench.run(Token(50), write).result, Ok(4_096));
    assert_eq!(bench.send_whole(socket, b"still here"), Ok(10));
    // A starved receive is cancelled like any other.
    bench.driver.cancel(RECV);
    let done = bench.next(RECV);
    assert_eq!(done.result, Err(Errno::CANCELED));
    assert!(!done.more);
    // Armed again it waits for a buffer, and gets what is left once there is one.
    bench.arm(Token(51), socket);
    bench.expect_quiet();
    for done in held {
        if let Data::Received(buffer) = done.data {
            bench.driver.recycle(buffer);
        }
    }
    assert_eq!(bench.receive(Token(51), 8_192 - 1_024).len(), 8_192 - 1_024);
}

fn close_over_an_armed_receive_reaches_the_peer<D: Tested>() {
    let mut bench = Bench::<D>::new();
    for _ in 0..20 {
        let (mut stream, socket) = bench.connect();
        bench.arm(RECV, socket);
        bench.turn();
        let done = bench.run(CLOSE, Op::Close { socket });
        assert_eq!(done.result, Ok(0));
        assert_eq!(bench.next(RECV).result, Err(Errno::CANCELED));
        // The peer sees the end at once, and no byte of its is delivered to anybody.
        assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
        drop(stream.write_all(b"to nobody"));
        bench.expect_quiet();
    }
}

fn dropped_driver_takes_back_what_is_in_flight<D: Tested>() {
    let mut bench = Bench::<D>::new();
    let file = bench.segment(1 << 20);
    let (mut receiving, first) = bench.connect();
    let (mut sending, second) = bench.connect();
    bench.arm(RECV, first);
    assert!(bench.send(SEND, second, &pattern(16 << 20)).is_none());
    bench.turn();
    for index in 0..16 {
        let write = Op::Write {
            file,
            position: index * 4_096,
            buffer: Buffer::zeroed(4_096),
            bytes: 4_096,
            durable: true,
        };
        assert!(bench.driver.submit(Token(200 + index), write).is_none());
    }
    let begun = Instant::now();
    drop(bench);
    assert!(begun.elapsed() < PATIENCE);
    // The sockets are closed.
    assert_eq!(receiving.read(&mut [0; 16]).unwrap(), 0);
    let mut rest = Vec::new();
    // It ends, orderly or with a reset.
    drop(sending.read_to_end(&mut rest));
    assert!(rest.len() < 16 << 20);
}
