//! The chat page in a real browser, with the real server behind it.
//!
//! Where Chromium or the default model is absent, the tests that need it say `skipped: …` and pass.
//! Pictures of every state go to `target/screenshots/`.

// All of this is a test; saying so lets the helpers, too, fail by panicking.
#[cfg(test)]
mod accessibility;
#[cfg(test)]
mod chat;
#[cfg(test)]
mod label;
#[cfg(test)]
mod looks;
#[cfg(test)]
mod safety;
#[cfg(test)]
mod server;
#[cfg(test)]
mod visit;
#[cfg(test)]
mod webdriver;
