use super::*;

#[test]
fn names_at_the_limits_are_taken() {
    assert_eq!(check_name("a"), Ok(()));
    assert_eq!(check_name(&"x".repeat(128)), Ok(()));
    assert_eq!(check_name("A-Za-z0-9._-"), Ok(()));
}

#[test]
fn names_beyond_the_limits_are_refused() {
    assert_eq!(check_name(""), Err(NameError::Empty));
    assert_eq!(
        check_name(&"x".repeat(129)),
        Err(NameError::TooLong { bytes: 129 })
    );
    let bad = |index, byte| Err(NameError::BadByte { index, byte });
    assert_eq!(check_name("../x"), bad(2, b'/'));
    assert_eq!(check_name("a\0"), bad(1, 0));
    assert_eq!(check_name("a\n"), bad(1, b'\n'));
    assert_eq!(check_name("\u{202e}abc"), bad(0, 0xe2));
}
