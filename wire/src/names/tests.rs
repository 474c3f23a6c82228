use super::*;

#[test]
fn names_at_the_limits_are_taken() {
    assert_eq!(check_name("a"), Ok(()));
    assert_eq!(check_name(&"x".repeat(128)), Ok(()));
    assert_eq!(check_name("A-Za-z0-9._-"), Ok(()));
}

#[test]
fn subscriptions_may_be_ephemeral() {
    let longest = "x".repeat(128 - EPHEMERAL_SUFFIX.len()) + EPHEMERAL_SUFFIX;
    for name in ["a", "a#ephemeral", longest.as_str()] {
        assert_eq!(check_subscription_name(name), Ok(()), "{name}");
    }
    assert!(is_ephemeral("a#ephemeral") && !is_ephemeral("ephemeral"));
    let bad = |index| Err(NameError::BadByte { index, byte: b'#' });
    assert_eq!(check_name("a#ephemeral"), bad(1), "no queue is ephemeral");
    assert_eq!(check_subscription_name("a#b"), bad(1));
    assert_eq!(check_subscription_name("a#ephemeral#ephemeral"), bad(1));
    assert_eq!(check_subscription_name("a#ephemeral2"), bad(1));
    assert_eq!(check_subscription_name("#ephemeral"), Err(NameError::Empty));
    let bytes = 129;
    let too_long = Err(NameError::TooLong { bytes });
    assert_eq!(check_subscription_name(&format!("x{longest}")), too_long);
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
