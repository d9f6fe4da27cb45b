//! What is piped into a command.

use std::io::Read;

use super::Failure;

/// All of standard input, as text of at most so many bytes.
pub(super) fn read_stdin(bytes_max: u64) -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().take(bytes_max + 1).read_to_string(&mut text);
    read.map_err(|error| {
        Failure::broken(error, "send text in UTF-8").context("cannot read standard input")
    })?;
    if text.len() as u64 > bytes_max {
        return Err(Failure::usage(
            format!("standard input is longer than {bytes_max} bytes"),
            "send a part of it",
        ));
    }
    Ok(text)
}
