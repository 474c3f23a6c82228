//! The book must find what a broker could do wrong.

use corelane_wire::{Offset, OffsetRange};

use super::book::Book;
use super::layout::Layout;

fn layout() -> Layout {
    Layout {
        name: "q".to_owned(),
        messages: 10,
        queues: 3,
        bytes: 21,
    }
}

fn restarted() -> Book {
    let mut book = Book::new(layout()).unwrap();
    for queue in 0..3 {
        let count = u32::try_from(book.layout.count(queue)).unwrap();
        let first = Offset(0);
        book.confirmed(queue, OffsetRange { first, count }).unwrap();
    }
    book.acked(0, one(0)).unwrap();
    book.restart();
    book
}

fn one(offset: u64) -> OffsetRange {
    let first = Offset(offset);
    OffsetRange { first, count: 1 }
}

fn body(number: u64) -> Vec<u8> {
    let mut body = Vec::new();
    layout().put_body(number, &mut body);
    body
}

#[test]
fn queues_share_all_messages_and_no_two_bodies_are_equal() {
    let layout = layout();
    let counts: Vec<u64> = (0..3).map(|queue| layout.count(queue)).collect();
    assert_eq!(counts, [3, 3, 4]);
    assert_eq!(layout.number(2, Offset(3)), 9);
    assert_eq!(body(3).len(), 21);
    assert_ne!(body(3), body(4));
}

#[test]
fn what_never_comes_is_lost_unless_it_was_acked() {
    let mut book = restarted();
    assert_eq!((book.lost(), book.unsettled), (9, 9));
    book.came(0, Offset(1), &body(1)).unwrap();
    assert_eq!(book.lost(), 8);
    assert!(book.is_owed(0).unwrap());
    book.came(0, Offset(2), &body(2)).unwrap();
    assert!(!book.is_owed(0).unwrap());
}

#[test]
fn a_wrong_body_a_second_delivery_and_one_after_the_ack_are_counted() {
    let mut book = restarted();
    book.came(1, Offset(0), &body(4)).unwrap();
    assert_eq!((book.wrong, book.lost()), (1, 9));
    book.came(1, Offset(0), &body(3)).unwrap();
    book.came(1, Offset(0), &body(3)).unwrap();
    assert_eq!(book.duplicates, 1);
    book.came(0, Offset(0), &body(0)).unwrap();
    assert_eq!(book.resurrected, 1);
}

#[test]
fn a_refused_ack_makes_its_message_owed_again() {
    let mut book = restarted();
    for offset in 0..3 {
        book.came(1, Offset(offset), &body(3 + offset)).unwrap();
    }
    assert!(!book.is_owed(1).unwrap());
    book.ack_refused(1, one(2)).unwrap();
    assert!(book.is_owed(1).unwrap());
}
