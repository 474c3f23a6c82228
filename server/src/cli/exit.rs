//! Exit codes, and how a failure is told.

use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

use corelane_client::{EnqueueError, Error, ErrorCode};

pub(super) const OK: u8 = 0;
pub(super) const FAILURE: u8 = 1;
pub(super) const USAGE: u8 = 2;
pub(super) const CONFIG: u8 = 3;
pub(super) const NOT_FOUND: u8 = 4;
pub(super) const DENIED: u8 = 5;
pub(super) const UNREACHABLE: u8 = 6;
pub(super) const UNHEALTHY: u8 = 10;
pub(super) const DAMAGED: u8 = 11;

/// Every exit code with its meaning.
pub(super) const CODES: &[(u8, &str)] = &[
    (OK, "done"),
    (FAILURE, "failed; stderr says why"),
    (USAGE, "wrong arguments"),
    (CONFIG, "the configuration is refused"),
    (NOT_FOUND, "the queue or subscription does not exist"),
    (DENIED, "the broker does not let this client do that"),
    (
        UNREACHABLE,
        "no broker answers at the address, or not in time",
    ),
    (UNHEALTHY, "a check of `corelane doctor` failed"),
    (
        DAMAGED,
        "`corelane log`, `backup` or `restore` found something damaged",
    ),
];

/// The table of `corelane help exit-codes`.
pub(super) fn text() -> String {
    let mut text = String::from("Exit codes, the same with every output format:\n");
    for (code, meaning) in CODES {
        // Writing to a string cannot fail.
        write!(text, "\n  {code}  {meaning}").unwrap_or_default();
    }
    text
}

/// Why a command ends without success.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    /// Empty to end quietly.
    text: String,
}

impl Failure {
    pub(super) fn new(code: u8, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    pub(super) fn other(text: impl Into<String>) -> Self {
        Self::new(FAILURE, text)
    }

    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::new(USAGE, text)
    }

    pub(super) const fn code(&self) -> u8 {
        self.code
    }

    /// Tells it on stderr.
    pub(super) fn report(&self) -> ExitCode {
        if !self.text.is_empty() {
            super::note(&format!("corelane: {}", self.text));
        }
        ExitCode::from(self.code)
    }

    /// Tells it where log lines go; what is left is the code.
    pub(super) fn told_to(self, out: &mut impl io::Write) -> Self {
        // A closed stderr leaves nobody to tell.
        out.write_all(format!("corelane: {}\n", self.text).as_bytes())
            .unwrap_or_default();
        Self::new(self.code, "")
    }

    /// The same failure with a place before its text.
    pub(super) fn at(self, place: &str) -> Self {
        Self {
            text: format!("{place}: {}", self.text),
            ..self
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let is_unreachable = matches!(error, Error::Unreachable { .. } | Error::Deadline { .. });
        let is_usage = matches!(
            error,
            Error::Address { .. } | Error::Name { .. } | Error::OutOfRange { .. }
        );
        let code = if is_unreachable {
            UNREACHABLE
        } else if is_usage {
            USAGE
        } else {
            error.code().map_or(FAILURE, of_code)
        };
        Self::new(code, format!("{error}\n  {}", error.hint()))
    }
}

impl From<EnqueueError> for Failure {
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::Rejected(error) => Self::from(error).at("not enqueued"),
            EnqueueError::Unknown(reason) => Self::other(format!(
                "it is not known whether the message is enqueued: {reason}"
            )),
        }
    }
}

impl From<io::Error> for Failure {
    /// A reader that has seen enough (`head`) is no failure, and gets no text.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::new(OK, "")
        } else {
            Self::other(format!("cannot write to stdout: {error}"))
        }
    }
}

fn of_code(code: ErrorCode) -> u8 {
    const MEANINGS: &[(ErrorCode, u8)] = &[
        (ErrorCode::QueueNotFound, NOT_FOUND),
        (ErrorCode::SubscriptionNotFound, NOT_FOUND),
        (ErrorCode::TenantUnknown, NOT_FOUND),
        (ErrorCode::Unauthenticated, DENIED),
        (ErrorCode::InvalidName, USAGE),
        (ErrorCode::OutOfRange, USAGE),
    ];
    let meaning = MEANINGS.iter().find(|(known, _)| *known == code);
    meaning.map_or(FAILURE, |(_, exit)| *exit)
}

#[cfg(test)]
mod tests;
