use super::{Counts, closes_cargo_test, closes_nextest};

const NEXTEST: &str =
    "     Summary [   3.201s] 120 tests run: 117 passed (1 slow), 2 failed, 1 timed out, 4 skipped";
const CARGO: &str = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s";

#[test]
fn closing_lines_of_both_runners_are_read() {
    assert!(closes_nextest(NEXTEST) && closes_cargo_test(CARGO));
    let counts = Counts::of_lines(&[NEXTEST, CARGO].map(str::to_owned));
    assert_eq!(
        counts,
        Counts {
            passed: 129,
            failed: 3,
            skipped: 5
        }
    );
    assert_eq!(counts.to_string(), "129 passed, 3 failed, 5 skipped");
}

#[test]
fn other_lines_are_not_closing_lines() {
    assert!(!closes_cargo_test("test queue::tests::acks ... ok"));
    assert!(!closes_nextest(
        "        PASS [   0.005s] wire frame::tests"
    ));
    // Each failed test repeats its binary's line in the output of nextest.
    assert!(!closes_nextest(CARGO));
}

#[test]
fn binaries_without_tests_are_left_out() {
    assert!(!closes_cargo_test(
        "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s"
    ));
}
