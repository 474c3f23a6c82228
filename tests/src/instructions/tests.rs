use std::collections::BTreeMap;

use super::count::total_of;
use super::*;

fn origin() -> Origin {
    Origin {
        rustc: "rustc 1.95.0".into(),
        profile: "tools".into(),
        arch: "x86_64".into(),
        valgrind: "valgrind-3.19.0".into(),
    }
}

/// The same figure for every step of every placement, but for one of them.
fn counted(all: f64, placement: Placement, step: &str, one: f64) -> BTreeMap<String, Figures> {
    let of_steps = || {
        STEPS
            .map(|step| (step.to_owned(), all))
            .into_iter()
            .collect()
    };
    let mut counted: BTreeMap<String, Figures> = Placement::ALL
        .map(|placement| (placement.name().to_owned(), of_steps()))
        .into_iter()
        .collect();
    let figures = counted.get_mut(placement.name()).unwrap();
    figures.insert(step.to_owned(), one);
    counted
}

fn baseline() -> Baseline {
    Baseline {
        origin: origin(),
        instructions_per_message: counted(1000.0, Placement::One, "ack", 1000.0),
    }
}

fn verdict(one: f64) -> Verdict {
    let counted = counted(1000.0, Placement::Hop, "deliver", one);
    Verdict::of(&counted, &baseline())
}

#[test]
fn the_walk_is_answered_as_it_should_be() {
    for placement in Placement::ALL {
        walk(placement);
    }
}

#[test]
fn three_percent_either_way_are_tolerated() {
    assert_eq!(verdict(1029.9), Verdict::Within);
    assert_eq!(verdict(970.1), Verdict::Within);
    assert_eq!(Verdict::Within.to_string(), "");
}

#[test]
fn one_step_that_became_dearer_fails_the_comparison() {
    let verdict = verdict(1030.1);
    assert!(matches!(&verdict, Verdict::Above(lines) if lines.len() == 1));
    let text = verdict.to_string();
    let line = "hop/deliver: 1030.1 instructions per message, 1000.0 in the baseline (+3.0 %)";
    assert!(text.starts_with(line), "{text}");
}

#[test]
fn one_step_that_became_cheaper_asks_for_a_new_baseline() {
    let verdict = verdict(969.9);
    assert!(matches!(&verdict, Verdict::Below(lines) if lines.len() == 1));
    assert!(verdict.to_string().contains("--bless"), "{verdict}");
}

#[test]
fn what_became_dearer_is_told_before_what_became_cheaper() {
    let mut counted = counted(1000.0, Placement::One, "ack", 1200.0);
    counted
        .get_mut("owner")
        .unwrap()
        .insert("ack".to_owned(), 800.0);
    let verdict = Verdict::of(&counted, &baseline());
    assert!(matches!(verdict, Verdict::Above(lines) if lines.len() == 1));
}

#[test]
fn a_step_without_a_figure_on_file_asks_for_a_new_baseline() {
    let mut baseline = baseline();
    let hop = baseline.instructions_per_message.get_mut("hop").unwrap();
    hop.remove("ack").unwrap();
    let counted = counted(1000.0, Placement::One, "ack", 1000.0);
    let verdict = Verdict::of(&counted, &baseline);
    assert_eq!(
        verdict,
        Verdict::Below(vec!["hop/ack is not in the baseline".to_owned()])
    );
}

#[test]
fn a_baseline_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baseline.json");
    baseline().write(&path).unwrap();
    assert_eq!(Baseline::read(&path).unwrap(), baseline());
}

#[test]
fn the_baseline_on_file_has_every_step() {
    let baseline = Baseline::read(&Baseline::path()).unwrap();
    for placement in Placement::ALL {
        let figures = &baseline.instructions_per_message[placement.name()];
        let mut steps: Vec<&str> = figures.keys().map(String::as_str).collect();
        let mut wanted = STEPS;
        steps.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(steps, wanted);
    }
}

#[test]
fn another_compiler_is_told() {
    let mut other = origin();
    other.rustc = "rustc 1.96.0".into();
    assert!(origin().differences(&origin()).is_empty());
    assert_eq!(
        other.differences(&origin()),
        ["rustc: the baseline has rustc 1.95.0, here is rustc 1.96.0"]
    );
}

#[test]
fn a_file_of_another_moment_or_without_a_count_is_refused() {
    let file = |function: &str, total: u64| {
        format!("desc: Trigger: --dump-before={function}\n\nevents: Ir\ntotals: {total}\n")
    };
    let ends = "corelane_tests::instructions::steps::step_ends";
    assert_eq!(total_of(&file(ends, 12_345)).unwrap(), 12_345);
    assert!(total_of(&file(ends, 0)).is_err());
    assert!(total_of(&file("main", 12_345)).is_err());
    assert!(total_of("desc: Trigger: Program termination\n").is_err());
}
