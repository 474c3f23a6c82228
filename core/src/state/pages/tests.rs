use std::collections::BTreeMap;

use super::*;
use crate::random::next;

fn assert_same(pages: &Pages<u64, u64>, model: &BTreeMap<u64, u64>) {
    assert_eq!(pages.len(), model.len());
    assert!(pages.iter().eq(model.iter()));
    let mut before = None;
    for (bound, page) in &pages.spine {
        let page = page.get();
        assert!((1..=PAGE_MAX).contains(&page.len()), "G2");
        assert!(*bound <= page[0].0 && before < Some(*bound), "G1");
        before = page.last().map(|entry| entry.0);
    }
}

#[test]
fn pages_do_what_a_map_does_and_a_cut_of_them_stays_as_it_was() {
    for mut seed in 0..10 {
        let mut pages = Pages::new();
        let mut model = BTreeMap::new();
        let mut cut: Option<(Pages<u64, u64>, BTreeMap<u64, u64>)> = None;
        for step in 0..2_000_u64 {
            let key = next(&mut seed) % 600;
            match next(&mut seed) % 5 {
                0 | 1 => assert_eq!(pages.insert(key, step), model.insert(key, step)),
                2 => assert_eq!(pages.remove(&key), model.remove(&key)),
                3 => {
                    if let Some(value) = pages.get_mut(&key) {
                        *value += 1;
                    }
                    model.entry(key).and_modify(|value| *value += 1);
                }
                _ if step % 97 == 0 => {
                    pages.freeze(|_| {});
                    cut = Some((pages.clone(), model.clone()));
                }
                _ => {}
            }
            assert_eq!(pages.get(&key), model.get(&key));
            assert_eq!(pages.first(), model.first_key_value());
            assert_eq!(pages.at_or_before(&key), model.range(..=key).next_back());
            assert!(pages.from(key).eq(model.range(key..)));
        }
        assert_same(&pages, &model);
        let (cut, as_it_was) = cut.unwrap();
        assert_same(&cut, &as_it_was);
    }
}

#[test]
fn pages_of_a_checkpoint_must_follow_each_other() {
    let page = |keys: &[u64]| Chunk::Own(keys.iter().map(|key| (*key, ())).collect());
    let mut pages = Pages::new();
    assert!(!pages.push_page(page(&[])));
    assert!(pages.push_page(page(&[1, 2])));
    assert!(!pages.push_page(page(&[2, 3])));
    assert!(!pages.push_page(page(&[4, 3])));
    assert!(pages.push_page(page(&[3, 5])));
    let many: Vec<u64> = (10..=10 + PAGE_MAX as u64).collect();
    assert!(!pages.push_page(page(&many)));
    assert_eq!(pages.len(), 4);
}
