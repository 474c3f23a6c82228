use super::header;

#[test]
fn headers_need_a_name() {
    assert_eq!(
        header("type=a=b"),
        Ok(("type".to_owned(), "a=b".to_owned()))
    );
    assert!(header("=x").is_err());
    assert!(header("x").is_err());
}
