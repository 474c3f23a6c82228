//! A file system that is soon full.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of a MiB.
const MEBIBYTE: u64 = 1 << 20;

/// Where its blocks are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// In a file, through a loop device.
    Ext4,
    /// In memory.
    Tmpfs,
}

/// A command that this machine does not run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missing {
    /// As a person types it.
    command: String,
    /// What it said.
    reason: String,
}

/// A mounted one; it is unmounted with the namespace.
#[derive(Debug)]
pub struct SmallDisk {
    /// Where it is mounted.
    pub folder: PathBuf,
    /// Its size.
    pub bytes: u64,
}

impl SmallDisk {
    /// Mounts one in `home`; only within a namespace of one's own.
    ///
    /// # Errors
    /// If `home` takes no folder and no image, or this machine does not mount such a disk.
    pub fn mount(kind: Kind, mebibytes: u64, home: &Path) -> io::Result<Result<Self, Missing>> {
        let folder = home.join(kind.name());
        fs::create_dir(&folder)?;
        let bytes = mebibytes * MEBIBYTE;
        let mounted = match kind {
            Kind::Tmpfs => {
                let size = format!("size={bytes}");
                let mut mount = Command::new("mount");
                mount
                    .args(["-t", "tmpfs", "-o", &size, "none"])
                    .arg(&folder);
                Missing::unless_succeeds(&mut mount)
            }
            Kind::Ext4 => {
                let image = home.join("image");
                File::create(&image)?.set_len(bytes)?;
                let mut format = Command::new("mkfs.ext4");
                format.args(["-q", "-F"]).arg(&image);
                let mut mount = Command::new("mount");
                mount.args(["-o", "loop"]).arg(&image).arg(&folder);
                let mounted = Missing::unless_succeeds(&mut format)
                    .and_then(|()| Missing::unless_succeeds(&mut mount));
                // The mount keeps it as long as it is needed.
                fs::remove_file(&image)?;
                mounted
            }
        };
        Ok(mounted.map(|()| Self { folder, bytes }))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Were it not for the folder, which could not be removed, the end of the namespace would do.
        drop(
            Command::new("umount")
                .arg("--lazy")
                .arg(&self.folder)
                .status(),
        );
    }
}

impl Kind {
    /// As a row names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Tmpfs => "tmpfs",
        }
    }
}

impl Missing {
    pub(super) fn new(command: &Command, reason: &str) -> Self {
        let mut line = command.get_program().to_string_lossy().into_owned();
        for argument in command.get_args() {
            line.push(' ');
            line.push_str(&argument.to_string_lossy());
        }
        let reason = reason.trim().replace('\n', "; ");
        Self {
            command: line,
            reason,
        }
    }

    pub(super) fn unless_succeeds(command: &mut Command) -> Result<(), Self> {
        match command.output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(Self::new(command, &String::from_utf8_lossy(&output.stderr))),
            Err(error) => Err(Self::new(command, &error.to_string())),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}` said: {}", self.command, self.reason)
    }
}
