//! `cargo xtask fuzz`: libFuzzer on the pinned stable toolchain.
//!
//! `tests/fuzz` is a workspace of its own. Coverage and the address sanitizer are unstable flags
//! of rustc, which `RUSTC_BOOTSTRAP=1` opens; they are the flags that cargo-fuzz passes, so that
//! neither cargo-fuzz nor a nightly toolchain is needed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;
use crate::tools;

const SMOKE_SECONDS: u64 = 20;
const DEFAULT_SECONDS: u64 = 300;
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
const FLAGS: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1 --cfg fuzzing";

/// Fuzzes one target, or each in turn for its share of the time.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let folder = shell::root().join("tests/fuzz");
    let mut targets = targets(&folder)?;
    if let Some(wanted) = &options.target {
        targets.retain(|target| target == wanted);
    }
    if targets.is_empty() {
        bail!("no such fuzz target; those of tests/fuzz/fuzz_targets are the names");
    }
    tools::debian_program("c++", "g++")?;
    let binaries = build(&folder, &targets)?;
    let seconds = (options.seconds / targets.len() as u64).max(1);
    let mut executions = 0;
    for target in &targets {
        executions += fuzz_one(&folder, &binaries, target, seconds)?;
    }
    println!(
        "fuzz: {} targets, executions {executions}, failed 0",
        targets.len()
    );
    Ok(())
}

struct Options {
    target: Option<String>,
    seconds: u64,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            target: None,
            seconds: DEFAULT_SECONDS,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--smoke" => options.seconds = SMOKE_SECONDS,
                "--seconds" => {
                    let value = arguments.next().context("--seconds needs a number")?;
                    options.seconds = value.parse().context("--seconds needs a number")?;
                }
                option if option.starts_with('-') => bail!("unknown option {option}"),
                target => options.target = Some(target.to_owned()),
            }
        }
        Ok(options)
    }
}

/// The file names of `fuzz_targets/`, sorted.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.join("fuzz_targets");
    let mut names = Vec::new();
    for entry in
        std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(stem) = path.file_stem()
        {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds the targets and returns the folder of the binaries.
fn build(folder: &Path, targets: &[String]) -> Result<PathBuf> {
    let target_dir = shell::target_dir().join("fuzz");
    let mut build = shell::cargo();
    build.current_dir(folder);
    build.args(["build", "--release", "--target", TRIPLE, "--target-dir"]);
    build.arg(&target_dir);
    for target in targets {
        build.args(["--bin", target]);
    }
    build.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS);
    shell::run(&mut build)?;
    Ok(target_dir.join(TRIPLE).join("release"))
}

/// Runs one target. What it finds new goes to the target folder; `corpus/` holds the kept seeds.
fn fuzz_one(folder: &Path, binaries: &Path, target: &str, seconds: u64) -> Result<u64> {
    let found = binaries.join("corpus").join(target);
    let artifacts = folder.join("artifacts");
    std::fs::create_dir_all(&found)?;
    std::fs::create_dir_all(&artifacts)?;
    let mut command = Command::new(binaries.join(target));
    command.current_dir(folder);
    command.arg(&found);
    let kept = folder.join("corpus").join(target);
    if kept.is_dir() {
        command.arg(&kept);
    }
    command.arg(format!(
        "-artifact_prefix={}/{target}-",
        artifacts.display()
    ));
    command.args([
        &format!("-max_total_time={seconds}"),
        "-timeout=10",
        "-rss_limit_mb=2048",
        // No target needs more at once, so that an allocation by a declared length shows.
        "-malloc_limit_mb=8",
        "-print_final_stats=1",
        "-verbosity=0",
    ]);
    let watched = shell::watch(&mut command, is_result)?;
    if !watched.success {
        bail!(
            "target {target} failed; replay it with: {} tests/fuzz/artifacts/{target}-HASH",
            binaries.join(target).display()
        );
    }
    Ok(watched
        .kept
        .iter()
        .filter_map(|line| executions_of(line))
        .sum())
}

fn is_result(line: &str) -> bool {
    executions_of(line).is_some()
}

/// Reads libFuzzer's `stat::number_of_executed_units: N`.
fn executions_of(line: &str) -> Option<u64> {
    let number = line.strip_prefix("stat::number_of_executed_units:")?;
    number.trim().parse().ok()
}
