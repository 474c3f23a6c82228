//! The subcommands: flags in, text or JSON out.

pub(crate) mod probe;
pub(crate) mod responder;
pub(crate) mod run;
