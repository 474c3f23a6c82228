use super::*;

fn pair(commit: f64, confirm: f64) -> Pair {
    let point = |p50| Point {
        confirm: [p50, 2.0 * p50],
        deliver: [p50, 2.0 * p50],
        verdicts: Vec::new(),
    };
    Pair {
        commits: BTreeMap::from([("blocking", commit), ("linked", commit + 50.0)]),
        echo: 80.0,
        slow: point(confirm),
        fast: point(confirm + 10.0),
    }
}

#[test]
fn the_fastest_commit_and_the_echo_are_the_floor() {
    let pair = pair(120.0, 250.0);
    assert!((pair.floor() - 200.0).abs() < 1e-9);
    assert!((pair.ratio() - 1.25).abs() < 1e-9);
}

#[test]
fn the_result_is_the_median_of_the_pairs_and_too_far_is_told() {
    let of = |confirms: &[f64]| Ratios {
        pairs: confirms
            .iter()
            .map(|&confirm| pair(120.0, confirm))
            .collect(),
    };
    let near = of(&[900.0, 200.0, 250.0]);
    assert!(near.is_near());
    assert_eq!(
        near.to_string(),
        "floor-ratio: p50_ratio 1.25 p99_us 500 p50_10k_us 260 p99_10k_us 520"
    );
    let even = of(&[200.0, 300.0]);
    assert!((even.ratio() - 1.25).abs() < 1e-9);
    assert!(!of(&[900.0, 200.0, 262.0]).is_near());
    assert!(of(&[260.0]).is_near());
}

#[test]
fn only_ways_that_this_machine_allows_are_floors() {
    let folder = tempfile::tempdir().unwrap();
    let commits = commits(folder.path()).unwrap();
    assert!(commits["blocking"] > 0.0);
}
