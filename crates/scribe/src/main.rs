//! The application: one binary, one command per stage of the story.

fn main() {}
