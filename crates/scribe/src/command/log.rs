//! The log: lines with fields on standard error, as many as are asked for.

use std::io::stderr;

use tracing::level_filters::LevelFilter;

/// Begins to write what is logged: warnings, with -v every request, with -q less.
pub(super) fn begin(verbosity: i16) {
    let level = match verbosity {
        ..=-2 => LevelFilter::ERROR,
        -1 | 0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        3.. => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt().with_writer(stderr).with_max_level(level);
    // Whoever closes standard error does not want to hear of it there.
    lines.with_target(false).log_internal_errors(false).init();
}
