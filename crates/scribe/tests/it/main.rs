//! The server through its public face, with a tiny model of random weights.

// All of this is a test; saying so lets the helpers, too, fail by panicking.
mod command;
#[cfg(test)]
mod completions;
#[cfg(test)]
mod edge;
#[cfg(test)]
mod equality;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod label;
#[cfg(test)]
mod loading;
#[cfg(test)]
mod ollama;
#[cfg(test)]
mod one_renderer;
#[cfg(test)]
mod openai;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod server;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod tokens;
