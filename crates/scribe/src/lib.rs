//! The application: the command, the site, the API, and all fetching.
//!
//! The only crate that knows HTTP, HTML, the terminal, the environment, the clock and exit codes.

pub mod command;
pub mod config;
mod export;
pub mod fetch;
mod hardware;
mod labeling;
mod lines;
pub mod loading;
mod locale;
mod nearest;
mod plot;
mod random;
mod run_state;
mod tensorboard;
pub mod terminal;
pub mod web;
