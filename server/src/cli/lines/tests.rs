use super::*;

fn chunks(input: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut reader = BufReader::with_capacity(64, input);
    let mut chunks = Vec::new();
    loop {
        let chunk = read_chunk(&mut reader, 200).unwrap();
        if chunk.is_empty() {
            return chunks;
        }
        chunks.push(chunk);
    }
}

#[test]
fn lines_lose_only_their_ends() {
    let lines: Vec<_> = chunks(b"one\n\n two \r\nlast").concat();
    let expected: [&[u8]; 4] = [b"one", b"", b" two \r", b"last"];
    assert_eq!(lines, expected);
    assert!(chunks(b"").is_empty());
}

#[test]
fn chunk_ends_where_only_part_of_a_line_has_come() {
    let input = [b"short\n".to_vec(), vec![b'x'; 100], b"\n".to_vec()].concat();
    let chunks = chunks(&input);
    assert_eq!(chunks.len(), 2);
    assert_eq!(chunks[0], [b"short"]);
    assert_eq!(chunks[1][0].len(), 100);
}

#[test]
fn line_that_is_too_long_comes_cut_above_its_limit() {
    let input = [vec![b'x'; 250], b"\n".to_vec(), vec![b'y'; 200]].concat();
    let lines: Vec<_> = chunks(&input).concat();
    assert_eq!(lines[0], [b'x'; 201]);
    assert_eq!(lines.last().unwrap(), &[b'y'; 200]);
}
