use super::*;

fn session(number: u128) -> Mail {
    Mail::SessionOpened {
        session: SessionId(number),
    }
}

fn read(mailboxes: &mut Mailboxes) -> Vec<(Mail, Vec<u8>)> {
    let mut arrived = VecDeque::new();
    mailboxes.receive(&mut arrived);
    arrived
        .iter()
        .flat_map(|batch| batch.iter().map(|(mail, bytes)| (mail, bytes.to_vec())))
        .collect()
}

#[test]
fn mail_arrives_in_order_with_its_bytes() {
    let mut shards = mailboxes(2);
    let batch = shards[0].to(ShardId(1));
    let to = ConnectionId(9);
    batch.push(session(1));
    batch.push_with(
        |out| out.extend_from_slice(b"frame"),
        |bytes| Mail::Delivery { to, bytes },
    );
    batch.push(session(2));
    let mut wake = Vec::new();
    assert_eq!(shards[0].flush(&mut wake), 1);
    assert!(wake.is_empty(), "nobody was parked");
    let delivery = Mail::Delivery { to, bytes: 5 };
    assert_eq!(
        read(&mut shards[1]),
        [
            (session(1), vec![]),
            (delivery, b"frame".to_vec()),
            (session(2), vec![]),
        ]
    );
}

#[test]
fn a_full_ring_keeps_the_mail_and_its_order() {
    let mut shards = mailboxes(2);
    let mut wake = Vec::new();
    for number in 0..RING_BATCHES as u128 + 3 {
        shards[0].to(ShardId(1)).push(session(number));
        shards[0].flush(&mut wake);
    }
    assert!(shards[0].is_full(ShardId(1)));
    assert!(shards[0].holds_mail());
    let mut numbers: Vec<Mail> = read(&mut shards[1]).iter().map(|(mail, _)| *mail).collect();
    shards[0].flush(&mut wake);
    assert!(!shards[0].is_full(ShardId(1)));
    numbers.extend(read(&mut shards[1]).iter().map(|(mail, _)| *mail));
    let expected: Vec<Mail> = (0..RING_BATCHES as u128 + 3).map(session).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn only_a_parked_neighbour_is_woken_and_only_once() {
    let mut shards = mailboxes(3);
    assert!(shards[1].park());
    let mut wake = Vec::new();
    shards[0].to_all(session(1));
    shards[0].flush(&mut wake);
    assert_eq!(wake, [ShardId(1)]);
    shards[0].to_all(session(2));
    shards[0].flush(&mut wake);
    assert_eq!(wake, [ShardId(1)]);
}

#[test]
fn a_shard_with_mail_does_not_park() {
    let mut shards = mailboxes(2);
    shards[0].to_all(session(1));
    let mut wake = Vec::new();
    shards[0].flush(&mut wake);
    assert!(!shards[1].park());
    shards[0].to_all(session(2));
    shards[0].flush(&mut wake);
    assert!(wake.is_empty(), "the flag was taken back");
}
