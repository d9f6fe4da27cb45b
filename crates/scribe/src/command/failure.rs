//! How a command fails: an error with its causes, a hint, and an exit code that scripts can read.

use std::io;

use crate::fetch;

/// What scripts see of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The reader of standard output has gone: 0, as there is nobody left to be told.
    ClosedPipe,
    /// Something is broken: 1.
    Broken,
    /// The command was called wrongly: 2.
    Usage,
    /// What was named does not exist: 3.
    NotFound,
    /// Ctrl-C: 130.
    Interrupted,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// What scripts see.
    pub exit: Exit,
    /// What people see; `None` when everything has been said.
    pub error: Option<anyhow::Error>,
    /// What to do next.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure of the caller's making.
    #[must_use]
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        let error = anyhow::Error::msg(message.into());
        Self { exit: Exit::Usage, error: Some(error), hint: Some(hint.into()) }
    }

    /// Something named does not exist.
    #[must_use]
    pub fn not_found(message: impl Into<String>, hint: impl Into<String>) -> Self {
        let error = anyhow::Error::msg(message.into());
        Self { exit: Exit::NotFound, error: Some(error), hint: Some(hint.into()) }
    }

    /// An error, and what to do about it.
    #[must_use]
    pub fn broken(error: impl Into<anyhow::Error>, hint: impl Into<String>) -> Self {
        Self { exit: Exit::Broken, error: Some(error.into()), hint: Some(hint.into()) }
    }

    /// A failure about which everything has been said already.
    #[must_use]
    pub fn silent(exit: Exit) -> Self {
        Self { exit, error: None, hint: None }
    }

    /// The same failure with a sentence of context before its cause.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        let message = message.into();
        self.error = self.error.map(|error| error.context(message));
        self
    }
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Broken => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Interrupted => 130,
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        if let Some(cause) = error.downcast_ref::<io::Error>()
            && cause.kind() == io::ErrorKind::BrokenPipe
        {
            return Self::silent(Exit::ClosedPipe);
        }
        let (exit, hint) = match error.downcast_ref::<fetch::Error>() {
            Some(cause) if cause.is_not_found() => (Exit::NotFound, Some(cause.hint())),
            Some(cause) => (Exit::Broken, Some(cause.hint())),
            None => (Exit::Broken, None),
        };
        Self { exit, error: Some(error), hint }
    }
}
