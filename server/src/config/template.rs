//! The template of a configuration file.

use super::keys::{KEYS, Key};

/// A configuration file with every key, each commented out: it changes nothing as it is.
#[must_use]
pub fn template() -> String {
    let keys: Vec<_> = KEYS.iter().map(entry).collect();
    format!("{HEAD}\n{}", keys.join("\n"))
}

fn entry(key: &Key) -> String {
    format!(
        "# {}\n# Takes {}; default: {}; {}, {}\n#{}\n",
        key.doc,
        key.kind,
        key.default,
        key.flag(),
        key.environment(),
        key.line(),
    )
}

const HEAD: &str = "\
# Configuration of `corelane serve`: every key, with what it may be, its default, its flag and its
# environment variable. To set one here, take away the # right before it; see also
# `corelane config check FILE`. A flag wins over the environment, and that over this file.
";
