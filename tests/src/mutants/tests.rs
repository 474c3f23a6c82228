use std::collections::BTreeSet;
use std::path::Path;

use super::crash_states::first_harm;
use super::drawn::{Proposal, drawn};
use super::patch::{Mutant, load};
use super::scratch::git_apply;
use super::simulation::{Failure, failures};
use super::unit_test::verdict;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

fn parse(name: &str, text: &str) -> anyhow::Result<Mutant> {
    Mutant::parse(Path::new(name), text)
}

fn says(text: &str, expected: &str) -> bool {
    let text = text.to_owned();
    Failure { seed: 1, text }.says(&[expected.to_owned()])
}

#[test]
fn the_lines_before_a_patch_say_what_it_is() {
    let text = "# about: a sentence\n# expect: C1 | does not recover\n# crash-states: lost\n# canary\ndiff --git a/x b/x\n";
    let mutant = parse("tests/mutants/07-a-name.patch", text).unwrap();
    assert_eq!(mutant.name, "a-name");
    assert_eq!(mutant.about, "a sentence");
    assert_eq!(mutant.expect, ["C1", "does not recover"]);
    assert_eq!(mutant.harms, ["lost"]);
    assert!(mutant.is_canary);
}

#[test]
fn a_patch_without_what_is_needed_is_refused() {
    let text = "# about: a sentence\n# expect: C1\ndiff --git a/x b/x\n";
    assert!(parse("07-name.patch", text).is_ok());
    assert!(parse("7-name.patch", text).is_err());
    assert!(parse("name.patch", text).is_err());
    assert!(parse("07-name.patch", "# about: a sentence\ndiff").is_err());
    assert!(parse("07-name.patch", "# expect: C1\ndiff").is_err());
    assert!(parse("07-name.patch", "# expekt: C1\ndiff").is_err());
    assert!(
        parse(
            "07-name.patch",
            "# about: a sentence\n# crash-states: lost\ndiff"
        )
        .is_err()
    );
}

#[test]
fn a_patch_may_name_a_unit_test_instead() {
    let text = "# about: a sentence\n# test: corelane-storage a_name\ndiff --git a/x b/x\n";
    let mutant = parse("07-name.patch", text).unwrap();
    assert_eq!(mutant.test.unwrap().name, "a_name");
    assert!(mutant.expect.is_empty());
    assert!(parse("07-name.patch", "# about: a sentence\n# test: a_name\ndiff").is_err());
}

#[test]
fn a_patch_may_name_the_model_instead() {
    let text = "# about: a sentence\n# model: delivery | counts\ndiff --git a/x b/x\n";
    let mutant = parse("07-name.patch", text).unwrap();
    assert_eq!(mutant.model, ["delivery", "counts"]);
    assert!(mutant.expect.is_empty());
}

#[test]
fn the_verdict_on_one_unit_test_is_read() {
    let said = "running 3 tests\ntest a::x ... ok\ntest a::y ... FAILED\ntest b::xy ... ok\n";
    assert_eq!(verdict(said, "x"), Some(true));
    assert_eq!(verdict(said, "y"), Some(false));
    assert_eq!(
        verdict(said, "z"),
        None,
        "one that did not run has not failed"
    );
}

#[test]
fn a_rule_is_met_as_a_whole_word() {
    assert!(says("C1: partition 0 had committed 7", "C1"));
    assert!(says("partition 3, lsn 12: C1: gone", "C1"));
    assert!(!says("C12: offset 3 came twice", "C1"));
    assert!(!says("offset 12 of xC1", "C1"));
    assert!(says(
        "partition 0 does not recover: damaged",
        "does not recover"
    ));
}

#[test]
fn failed_seeds_and_the_message_of_a_panic_are_read() {
    let out = "seed 3 failed: C3: an offset\n  replay: cargo xtask sim --seed 3\nseed 9 failed: a panic\nsim: 2 seeds, failed 2\n";
    let log = "WARN something\n\nthread '<unnamed>' panicked at core/src/engine/mod.rs:1:1:\nE1: committed 7\nand more\nnote: run with\n";
    let found = failures(out, log);
    let texts: Vec<(u64, &str)> = found
        .iter()
        .map(|failure| (failure.seed, failure.text.as_str()))
        .collect();
    assert_eq!(
        texts,
        [
            (3, "C3: an offset"),
            (9, "a panic: E1: committed 7 and more")
        ]
    );
}

#[test]
fn the_first_harm_of_the_crash_states_is_read() {
    let out = "seed 1 state 0.29 lost: the log ends at 3\n  replay: cargo\nseed 2 state 0.1 wrong: it\ncrash-states: 2 states\n";
    let harm = first_harm(out);
    assert_eq!(
        harm.as_deref(),
        Some("seed 1 state 0.29 lost: the log ends at 3")
    );
    assert_eq!(first_harm("crash-states: 2 states, lost 0\n"), None);
}

#[test]
fn the_mutants_have_names_of_their_own_and_four_are_canaries() {
    let mutants = load(&root()).unwrap();
    let names: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
    assert_eq!(names.len(), mutants.len());
    assert_eq!(mutants.iter().filter(|mutant| mutant.is_canary).count(), 4);
}

#[test]
fn every_patch_applies_to_the_code_as_it_is() {
    let root = root();
    for mutant in load(&root).unwrap() {
        let output = git_apply(&root)
            .arg("--check")
            .arg(&mutant.path)
            .output()
            .unwrap();
        let reason = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "mutant {}: {reason}", mutant.name);
    }
}

fn proposals(count: u32) -> Vec<Proposal> {
    let one = |number: u32| {
        let diff = "--- core/src/x.rs\n+++ replace x with ()\n@@ -1 +1 @@\n-x\n+()\n";
        serde_json::json!({
            "package": "corelane-core", "name": format!("{number:03}"), "file": "core/src/x.rs", "diff": diff,
        })
    };
    let list: Vec<_> = (0..count).map(one).collect();
    serde_json::from_value(list.into()).unwrap()
}

#[test]
fn a_seed_draws_the_same_mutants_again_and_another_seed_others() {
    let names = |seed| -> Vec<String> {
        let drawn = drawn(proposals(100), seed);
        drawn.into_iter().map(|proposal| proposal.name).collect()
    };
    assert_eq!(names(7), names(7));
    assert_ne!(names(7), names(8));
    assert_eq!(names(7).into_iter().collect::<BTreeSet<_>>().len(), 100);
}

#[test]
fn a_proposal_becomes_a_patch() {
    let patch = proposals(1)[0].patch();
    assert_eq!(
        patch,
        "--- a/core/src/x.rs\n+++ b/core/src/x.rs\n@@ -1 +1 @@\n-x\n+()\n"
    );
}
