use super::*;

#[test]
fn releases_of_distributions_are_understood() {
    assert_eq!(parse("6.18.44-fc-v669\n"), Some((6, 18)));
    assert_eq!(parse("5.10.0-28-amd64"), Some((5, 10)));
    assert_eq!(parse("6.6"), Some((6, 6)));
    assert_eq!(parse("6.12-rc1"), Some((6, 12)));
    assert_eq!(parse("unknown"), None);
    assert_eq!(parse(""), None);
}

#[test]
fn running_kernel_says_what_it_is() {
    assert!(release().is_some_and(|release| release > (3, 0)));
}
