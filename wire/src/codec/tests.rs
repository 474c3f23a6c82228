use super::*;

#[test]
fn reader_reads_what_was_put() {
    let mut out = Vec::new();
    put_u8(&mut out, 1);
    put_u16(&mut out, 0x0203);
    put_u32(&mut out, 0x0405_0607);
    put_u64(&mut out, 8);
    put_u128(&mut out, u128::MAX - 1);
    put_bool(&mut out, true);
    put_str16(&mut out, "gr\u{fc}n");
    put_bytes16(&mut out, &[0xff]);
    let mut reader = Reader::new(&out);
    assert_eq!(reader.u8(), Ok(1));
    assert_eq!(reader.u16(), Ok(0x0203));
    assert_eq!(reader.u32(), Ok(0x0405_0607));
    assert_eq!(reader.u64(), Ok(8));
    assert_eq!(reader.u128(), Ok(u128::MAX - 1));
    assert_eq!(reader.bool(), Ok(true));
    assert_eq!(reader.str16(), Ok("gr\u{fc}n"));
    assert_eq!(reader.bytes16(), Ok(&[0xff][..]));
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn reader_does_not_move_past_its_end() {
    let mut reader = Reader::new(&[1, 2, 3]);
    let truncated = CodecError::Truncated { needed: 4, left: 3 };
    assert_eq!(reader.u32(), Err(truncated));
    assert_eq!(reader.bytes(usize::MAX).map_err(|_| ()), Err(()));
    assert_eq!(reader.left(), 3);
    assert_eq!(reader.finish(), Err(CodecError::TrailingBytes { left: 3 }));
}

#[test]
fn reader_refuses_what_is_not_of_the_type() {
    assert_eq!(
        Reader::new(&[2]).bool(),
        Err(CodecError::NotBoolean { value: 2 })
    );
    assert_eq!(Reader::new(&[1, 0, 0xff]).str16(), Err(CodecError::NotUtf8));
    let short = Err(CodecError::Truncated { needed: 2, left: 1 });
    assert_eq!(Reader::new(&[2, 0, b'a']).str16(), short);
}

#[test]
fn numbers_are_little_endian() {
    let mut out = Vec::new();
    put_u32(&mut out, 0x0102_0304);
    assert_eq!(out, [4, 3, 2, 1]);
    patch_u32(&mut out, 0, 0x0a0b_0c0d);
    assert_eq!(out, [0xd, 0xc, 0xb, 0xa]);
}
