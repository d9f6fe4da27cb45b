//! `scribe doctor`: checks this machine, and says what to do about each finding.

mod checks;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Exit, Failure, Session};
use crate::config::Kernels;

pub(super) use checks::{available_memory_bytes, bytes_of};

/// What to check.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  scribe doctor\n  scribe doctor --quick --json")]
pub struct DoctorOptions {
    /// Leave out what takes long: the digests of the installed models
    #[arg(long)]
    quick: bool,

    /// The address that `scribe serve` is to listen on
    #[arg(long, env = "SCRIBE_ADDRESS", default_value = super::DEFAULT_ADDRESS,
          value_parser = super::parse_address, value_name = "HOST:PORT", hide_env_values = true)]
    address: SocketAddr,

    /// File with the key that `scribe serve` is to ask for
    #[arg(long, env = "SCRIBE_API_KEY_FILE", value_name = "FILE", hide_env_values = true)]
    api_key_file: Option<PathBuf>,

    /// Which kernels are to compute [default: the fastest that this CPU has]
    #[arg(long, env = "SCRIBE_KERNELS", value_enum, value_name = "PATH", hide_env_values = true)]
    kernels: Option<Kernels>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warning,
    Broken,
}

/// What one check found.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    message: String,
    /// What to do about it; absent when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// `scribe doctor --json`.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    healthy: bool,
    findings: Vec<Finding>,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, state: State::Ok, message: message.into(), fix: None }
    }

    fn warning(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, state: State::Warning, message: message.into(), fix: Some(fix.into()) }
    }

    fn broken(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, state: State::Broken, message: message.into(), fix: Some(fix.into()) }
    }
}

/// Runs every check; fails if one of them found something broken.
pub(super) fn run(session: &mut Session, options: &DoctorOptions) -> Result<(), Failure> {
    let data = session.global.data_folder()?;
    let library = session.library()?;
    let mut findings = vec![
        checks::cpu(options.kernels),
        checks::memory(),
        checks::data_folder(&data),
        checks::disk(&data),
        checks::port(options.address),
        checks::exposure(options.address, options.api_key_file.as_deref()),
        checks::python(),
        checks::clock(),
    ];
    findings.extend(checks::models(session, &library, options.quick));
    let healthy = findings.iter().all(|finding| finding.state != State::Broken);
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        terminal.json(&Report { schema: "scribe.doctor/1", healthy, findings })?;
    } else {
        for finding in &findings {
            let mark = match finding.state {
                State::Ok => "ok     ",
                State::Warning => "warning",
                State::Broken => "broken ",
            };
            terminal.line(format_args!("{mark}  {:12} {}", finding.check, finding.message))?;
            if let Some(fix) = &finding.fix {
                terminal.line(format_args!("{:9}{:12} fix: {fix}", "", ""))?;
            }
        }
    }
    if healthy { Ok(()) } else { Err(Failure::silent(Exit::Broken)) }
}
