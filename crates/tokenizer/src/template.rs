//! Chat templates that come with models: Jinja, run with a meter, blind to what people wrote.
//!
//! A template is a program from a stranger, so it gets little and is watched:
//!
//! - Contents of messages never enter it. It sees a marker in place of each, and the contents are
//!   put in afterwards as plain text: a template cannot turn them into special tokens.
//! - A template that looks into contents (a comparison, `replace`, `split`, `length` …) would work
//!   on the marker and write something else than its author meant. Such a template is refused when
//!   it is read: it is run on contents made of its own string literals, and on a few odd ones, and
//!   what it writes must be what it wrote around the markers. Trimming white space is allowed.
//! - Every step and every byte costs fuel; size and output are limited; values that double (see
//!   [`growth`]) are refused; and it runs on a thread of its own with a large stack, because deep
//!   nesting costs stack, which nothing meters.
//!
//! The settings of the engine are those of `apply_chat_template` in Hugging Face's transformers.

use std::fmt;

use minijinja::machinery::{Token, parse, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, State, Value, context};
use minijinja_contrib::pycompat;

use crate::added::Part;
use crate::conversation::Piece;
use crate::format::is_jinja_space;
use crate::vocabulary::check_limit;
use crate::{Error, Message, RenderEnd, Role, Tokenizer, growth};

/// The most bytes in a template; the longest known has 21 kB.
pub(crate) const TEMPLATE_BYTES_MAX: usize = 64 << 10;
/// The most tokens between `{{` and `}}`, or `{%` and `%}`; the most in a known template is 85. The
/// engine compiles deep expressions in quadratic time.
const TAG_TOKENS_MAX: usize = 1000;
/// The most string literals that are tried as contents; the most in a known template is 190.
const LITERALS_MAX: usize = 512;
/// Output is limited to `8 * input + OUTPUT_BYTES_BASE`.
const OUTPUT_BYTES_BASE: usize = 64 << 10;
/// Fuel of one run; one unit is one step, or 64 bytes. A known template needs some 300 a message.
const FUEL_BASE: u64 = 30_000;
const FUEL_PER_MESSAGE: u64 = 3_000;
/// Fuel of all runs together while a template is read.
const FUEL_READING: u64 = 400_000;
/// The stack of the thread that templates run on: the deepest value that fuel can pay for fits.
const STACK_BYTES: usize = 256 << 20;
/// The name of the template inside the engine.
const NAME: &str = "chat_template";

/// The longest reason of a template that is passed on.
const REASON_CHARS_MAX: usize = 300;

/// White space around a marker that shows whether a template trims: no template writes it itself.
const SPACE: &str = "\u{2003}\u{2003}";

/// An imported chat template, ready to write conversations.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// What all markers begin with; the template does not contain it.
    marker: String,
    source: String,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate").field("source", &self.source).finish_non_exhaustive()
    }
}

/// A part of what a template wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written<'text> {
    /// The template's own text.
    Text(&'text str),
    /// The place of a message's content.
    Content(usize),
}

/// On which sides a template trims a content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Trim {
    left: bool,
    right: bool,
}

/// The reason that a template gives with `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

impl ChatTemplate {
    /// Reads a template and checks that it treats contents as opaque.
    pub(crate) fn new(source: &str, tokenizer: &Tokenizer) -> Result<Self, Error> {
        on_large_stack(|| Self::read(source, tokenizer))
    }

    fn read(source: &str, tokenizer: &Tokenizer) -> Result<Self, Error> {
        check_limit("the length of the chat template in bytes", source.len(), TEMPLATE_BYTES_MAX)?;
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let syntax = syntax.map_err(engine_error)?;
        check_tags(source, &syntax)?;
        let parsed = parse(source, NAME, syntax.clone()).map_err(engine_error)?;
        growth::check(&parsed).map_err(|refusal| {
            Error::template(&format!("it uses {refusal}, which is not supported"))
        })?;
        environment.set_syntax(syntax);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(python_method);
        environment.add_function("raise_exception", |reason: String| -> Result<Value, _> {
            let error = minijinja::Error::new(ErrorKind::InvalidOperation, "raised");
            Err(error.with_source(Raised(reason)))
        });
        environment.add_template_owned(NAME, source.to_owned()).map_err(engine_error)?;
        let mut marker = "ScRiBe".to_owned();
        while source.contains(&marker) {
            marker.push('x');
        }
        let template = Self { environment, marker, source: source.to_owned() };
        let probe = Probe::new(&template, tokenizer)?;
        probe.check_ends()?;
        probe.check_all()?;
        Ok(template)
    }

    /// Writes the pieces of a conversation in order.
    pub(crate) fn write(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        end: RenderEnd,
        push: &mut dyn FnMut(Piece<'_>),
    ) -> Result<(), Error> {
        let roles: Vec<Role> = messages.iter().map(|message| message.role).collect();
        // An empty content stays empty, so that a template may ask whether there is one.
        let empty = |i: usize| messages[i].content.is_empty() && messages[i].tokens.is_none();
        let run = |around: &str| {
            let content = |i: usize| match empty(i) {
                true => String::new(),
                false => [around, &self.marker_of(i), around].concat(),
            };
            self.run(tokenizer, &roles, &content, end, fuel_for(messages.len()))
        };
        let ((plain, _), (spaced, _)) = on_large_stack(|| Ok((run("")?, run(SPACE)?)))?;
        let parts = self.parts(&plain, messages.len());
        let trims = self.trims(&parts, &spaced, SPACE)?;
        let (mut written, mut trims) = (0, trims.into_iter());
        let input: usize = messages.iter().map(|message| message.content.len()).sum();
        for part in parts {
            match part {
                Written::Text(text) => tokenizer.split_at_special(text, |part| match part {
                    Part::Text(text) => push(Piece::Text(text)),
                    Part::Token(token) => push(Piece::Special(token)),
                }),
                Written::Content(i) => {
                    let text = trims.next().unwrap_or_default().apply(&messages[i].content);
                    written += text.len();
                    check_output(written, input)?;
                    push(Piece::content(&messages[i], text));
                }
            }
        }
        Ok(())
    }

    /// The marker of a message.
    fn marker_of(&self, message: usize) -> String {
        format!("{}{message:06}Q", self.marker)
    }

    /// Runs the template; returns what it wrote and the fuel that it took.
    fn run(
        &self,
        tokenizer: &Tokenizer,
        roles: &[Role],
        content: &dyn Fn(usize) -> String,
        end: RenderEnd,
        fuel: u64,
    ) -> Result<(String, u64), Error> {
        let mut input = 0;
        let messages = roles.iter().enumerate().map(|(i, role)| {
            let content = content(i);
            input += content.len();
            context! { role => role.name(), content }
        });
        let messages: Vec<Value> = messages.collect();
        let name = |token: Option<u32>| token.map(|token| tokenizer.token_text(token));
        let context = context! {
            messages,
            add_generation_prompt => end == RenderEnd::GenerationPrompt,
            bos_token => name(tokenizer.beginning_in_templates()).unwrap_or_default(),
            eos_token => name(tokenizer.end_in_templates()).unwrap_or_default(),
            tools => (),
            documents => (),
        };
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let template = environment.get_template(NAME).map_err(engine_error)?;
        let captured = template.render_captured(context).map_err(engine_error)?;
        check_output(captured.output().len(), input)?;
        let used = captured.state().fuel_levels().map_or(fuel, |(used, _)| used);
        Ok((captured.into_output(), used))
    }

    /// Cuts what the template wrote at the markers of a conversation of `messages` messages.
    ///
    /// A template can put text together that looks like a marker. What it could place that way is a
    /// message that there is; any other number stays text.
    fn parts<'text>(&self, written: &'text str, messages: usize) -> Vec<Written<'text>> {
        let mut parts = Vec::new();
        let (mut rest, mut from) = (written, 0);
        while let Some(at) = rest[from..].find(&self.marker).map(|at| from + at) {
            let after = &rest[at + self.marker.len()..];
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            match after[..digits].parse() {
                Ok(message) if message < messages && after[digits..].starts_with('Q') => {
                    parts.extend((at > 0).then(|| Written::Text(&rest[..at])));
                    parts.push(Written::Content(message));
                    (rest, from) = (&after[digits + 1..], 0);
                }
                _ => from = at + self.marker.len(),
            }
        }
        parts.extend((!rest.is_empty()).then_some(Written::Text(rest)));
        parts
    }

    /// Compares the parts of a run on bare markers with one on markers between `space`: for each
    /// content that was written, on which sides it was trimmed.
    fn trims(&self, plain: &[Written<'_>], spaced: &str, space: &str) -> Result<Vec<Trim>, Error> {
        let mut trims: Vec<Trim> = Vec::new();
        let mut rest = spaced;
        for &part in plain {
            match part {
                Written::Text(text) => rest = strip_text(rest, text)?,
                Written::Content(i) => {
                    let before = rest.strip_prefix(space);
                    let marker = self.marker_of(i);
                    let inner = before.unwrap_or(rest).strip_prefix(&marker);
                    let inner =
                        inner.ok_or_else(|| Error::inspects("it changes or drops some of them"))?;
                    let after = inner.strip_prefix(space);
                    trims.push(Trim { left: before.is_none(), right: after.is_none() });
                    rest = after.unwrap_or(inner);
                }
            }
        }
        if rest.is_empty() {
            Ok(trims)
        } else {
            Err(Error::inspects("it depends on white space in them"))
        }
    }
}

/// Takes the template's own text off the start of `rest`.
fn strip_text<'text>(rest: &'text str, text: &str) -> Result<&'text str, Error> {
    rest.strip_prefix(text).ok_or_else(|| Error::inspects("it depends on white space in them"))
}

/// The runs that show whether a template looks into contents.
struct Probe<'probe> {
    template: &'probe ChatTemplate,
    tokenizer: &'probe Tokenizer,
    roles: &'static [Role],
    fuel: u64,
    /// What it writes around bare markers.
    plain: String,
}

impl<'probe> Probe<'probe> {
    /// Finds roles that the template accepts and runs it on markers.
    fn new(template: &'probe ChatTemplate, tokenizer: &'probe Tokenizer) -> Result<Self, Error> {
        const ROLES: [&[Role]; 2] = [
            &[Role::System, Role::User, Role::Assistant, Role::User],
            &[Role::User, Role::Assistant, Role::User],
        ];
        let mut probe =
            Self { template, tokenizer, roles: ROLES[0], fuel: FUEL_READING, plain: String::new() };
        probe.plain = match probe.run(&|i| template.marker_of(i)) {
            Err(Error::TemplateRefuses { .. }) => {
                probe.roles = ROLES[1];
                probe.run(&|i| template.marker_of(i))?
            }
            other => other?,
        };
        Ok(probe)
    }

    /// Runs the template on contents, within the fuel that is left.
    fn run(&mut self, content: &dyn Fn(usize) -> String) -> Result<String, Error> {
        let fuel = self.fuel.min(fuel_for(self.roles.len()));
        let end = RenderEnd::GenerationPrompt;
        let (written, used) = self.template.run(self.tokenizer, self.roles, content, end, fuel)?;
        self.fuel = self.fuel.saturating_sub(used);
        Ok(written)
    }

    /// Refuses a template that ends contents with a token that the contents can hold, too.
    fn check_ends(&self) -> Result<(), Error> {
        let parts = self.template.parts(&self.plain, self.roles.len());
        for pair in parts.windows(2) {
            let [Written::Content(_), Written::Text(text)] = pair else { continue };
            if let Some(end) = self.tokenizer.leading_added(text.trim_start()) {
                return Err(Error::open_end(&self.tokenizer.token_text(end)));
            }
        }
        Ok(())
    }

    /// Tries white space, odd characters, lengths, and the template's own literals.
    fn check_all(mut self) -> Result<(), Error> {
        let long = "x".repeat(2000);
        for content in ["<'\\\">&{{ a }}{% b %}é\u{301}\nß", "aBcD", "0", long.as_str()] {
            self.check(content, "it changes them, or depends on their length")?;
        }
        let template = self.template;
        let trims = |probe: &mut Self, space: &str| {
            let spaced = probe.run(&|i| [space, &template.marker_of(i), space].concat())?;
            template.trims(&template.parts(&probe.plain, probe.roles.len()), &spaced, space)
        };
        let expected = trims(&mut self, SPACE)?;
        for space in [" ", "\n", "\t"] {
            // One space may be trimmed together with the template's own: compare with two kinds.
            let space = [space, space].concat();
            if trims(&mut self, &space)? != expected {
                return Err(Error::inspects("it trims only some kinds of white space"));
            }
        }
        let literals = literals(&template.source)?;
        for (i, &literal) in literals.iter().enumerate() {
            self.check_literal(literal)?;
            if let Some(next) = literals.get(i + 1) {
                let both = format!("{literal}x{next}");
                self.check(both.trim(), &format!("it looks for {literal:?} and {next:?} in them"))?;
            }
        }
        Ok(())
    }

    /// Tries one of the template's own string literals as content.
    fn check_literal(&mut self, literal: &str) -> Result<(), Error> {
        match literal.trim() {
            "" => Ok(()),
            trimmed => self.check(trimmed, &format!("it looks for {trimmed:?} in them")),
        }
    }

    /// What is written with `content` in every message must be what is written around markers.
    fn check(&mut self, content: &str, how: &str) -> Result<(), Error> {
        let written = match self.run(&|_| content.to_owned()) {
            Err(Error::TemplateRefuses { .. }) => return Err(Error::inspects(how)),
            other => other?,
        };
        let parts =
            self.template.parts(&self.plain, self.roles.len()).into_iter().map(|part| match part {
                Written::Text(text) => text,
                Written::Content(_) => content,
            });
        let expected: String = parts.collect();
        if written == expected { Ok(()) } else { Err(Error::inspects(how)) }
    }
}

impl Trim {
    /// The content as the template writes it.
    fn apply(self, content: &str) -> &str {
        let content = if self.left { content.trim_start_matches(is_jinja_space) } else { content };
        if self.right { content.trim_end_matches(is_jinja_space) } else { content }
    }
}

/// Refuses expressions that are longer than anybody writes.
fn check_tags(source: &str, syntax: &SyntaxConfig) -> Result<(), Error> {
    let mut length = 0;
    for token in tokenize(source, false, syntax.clone()) {
        match token.map_err(engine_error)?.0 {
            Token::VariableStart | Token::BlockStart | Token::TemplateData(_) => length = 0,
            _ => length += 1,
        }
        check_limit("the length of an expression in the chat template", length, TAG_TOKENS_MAX)?;
    }
    Ok(())
}

/// All string literals in the tags of a template, by their quotes.
///
/// An apostrophe in the text after a tag may yield a few false ones, which do no harm.
fn literals(source: &str) -> Result<Vec<&str>, Error> {
    let opens = |at: usize| source[at + 1..].starts_with(['{', '%']);
    let tags: Vec<usize> =
        source.match_indices('{').map(|(at, _)| at).filter(|&at| opens(at)).collect();
    let ends = tags.iter().skip(1).copied().chain([source.len()]);
    let mut literals: Vec<&str> = Vec::new();
    for (&start, end) in tags.iter().zip(ends) {
        let mut rest = &source[start..end];
        while let Some(open) = rest.find(['\'', '"']) {
            let quote = char::from(rest.as_bytes()[open]);
            let body = &rest[open + 1..];
            let Some(close) = body.find(quote) else { break };
            literals.push(&body[..close]);
            rest = &body[close + 1..];
        }
    }
    literals.dedup();
    check_limit(
        "the number of string literals in the chat template",
        literals.len(),
        LITERALS_MAX,
    )?;
    Ok(literals)
}

/// Python's methods, without those that may make much out of little.
fn python_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, minijinja::Error> {
    let length = |value: Option<&Value>| value.and_then(Value::as_str).map_or(0, str::len);
    let bytes = match method {
        "format" => return Err(minijinja::Error::from(ErrorKind::UnknownMethod)),
        // At most one new text after every byte; a match costs as much time as some 8 bytes.
        "replace" => (length(Some(value)) + 1).saturating_mul(length(arguments.get(1)) + 8),
        "join" => {
            let items = arguments.first().and_then(Value::len).unwrap_or(0);
            items.saturating_mul(length(Some(value)) + 64)
        }
        _ => length(Some(value)),
    };
    // One unit pays for 64 bytes.
    state.consume_fuel(bytes as u64 / 64)?;
    pycompat::unknown_method_callback(state, value, method, arguments)
}

/// Does work on a thread with a large stack.
fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let failed = Error::template;
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name(NAME.to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|_| failed("no thread can be started for it"))?
            .join()
            .unwrap_or_else(|_| Err(failed("the template engine panicked on it")))
    })
}

/// The fuel of one run.
fn fuel_for(messages: usize) -> u64 {
    FUEL_BASE.saturating_add(FUEL_PER_MESSAGE.saturating_mul(messages as u64))
}

/// An error where a template wrote too much.
fn check_output(written: usize, input: usize) -> Result<(), Error> {
    let limit = input.saturating_mul(8).saturating_add(OUTPUT_BYTES_BASE);
    if written > limit { Err(Error::TemplateLimit { limit: "output" }) } else { Ok(()) }
}

/// An error of the engine in this crate's words.
fn engine_error(error: minijinja::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(Raised(reason)) = current.downcast_ref() {
            return Error::TemplateRefuses {
                reason: reason.chars().take(REASON_CHARS_MAX).collect(),
            };
        }
        if let Some(engine) = current.downcast_ref::<minijinja::Error>()
            && engine.kind() == ErrorKind::OutOfFuel
        {
            return Error::TemplateLimit { limit: "work" };
        }
        cause = current.source();
    }
    Error::template(&error.to_string())
}
