use std::collections::BTreeSet;

use super::*;
use crate::random::next;

fn end_of(model: &BTreeSet<u64>, offset: u64) -> Option<Offset> {
    let held = model.contains(&offset);
    held.then(|| {
        Offset(
            (offset..u64::MAX)
                .find(|next| !model.contains(next))
                .unwrap(),
        )
    })
}

#[test]
fn set_of_pages_does_what_a_set_of_numbers_does() {
    const SPAN: u64 = 5 * PAGE_BITS;
    for mut seed in 0..20 {
        let mut set = DoneSet::new();
        let mut model = BTreeSet::new();
        for _ in 0..300 {
            let first = next(&mut seed) % SPAN;
            let longest = if next(&mut seed).is_multiple_of(4) {
                2 * PAGE_BITS
            } else {
                80
            };
            let end = first + 1 + next(&mut seed) % longest;
            if next(&mut seed).is_multiple_of(3) {
                let taken = end_of(&model, first);
                assert_eq!(set.take_first(Offset(first)), taken);
                let taken = taken.map_or(first, |end| end.0);
                (first..taken).for_each(|offset| assert!(model.remove(&offset)));
            } else if model.range(first..end).next().is_none() {
                set.insert(Offset(first), Offset(end));
                model.extend(first..end);
            }
            assert_eq!(set.count(), model.len() as u64);
            let probe = next(&mut seed) % SPAN;
            assert_eq!(set.end_of(Offset(probe)), end_of(&model, probe));
            let after = model.range(probe + 1..).next().map(|&next| Offset(next));
            assert_eq!(set.next_after(Offset(probe)), after);
        }
        let again = DoneSet::of(set.map().clone()).unwrap();
        assert_eq!(again.count(), set.count());
        let listed: u64 = set.iter().map(|(first, end)| end.0 - first.0).sum();
        assert_eq!(listed, set.count());
    }
}

#[test]
fn full_pages_cost_no_bits_and_empty_ones_nothing() {
    let mut set = DoneSet::new();
    set.insert(Offset(0), Offset(PAGE_BITS - 1));
    set.insert(Offset(PAGE_BITS - 1), Offset(3 * PAGE_BITS));
    assert!(set.map().iter().all(|(_, page)| *page == DonePage::Full));
    assert_eq!(set.pages(), 3);
    assert_eq!(set.take_first(Offset(1)), Some(Offset(3 * PAGE_BITS)));
    assert_eq!((set.pages(), set.count()), (1, 1));
    assert_eq!(set.take_first(Offset(0)), Some(Offset(1)));
    assert_eq!((set.pages(), set.count()), (0, 0));
}

#[test]
fn pages_that_no_set_has_are_refused() {
    let bits = |word: u64| {
        let mut pages = Pages::new();
        pages.insert(0, DonePage::Bits(Box::new([word; WORDS])));
        DoneSet::of(pages)
    };
    assert!(bits(0).is_none());
    assert!(bits(u64::MAX).is_none());
    assert_eq!(bits(1).map(|set| set.count()), Some(64));
    let mut pages = Pages::new();
    pages.insert(u64::MAX, DonePage::Full);
    assert!(DoneSet::of(pages).is_none());
}

#[test]
#[should_panic(expected = "in the set already")]
fn overlap_is_a_programmers_error() {
    let mut set = DoneSet::new();
    set.insert(Offset(10), Offset(20));
    set.insert(Offset(19), Offset(21));
}
