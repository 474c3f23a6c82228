use std::sync::Arc;
use std::thread;

use super::*;

#[test]
fn values_come_out_in_order_and_once() {
    let (mut sender, mut receiver) = ring(4);
    for round in 0..10 {
        for value in 0..3 {
            assert_eq!(sender.send(round * 3 + value), Ok(()));
        }
        for value in 0..3 {
            assert_eq!(receiver.receive(), Some(round * 3 + value));
        }
    }
    assert_eq!(receiver.receive(), None);
}

#[test]
fn full_ring_gives_the_value_back() {
    let (mut sender, mut receiver) = ring(2);
    assert_eq!(sender.send('a'), Ok(()));
    assert_eq!(sender.send('b'), Ok(()));
    assert_eq!(sender.send('c'), Err('c'));
    assert_eq!(sender.room(), 0);
    assert_eq!(receiver.receive(), Some('a'));
    assert_eq!(sender.send('c'), Ok(()));
}

#[test]
fn values_left_in_the_ring_are_dropped_with_it() {
    let value = Arc::new(());
    let (mut sender, mut receiver) = ring(4);
    for _ in 0..3 {
        sender.send(Arc::clone(&value)).unwrap();
    }
    drop(receiver.receive());
    assert_eq!(Arc::strong_count(&value), 3);
    drop(sender);
    assert_eq!(
        Arc::strong_count(&value),
        3,
        "the receiver may still take them"
    );
    drop(receiver);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn sender_learns_that_the_receiver_is_gone() {
    let (sender, receiver) = ring::<u8>(1);
    assert!(!sender.is_abandoned());
    drop(receiver);
    assert!(sender.is_abandoned());
}

#[test]
#[should_panic(expected = "power of two")]
fn capacity_is_a_power_of_two() {
    drop(ring::<u8>(3));
}

#[test]
fn flag_tells_one_sender_to_wake() {
    let parked = Parked::new();
    assert!(!parked.wake(), "awake");
    parked.park();
    assert!(parked.wake());
    assert!(!parked.wake(), "somebody wakes it already");
    parked.park();
    parked.unpark();
    assert!(!parked.wake());
}

/// Counts to `COUNT` through a tiny ring with parking; ends only if no wake-up is lost and nothing is reordered.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the mailbox is the one part that two threads share"
)]
fn two_threads_lose_neither_values_nor_wake_ups() {
    const COUNT: u64 = if cfg!(miri) { 500 } else { 200_000 };
    for capacity in [1, 2, 8] {
        let (mut sender, mut receiver) = ring(capacity);
        let (full, empty) = (Parked::new(), Parked::new());
        let (full_there, empty_there) = (full.clone(), empty.clone());
        let consumer = thread::current();
        let producer = thread::spawn(move || {
            for value in 0..COUNT {
                sleep_while(&full_there, || sender.room() == 0);
                sender.send(value).unwrap();
                if empty_there.wake() {
                    consumer.unpark();
                }
            }
        });
        for expected in 0..COUNT {
            sleep_while(&empty, || receiver.is_empty());
            assert_eq!(receiver.receive(), Some(expected));
            if full.wake() {
                producer.thread().unpark();
            }
        }
        producer.join().unwrap();
        assert!(receiver.is_empty());
    }
}

/// What a shard does when it has nothing to do.
fn sleep_while(parked: &Parked, mut is_idle: impl FnMut() -> bool) {
    while is_idle() {
        parked.park();
        if is_idle() {
            thread::park();
        }
        parked.unpark();
    }
}
