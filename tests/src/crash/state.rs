//! The states of a run of a script, numbered: which there are, and how one of them is judged.

use std::fmt;
use std::str::FromStr;

use corelane_wire::ErrorCode;

use super::choice::{Choice, choices, stop};
use super::client::Fact;
use super::driver::{Fault, shared};
use super::harm::{Verdict, wrong};
use super::judge::Judge;
use super::machine::open;
use super::reference::Reference;
use super::script::{Played, play};
use super::setup::Setup;
use crate::sim::disk::{Disk, Moment};
use crate::sim::disk_flight::Fate;
use crate::sim::driver::lock;
use crate::sim::random::{Concern, Random};

/// Of a run with a fault, the changes at whose moments states are taken: the last so many.
const FAULT_MOMENTS: usize = 40;
/// Of a moment within a recovery, at most so many choices.
const AGAIN_CHOICES_MAX: usize = 12;

/// The name of a state within its seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateId {
    /// Of the runs of the script: 0 without a fault, the others with one each.
    pub run: u64,
    /// Of the states of that run; 0 stands for the run itself.
    pub number: u64,
    /// Of the crashes and faults within the recovery of that state.
    pub again: Option<u64>,
}

impl fmt::Display for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.run, self.number)?;
        match self.again {
            Some(again) => write!(f, ".{again}"),
            None => Ok(()),
        }
    }
}

impl FromStr for StateId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u64>, _> = text.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[run, number]) => Ok(Self {
                run,
                number,
                again: None,
            }),
            Ok(&[run, number, again]) => Ok(Self {
                run,
                number,
                again: Some(again),
            }),
            _ => Err(format!(
                "{text:?} is no state: RUN.NUMBER or RUN.NUMBER.AGAIN"
            )),
        }
    }
}

/// A run of a script with what its states are judged by.
pub(super) struct Run {
    pub(super) setup: Setup,
    pub(super) fault: Option<Fault>,
    pub(super) played: Played,
    pub(super) reference: Reference,
    first_moment: usize,
}

/// A state before its crash is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crash {
    pub(super) number: u64,
    /// How many changes the disk had seen.
    pub(super) changes: usize,
    pub(super) choice: Choice,
}

impl Run {
    /// Plays a run of the seed; `calls` are those of the run without a fault.
    pub(super) fn new(seed: u64, run: u64, calls: u64) -> Verdict<Self> {
        let setup = Setup::draw(seed);
        let fault = fault(seed, run, calls);
        let played = play(&setup, fault)?;
        let is_poisoned = |fact: &Fact| {
            *fact
                == Fact::Refused {
                    code: ErrorCode::Poisoned,
                }
        };
        if fault.is_none() && played.facts.iter().any(|(_, fact)| is_poisoned(fact)) {
            return wrong("the partition is poisoned, and no operation failed");
        }
        let reference = Reference::new(&played)?;
        let moments = played.moments.len();
        let first_moment = if fault.is_some() {
            moments.saturating_sub(FAULT_MOMENTS)
        } else {
            0
        };
        Ok(Self {
            setup,
            fault,
            played,
            reference,
            first_moment,
        })
    }

    /// The disk after so many changes.
    pub(super) fn disk(&self, changes: usize) -> &Disk {
        let moment = self.played.moments.get(changes);
        moment.map_or(&self.played.last, |moment| &moment.disk)
    }

    /// Every state, numbered from 1 on.
    pub(super) fn crashes(&self) -> impl Iterator<Item = Crash> {
        let all = self.first_moment..=self.played.moments.len();
        let pairs = all.flat_map(|changes| {
            let seed = self.setup.seed ^ changes as u64;
            let choices = choices(self.disk(changes), seed).into_iter();
            choices.map(move |choice| (changes, choice))
        });
        (1..).zip(pairs).map(|(number, (changes, choice))| Crash {
            number,
            changes,
            choice,
        })
    }

    /// What the crash leaves.
    fn image(&self, crash: Crash) -> Disk {
        let mut image = self.disk(crash.changes).snapshot();
        stop(&mut image, crash.choice);
        image
    }

    /// Judges a state.
    pub(super) fn judge(&self, judge: &mut Judge<'_>, crash: Crash) -> Verdict {
        judge.judge(self.image(crash), crash.changes, self.played.now)
    }

    /// The recovery from a state, with every change that it makes.
    pub(super) fn recovery(&self, crash: Crash) -> Verdict<Recovery> {
        let mut image = self.image(crash);
        let calm = image.snapshot();
        image.record();
        let disk = shared(image);
        open(&disk, &self.setup)?;
        let moments = lock(&disk).take_tape();
        Ok(Recovery { calm, moments })
    }

    /// Judges a crash or a fault within a recovery.
    pub(super) fn judge_again(
        &self,
        judge: &mut Judge<'_>,
        (crash, again): (Crash, &Again),
        recovery: &Recovery,
    ) -> Verdict {
        let image = match again {
            Again::Crash { moment, choice } => {
                let mut image = recovery.moments[*moment].disk.snapshot();
                stop(&mut image, *choice);
                image
            }
            Again::Fault { call } => self.fail_in_recovery(recovery, *call)?,
        };
        judge.judge(image, crash.changes, self.played.now)
    }

    /// The disk after a recovery whose `call`-th file operation failed; the recovery must say so.
    fn fail_in_recovery(&self, recovery: &Recovery, call: u32) -> Verdict<Disk> {
        let mut image = recovery.calm.snapshot();
        image.set_fuse(Some(call));
        let disk = shared(image);
        let opened = open(&disk, &self.setup);
        let mut disk = lock(&disk);
        if disk.is_dead() && opened.is_ok() {
            return wrong(format!(
                "file operation {call} of the recovery failed unnoticed"
            ));
        }
        disk.set_fuse(None);
        Ok(disk.snapshot())
    }
}

/// A recovery, as it was without a further crash.
pub(super) struct Recovery {
    calm: Disk,
    moments: Vec<Moment>,
}

/// What happens within a recovery.
#[derive(Clone, Copy, Debug)]
pub(super) enum Again {
    /// Another crash.
    Crash { moment: usize, choice: Choice },
    /// A file operation that fails.
    Fault { call: u32 },
}

impl Recovery {
    /// Everything that may happen within it, in order; `seed` draws where there is too much.
    pub(super) fn agains(&self, seed: u64) -> Vec<Again> {
        let mut random = Random::stream(seed, Concern::Nemesis);
        let mut all = Vec::new();
        for (moment, before) in self.moments.iter().enumerate() {
            let mut choices = choices(&before.disk, seed);
            while choices.len() > AGAIN_CHOICES_MAX {
                choices.swap_remove(random.index(choices.len()));
            }
            all.extend(
                choices
                    .into_iter()
                    .map(|choice| Again::Crash { moment, choice }),
            );
        }
        // Every change is a call, and there are calls that only look.
        let calls = 2 * self.moments.len() as u32;
        all.extend((1..=calls).map(|call| Again::Fault { call }));
        all
    }
}

/// The fault of a run: any operation of the disk, and if it is a write any way to fail.
fn fault(seed: u64, run: u64, calls: u64) -> Option<Fault> {
    if run == 0 {
        return None;
    }
    let mut random = Random::stream(seed ^ run.rotate_right(16), Concern::Nemesis);
    Some(Fault {
        call: random.between(1, calls),
        fate: random.pick(&[Fate::WriteError, Fate::Short, Fate::SyncError]),
    })
}
