//! The real program as people and scripts call it: output, exit codes, no color on a pipe.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod adapter;
mod chat;
mod compare;
mod corpus;
mod eval;
mod export;
mod help;
mod models;
mod people;
mod plan;
mod pretrain;
mod promotion;
mod reward;
mod rounds;
mod run;
mod serve;
mod story;
mod tokenizer;
mod verify;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The program with its own empty folders, and without any setting of whoever runs the tests.
pub(super) struct Scribe {
    folder: tempfile::TempDir,
}

impl Scribe {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder that is removed with this value.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The program, ready for arguments; nothing stands on its standard input.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scribe"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SCRIBE_")) {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .current_dir(self.folder())
            .env("SCRIBE_DATA", self.folder().join("data"))
            .env("XDG_CONFIG_HOME", self.folder().join("config"))
            .env("SCRIBE_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.command(arguments).output().unwrap())
    }
}

/// What a run left behind.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let ran = Self {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        };
        // Whatever a command says on a pipe, it says without color.
        assert!(!ran.out.contains('\x1b') && !ran.err.contains('\x1b'), "{ran:?}");
        ran
    }
}

/// A chat model of random weights, a few hundred kilobytes long.
pub(super) fn tiny_chat() -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join("fixtures/tiny-chat.gguf").canonicalize().unwrap().to_str().unwrap().to_owned()
}
