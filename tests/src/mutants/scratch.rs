//! A copy of the workspace in which mutants are built.
//!
//! It lies under the target directory and stays there, with a target directory of its own: only what a mutant changes
//! is compiled again. The workspace is read once, so that whoever edits it meanwhile changes nothing for later mutants.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::crash_states::CrashStates;
use super::patch::UnitTest;
use super::simulation::Simulation;
use super::unit_test;

/// The copy.
#[derive(Debug)]
pub(super) struct Scratch {
    tree: PathBuf,
    build: PathBuf,
    /// Every file of the workspace that git tracks or would track, by its path.
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Scratch {
    /// Reads the workspace at `root`; writes nothing.
    pub(super) fn new(root: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let target = program
            .ancestors()
            .nth(2)
            .context("this program does not lie in a target directory")?;
        let home = target.join("mutants");
        let tree = home.join("tree");
        std::fs::create_dir_all(&tree)?;
        Ok(Self {
            tree: tree.canonicalize()?,
            build: home.join("build"),
            files: read_files(root)?,
        })
    }

    /// Where it lies.
    pub(super) fn tree(&self) -> &Path {
        &self.tree
    }

    /// Makes the copy equal to the workspace again. Files that are equal already keep their time stamps, by which
    /// cargo knows what to compile.
    pub(super) fn restore(&self) -> Result<()> {
        remove_others(&self.tree, Path::new(""), &self.files)?;
        for (path, bytes) in &self.files {
            let at = self.tree.join(path);
            if std::fs::read(&at).is_ok_and(|old| old == *bytes) {
                continue;
            }
            if let Some(folder) = at.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(&at, bytes).with_context(|| format!("cannot write {}", at.display()))?;
        }
        Ok(())
    }

    /// Applies a patch file to the copy.
    pub(super) fn apply(&self, patch: &Path) -> Result<()> {
        let text = std::fs::read_to_string(patch)?;
        self.apply_text(&patch.display().to_string(), &text)
    }

    /// Applies a patch to the copy; `name` is for errors.
    pub(super) fn apply_text(&self, name: &str, patch: &str) -> Result<()> {
        let mut git = git_apply(&self.tree);
        git.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = git.spawn().context("cannot start git")?;
        let stdin = child.stdin.take().context("stdin is piped")?;
        { stdin }.write_all(patch.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("{name} does not apply: {reason}");
        }
        // Beside a repository git skips what it takes for foreign paths, without a word.
        let is_changed = |(path, bytes): (&PathBuf, &Vec<u8>)| {
            std::fs::read(self.tree.join(path)).is_ok_and(|new| new != *bytes)
        };
        if !self.files.iter().any(is_changed) {
            bail!("{name} changes nothing");
        }
        Ok(())
    }

    /// Builds the simulation and the crash-states harness in the copy.
    pub(super) fn build(&self) -> Result<(Simulation, CrashStates)> {
        let [simulation, crash_states] = self.build_binaries(["sim", "crash-states"])?;
        Ok((Simulation::new(simulation), CrashStates::new(crash_states)))
    }

    /// Builds the reference model beside the engine, which runs seeds as the simulation does.
    pub(super) fn build_model(&self) -> Result<Simulation> {
        let [model] = self.build_binaries(["model"])?;
        Ok(Simulation::new(model))
    }

    fn build_binaries<const COUNT: usize>(&self, names: [&str; COUNT]) -> Result<[PathBuf; COUNT]> {
        let mut build = self.cargo("build");
        build.args(["--package", "corelane-tests"]);
        for name in names {
            build.args(["--bin", name]);
        }
        let output = build.output().context("cannot start cargo")?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("{names:?} cannot be built:\n{reason}");
        }
        Ok(names.map(|name| self.build.join("tools").join(name)))
    }

    /// Whether a unit test passes in the copy.
    pub(super) fn passes(&self, test: &UnitTest) -> Result<bool> {
        unit_test::passes(self.cargo("test"), test)
    }

    /// A cargo command in the copy.
    pub(super) fn cargo(&self, verb: &str) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(&self.tree);
        command.args([verb, "--profile", "tools"]);
        command.arg("--target-dir").arg(&self.build);
        // A few lines change between two builds, and nobody debugs them.
        command.env("CARGO_INCREMENTAL", "1");
        command.env("CARGO_PROFILE_TOOLS_DEBUG", "none");
        command
    }
}

/// `git apply` in a folder, whatever repository lies around it.
pub(super) fn git_apply(folder: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(folder);
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(name);
    }
    if let Some(above) = folder.parent() {
        git.env("GIT_CEILING_DIRECTORIES", above);
    }
    git.arg("apply");
    git
}

fn read_files(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut git = Command::new("git");
    git.current_dir(root);
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let output = git.output().context("cannot start git")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("git does not list the files of the workspace: {reason}");
    }
    let names = String::from_utf8(output.stdout).context("a path is not UTF-8")?;
    let mut files = BTreeMap::new();
    for name in names.split_terminator('\0') {
        // One that is deleted and not committed is listed, too.
        if let Ok(bytes) = std::fs::read(root.join(name)) {
            files.insert(PathBuf::from(name), bytes);
        }
    }
    if files.is_empty() {
        bail!("git lists no file of the workspace at {}", root.display());
    }
    Ok(files)
}

fn remove_others(tree: &Path, folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    for entry in std::fs::read_dir(tree.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            remove_others(tree, &path, files)?;
        } else if !files.contains_key(&path) {
            std::fs::remove_file(tree.join(&path))?;
        }
    }
    Ok(())
}
