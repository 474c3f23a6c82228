use super::*;

#[test]
fn checksum_has_the_check_value_of_crc_32_iso_hdlc() {
    assert_eq!(checksum(&[b"123456789"]), 0xcbf4_3926);
    assert_eq!(checksum(&[]), 0);
}

#[test]
fn checksum_does_not_depend_on_how_the_bytes_are_split() {
    assert_eq!(
        checksum(&[b"1234", b"", b"56789"]),
        checksum(&[b"123456789"])
    );
}
