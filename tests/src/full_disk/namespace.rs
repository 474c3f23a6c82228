//! A mount namespace and a process namespace of one's own.
//!
//! Whatever ends this program, its mounts go with the last process that sees them, and its brokers go with it.

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::small::Missing;

/// Starts `program` again in new namespaces, in place of this process.
///
/// # Errors
/// Returns only if there are no such namespaces here.
pub fn enter(program: &Path, arguments: &[String]) -> Result<Infallible, Missing> {
    // After `exec` nobody could tell a failure of `unshare` from one of the program.
    Missing::unless_succeeds(unshare().arg("true"))?;
    let mut command = unshare();
    command.arg(program).args(arguments);
    let error = command.exec();
    Err(Missing::new(&command, &error.to_string()))
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
}
