//! Receipts that ask to slow down.

use super::*;

/// A receipt that asks to slow down.
fn slow(first: u64) -> Response<'static> {
    let slow_down = true;
    Response::Enqueued(Receipt {
        slow_down,
        ..receipt_of(first)
    })
}

#[test]
fn receipts_that_ask_to_slow_down_halve_what_is_out_and_rest_longer_each_time() {
    let mut bench = Bench::with(|config| config.batches_max = 4);
    for at in 0..40 {
        bench.push(&at.to_string()).unwrap();
    }
    let mut out = bench.drive();
    assert_eq!(out.len(), 4);
    let mut first = 0;
    for (rest_ms, batches) in [
        (1, 2),
        (2, 1),
        (4, 1),
        (8, 1),
        (16, 1),
        (32, 1),
        (64, 1),
        (128, 1),
        (256, 1),
        (256, 1),
    ] {
        // Those that were sent before count once.
        for batch in &out {
            bench.answer(batch.call, &slow(first));
            first += 1;
        }
        bench.wait(Duration::from_nanos(rest_ms * 1_000_000 - 1));
        assert_eq!(bench.drive().len(), 0, "{rest_ms} ms");
        bench.wait(Duration::from_nanos(1));
        out = bench.drive();
        assert_eq!(out.len(), batches, "{rest_ms} ms");
    }
    // One step back with each receipt that does not ask: the eighth allows two batches, the next one four.
    for answered in 1..=9 {
        bench.answer(out.remove(0).call, &receipt(first, 1));
        first += 1;
        out.extend(bench.drive());
        let expected = match answered {
            ..8 => 1,
            8 => 2,
            _ => 4,
        };
        assert_eq!(out.len(), expected, "after {answered}");
    }
}
