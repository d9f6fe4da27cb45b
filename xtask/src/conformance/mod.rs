//! `cargo xtask conformance`: who computes what the papers say, and which known mistakes are ruled out
//! here.

mod own;
mod peers;

use anyhow::Result;

/// The known mistakes here, and then the vectors there.
///
/// # Errors
///
/// At a mistake that is not ruled out; where a peer cannot be had or called.
pub(crate) fn compare() -> Result<()> {
    own()?;
    peers::compare()
}

/// The known mistakes alone, which needs no network and no Python.
///
/// # Errors
///
/// At a mistake that is not ruled out.
pub(crate) fn own() -> Result<()> {
    own::check()
}
