//! Which chat format a model speaks, and the two that are built in.

use std::sync::Arc;

use crate::conversation::Piece;
use crate::{ChatTemplate, Error, Message, RenderEnd, Role, Tokenizer};

/// How a model wants conversations to be written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ChatFormat {
    /// `<|im_start|>role⏎content<|im_end|>⏎`
    ChatMl {
        /// What the system says where a conversation does not begin with a system message.
        default_system: Option<String>,
    },
    /// `<|start_header_id|>role<|end_header_id|>⏎⏎content<|eot_id|>`, contents trimmed.
    Llama3,
    /// A template that came with the model.
    Imported(Arc<ChatTemplate>),
}

/// What [`ChatFormat::detect`] found.
#[derive(Debug)]
pub struct DetectedFormat {
    /// The format.
    pub format: ChatFormat,
    /// Why the model's own template is not used, where it has one that cannot be.
    pub passed_over: Option<Error>,
}

/// The default system message of SmolLM2.
const SMOLLM2_SYSTEM: &str = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

/// Chat templates that are known to the letter, and what they are.
const TEMPLATES: &[(&str, Known)] = &[
    (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ \
         '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging \
         Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + \
         message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt \
         %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        Known::ChatMl { default_system: Some(SMOLLM2_SYSTEM) },
    ),
    (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + \
         message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt \
         %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        Known::ChatMl { default_system: None },
    ),
    (
        "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = \
         '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] \
         | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content \
         %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt \
         %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        Known::Llama3,
    ),
];

/// A built-in format as a constant.
#[derive(Clone, Copy, Debug)]
enum Known {
    ChatMl { default_system: Option<&'static str> },
    Llama3,
}

impl Known {
    fn format(self) -> ChatFormat {
        match self {
            Self::ChatMl { default_system } => {
                ChatFormat::ChatMl { default_system: default_system.map(str::to_owned) }
            }
            Self::Llama3 => ChatFormat::Llama3,
        }
    }
}

impl ChatFormat {
    /// The format of a model: by its chat template, or else by its special tokens.
    ///
    /// A template that cannot be used gives way to a built-in format whose special tokens the model
    /// has; [`DetectedFormat::passed_over`] says why.
    ///
    /// # Errors
    ///
    /// Fails where there is neither a usable template nor a known set of special tokens.
    pub fn detect(tokenizer: &Tokenizer) -> Result<DetectedFormat, Error> {
        let built_in = Self::by_special_tokens(tokenizer);
        let of_template =
            tokenizer.chat_template().map(|template| Self::from_template(template, tokenizer));
        match (of_template, built_in) {
            (Some(Ok(format)), _) | (None, Some(format)) => {
                Ok(DetectedFormat { format, passed_over: None })
            }
            (Some(Err(error)), Some(format)) => {
                Ok(DetectedFormat { format, passed_over: Some(error) })
            }
            (Some(Err(error)), None) => Err(error),
            (None, None) => Err(Error::NoChatFormat),
        }
    }

    /// The built-in format whose special tokens are all in the vocabulary.
    fn by_special_tokens(tokenizer: &Tokenizer) -> Option<Self> {
        [Self::ChatMl { default_system: None }, Self::Llama3]
            .into_iter()
            .find(|format| format.check(tokenizer).is_ok())
    }

    /// Whether the vocabulary has the special tokens that this format writes.
    ///
    /// # Errors
    ///
    /// [`Error::MissingSpecial`] with the first that is missing.
    pub fn check(&self, tokenizer: &Tokenizer) -> Result<(), Error> {
        match self {
            Self::ChatMl { .. } => ChatMlTokens::find(tokenizer).map(drop),
            Self::Llama3 => Llama3Tokens::find(tokenizer).map(drop),
            Self::Imported(_) => Ok(()),
        }
    }

    /// The format that a chat template describes.
    ///
    /// # Errors
    ///
    /// Fails where the template cannot be read or does what is not supported.
    pub fn from_template(template: &str, tokenizer: &Tokenizer) -> Result<Self, Error> {
        match TEMPLATES.iter().find(|(text, _)| *text == template.trim_end()) {
            Some((_, known)) => Ok(known.format()),
            None => Ok(Self::Imported(Arc::new(ChatTemplate::new(template, tokenizer)?))),
        }
    }

    /// The template that describes it to other programs, and the special token that ends a turn;
    /// `None` for a format that came with a model.
    #[must_use]
    pub fn template(&self) -> Option<(&'static str, &'static str)> {
        let (is_known, end): (fn(&Known) -> bool, _) = match self {
            Self::ChatMl { default_system: None } => {
                (|known| matches!(known, Known::ChatMl { default_system: None }), "<|im_end|>")
            }
            Self::Llama3 => (|known| matches!(known, Known::Llama3), "<|eot_id|>"),
            Self::ChatMl { .. } | Self::Imported(_) => return None,
        };
        let found = TEMPLATES.iter().find(|(_, known)| is_known(known));
        found.map(|&(template, _)| (template, end))
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ChatMl { .. } => "ChatML",
            Self::Llama3 => "Llama 3",
            Self::Imported(_) => "the model's own template",
        }
    }

    /// Writes the pieces of a conversation in order.
    pub(crate) fn write(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        end: RenderEnd,
        push: &mut dyn FnMut(Piece<'_>),
    ) -> Result<(), Error> {
        match self {
            Self::ChatMl { default_system } => {
                chatml(tokenizer, default_system.as_deref(), messages, end, push)
            }
            Self::Llama3 => llama3(tokenizer, messages, end, push),
            Self::Imported(template) => template.write(tokenizer, messages, end, push),
        }
    }
}

/// A special token that a built-in format needs.
fn special(tokenizer: &Tokenizer, name: &str, format: &'static str) -> Result<u32, Error> {
    let missing = || Error::MissingSpecial { name: name.to_owned(), format };
    tokenizer.special(name).ok_or_else(missing)
}

/// The special tokens of ChatML.
struct ChatMlTokens {
    start: u32,
    stop: u32,
}

impl ChatMlTokens {
    fn find(tokenizer: &Tokenizer) -> Result<Self, Error> {
        let named = |name| special(tokenizer, name, "ChatML");
        Ok(Self { start: named("<|im_start|>")?, stop: named("<|im_end|>")? })
    }
}

/// The special tokens of Llama 3.
struct Llama3Tokens {
    begin: u32,
    open: u32,
    close: u32,
    stop: u32,
}

impl Llama3Tokens {
    fn find(tokenizer: &Tokenizer) -> Result<Self, Error> {
        let named = |name| special(tokenizer, name, "Llama 3");
        Ok(Self {
            begin: named("<|begin_of_text|>")?,
            open: named("<|start_header_id|>")?,
            close: named("<|end_header_id|>")?,
            stop: named("<|eot_id|>")?,
        })
    }
}

/// Writes ChatML.
fn chatml(
    tokenizer: &Tokenizer,
    default_system: Option<&str>,
    messages: &[Message],
    end: RenderEnd,
    push: &mut dyn FnMut(Piece<'_>),
) -> Result<(), Error> {
    let ChatMlTokens { start, stop } = ChatMlTokens::find(tokenizer)?;
    let open = |role: Role, push: &mut dyn FnMut(Piece<'_>)| {
        push(Piece::Special(start));
        push(Piece::Text(role.name()));
        push(Piece::Text("\n"));
    };
    let close = |push: &mut dyn FnMut(Piece<'_>)| {
        push(Piece::Special(stop));
        push(Piece::Text("\n"));
    };
    if let (Some(system), Some(first)) = (default_system, messages.first())
        && first.role != Role::System
    {
        open(Role::System, push);
        push(Piece::Text(system));
        close(push);
    }
    for message in messages {
        open(message.role, push);
        push(Piece::content(message, &message.content));
        close(push);
    }
    if end == RenderEnd::GenerationPrompt {
        open(Role::Assistant, push);
    }
    Ok(())
}

/// Writes the format of Llama 3.
fn llama3(
    tokenizer: &Tokenizer,
    messages: &[Message],
    end: RenderEnd,
    push: &mut dyn FnMut(Piece<'_>),
) -> Result<(), Error> {
    let Llama3Tokens { begin, open, close, stop } = Llama3Tokens::find(tokenizer)?;
    let header = |role: &str, push: &mut dyn FnMut(Piece<'_>)| {
        push(Piece::Special(open));
        push(Piece::Text(role));
        push(Piece::Special(close));
        push(Piece::Text("\n\n"));
    };
    if !messages.is_empty() {
        push(Piece::Special(begin));
    }
    for message in messages {
        header(message.role.name(), push);
        push(Piece::content(message, message.content.trim_matches(is_jinja_space)));
        push(Piece::Special(stop));
    }
    if end == RenderEnd::GenerationPrompt {
        header(Role::Assistant.name(), push);
    }
    Ok(())
}

/// Whether Python's `strip` and so Jinja's `trim` take a character for white space: the four
/// separator controls are some there.
pub(crate) fn is_jinja_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
