//! The patch files of the mutants.
//!
//! A patch begins with lines that `git apply` skips:
//!
//! ```text
//! # about: one sentence that says what goes wrong
//! # expect: C1 | does not recover
//! # crash-states: lost | unrecovered
//! # model: delivery | counts
//! # test: corelane-storage every_flip_is_found
//! # canary
//! ```
//!
//! `expect` lists, separated by `|`, what the failure of a seed must say: one of them, as whole words.
//! `crash-states` says that the crash states must find it too, and as what kind of harm: one of `lost`, `wrong`
//! and `unrecovered` that it lists.
//! `model` says that the reference model must find it, and lists what the failure of a seed must say there; a mutant
//! that has it needs no `expect` either.
//! `test` names a unit test of a package that must fail; a mutant that has one needs no `expect`, if it is in code that
//! the simulation does not run or cannot bring into trouble.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A planted bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mutant {
    /// The name of its file, without number and ending.
    pub(super) name: String,
    /// What goes wrong.
    pub(super) about: String,
    /// What a failure must say, one of these.
    pub(super) expect: Vec<String>,
    /// The kinds of harm of which the crash states must report one; none if they need not.
    pub(super) harms: Vec<String>,
    /// What a failure of the reference model must say, one of these; none if the model need not find it.
    pub(super) model: Vec<String>,
    /// The unit test that must fail, if one must.
    pub(super) test: Option<UnitTest>,
    /// Whether CI runs it.
    pub(super) is_canary: bool,
    /// Its file.
    pub(super) path: PathBuf,
}

/// One test beside the code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UnitTest {
    pub(super) package: String,
    /// What its path ends with.
    pub(super) name: String,
}

impl Mutant {
    /// Reads the lines before the patch itself.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let parts = stem.split_once('-').filter(|(number, _)| {
            number.len() >= 2 && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        let Some((_, name)) = parts else {
            bail!("{stem}: a patch is called NN-name.patch, NN at least two digits");
        };
        let mut mutant = Self {
            name: name.to_owned(),
            about: String::new(),
            expect: Vec::new(),
            harms: Vec::new(),
            model: Vec::new(),
            test: None,
            is_canary: false,
            path: path.to_owned(),
        };
        for line in text.lines().take_while(|line| line.starts_with('#')) {
            if let Some(about) = line.strip_prefix("# about: ") {
                about.clone_into(&mut mutant.about);
            } else if let Some(expect) = line.strip_prefix("# expect: ") {
                mutant.expect = expect.split(" | ").map(str::to_owned).collect();
            } else if let Some(harms) = line.strip_prefix("# crash-states: ") {
                mutant.harms = harms.split(" | ").map(str::to_owned).collect();
            } else if let Some(model) = line.strip_prefix("# model: ") {
                mutant.model = model.split(" | ").map(str::to_owned).collect();
            } else if let Some((package, name)) = line
                .strip_prefix("# test: ")
                .and_then(|test| test.split_once(' '))
            {
                let (package, name) = (package.to_owned(), name.to_owned());
                mutant.test = Some(UnitTest { package, name });
            } else if line == "# canary" {
                mutant.is_canary = true;
            } else {
                bail!("{stem}: {line:?} is no line of a mutant");
            }
        }
        let has_finder =
            !mutant.expect.is_empty() || !mutant.model.is_empty() || mutant.test.is_some();
        if mutant.about.is_empty() || !has_finder {
            bail!("{stem}: a mutant says `# about:`, and `# expect:`, `# model:` or `# test:`");
        }
        if mutant.expect.is_empty() && !mutant.harms.is_empty() {
            bail!("{stem}: what the crash states find, the simulation must find too");
        }
        Ok(mutant)
    }

    /// What must find it, in one line.
    pub(super) fn expected(&self) -> String {
        match &self.test {
            _ if !self.expect.is_empty() => self.expect.join(" | "),
            Some(test) => format!("a test of {}", test.package),
            None => format!("the model: {}", self.model.join(" | ")),
        }
    }
}

/// All mutants of the repository at `root`, in the order of their numbers.
pub(super) fn load(root: &Path) -> Result<Vec<Mutant>> {
    let folder = root.join("tests/mutants");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "patch") {
            paths.push(path.canonicalize()?);
        }
    }
    paths.sort();
    paths
        .iter()
        .map(|path| Mutant::parse(path, &std::fs::read_to_string(path)?))
        .collect()
}
