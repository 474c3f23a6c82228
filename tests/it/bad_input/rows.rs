//! The rows: what is sent, and the typed answer.

mod batches;

use corelane_wire::{ErrorCode, kind};

use super::made::{
    WRONG, batch_of, dequeue, enqueue, enqueue_to_kept, entry, filler, frame, frame_of, hello,
    join, named, ping, resealed, settle, subscribe, target, with,
};

/// One row of the table, with everything that is sent for it, each on a connection of its own.
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) code: ErrorCode,
    /// Whether the connection is closed after the answer.
    pub(super) is_closed: bool,
    pub(super) is_greeted: bool,
    pub(super) sent: Vec<Vec<u8>>,
}

/// Refused, and the connection goes on.
fn refused(what: &'static str, code: ErrorCode, sent: Vec<Vec<u8>>) -> Row {
    let (is_closed, is_greeted) = (false, true);
    Row {
        what,
        code,
        is_closed,
        is_greeted,
        sent,
    }
}

/// The connection ends.
fn ended(what: &'static str, code: ErrorCode, sent: Vec<Vec<u8>>) -> Row {
    let is_closed = true;
    Row {
        is_closed,
        ..refused(what, code, sent)
    }
}

/// The connection ends before it was greeted.
fn ungreeted(what: &'static str, code: ErrorCode, sent: Vec<Vec<u8>>) -> Row {
    let is_greeted = false;
    Row {
        is_greeted,
        ..ended(what, code, sent)
    }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = frames();
    rows.extend(greetings());
    rows.extend(requests());
    rows.extend(settlements());
    rows.extend(batches::batches());
    rows.extend(batches::messages());
    rows.extend(states());
    rows
}

fn frames() -> Vec<Row> {
    let lengths = |lengths: &[u32]| {
        let frames = lengths.iter();
        frames
            .map(|length| with(ping(), 4, &length.to_le_bytes()))
            .collect()
    };
    let heads = [0_u32, 39, 41, u32::MAX];
    let spoiled = (8..12).chain(16..40);
    vec![
        ended("a length below 40", ErrorCode::Malformed, lengths(&[0, 39])),
        ended(
            "a length beyond `frame_bytes_max`",
            ErrorCode::FrameTooLarge,
            lengths(&[1_114_113, u32::MAX]),
        ),
        ungreeted(
            "a length beyond 8,192 before HELLO is answered",
            ErrorCode::FrameTooLarge,
            lengths(&[8_193]),
        ),
        ended(
            "a head below 40 or beyond the length",
            ErrorCode::Malformed,
            heads
                .map(|head| resealed(ping(), 12, &head.to_le_bytes()))
                .into(),
        ),
        ended(
            "another protocol: HTTP, TLS, any other magic",
            ErrorCode::BadMagic,
            vec![
                b"GET / HTTP/1.1\r\n\r\n".to_vec(),
                b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
                with(ping(), 3, b"2"),
            ],
        ),
        ended(
            "a spoiled byte in the head",
            ErrorCode::BadChecksum,
            spoiled.map(|at| with(ping(), at, &[!ping()[at]])).collect(),
        ),
        ended(
            "a version other than 1 in the header",
            ErrorCode::UnsupportedVersion,
            [0, 2, 255]
                .map(|version| resealed(ping(), 16, &[version]))
                .into(),
        ),
        ended(
            "flags other than 0",
            ErrorCode::ReservedNotZero,
            vec![resealed(ping(), 20, &[1]), resealed(ping(), 23, &[128])],
        ),
    ]
}

fn greetings() -> Vec<Row> {
    let made =
        |start, tenant: &[u8], token: &[u8]| frame(kind::HELLO, &hello(start, tenant, token));
    let right = hello([1, 1, 0, 0], b"", b"");
    let cut = |end: usize| frame(kind::HELLO, &right[..end]);
    vec![
        ungreeted(
            "a request, or a kind that is none, before HELLO",
            ErrorCode::HelloRequired,
            vec![
                ping(),
                frame(0x77, &[]),
                enqueue(&batch_of(0, 0, &[entry(&[], b"x")])),
            ],
        ),
        ungreeted(
            "HELLO for other versions only",
            ErrorCode::UnsupportedVersion,
            vec![made([0, 0, 0, 0], b"", b""), made([2, 9, 0, 0], b"", b"")],
        ),
        ungreeted(
            "HELLO with version_min above version_max, or to resume session 0",
            ErrorCode::OutOfRange,
            vec![made([2, 1, 0, 0], b"", b""), made([1, 1, 1, 0], b"", b"")],
        ),
        ungreeted(
            "HELLO cut short, with bytes left over, or with a bool of 2",
            ErrorCode::Malformed,
            (0..right.len())
                .map(cut)
                .chain([frame(kind::HELLO, &join(&[&right, &[0]]))])
                .chain([made([1, 1, 2, 0], b"", b"")])
                .collect(),
        ),
        ungreeted(
            "HELLO with a reserved byte other than 0",
            ErrorCode::ReservedNotZero,
            vec![made([1, 1, 0, 1], b"", b"")],
        ),
        ungreeted(
            "HELLO with a tenant that is no name",
            ErrorCode::InvalidName,
            vec![
                made([1, 1, 0, 0], b"a/b", b""),
                made([1, 1, 0, 0], b"\xff", b""),
            ],
        ),
        ungreeted(
            "HELLO with an unknown tenant",
            ErrorCode::TenantUnknown,
            vec![made([1, 1, 0, 0], b"stranger", b"")],
        ),
        ungreeted(
            "HELLO with a token",
            ErrorCode::NotSupported,
            vec![made([1, 1, 0, 0], b"", b"secret")],
        ),
        refused(
            "a second HELLO",
            ErrorCode::HelloRepeated,
            vec![frame(kind::HELLO, &right)],
        ),
    ]
}

fn requests() -> Vec<Row> {
    let asked = dequeue("refused", [1, 30_000, 0]);
    let twice = join(&[
        &frame(kind::DEQUEUE, &dequeue("kept", [1, 30_000, 30_000])),
        &ping(),
    ]);
    vec![
        refused(
            "a kind that is no request, those of answers included",
            ErrorCode::UnknownKind,
            [0x00, 0x77, 0x40, 0x80, 0x81, 0x90, 0xff]
                .map(|kind| frame(kind, &[]))
                .into(),
        ),
        refused(
            "fields cut short at any byte, or with bytes left over",
            ErrorCode::Malformed,
            (0..asked.len())
                .map(|end| frame(kind::DEQUEUE, &asked[..end]))
                .chain([
                    frame(kind::DEQUEUE, &join(&[&asked, &[0]])),
                    frame(kind::PING, &[0]),
                ])
                .collect(),
        ),
        refused(
            "a code or an epoch other than 0 in a request",
            ErrorCode::ReservedNotZero,
            vec![resealed(ping(), 18, &[1]), resealed(ping(), 32, &[1])],
        ),
        refused(
            "messages in a request that has none, or none in an enqueue",
            ErrorCode::Malformed,
            vec![frame_of(WRONG, kind::PING, &[], b"x"), enqueue(b"")],
        ),
        refused(
            "a name that is empty, has more than 128 bytes or others than those allowed",
            ErrorCode::InvalidName,
            bad_names(),
        ),
        refused(
            "a lane other than 0, or more than one lane",
            ErrorCode::NotSupported,
            vec![
                frame(
                    kind::QUEUE_CREATE,
                    &join(&[&named(b"refused"), &[2, 0, 0, 0]]),
                ),
                frame(
                    kind::PEEK,
                    &join(&[&named(b"kept"), &[1; 4], &[0; 8], &[1, 0, 0, 0]]),
                ),
            ],
        ),
        refused(
            "an order by key in which messages that come back go to the back",
            ErrorCode::NotSupported,
            vec![frame(
                kind::SUBSCRIPTION_CONFIGURE,
                &join(&[&target("kept"), &named(b""), &[0x83], &[0; 28]]),
            )],
        ),
        refused(
            "a correlation whose request is not answered yet",
            ErrorCode::CorrelationInUse,
            vec![twice],
        ),
        out_of_range(),
    ]
}

fn bad_names() -> Vec<Vec<u8>> {
    let show = |name: &[u8]| frame(kind::QUEUE_SHOW, &named(name));
    let long_name = filler(60_000);
    let names: [&[u8]; 9] = [
        b"",
        &[b'a'; 129],
        &long_name,
        b"a\0b",
        b"../a",
        b"a b",
        b"a\nb",
        "a\u{202e}b".as_bytes(),
        b"a\xff",
    ];
    names.map(show).into()
}

fn out_of_range() -> Row {
    const MAX: u32 = u32::MAX;
    let dequeues = [
        [0, 30_000, 0],
        [10_001, 30_000, 0],
        [MAX, 30_000, 0],
        [1, 999, 0],
        [1, 86_400_001, 0],
        [1, MAX, 0],
        [1, 30_000, 30_001],
        [1, 30_000, MAX],
    ];
    let credits = [[1, 100_001, 30_000], [1, MAX, 30_000], [1, 1, 0]];
    let peeks = [0, 1_001, MAX].map(u32::to_le_bytes);
    let lists = [[0, 0], [0, 1_001], [65_536, 10], [MAX, 10]];
    let delays = [31_622_400_001, 1 << 63, u64::MAX].map(u64::to_le_bytes);
    let settled = settle("kept", "", 1, &[(0, 1)]);
    let made = dequeues.map(|numbers| frame(kind::DEQUEUE, &dequeue("refused", numbers)));
    let mut sent = Vec::from(made);
    sent.extend(credits.map(|of| frame(kind::SUBSCRIBE, &subscribe("refused", of))));
    sent.extend(peeks.map(|count| frame(kind::PEEK, &join(&[&target("kept"), &[0; 8], &count]))));
    sent.extend(lists.map(|[partition, limit]: [u32; 2]| {
        let numbers = [partition.to_le_bytes(), limit.to_le_bytes()];
        frame(
            kind::QUEUE_LIST,
            &join(&[&numbers[0], &named(b""), &numbers[1]]),
        )
    }));
    sent.extend(delays.map(|delay| frame(kind::NACK, &join(&[&delay, &[1], &settled]))));
    sent.push(frame(kind::EXTEND, &join(&[&[0; 4], &settled])));
    sent.push(frame(
        kind::QUEUE_CREATE,
        &join(&[&named(b"refused"), &[0; 4]]),
    ));
    sent.extend(subscriptions());
    sent.extend(queues());
    sent.extend(schedules());
    let what = "a count, limit, partition, credit, lease, wait, delay, start, contract, state, fate, change, overflow or storage outside its range, a queue as its own dead-letter queue, or a reason of more than 256 bytes";
    refused(what, ErrorCode::OutOfRange, sent)
}

/// Configurations of a queue with something outside its range.
fn queues() -> Vec<Vec<u8>> {
    let config = |at: usize, value: &[u8]| {
        let config = with(vec![0; 58], at, value);
        frame(
            kind::QUEUE_CONFIGURE,
            &join(&[&named(b"kept"), &[1], &config]),
        )
    };
    vec![
        config(0, &316_224_000_001_u64.to_le_bytes()),
        config(40, &[3]),
        config(41, &31_622_400_001_u64.to_le_bytes()),
        config(57, &[2]),
    ]
}

/// Requests about scheduled messages with something outside its range.
fn schedules() -> Vec<Vec<u8>> {
    let list = |limit: u32| join(&[&target("kept"), &[0; 8], &limit.to_le_bytes()]);
    let ranges = |ranges: &[(u64, u32)]| {
        let mut fields = target("kept");
        fields.extend(u32::try_from(ranges.len()).unwrap().to_le_bytes());
        for (first, count) in ranges {
            fields.extend(first.to_le_bytes());
            fields.extend(count.to_le_bytes());
        }
        fields
    };
    let cancels = [
        ranges(&[]),
        ranges(&[(0, 0)]),
        ranges(&[(0, 10_001)]),
        ranges(&[(0, 6_000), (6_000, 6_000)]),
        ranges(&[(5, 2), (6, 1)]),
        ranges(&[(u64::MAX, 1)]),
    ];
    let cancels = cancels.map(|fields| frame(kind::SCHEDULE_CANCEL, &fields));
    let lists = [0, 1_001].map(|limit| frame(kind::SCHEDULE_LIST, &list(limit)));
    cancels.into_iter().chain(lists).collect()
}

/// Requests about a subscription with something outside its range.
fn subscriptions() -> Vec<Vec<u8>> {
    let on = |kind, fields: &[u8]| frame(kind, &join(&[&target("kept"), &named(b""), fields]));
    let config = |contract: u8, backoff_ms: u64, backoff_max_ms: u64| {
        let delays = [backoff_ms, backoff_max_ms].map(u64::to_le_bytes).concat();
        join(&[&[contract], &[0; 12], &delays])
    };
    let configs = [
        config(9, 0, 0),
        config(0, 31_622_400_001, 0),
        config(0, 0, u64::MAX),
    ];
    let mut sent: Vec<_> = configs
        .iter()
        .map(|config| on(kind::SUBSCRIPTION_CONFIGURE, config))
        .collect();
    let start = join(&[&[4], &[0; 8], &config(0, 0, 0)]);
    sent.push(on(kind::SUBSCRIPTION_CREATE, &start));
    sent.push(on(kind::SUBSCRIPTION_SEEK, &[0; 9]));
    sent.push(on(kind::SUBSCRIPTION_PAUSE, &named(&[b'x'; 257])));
    sent.extend([0, 8].map(|states| on(kind::SUBSCRIPTION_PURGE, &[states])));
    let letters = [join(&[&[3], &named(b"")]), join(&[&[2], &named(b"kept")])];
    let letters = letters.iter();
    sent.extend(letters.map(|fields| on(kind::SUBSCRIPTION_DEAD_LETTERS, fields)));
    let list = |state: u8, limit: u32| join(&[&[state], &[0; 8], &limit.to_le_bytes()]);
    let lists = [list(0, 1), list(3, 1), list(1, 0), list(2, 1_001)];
    sent.extend(lists.iter().map(|fields| on(kind::ASIDE_LIST, fields)));
    let returned = |first: u64, end: u64, max: u32| {
        let offsets = [first, end].map(u64::to_le_bytes).concat();
        join(&[&[1], &offsets, &max.to_le_bytes()])
    };
    let returns = [returned(0, 1, 0), returned(0, 1, 10_001), returned(5, 5, 1)];
    sent.extend(returns.iter().map(|fields| on(kind::ASIDE_RETURN, fields)));
    let settled = settle("kept", "", 1, &[(0, 1)]);
    sent.push(frame(kind::REJECT, &join(&[&[3], &named(b""), &settled])));
    sent.push(frame(
        kind::REJECT,
        &join(&[&[0], &named(&[b'x'; 257]), &settled]),
    ));
    sent
}

fn settlements() -> Vec<Row> {
    let ack = |stated, of: &[(u64, u32)]| frame(kind::ACK, &settle("kept", "", stated, of));
    vec![
        refused(
            "a settlement of no message, of more than 65,536, or beyond the last offset",
            ErrorCode::OutOfRange,
            vec![
                ack(0, &[]),
                ack(10_001, &vec![(0, 1); 10_001]),
                ack(1 << 31, &[(0, 1)]),
                ack(1, &[(0, 0)]),
                ack(1, &[(0, 65_537)]),
                ack(2, &[(0, 65_536), (0, 1)]),
                ack(1, &[(u64::MAX, 1)]),
            ],
        ),
        refused(
            "a settlement with fewer or more entries than it states",
            ErrorCode::Malformed,
            vec![ack(2, &[(0, 1)]), ack(1, &[(0, 1), (1, 1)])],
        ),
        refused(
            "a settlement under a lease that is not held, or never was",
            ErrorCode::StaleLease,
            vec![ack(1, &[(0, 1)]), ack(1, &[(1 << 40, 65_536)])],
        ),
        refused(
            "a settlement in a subscription that does not exist",
            ErrorCode::SubscriptionNotFound,
            vec![frame(kind::ACK, &settle("kept", "absent", 1, &[(0, 1)]))],
        ),
        refused(
            "a checkpoint of what is no reader",
            ErrorCode::NotSupported,
            vec![frame(
                kind::SUBSCRIPTION_CHECKPOINT,
                &join(&[&target("kept"), &named(b""), &[0; 8]]),
            )],
        ),
    ]
}

fn states() -> Vec<Row> {
    let of_two = |sequence, count| {
        let entries = vec![entry(&[], b"body"); count];
        enqueue_to_kept(&batch_of(2, sequence, &entries))
    };
    let consumer = |kind, fields: &[u8]| frame(kind, &join(&[&[9, 0, 0, 0], fields]));
    let subscribed = |number: u32| {
        let fields = subscribe("kept", [number, 0, 30_000]);
        frame_of(1_000 + u64::from(number), kind::SUBSCRIBE, &fields, &[])
    };
    let again = frame(kind::SUBSCRIBE, &subscribe("kept", [1, 0, 30_000]));
    let beyond = frame(kind::SUBSCRIBE, &subscribe("kept", [1_024, 0, 30_000]));
    let full = (0..1_024).map(subscribed).collect::<Vec<_>>().concat();
    vec![
        refused(
            "an unknown producer whose sequence does not begin at 0",
            ErrorCode::UnknownProducer,
            [1, u64::MAX]
                .map(|sequence| enqueue_to_kept(&batch_of(3, sequence, &[entry(&[], b"body")])))
                .into(),
        ),
        refused(
            "a gap in a producer's sequence, or a number that comes again with another count",
            ErrorCode::OutOfSequence,
            vec![of_two(2, 1), of_two(u64::MAX, 1), of_two(0, 2)],
        ),
        refused(
            "a queue that does not exist",
            ErrorCode::QueueNotFound,
            vec![
                frame(kind::QUEUE_SHOW, &named(b"absent")),
                frame(kind::QUEUE_DELETE, &named(b"absent")),
                frame(kind::QUEUE_CONFIGURE, &join(&[&named(b"absent"), &[0]])),
                frame(kind::ACK, &settle("absent", "", 1, &[(0, 1)])),
                frame(
                    kind::PEEK,
                    &join(&[&target("absent"), &[0; 8], &[1, 0, 0, 0]]),
                ),
            ],
        ),
        refused(
            "credit or the end of a consumer that the connection does not have",
            ErrorCode::UnknownConsumer,
            vec![
                consumer(kind::CREDIT, &[0; 4]),
                consumer(kind::UNSUBSCRIBE, &[]),
            ],
        ),
        refused(
            "a consumer whose number the connection has",
            ErrorCode::ConsumerExists,
            vec![join(&[&subscribed(1), &again])],
        ),
        refused(
            "more than 1,024 consumers on a connection",
            ErrorCode::LimitExceeded,
            vec![join(&[&full, &beyond])],
        ),
    ]
}
