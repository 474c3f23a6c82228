use std::fmt::Write as _;
use std::path::PathBuf;

use super::*;
use crate::frame::FrameWriter;
use crate::limits::FRAME_BYTES_MAX;
use crate::message::{Batch, CLASS_MEMORY};
use crate::record::{RecordHeader, record_kind};
use crate::{Frame, check_name, check_subscription_name, partition_of};

#[test]
fn golden_requests_have_the_same_bytes_and_meaning() {
    let (batch, entries) = (batch(), settle_entries());
    let requests = requests(&batch, &entries);
    assert_eq!(requests.len(), 34, "a kind of request has no vector");
    for (name, request) in requests {
        let mut bytes = Vec::new();
        request.encode(CORRELATION, &mut bytes);
        let golden = compare(&format!("request_{name}"), &bytes);
        let frame = whole_frame(&golden);
        assert_eq!(frame.correlation, CORRELATION, "{name}");
        assert_eq!(Request::decode(&frame), Ok(request), "{name}");
    }
}

#[test]
fn golden_responses_have_the_same_bytes_and_meaning() {
    let batch = batch();
    let messages = Batch::read(&batch).unwrap().entries;
    for (name, response) in responses(messages) {
        let mut bytes = Vec::new();
        response.encode(CORRELATION, EPOCH, &mut bytes);
        let golden = compare(&format!("response_{name}"), &bytes);
        let frame = whole_frame(&golden);
        assert_eq!(
            (frame.correlation, frame.epoch),
            (CORRELATION, EPOCH),
            "{name}"
        );
        assert_eq!(Response::decode(&frame), Ok(response), "{name}");
    }
}

#[test]
fn golden_frame_has_the_same_bytes_and_meaning() {
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::begin(&mut bytes, 0x7e, 0x0201, CORRELATION, EPOCH);
    writer.fields().extend_from_slice(b"fields");
    writer.finish(&[b"mess", b"ages"]);
    let golden = compare("frame", &bytes);
    let frame = whole_frame(&golden);
    assert_eq!((frame.kind, frame.code), (0x7e, 0x0201));
    assert_eq!((frame.correlation, frame.epoch), (CORRELATION, EPOCH));
    assert_eq!(
        (frame.head, frame.messages),
        (&b"fields"[..], &b"messages"[..])
    );
}

#[test]
fn golden_batch_has_the_same_bytes_and_meaning() {
    let golden = compare("batch", &batch());
    let batch = Batch::read(&golden).unwrap();
    assert_eq!((batch.producer, batch.sequence), (PRODUCER, Sequence(9)));
    assert_eq!((batch.count, batch.class), (3, CLASS_DURABLE));
    let messages: Vec<_> = batch.iter().map(Result::unwrap).collect();
    assert_eq!(messages[0].body, b"hello");
    assert_eq!(messages[1].key, Some(&b"customer-17"[..]));
    let headers: Vec<_> = messages[1].headers().map(|header| header.name).collect();
    assert_eq!(headers, ["trace", "gr\u{f6}\u{df}e"]);
    assert_eq!((messages[2].key, messages[2].body), (None, &b""[..]));
}

#[test]
fn golden_memory_batch_has_the_same_bytes_and_meaning() {
    let mut builder = BatchBuilder::new();
    builder.class = CLASS_MEMORY;
    builder.push(&OutgoingMessage::default()).unwrap();
    let golden = compare(
        "batch_memory",
        &builder.finish(ProducerId::NONE, Sequence(0)),
    );
    let batch = Batch::read(&golden).unwrap();
    assert_eq!(
        (batch.producer, batch.class),
        (ProducerId::NONE, CLASS_MEMORY)
    );
}

#[test]
fn golden_record_has_the_same_bytes_and_meaning() {
    let head = b"payload head";
    let header = RecordHeader {
        bytes: 32 + 12 + 5,
        kind: record_kind::ENQUEUE,
        lsn_delta: 0x0102_0304,
        time: Timestamp(1_800_000_000_123_456_789),
        payload_head: 12,
    };
    let mut bytes = header.write(head).to_vec();
    bytes.extend_from_slice(b"payload headbatch");
    let golden = compare("record", &bytes);
    assert_eq!(
        RecordHeader::read(&golden),
        Ok((header, &b"payload headbatch"[..]))
    );
}

#[test]
fn golden_placements_stay() {
    let mut lines = String::from("# tenant queue lane partitions -> partition\n");
    for (tenant, queue) in [
        ("default", "orders"),
        ("default", "a"),
        ("acme", "orders"),
        ("default", "billing.events-2026_11"),
    ] {
        for (lane, partitions) in [
            (0, 1),
            (0, 8),
            (0, 48),
            (1, 8),
            (1, 48),
            (4_294_967_295, 65_536),
        ] {
            let partition = partition_of(tenant, queue, Lane(lane), partitions);
            writeln!(lines, "{tenant} {queue} {lane} {partitions} -> {partition}").unwrap();
        }
    }
    compare_text("placement.txt", &lines);
}

#[test]
fn golden_names_stay() {
    let longest = "n".repeat(128);
    let too_long = "n".repeat(129);
    let mut lines = String::from("# verdict, then the name as a quoted string\n");
    for name in [
        "a",
        "orders",
        "A-Z_a.z-09",
        ".",
        "..",
        "-",
        longest.as_str(),
        "",
        too_long.as_str(),
        "a b",
        "../x",
        "a/b",
        "a\n",
        "a\0",
        "gr\u{f6}\u{df}e",
        "\u{202e}abc",
        "a:b",
        "a*",
    ] {
        let verdict = if check_name(name).is_ok() {
            "taken"
        } else {
            "refused"
        };
        writeln!(lines, "{verdict} {name:?}").unwrap();
    }
    for name in ["a#ephemeral", "#ephemeral", "a#", "a#ephemeral#ephemeral"] {
        let verdict = if check_subscription_name(name).is_ok() {
            "taken"
        } else {
            "refused"
        };
        writeln!(lines, "{verdict} {name:?} for a subscription").unwrap();
    }
    compare_text("names.txt", &lines);
}

/// Compares bytes with the vector on file, and gives the latter.
fn compare(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut text = format!("# {name}: {} bytes\n", bytes.len());
    for line in bytes.chunks(16) {
        let pairs: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        text += &(pairs.join(" ") + "\n");
    }
    from_hex(&compare_text(&format!("{name}.hex"), &text))
}

fn compare_text(name: &str, text: &str) -> String {
    let path = directory().join(name);
    if std::env::var_os("CORELANE_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        golden, text,
        "{name} differs: this is a change of the format"
    );
    golden
}

fn from_hex(text: &str) -> Vec<u8> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

fn whole_frame(bytes: &[u8]) -> Frame<'_> {
    let (frame, used) = Frame::read(bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    assert_eq!(used, bytes.len());
    assert_eq!(frame.bytes, bytes);
    frame
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/testdata")
}
