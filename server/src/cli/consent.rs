//! Asking a person before something is lost.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;

use super::exit::Failure;

/// Whether to ask.
#[derive(Debug, Args)]
pub(super) struct Consent {
    /// Do not ask; needed where stdin is no terminal.
    #[arg(long)]
    yes: bool,
}

impl Consent {
    /// Asks on the terminal; without one nothing is done. The question is like "Delete queue orders".
    pub(super) fn ask(&self, question: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::usage(format!(
                "{question}? Nobody is there to be asked\n  say so with --yes"
            )));
        }
        let mut stderr = std::io::stderr();
        write!(stderr, "{question}? [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if matches!(answer.trim(), "y" | "Y" | "yes") {
            Ok(())
        } else {
            Err(Failure::other("nothing was changed"))
        }
    }
}
