//! The server through its public face, with a tiny model of random weights.

mod command;
mod completions;
mod edge;
mod guard;
mod ollama;
mod openai;
mod pages;
mod server;
mod streams;
mod tokens;
