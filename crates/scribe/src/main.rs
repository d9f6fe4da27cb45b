//! The application: one binary, one command per stage of the story.

use std::process::ExitCode;

fn main() -> ExitCode {
    scribe::command::main()
}
