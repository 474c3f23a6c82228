//! Whether this machine has what the driver needs.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

use crate::driver::uring::{self, Refusal};

/// Finds out whether the driver works here; `folder` is where its files will be.
///
/// # Errors
/// With the reason and what to change, if it does not.
pub fn check(folder: &Path) -> Result<(), Refusal> {
    uring::check(folder)?;
    // glommio itself insists on this, whatever the process may do.
    let limit = getrlimit(Resource::Memlock).current;
    if limit.is_some_and(|limit| limit < MEMLOCK_MIN) {
        return Err(Refusal::new(
            "the limit of locked memory leaves no room for glommio",
            "raise LimitMEMLOCK= of the systemd unit, or --ulimit memlock= of the container: \
             512 KiB per shard; or use driver = epoll",
        ));
    }
    Ok(())
}

/// The limit of locked memory below which glommio makes no executor.
const MEMLOCK_MIN: u64 = 512 << 10;
