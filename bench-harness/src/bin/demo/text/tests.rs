use super::{line, make, number, read};

#[test]
fn lines_say_their_number_and_differ() {
    let folder = std::env::temp_dir().join(format!("corelane-text-{}", std::process::id()));
    let length = make(&folder, 1000).unwrap();
    let lines = read(&folder).unwrap();
    std::fs::remove_file(&folder).unwrap();
    assert_eq!(lines.len(), 1000);
    let expected: usize = lines.iter().map(|line| line.len() + 1).sum();
    assert_eq!(length, expected as u64);
    for (i, text) in lines.iter().enumerate() {
        assert_eq!(number(text.as_bytes()), Some(i));
        assert_eq!(*text, line(i));
    }
    assert_ne!(lines[1][6..], lines[2][6..]);
}

#[test]
fn foreign_bodies_have_no_number() {
    assert_eq!(number(b""), None);
    assert_eq!(number(b"x12 word"), None);
    assert_eq!(number(&[0xFF, b' ', b'1']), None);
}
