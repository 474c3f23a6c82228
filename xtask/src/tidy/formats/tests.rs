use super::{FORMATS, SourceFile, check_format, stamp, with_stamp};

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

#[test]
fn changed_source_fails_until_blessed() {
    let protocol = &FORMATS[0];
    let mut files = vec![
        file("docs/protocol.md", "# Protocol\n"),
        file("wire/src/frame.rs", "const HEAD: usize = 40;\n"),
    ];
    assert!(check_format(protocol, &files).is_some());
    files[0].text = with_stamp(&files[0].text, &stamp(protocol, &files));
    assert_eq!(check_format(protocol, &files), None);
    files[1].text = "const HEAD: usize = 48;\n".to_owned();
    assert!(check_format(protocol, &files).is_some());
    files[0].text = with_stamp(&files[0].text, &stamp(protocol, &files));
    assert_eq!(check_format(protocol, &files), None);
    assert_eq!(files[0].text.lines().count(), 3);
}

#[test]
fn comments_and_tests_are_not_part_of_the_hash() {
    let protocol = &FORMATS[0];
    let bare = [file("wire/src/frame.rs", "const HEAD: usize = 40;\n")];
    let commented = [
        file(
            "wire/src/frame.rs",
            "//! Frames.\n\n  const HEAD: usize = 40;\n",
        ),
        file("wire/src/frame/tests.rs", "fn round_trip() {}\n"),
        file("wire/src/testdata/hello.hex", "00\n"),
    ];
    assert_eq!(stamp(protocol, &bare), stamp(protocol, &commented));
}
