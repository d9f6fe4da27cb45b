//! Text to tokens and back; how a conversation is written in tokens.
