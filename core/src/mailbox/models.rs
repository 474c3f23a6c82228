//! The mailbox under loom: the interleavings of a few steps, and the values that a weak memory may show.
//! The model of two senders looks at those of at most two preemptions; the others at all.
//! Run by `cargo xtask loom`.

use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::shared::Arc;
use super::*;

/// (B1), (B2): over two slots, three values go round; each comes out once, in order, whole.
#[test]
fn values_come_out_once_and_in_order() {
    loom::model(|| {
        let (mut sender, mut receiver) = ring(2);
        let sending = thread::spawn(move || {
            let mut refused = Vec::new();
            for value in 0..3 {
                refused.extend(sender.send(Box::new(value)).err());
            }
            refused.len()
        });
        let mut received = Vec::new();
        for _ in 0..2 {
            received.extend(receiver.receive().map(|value| *value));
        }
        let refused = sending.join().unwrap();
        while let Some(value) = receiver.receive() {
            received.push(*value);
        }
        assert_eq!(received.len() + refused, 3);
        assert!(
            received.is_sorted_by(|left, right| left < right),
            "{received:?}"
        );
        assert!(refused <= 1, "two fit");
    });
}

/// A slot is used again only when the receiver has taken what was in it.
#[test]
fn slot_is_used_again_when_it_is_free() {
    loom::model(|| {
        let (mut sender, mut receiver) = ring(1);
        let sending = thread::spawn(move || {
            let mut value = 0;
            while value < 2 {
                match sender.send(value) {
                    Ok(()) => value += 1,
                    Err(_) => thread::yield_now(),
                }
            }
        });
        for expected in 0..2 {
            let value = loop {
                match receiver.receive() {
                    Some(value) => break value,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(value, expected);
        }
        sending.join().unwrap();
    });
}

/// What is left in the ring is dropped with the side that goes last, once.
#[test]
fn values_left_in_the_ring_are_dropped_once() {
    loom::model(|| {
        let value = Arc::new(());
        let (mut sender, mut receiver) = ring(2);
        let sent = Arc::clone(&value);
        let sending = thread::spawn(move || {
            sender.send(sent).unwrap();
        });
        drop(receiver.receive());
        drop(receiver);
        sending.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

/// What an eventfd is to a shard: a wake-up before the sleep ends that sleep.
#[derive(Default)]
struct Bell {
    has_rung: Mutex<bool>,
    rings: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.has_rung.lock().unwrap() = true;
        self.rings.notify_one();
    }

    /// A wake-up that is lost leaves the thread here for ever, and loom says so.
    fn sleep(&self) {
        let mut has_rung = self.has_rung.lock().unwrap();
        while !*has_rung {
            has_rung = self.rings.wait(has_rung).unwrap();
        }
        *has_rung = false;
    }
}

/// Sleeps as a shard does, until there is something in one of the rings.
fn sleep_until_mail(parked: &Parked, bell: &Bell, receivers: &mut [Receiver<u8>]) {
    while receivers.iter_mut().all(Receiver::is_empty) {
        parked.park();
        if receivers.iter_mut().all(Receiver::is_empty) {
            bell.sleep();
        }
        parked.unpark();
    }
}

/// (B3) with one sender, which sends twice.
#[test]
fn sleeper_is_woken_for_every_value() {
    loom::model(|| {
        let (mut sender, receiver) = ring(2);
        let parked = Parked::new();
        let bell = Arc::new(Bell::default());
        let (there, rung) = (parked.clone(), Arc::clone(&bell));
        let sending = thread::spawn(move || {
            for value in 0..2 {
                sender.send(value).unwrap();
                if there.wake() {
                    rung.ring();
                }
            }
        });
        let mut receivers = [receiver];
        for expected in 0..2 {
            sleep_until_mail(&parked, &bell, &mut receivers);
            assert_eq!(receivers[0].receive(), Some(expected));
        }
        sending.join().unwrap();
    });
}

/// (B3) with two senders of one sleeper: whichever is told to wake it, it sees both values.
#[test]
fn sleeper_of_two_senders_misses_neither() {
    let mut model = loom::model::Builder::new();
    // Without a bound this takes an hour; every lost wake-up that is known needs two.
    model.preemption_bound = Some(2);
    model.check(|| {
        let parked = Parked::new();
        let bell = Arc::new(Bell::default());
        let mut receivers = Vec::new();
        let mut sending = Vec::new();
        for value in 0..2 {
            let (mut sender, receiver) = ring(1);
            receivers.push(receiver);
            let (there, rung) = (parked.clone(), Arc::clone(&bell));
            sending.push(thread::spawn(move || {
                sender.send(value).unwrap();
                if there.wake() {
                    rung.ring();
                }
            }));
        }
        let mut sum = 0;
        for _ in 0..2 {
            sleep_until_mail(&parked, &bell, &mut receivers);
            let mut arrived = receivers.iter_mut().filter_map(Receiver::receive);
            sum += 1 + arrived.next().unwrap();
        }
        assert_eq!(sum, 3);
        for sending in sending {
            sending.join().unwrap();
        }
    });
}
