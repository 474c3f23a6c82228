//! A server as a process: started with its log in a file, waited for, measured and killed with all that it started.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// A process and those that it starts; dropping it kills all of them.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    id: u32,
    parent: u32,
    /// Ticks in which it ran, and those of its children that are gone.
    ticks: u64,
}

impl Process {
    /// Starts the command; what it prints is appended to the file `log`.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child, log })
    }

    /// Asks again and again until there is an answer.
    ///
    /// # Errors
    /// If the process ends before, or there is none after three minutes; with the end of the log.
    pub fn wait_for<T>(&mut self, what: &str, mut answer: impl FnMut() -> Option<T>) -> Result<T> {
        let begin = Instant::now();
        while begin.elapsed() < START_TIMEOUT {
            if let Some(found) = answer() {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{what} ended: {status}\n{}", self.end_of_log());
            }
            thread::sleep(Duration::from_millis(1));
        }
        bail!(
            "{what} does not serve after {START_TIMEOUT:?}\n{}",
            self.end_of_log()
        )
    }

    /// Processor time of the process and of all that it has started.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn cpu(&self) -> Result<Duration> {
        let ticks: u64 = self.family()?.iter().map(|stat| stat.ticks).sum();
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Ok(Duration::from_secs(ticks) / u32::try_from(per_second)?)
    }

    /// SIGKILL to all: nothing of them runs after this.
    ///
    /// # Errors
    /// If the process cannot be killed or waited for.
    pub fn kill(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            // Its number may be another's by now.
            return Ok(());
        }
        let family = self.family()?;
        self.child.kill().context("cannot kill it")?;
        for stat in family {
            if let Some(id) = i32::try_from(stat.id).ok().and_then(Pid::from_raw) {
                // Those that are gone already need no signal.
                kill_process(id, Signal::KILL).ok();
            }
        }
        self.child.wait().context("cannot wait for it")?;
        Ok(())
    }

    /// The last lines that it printed.
    fn end_of_log(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.len().saturating_sub(LOG_LINES);
        lines[first..].join("\n")
    }

    /// The process and its descendants.
    fn family(&self) -> io::Result<Vec<Stat>> {
        let all = stats()?;
        let mut family: Vec<Stat> = Vec::new();
        let mut parents = vec![self.child.id()];
        family.extend(all.iter().filter(|stat| stat.id == self.child.id()));
        while let Some(parent) = parents.pop() {
            for stat in all.iter().filter(|stat| stat.parent == parent) {
                family.push(*stat);
                parents.push(stat.id);
            }
        }
        Ok(family)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It fails only if the process has gone already.
        drop(self.kill());
    }
}

/// All processes; those that end meanwhile are left out.
fn stats() -> io::Result<Vec<Stat>> {
    let mut stats = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if name.to_string_lossy().parse::<u32>().is_ok()
            && let Ok(line) = fs::read_to_string(PathBuf::from("/proc").join(name).join("stat"))
        {
            stats.extend(stat(&line));
        }
    }
    Ok(stats)
}

/// Reads `PID (NAME) STATE PPID ...`, where the name may have spaces and brackets.
fn stat(line: &str) -> Option<Stat> {
    let (id, rest) = line.split_once(" (")?;
    let (_, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    // utime, stime, cutime and cstime are the fields 14 to 17 of proc(5), and `rest` begins with the third.
    let ticks = fields
        .get(11..15)?
        .iter()
        .map(|field| field.parse::<u64>().ok());
    Some(Stat {
        id: id.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        ticks: ticks.sum::<Option<u64>>()?,
    })
}

/// A start may replay a log; this is far beyond what any of ours needs.
const START_TIMEOUT: Duration = Duration::from_mins(3);
const LOG_LINES: usize = 20;

#[cfg(test)]
mod tests;
