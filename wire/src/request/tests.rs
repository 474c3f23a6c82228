mod round_trips;

use super::*;
use crate::codec::{put_str16, put_u32, put_u64};
use crate::error_code::ErrorCode;
use crate::frame::{Frame, FrameWriter};
use crate::golden;
use crate::ids::{Correlation, Epoch, LeaseId, Lsn, OffsetRange};
use crate::limits::{FRAME_BYTES_MAX, SETTLE_ENTRIES_MAX, SETTLE_MESSAGES_MAX};
use crate::names::NameError;

/// Encodes a request and gives the error of decoding it, or `Ok` code.
fn code_of(request: &Request<'_>) -> ErrorCode {
    let mut bytes = Vec::new();
    request.encode(Correlation(1), &mut bytes);
    let (frame, _) = Frame::read(&bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    match Request::decode(&frame) {
        Ok(decoded) => {
            assert_eq!(&decoded, request);
            ErrorCode::Ok
        }
        Err(error) => error.code(),
    }
}

fn decode_fields(kind: u8, fields: &[u8]) -> Result<(), RequestError> {
    decode_frame(kind, 0, 0, fields)
}

fn decode_frame(kind: u8, code: u16, epoch: u64, fields: &[u8]) -> Result<(), RequestError> {
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::begin(&mut bytes, kind, code, Correlation(1), Epoch(epoch));
    writer.fields().extend_from_slice(fields);
    writer.finish(&[]);
    let (frame, _) = Frame::read(&bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    Request::decode(&frame).map(|_| ())
}

const DEQUEUE: Dequeue<'_> = Dequeue {
    queue: "q",
    lane: Lane(0),
    subscription: "",
    count: 1,
    lease_ms: 1_000,
    wait_ms: 0,
};
const SUBSCRIBE: Subscribe<'_> = Subscribe {
    queue: "q",
    lane: Lane(0),
    subscription: "",
    consumer: ConsumerId(1),
    credit: 0,
    lease_ms: 1_000,
};
const HELLO: Hello<'_> = Hello {
    version_min: 1,
    version_max: 1,
    features: 0,
    session: SessionId(0),
    resume: false,
    client_name: "",
    tenant: "",
    token: b"",
};

fn entry(first: u64, count: u32) -> SettleEntry {
    SettleEntry {
        lease: LeaseId {
            epoch: Epoch(1),
            lsn: Lsn(2),
        },
        range: OffsetRange {
            first: Offset(first),
            count,
        },
    }
}

fn entries_code(entries: &[SettleEntry]) -> ErrorCode {
    let mut bytes = Vec::new();
    for entry in entries {
        entry.put(&mut bytes);
    }
    SettleEntries::read(&bytes).map_or_else(|error| error.code(), |_| ErrorCode::Ok)
}

#[test]
fn truncated_fields_are_an_error_at_every_byte_and_so_are_trailing_ones() {
    let (batch, entries) = (golden::batch(), golden::settle_entries());
    for (name, request) in golden::requests(&batch, &entries) {
        let mut bytes = Vec::new();
        request.encode(Correlation(1), &mut bytes);
        let (frame, _) = Frame::read(&bytes, FRAME_BYTES_MAX).unwrap().unwrap();
        for length in 0..frame.head.len() {
            let head = &frame.head[..length];
            let cut = Request::decode(&Frame { head, ..frame });
            assert_eq!(
                cut.map_err(|error| error.code()),
                Err(ErrorCode::Malformed),
                "{name} {length}"
            );
        }
        let head = &[frame.head, &[0]].concat()[..];
        let longer = Request::decode(&Frame { head, ..frame });
        assert_eq!(
            longer.map_err(|error| error.code()),
            Err(ErrorCode::Malformed),
            "{name}"
        );
    }
}

#[test]
fn kinds_of_answers_and_unknown_kinds_are_refused() {
    let known: Vec<u8> = {
        let (batch, entries) = (golden::batch(), golden::settle_entries());
        let requests = golden::requests(&batch, &entries);
        requests.iter().map(|(_, request)| request.kind()).collect()
    };
    for kind in 0..=255 {
        let refused = decode_fields(kind, b"") == Err(RequestError::UnknownKind { kind });
        assert_eq!(refused, !known.contains(&kind), "kind {kind:02x}");
    }
}

#[test]
fn code_and_epoch_of_a_request_are_reserved() {
    let code = |result: Result<(), RequestError>| result.unwrap_err().code();
    assert_eq!(
        code(decode_frame(kind::PING, 1, 0, b"")),
        ErrorCode::ReservedNotZero
    );
    assert_eq!(
        code(decode_frame(kind::PING, 0, 1, b"")),
        ErrorCode::ReservedNotZero
    );
}

#[test]
fn only_an_enqueue_has_messages() {
    let mut bytes = Vec::new();
    FrameWriter::begin(&mut bytes, kind::PING, 0, Correlation(1), Epoch(0)).finish(&[b"x"]);
    let (frame, _) = Frame::read(&bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    assert_eq!(
        Request::decode(&frame),
        Err(RequestError::WrongMessages { bytes: 1 })
    );
    let short = Enqueue {
        queue: "q",
        lane: Lane(0),
        batch: &[0; 47],
    };
    assert_eq!(code_of(&Request::Enqueue(short)), ErrorCode::Malformed);
    let batch = &[0; 48];
    assert_eq!(
        code_of(&Request::Enqueue(Enqueue { batch, ..short })),
        ErrorCode::Ok
    );
}

#[test]
fn names_are_checked_in_every_place() {
    for queue in ["", "../x", "a\0", "gr\u{fc}n", &"x".repeat(129)] {
        for request in [
            Request::Dequeue(Dequeue { queue, ..DEQUEUE }),
            Request::Subscribe(Subscribe { queue, ..SUBSCRIBE }),
            Request::QueueCreate { queue, lanes: 1 },
            Request::QueueShow { queue },
            Request::QueueDelete { queue },
        ] {
            assert_eq!(code_of(&request), ErrorCode::InvalidName, "{request:?}");
        }
    }
    let subscription = "a b";
    let dequeue = Dequeue {
        subscription,
        ..DEQUEUE
    };
    assert_eq!(code_of(&Request::Dequeue(dequeue)), ErrorCode::InvalidName);
    let tenant = "a/b";
    assert_eq!(
        code_of(&Request::Hello(Hello { tenant, ..HELLO })),
        ErrorCode::InvalidName
    );
    let not_utf8 = decode_fields(kind::QUEUE_SHOW, &[2, 0, b'a', 0xff]);
    let error = NameError::BadByte {
        index: 1,
        byte: 0xff,
    };
    let what = "queue";
    assert_eq!(not_utf8, Err(RequestError::Name { what, error }));
}

#[test]
fn numbers_of_dequeue_hold_at_the_limits_and_one_beyond() {
    let code = |count, lease_ms, wait_ms| {
        code_of(&Request::Dequeue(Dequeue {
            count,
            lease_ms,
            wait_ms,
            ..DEQUEUE
        }))
    };
    assert_eq!(code(1, 1_000, 0), ErrorCode::Ok);
    assert_eq!(code(10_000, 86_400_000, 30_000), ErrorCode::Ok);
    assert_eq!(code(0, 1_000, 0), ErrorCode::OutOfRange);
    assert_eq!(code(10_001, 1_000, 0), ErrorCode::OutOfRange);
    assert_eq!(code(1, 999, 0), ErrorCode::OutOfRange);
    assert_eq!(code(1, 86_400_001, 0), ErrorCode::OutOfRange);
    assert_eq!(code(1, 1_000, 30_001), ErrorCode::OutOfRange);
}

#[test]
fn numbers_of_consumers_hold_at_the_limits_and_one_beyond() {
    let consumer = ConsumerId(u32::MAX);
    let credit = |credit| code_of(&Request::Credit { consumer, credit });
    assert_eq!(credit(0), ErrorCode::Ok);
    assert_eq!(credit(100_000), ErrorCode::Ok);
    assert_eq!(credit(100_001), ErrorCode::OutOfRange);
    assert_eq!(credit(u32::MAX), ErrorCode::OutOfRange);
    let subscribe = |credit, lease_ms| {
        code_of(&Request::Subscribe(Subscribe {
            credit,
            lease_ms,
            ..SUBSCRIBE
        }))
    };
    assert_eq!(subscribe(100_000, 86_400_000), ErrorCode::Ok);
    assert_eq!(subscribe(100_001, 1_000), ErrorCode::OutOfRange);
    assert_eq!(subscribe(1, 0), ErrorCode::OutOfRange);
}

#[test]
fn numbers_of_peek_and_list_hold_at_the_limits_and_one_beyond() {
    let peek = |count| {
        code_of(&Request::Peek(Peek {
            queue: "q",
            lane: Lane(0),
            from: Offset(u64::MAX),
            count,
        }))
    };
    assert_eq!([peek(0), peek(1)], [ErrorCode::OutOfRange, ErrorCode::Ok]);
    assert_eq!(
        [peek(1_000), peek(1_001)],
        [ErrorCode::Ok, ErrorCode::OutOfRange]
    );
    let list = |limit| {
        code_of(&Request::QueueList(QueueList {
            partition: PartitionId(u32::MAX),
            after: "",
            limit,
        }))
    };
    assert_eq!([list(0), list(1)], [ErrorCode::OutOfRange, ErrorCode::Ok]);
    assert_eq!(
        [list(1_000), list(1_001)],
        [ErrorCode::Ok, ErrorCode::OutOfRange]
    );
}

#[test]
fn several_lanes_are_not_supported_yet() {
    let lanes = |lanes| code_of(&Request::QueueCreate { queue: "q", lanes });
    assert_eq!([lanes(0), lanes(1)], [ErrorCode::OutOfRange, ErrorCode::Ok]);
    assert_eq!(lanes(2), ErrorCode::NotSupported);
    let lane = Lane(1);
    assert_eq!(
        code_of(&Request::Dequeue(Dequeue { lane, ..DEQUEUE })),
        ErrorCode::NotSupported
    );
}

#[test]
fn greeting_is_checked() {
    let code = |hello| code_of(&Request::Hello(hello));
    let resume = true;
    assert_eq!(code(HELLO), ErrorCode::Ok);
    assert_eq!(
        code(Hello {
            version_min: 2,
            ..HELLO
        }),
        ErrorCode::OutOfRange
    );
    assert_eq!(code(Hello { resume, ..HELLO }), ErrorCode::OutOfRange);
    let session = SessionId(u128::MAX);
    assert_eq!(
        code(Hello {
            session,
            resume,
            ..HELLO
        }),
        ErrorCode::Ok
    );
    let name = "x".repeat(257);
    assert_eq!(
        code(Hello {
            client_name: &name[1..],
            ..HELLO
        }),
        ErrorCode::Ok
    );
    assert_eq!(
        code(Hello {
            client_name: &name,
            ..HELLO
        }),
        ErrorCode::OutOfRange
    );
    let token = [0; 1_025];
    assert_eq!(
        code(Hello {
            token: &token[1..],
            ..HELLO
        }),
        ErrorCode::Ok
    );
    assert_eq!(
        code(Hello {
            token: &token,
            ..HELLO
        }),
        ErrorCode::OutOfRange
    );
}

#[test]
fn settle_entries_hold_at_the_limits_and_one_beyond() {
    let messages_max = u32::try_from(SETTLE_MESSAGES_MAX).unwrap();
    let many = vec![entry(0, 1); SETTLE_ENTRIES_MAX + 1];
    assert_eq!(entries_code(&many[1..]), ErrorCode::Ok);
    assert_eq!(entries_code(&many), ErrorCode::OutOfRange);
    assert_eq!(entries_code(&[]), ErrorCode::OutOfRange);
    assert_eq!(entries_code(&[entry(0, 0)]), ErrorCode::OutOfRange);
    assert_eq!(entries_code(&[entry(0, messages_max)]), ErrorCode::Ok);
    assert_eq!(
        entries_code(&[entry(0, messages_max + 1)]),
        ErrorCode::OutOfRange
    );
    assert_eq!(
        entries_code(&[entry(0, messages_max), entry(0, 1)]),
        ErrorCode::OutOfRange
    );
    assert_eq!(entries_code(&[entry(u64::MAX - 1, 1)]), ErrorCode::Ok);
    assert_eq!(
        entries_code(&[entry(u64::MAX - 1, 2)]),
        ErrorCode::OutOfRange
    );
    assert_eq!(entries_code(&[entry(u64::MAX, 1)]), ErrorCode::OutOfRange);
    assert_eq!(
        SettleEntries::read(&[0; 29]).unwrap_err().code(),
        ErrorCode::Malformed
    );
}

#[test]
fn largest_settle_fits_a_frame_and_a_lying_count_allocates_nothing() {
    const ENTRIES: usize = SETTLE_ENTRIES_MAX / if cfg!(miri) { 500 } else { 1 };
    let mut bytes = Vec::new();
    for _ in 0..ENTRIES {
        entry(0, 1).put(&mut bytes);
    }
    let name = "x".repeat(128);
    let settle = Settle {
        queue: &name,
        lane: Lane(0),
        subscription: &name,
        entries: SettleEntries::read(&bytes).unwrap(),
    };
    assert_eq!(settle.entries.messages_count() as usize, ENTRIES);
    assert_eq!(code_of(&Request::Ack(settle)), ErrorCode::Ok);
    let mut fields = Vec::new();
    put_str16(&mut fields, "q");
    put_u32(&mut fields, 0);
    put_str16(&mut fields, "");
    put_u32(&mut fields, 10_000);
    assert_eq!(
        decode_fields(kind::ACK, &fields).unwrap_err().code(),
        ErrorCode::Malformed
    );
}

#[test]
fn delay_of_a_nack_holds_at_the_limit_and_one_beyond() {
    let bytes = golden::settle_entries();
    let settle = Settle {
        queue: "q",
        lane: Lane(0),
        subscription: "",
        entries: SettleEntries::read(&bytes).unwrap(),
    };
    let code = |delay_ms| {
        code_of(&Request::Nack(Nack {
            settle,
            delay_ms,
            count_attempt: false,
        }))
    };
    assert_eq!([code(0), code(31_622_400_000)], [ErrorCode::Ok; 2]);
    assert_eq!(
        [code(31_622_400_001), code(u64::MAX)],
        [ErrorCode::OutOfRange; 2]
    );
    let mut fields = Vec::new();
    put_u64(&mut fields, 0);
    fields.push(2);
    assert_eq!(
        decode_fields(kind::NACK, &fields).unwrap_err().code(),
        ErrorCode::Malformed
    );
}

#[test]
fn requests_say_which_queue_they_belong_to() {
    let (batch, entries) = (golden::batch(), golden::settle_entries());
    for (name, request) in golden::requests(&batch, &entries) {
        let without = [
            "hello",
            "ping",
            "metadata",
            "credit",
            "unsubscribe",
            "queue_list",
        ];
        let expected = (!without.contains(&name)).then_some(("orders", Lane(0)));
        assert_eq!(request.queue(), expected, "{name}");
    }
}
