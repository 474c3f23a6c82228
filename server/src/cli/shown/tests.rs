use super::super::output::item_json;
use super::*;

fn shown(message: &Message) -> Shown {
    let headers: Vec<_> = message
        .headers
        .iter()
        .map(|(name, value)| Header { name, value })
        .collect();
    let (offset, enqueued) = (Offset(7), Timestamp::from_millis(9));
    let key = message.key.as_deref();
    Shown::new(offset, enqueued, key, &headers, &message.body)
}

fn read(line: &str) -> Result<Message, LineError> {
    Shown::read(line.as_bytes())?.into_message()
}

#[test]
fn line_has_all_that_the_message_had() {
    let every_byte: Vec<u8> = (0..=255).collect();
    let every_ascii: Vec<u8> = (0..128).collect();
    let messages = [
        Message::new(""),
        Message::new("plain"),
        Message::new("two\nlines, \"quotes\" \\ \u{2028} \u{10ffff} \u{feff}"),
        Message::new(every_ascii.clone()).key(every_ascii),
        Message::new(every_byte.clone())
            .key(every_byte.clone())
            .header("tag", "1")
            .header("tag", every_byte)
            .header("\u{e4}\n", "")
            .header("tag", "1"),
        Message::new([0xff]),
        Message::new([0xff, 0xfe]),
        // The form of binary bytes, as text.
        Message::new("{\"base64\":\"//4=\"}"),
    ];
    for message in messages {
        let line = item_json(&shown(&message)).unwrap();
        assert!(!line.contains('\n'), "{line}");
        let back = Shown::read(line.as_bytes()).unwrap();
        assert_eq!((back.offset(), back.enqueued_ms), (7, 9));
        assert_eq!(back.into_message().unwrap(), message);
    }
}

#[test]
fn longest_message_fits_into_a_line() {
    let body = vec![1; MESSAGE_BYTES_MAX];
    let line = item_json(&shown(&Message::new(body.clone()))).unwrap();
    assert!(line.len() > 6 * MESSAGE_BYTES_MAX && line.len() <= LINE_BYTES_MAX);
    assert_eq!(read(&line).unwrap().body, body);
}

#[test]
fn only_the_body_is_needed() {
    assert_eq!(
        read(r#"{"v":1,"body":"x"}"#).unwrap(),
        Message::new("x"),
        "and what is missing is not there"
    );
    // As dequeue prints it.
    assert!(read(r#"{"v":1,"offset":1,"attempt":2,"body":""}"#).is_ok());
}

#[test]
fn line_that_is_no_message_says_why() {
    for (line, reason) in [
        ("", "EOF while parsing a value (column 0)"),
        ("hello", "expected value (column 1)"),
        (r#"{"v":1,"body":"x""#, "EOF while parsing an object"),
        (r#"{"v":1,"body":"x"} {}"#, "trailing characters"),
        (r#"{"v":1}"#, "missing field `body`"),
        (r#"{"body":"x"}"#, "missing field `v`"),
        (
            r#"{"v":2,"body":"x"}"#,
            "\"v\" is 2, and this version reads 1",
        ),
        (r#"{"v":1,"body":"x","ttl":5}"#, "unknown field `ttl`"),
        (r#"{"v":1,"body":"x","body":"y"}"#, "duplicate field `body`"),
        (
            r#"{"v":1,"body":5}"#,
            "expected a string or {\"base64\": \"...\"}",
        ),
        (
            r#"{"v":1,"body":{"base64":"","hex":""}}"#,
            "expected a string or {\"base64\": \"...\"}",
        ),
        (
            r#"{"v":1,"body":"","headers":{"a":"b"}}"#,
            "expected a sequence",
        ),
        (
            r#"{"v":1,"body":{"base64":"//4"}}"#,
            "the base64 of the body is none",
        ),
        (
            r#"{"v":1,"key":{"base64":"*"},"body":""}"#,
            "the base64 of the key is none",
        ),
        (
            r#"{"v":1,"headers":[{"name":"a","value":{"base64":"*"}}],"body":""}"#,
            "the base64 of a header is none",
        ),
    ] {
        let text = read(line).unwrap_err().to_string();
        let text = text.strip_prefix("not a message: ").unwrap();
        assert!(text.contains(reason), "{line}: {text}");
        assert!(!text.contains(" at line "), "{line}: {text}");
    }
    let long = vec![b' '; LINE_BYTES_MAX + 1];
    assert!(matches!(Shown::read(&long), Err(LineError::TooLong)));
}
