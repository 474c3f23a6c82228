use super::*;

/// What a checkpoint writes anew after a change is one page and not all of them.
#[test]
fn neighbouring_queues_share_a_page() {
    let mut queues = Queues::default();
    for number in 0..=3 * PAGE_QUEUES {
        let name = format!("queue {number}");
        queues
            .create(QueueId(number), &name, Timestamp(0))
            .expect("the next number and a new name");
    }
    let numbers = |page: &Arc<Frozen<QueuePage>>| -> Vec<u32> {
        page.value.iter().map(|(id, _)| id.0).collect()
    };
    let pages = queues.freeze(Layout::default(), |_, _, _| {});
    let pages: Vec<_> = pages.iter().map(numbers).collect();
    let expected: Vec<Vec<u32>> = vec![
        (0..32).collect(),
        (32..64).collect(),
        (64..96).collect(),
        vec![96],
    ];
    assert_eq!(pages, expected);
}
