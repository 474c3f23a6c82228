//! A bounded ring with one sender and one receiver, without locks.
//!
//! Head and tail are free-running counters, each written by one side only and on a cache line of its own; each side
//! keeps a copy of the other's counter and reads the shared one only when the copy says full or empty.
#![allow(
    unsafe_code,
    reason = "slots are handed from one thread to another; checked by a stress test, by loom and by Miri"
)]

use std::fmt;
use std::mem::MaybeUninit;

use super::shared::{Arc, AtomicUsize, Ordering, UnsafeCell};

/// A ring for `capacity` values.
///
/// # Panics
/// Unless `capacity` is a power of two.
pub fn ring<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(
        capacity.is_power_of_two(),
        "the capacity {capacity} of a ring is a power of two"
    );
    let slots = (0..capacity)
        .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
        .collect();
    let shared = Arc::new(Shared {
        head: Line(AtomicUsize::new(0)),
        tail: Line(AtomicUsize::new(0)),
        slots,
    });
    let sender = Sender {
        shared: Arc::clone(&shared),
        tail: 0,
        head_seen: 0,
    };
    let receiver = Receiver {
        shared,
        head: 0,
        tail_seen: 0,
    };
    (sender, receiver)
}

/// The side that puts values in.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    head_seen: usize,
}

/// The side that takes values out.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    tail_seen: usize,
}

/// Slots `head..tail` (modulo the capacity) hold values and belong to the receiver, the others to the sender.
struct Shared<T> {
    /// How many values were taken out; written by the receiver.
    head: Line<AtomicUsize>,
    /// How many values were put in; written by the sender.
    tail: Line<AtomicUsize>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

/// Keeps a counter alone on its cache line (two lines, because processors fetch them in pairs).
#[repr(align(128))]
struct Line<T>(T);

// SAFETY: a slot is used by one side at a time: it changes hands by the release store of a counter that the other
// side loads with acquire. There is one sender and one receiver, since neither can be cloned. T moves between
// threads, hence `T: Send`; no reference to a T is ever shared.
unsafe impl<T: Send> Sync for Shared<T> {}

// SAFETY: the same argument; nothing in here is bound to the thread that made it.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Sender<T> {
    /// Puts a value in; gives it back if the ring is full.
    ///
    /// # Errors
    /// The value, if the ring is full.
    pub fn send(&mut self, value: T) -> Result<(), T> {
        if self.room() == 0 {
            return Err(value);
        }
        let slot = self.shared.slot(self.tail);
        slot.with_mut(|slot| {
            // SAFETY: `room` saw that the receiver has taken what was in this slot, and only this sender writes slots.
            unsafe { slot.write(MaybeUninit::new(value)) }
        });
        self.tail = self.tail.wrapping_add(1);
        self.shared.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// How many values surely fit.
    pub fn room(&mut self) -> usize {
        let capacity = self.shared.slots.len();
        if self.tail.wrapping_sub(self.head_seen) == capacity {
            self.head_seen = self.shared.head.0.load(Ordering::Acquire);
        }
        capacity - self.tail.wrapping_sub(self.head_seen)
    }

    /// Whether the receiver is gone, so that nothing sent will be read.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }
}

impl<T> Receiver<T> {
    /// Takes the oldest value out; `None` if the ring is empty.
    pub fn receive(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let slot = self.shared.slot(self.head);
        let value = slot.with_mut(|slot| {
            // SAFETY: `is_empty` saw the sender's release of this slot, and only this receiver reads slots.
            unsafe { slot.read() }
        });
        // SAFETY: the sender wrote a value before it released the slot, and the head moves on before the next read.
        let value = unsafe { value.assume_init() };
        self.head = self.head.wrapping_add(1);
        self.shared.head.0.store(self.head, Ordering::Release);
        Some(value)
    }

    /// Whether there is nothing to take; looks at the sender's counter only when all that was seen is taken.
    pub fn is_empty(&mut self) -> bool {
        if self.head == self.tail_seen {
            self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
        }
        self.head == self.tail_seen
    }
}

impl<T> Shared<T> {
    /// The slot for a counter's value.
    fn slot(&self, counter: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[counter & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let mut head = self.head.0.load(Ordering::Acquire);
        let tail = self.tail.0.load(Ordering::Acquire);
        while head != tail {
            let value = self.slot(head).with_mut(|slot| {
                // SAFETY: both sides are gone, so this is the only access, and the slots head..tail hold values.
                unsafe { slot.read() }
            });
            // SAFETY: see above; each is read once.
            drop(unsafe { value.assume_init() });
            head = head.wrapping_add(1);
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sender at {}", self.tail)
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Receiver at {}", self.head)
    }
}
