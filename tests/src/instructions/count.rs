//! Counting with Callgrind: the walk runs again, as a child of this process and under Valgrind.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::node::Placement;
use super::report::Figures;
use super::steps::{MESSAGES, STEPS};

/// Where counting begins or ends: it is on within a turn of a shard, and off within its driver.
const TOGGLES: [&str; 3] = [
    "*::resume_counted",
    "*::park_counted",
    "<*::SteadyDriver as corelane::driver::Driver>::*",
];
/// Where one file ends and the next begins.
const STEP_ENDS: &str = "*::steps::step_ends";

/// What glibc would choose by the processor or by history: of its string functions those that every x86-64 has, so
/// that the newest machine counts like the oldest (names up to 2.32 and later ones); and a fixed size from which
/// memory comes from the kernel, because whether a growing buffer is copied depends on its neighbours else.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX2_Usable,-AVX2,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM:\
                        glibc.malloc.mmap_threshold=131072";

/// Counts the instructions of every step, and leaves Callgrind's files in `folder`.
///
/// # Errors
/// If Valgrind is missing or fails, the walk does, or a file is not as expected.
pub fn count(placement: Placement, folder: &Path) -> Result<Figures> {
    let out = folder.join(placement.name());
    let mut valgrind = Command::new("valgrind");
    // Nothing of the environment but where programs are: its size moves the stack.
    valgrind.env_clear();
    valgrind.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    valgrind.env("GLIBC_TUNABLES", TUNABLES);
    valgrind.args(["--quiet", "--tool=callgrind", "--collect-atstart=no"]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.arg(format!("--dump-before={STEP_ENDS}"));
    valgrind.args(TOGGLES.map(|name| format!("--toggle-collect={name}")));
    valgrind.arg(std::env::current_exe()?);
    valgrind.args(["--walk", placement.name()]);
    let output = valgrind.output().context("cannot start valgrind")?;
    if !output.status.success() {
        bail!(
            "{:?} under valgrind: {}\n{}",
            placement,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let mut figures = Figures::new();
    // The first file is that of the warm-up.
    for (number, step) in (2..).zip(STEPS) {
        let file = out.with_extension(number.to_string());
        let text = fs::read_to_string(&file)
            .with_context(|| format!("callgrind wrote no {}", file.display()))?;
        let total = total_of(&text).with_context(|| format!("in {}", file.display()))?;
        figures.insert(step.to_owned(), per_message(total));
    }
    Ok(figures)
}

/// The instructions that a file of Callgrind tells of.
///
/// # Errors
/// If it was not written at the end of a step, or nothing was counted.
pub(super) fn total_of(file: &str) -> Result<u64> {
    let value = |name| file.lines().find_map(|line| line.strip_prefix(name));
    let trigger = value("desc: Trigger: ").unwrap_or_default();
    if !trigger.ends_with("::steps::step_ends") {
        bail!("the file was written at {trigger:?}, not at the end of a step");
    }
    let total = value("totals: ").context("the file has no line `totals`")?;
    match total.trim().parse()? {
        0 => bail!("nothing was counted: are the functions still called as expected?"),
        total => Ok(total),
    }
}

/// To a tenth, so that the file of the baseline has few digits.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn per_message(total: u64) -> f64 {
    (total as f64 / MESSAGES as f64 * 10.0).round() / 10.0
}
