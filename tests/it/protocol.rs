use std::io::Write;
use std::net::{Shutdown, TcpStream};

use anyhow::bail;
use corelane_tests::raw::RawConnection;
use corelane_wire::{Correlation, Dequeue, Epoch, ErrorCode, Lane, Request, Response};

use crate::Fixture;

/// What the broker says when these bytes come after a greeting.
fn answer_to(fixture: &Fixture, bytes: &[u8]) -> ErrorCode {
    let mut connection = fixture.connect();
    connection.send_bytes(bytes).unwrap();
    refusal(&mut connection)
}

/// The code of the next answer, which must be a refusal.
fn refusal(connection: &mut RawConnection) -> ErrorCode {
    let code = connection.receive(|_, response| {
        if let Response::Error { code, .. } | Response::Fault { code, .. } = response {
            return Ok(code);
        }
        bail!("{response:?}")
    });
    code.unwrap()
}

fn ping() -> Vec<u8> {
    let mut bytes = Vec::new();
    Request::Ping.encode(Correlation(9), &mut bytes);
    bytes
}

#[test]
fn damaged_frames_get_a_typed_fault() {
    let fixture = Fixture::start();
    let with = |position: usize, value: u8| {
        let mut bytes = ping();
        bytes[position] = value;
        bytes
    };
    assert_eq!(answer_to(&fixture, &with(0, b'X')), ErrorCode::BadMagic);
    assert_eq!(
        answer_to(
            &fixture,
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n padding to the header"
        ),
        ErrorCode::BadMagic
    );
    assert_eq!(answer_to(&fixture, &with(25, 1)), ErrorCode::BadChecksum);
    assert_eq!(
        answer_to(&fixture, &with(7, 0x7F)),
        ErrorCode::FrameTooLarge
    );
}

#[test]
fn an_unknown_kind_is_answered_and_the_connection_kept() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    let mut bytes = Vec::new();
    let writer =
        corelane_wire::FrameWriter::begin(&mut bytes, 0x7E, 0, Correlation(5), Epoch::default());
    writer.finish(&[]);
    connection.send_bytes(&bytes).unwrap();
    connection
        .receive(|frame, response| {
            assert_eq!(frame.correlation, Correlation(5));
            let Response::Error { code, .. } = response else {
                bail!("{response:?}");
            };
            assert_eq!(code, ErrorCode::UnknownKind);
            Ok(())
        })
        .unwrap();
    connection.call(&Request::Ping, |_| Ok(())).unwrap();
}

#[test]
fn a_frame_split_into_single_bytes_is_understood() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    for byte in ping() {
        connection.send_bytes(&[byte]).unwrap();
    }
    connection
        .receive(|frame, response| {
            assert_eq!(
                (frame.correlation, response),
                (Correlation(9), Response::Pong)
            );
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_correlation_in_flight_may_not_be_used_again() {
    let fixture = Fixture::start();
    let mut connection = fixture.connect();
    let mut bytes = Vec::new();
    let wait = Request::Dequeue(Dequeue {
        queue: "empty",
        lane: Lane::default(),
        subscription: "",
        count: 1,
        lease_ms: 30_000,
        wait_ms: 20_000,
    });
    wait.encode(Correlation(4), &mut bytes);
    Request::Ping.encode(Correlation(4), &mut bytes);
    connection.send_bytes(&bytes).unwrap();
    assert_eq!(refusal(&mut connection), ErrorCode::CorrelationInUse);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_frame_harms_nobody() {
    let fixture = Fixture::start();
    for cut in [1, 20, 39] {
        let mut stream = TcpStream::connect(fixture.broker.address).unwrap();
        stream.write_all(&ping()[..cut]).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    }
    let mut connection = fixture.connect();
    connection.call(&Request::Ping, |_| Ok(())).unwrap();
}

#[test]
fn a_silent_connection_is_closed_before_long() {
    let fixture = Fixture::start();
    let mut connection = RawConnection::connect_silently(fixture.broker.address).unwrap();
    // Either a fault first or the end at once; within the 20 s that the connection waits at most.
    let first = connection.receive(|_, response| Ok(format!("{response:?}")));
    let said = first.unwrap_or_else(|error| error.to_string());
    assert!(
        said.contains("HelloRequired") || said.contains("closed"),
        "{said}"
    );
}
