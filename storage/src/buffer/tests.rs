use super::Buffer;
use crate::layout::BLOCK_ALIGN;

#[test]
fn buffer_is_aligned_and_stays_so_when_moved() {
    for capacity in [0, 1, 511, 4096, 4097, 70_000, 1 << 20] {
        let mut buffer = Buffer::zeroed(capacity);
        assert_eq!(buffer.as_slice().as_ptr().addr() % BLOCK_ALIGN, 0);
        assert!(buffer.capacity() >= capacity);
        assert!(buffer.as_slice().iter().all(|byte| *byte == 0));
        buffer.as_mut_slice()[0] = 7;
        let moved = Box::new(buffer);
        assert_eq!(moved.as_slice().as_ptr().addr() % BLOCK_ALIGN, 0);
        assert_eq!(moved.as_slice()[0], 7);
    }
}

#[test]
fn set_len_keeps_the_bytes() {
    let mut buffer = Buffer::from_slice(&[1, 2, 3]);
    buffer.set_len(2);
    assert_eq!(buffer.as_slice(), [1, 2]);
    buffer.set_len(4);
    assert_eq!(buffer.as_slice(), [1, 2, 3, 0]);
}
