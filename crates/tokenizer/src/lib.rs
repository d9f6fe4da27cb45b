//! Text to tokens and back; how a conversation is written in tokens.
//!
//! 1. [`SplitRule`] cuts a text into words, by hand-written rules in linear time.
//! 2. Each word is merged, byte pair by byte pair, into tokens ([`Tokenizer::encode`]).
//! 3. [`Conversation::render`] writes a conversation with the special tokens of a [`ChatFormat`].
//!    It is the only place where special tokens are made: no text from people becomes one.
//! 4. [`Trainer`] learns the merges of a new tokenizer from text.
//!
//! ```
//! use tokenizer::{ChatFormat, Conversation, Message, RenderEnd, Role, Tokenizer};
//!
//! # let merges = r#"["h i"]"#;
//! # let json = format!(r#"{{"model": {{"type": "BPE", "vocab": {{"h": 0, "i": 1, "hi": 2}},
//! #     "merges": {merges}}}, "pre_tokenizer": {{"type": "ByteLevel", "add_prefix_space": false}},
//! #     "added_tokens": [{{"id": 3, "content": "<|im_start|>", "special": true}},
//! #         {{"id": 4, "content": "<|im_end|>", "special": true}}]}}"#).into_bytes();
//! let tokenizer = Tokenizer::from_json(&json)?;
//! assert_eq!(tokenizer.encode("hi"), [2]);
//! assert_eq!(tokenizer.decode(&[2, 2]), "hihi");
//!
//! let conversation = Conversation { messages: vec![Message::new(Role::User, "hi")] };
//! let format = ChatFormat::detect(&tokenizer)?.format;
//! let prompt = conversation.render(&tokenizer, &format, RenderEnd::GenerationPrompt)?;
//! assert_eq!(prompt.tokens.len(), prompt.loss_mask.len());
//! # Ok::<(), tokenizer::Error>(())
//! ```

#![forbid(unsafe_code)]

mod added;
mod bpe;
mod byte_level;
mod conversation;
mod error;
mod export;
mod folder;
mod format;
mod gguf;
mod growth;
mod json;
mod json_file;
mod recent;
mod split;
mod template;
mod tokenizer;
mod train;
mod vocabulary;

pub use conversation::{Conversation, Message, RenderEnd, Rendered, Role};
pub use error::Error;
pub use format::{ChatFormat, DetectedFormat};
pub use split::{SplitRule, Words};
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;
pub use train::{TRAINED_TOKENS_MAX, TrainOptions, Trained, Trainer};
