//! What no client should send, on a real socket: the table of `docs/protocol.md`, row by row.

mod made;
mod rows;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use corelane_tests::raw::RawConnection;
use corelane_wire::limits::FRAME_BYTES_MAX;
use corelane_wire::{ErrorCode, Frame, ProducerId, Request, Response, Sequence, kind};

use self::made::{WRONG, batch_of, dequeue, enqueue, entry, filler, frame_of, hello, ping};
use self::rows::{Row, rows};
use crate::{Fixture, bodies};

impl Row {
    fn of_the_page(&self) -> String {
        let connection = if self.is_closed { "closed" } else { "goes on" };
        format!("| {} | `{}` | {connection} |", self.what, self.code.name())
    }
}

/// Sends what is wrong; gives the code of its answer, and whether the connection is closed then.
fn answer(address: SocketAddr, row: &Row, bytes: &[u8]) -> (ErrorCode, bool) {
    let mut connection = if row.is_greeted {
        crate::connect(address)
    } else {
        RawConnection::connect_silently(address).unwrap()
    };
    connection.send_bytes(bytes).unwrap();
    // A fault has correlation 0; what was sent before the mistake has other numbers.
    let mut code = None;
    while code.is_none() {
        let next = connection.receive(|frame, _| Ok((frame.correlation.0, frame.code)));
        let (number, came) = next.unwrap();
        code = [0, WRONG].contains(&number).then_some(came);
    }
    let is_closed = connection
        .call(&Request::Ping, |answer| {
            assert!(matches!(answer, Response::Pong), "{answer:?}");
            Ok(())
        })
        .is_err();
    (ErrorCode::from_u16(code.unwrap()).unwrap(), is_closed)
}

#[test]
fn bad_input_has_the_answers_of_the_table_and_no_effect() {
    let fixture = Fixture::start();
    let mut bystander = fixture.connect();
    bystander
        .enqueue_as("kept", &["kept"], ProducerId(2), Sequence(0))
        .unwrap();
    let held = bystander.dequeue("kept", 1, 600_000, 0).unwrap();
    assert_eq!(bodies(&held), ["kept"]);
    for row in rows() {
        for bytes in &row.sent {
            let came = answer(fixture.broker.address, &row, bytes);
            let start = &bytes[..bytes.len().min(100)];
            assert_eq!(
                came,
                (row.code, row.is_closed),
                "{}: {start:02x?}",
                row.what
            );
        }
    }
    assert_eq!(crate::queues::list(&mut bystander), ["kept"]);
    let kept = crate::queues::show(&mut bystander, "kept");
    assert_eq!((kept.end.0, kept.subscriptions.len()), (1, 1));
    assert_eq!(kept.subscriptions[0].leased, 1);
}

#[test]
fn the_page_of_the_protocol_has_every_row() {
    let page = include_str!("../../docs/protocol.md");
    let (_, section) = page.split_once("\n## Bad input\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let listed: Vec<&str> = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .collect();
    let expected: Vec<String> = rows().iter().map(Row::of_the_page).collect();
    assert_eq!(listed[1..], expected, "expected:\n{}", expected.join("\n"));
}

#[test]
fn a_frame_cut_off_at_any_byte_has_no_effect() {
    let fixture = Fixture::start();
    let bytes = enqueue(&batch_of(0, 0, &[entry(&[], b"body")]));
    for end in 0..bytes.len() {
        let mut connection = fixture.connect();
        if end % 2 == 0 {
            // What lies unread when a socket is closed makes the kernel reset the connection.
            connection.send_bytes(&ping()).unwrap();
        }
        connection.send_bytes(&bytes[..end]).unwrap();
    }
    let mut connection = fixture.connect();
    assert!(crate::queues::list(&mut connection).is_empty());
    for byte in &bytes {
        connection.send_bytes(&[*byte]).unwrap();
    }
    let answer = connection.receive(|frame, _| Ok((frame.kind, frame.code)));
    assert_eq!(answer.unwrap(), (kind::answer(kind::ENQUEUE), 0));
}

#[test]
fn a_message_may_be_empty_and_have_1_mib_and_64_headers_of_one_name() {
    let fixture = Fixture::start();
    let headers = made::attribute(2, b"\x01\x00nv").repeat(64);
    for entry in [
        entry(&[], b""),
        entry(&headers, b""),
        entry(&[], &filler((1 << 20) - 12)),
    ] {
        let mut connection = fixture.connect();
        connection
            .send_bytes(&enqueue(&batch_of(0, 0, std::slice::from_ref(&entry))))
            .unwrap();
        let code = connection.receive(|frame, _| Ok(frame.code)).unwrap();
        assert_eq!(code, 0);
        let asked = dequeue("refused", [1, 30_000, 0]);
        connection
            .send_bytes(&frame_of(WRONG, kind::DEQUEUE, &asked, &[]))
            .unwrap();
        let came = connection.receive(|frame, _| Ok(frame.messages.to_vec()));
        assert!(came.unwrap() == entry, "{} bytes", entry.len());
    }
}

#[test]
fn a_client_that_never_reads_is_not_read_and_gets_every_answer_later() {
    const PINGS: u64 = 1_000_000;
    let fixture = Fixture::start();
    let mut bytes = frame_of(0, kind::HELLO, &hello([1, 1, 0, 0], b"", b""), &[]);
    for number in 1..=PINGS {
        bytes.extend_from_slice(&frame_of(number, kind::PING, &[], &[]));
    }
    let mut stream = TcpStream::connect(fixture.broker.address).unwrap();
    // A write that makes no progress for a second: the broker has stopped to read.
    let patience = Some(Duration::from_secs(1));
    stream.set_write_timeout(patience).unwrap();
    let mut written = 0;
    while let Ok(count) = stream.write(&bytes[written..]) {
        written += count;
        assert!(written < bytes.len(), "all was read");
    }
    assert!(fixture.connect().call(&Request::Ping, |_| Ok(())).is_ok());
    stream.set_write_timeout(None).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&bytes[written..]).unwrap());
    let (mut received, mut used, mut next) = (Vec::new(), 0, 0);
    let mut chunk = filler(65_536);
    loop {
        while let Some((frame, count)) = Frame::read(&received[used..], FRAME_BYTES_MAX).unwrap() {
            let code = ErrorCode::from_u16(frame.code);
            assert_eq!((frame.correlation.0, code), (next, Some(ErrorCode::Ok)));
            next += 1;
            used += count;
        }
        received.drain(..used);
        used = 0;
        if next > PINGS {
            break;
        }
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "closed after {next} answers");
        received.extend_from_slice(&chunk[..count]);
    }
    writing.join().unwrap();
}

#[test]
fn the_control_port_refuses_what_is_not_http() {
    let fixture = Fixture::start();
    let mut stream = TcpStream::connect(fixture.broker.control).unwrap();
    stream.write_all(&ping()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
}
