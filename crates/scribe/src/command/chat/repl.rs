//! The line editor around a conversation.

use std::fs;
use std::path::Path;

use artifacts::disk::RealDisk;
use artifacts::folder::land_bytes;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

use super::super::{Exit, Failure, Session};
use super::commands::{self, ChatCommand};
use super::turns::{Ended, Talk};

/// What begins and ends a message of several lines.
const FENCE: &str = "\"\"\"";

/// Lines that are kept for the next time.
const HISTORY_LINES_MAX: usize = 1000;

type LineEditor = Editor<(), FileHistory>;

/// What the person typed.
enum Input {
    /// A message or a command.
    Line { text: String, command: Option<Result<ChatCommand, String>> },
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    End,
}

/// Talks until the person leaves.
pub(super) fn run(session: &mut Session, talk: &mut Talk) -> Result<(), Failure> {
    let history = session.global.data_folder()?.join("chat-history.txt");
    let config = Config::builder().max_history_size(HISTORY_LINES_MAX)?.auto_add_history(false);
    let mut editor = LineEditor::with_config(config.build())?;
    // There is none the first time.
    let _ = editor.load_history(&history);
    session.terminal.note(format_args!("{}; /help lists what can be typed", talk.model()));
    let mut interrupted = false;
    let result = loop {
        match read(&mut editor)? {
            Input::End => break Ok(()),
            Input::Interrupt if interrupted => break Err(Failure::silent(Exit::Interrupted)),
            Input::Interrupt => {
                interrupted = true;
                session.terminal.note("Ctrl-C again leaves, like Ctrl-D and /quit");
            }
            Input::Line { text, .. } if text.trim().is_empty() => interrupted = false,
            Input::Line { text, command } => {
                interrupted = false;
                // A history that cannot be kept is no reason to stop talking.
                let _ = editor.add_history_entry(text.as_str());
                match react(session, talk, text, command) {
                    Ok(Reaction::Leave) => break Ok(()),
                    Ok(Reaction::Stay) => {}
                    Err(failure) if failure.exit == Exit::ClosedPipe => break Err(failure),
                    // One answer that fails does not end the conversation.
                    Err(failure) => {
                        if let Some(error) = &failure.error {
                            session.terminal.error(error, failure.hint.as_deref());
                        }
                    }
                }
            }
        }
    };
    if let Err(error) = save_history(&mut editor, &history) {
        session.terminal.detail(format_args!("the history was not kept: {error}"));
    }
    result
}

/// What a line led to.
enum Reaction {
    Leave,
    Stay,
}

fn react(
    session: &mut Session,
    talk: &mut Talk,
    text: String,
    command: Option<Result<ChatCommand, String>>,
) -> Result<Reaction, Failure> {
    let terminal = &mut session.terminal;
    match command {
        None => talk.say(text),
        Some(Err(message)) => {
            terminal.note(message);
            return Ok(Reaction::Stay);
        }
        Some(Ok(ChatCommand::Quit)) => return Ok(Reaction::Leave),
        Some(Ok(ChatCommand::Retry)) => {
            if !talk.take_back() {
                terminal.note("there is nothing to answer yet");
                return Ok(Reaction::Stay);
            }
        }
        Some(Ok(command)) => {
            match command {
                ChatCommand::New => {
                    talk.forget();
                    terminal.note("a new conversation");
                }
                ChatCommand::System(_) if !talk.answers() => {
                    terminal.note("this model goes on with a text and follows no instructions");
                }
                ChatCommand::System(text) => {
                    talk.set_system(&text);
                    terminal.note(if text.is_empty() { "no instructions" } else { "noted" });
                }
                ChatCommand::Save(file) => {
                    save(talk, Path::new(&file))?;
                    terminal.note(format_args!("saved to {file}"));
                }
                _ => terminal.note(commands::HELP),
            }
            return Ok(Reaction::Stay);
        }
    }
    if talk.answer(terminal)? == Ended::Interrupted {
        terminal.note("stopped");
    }
    Ok(Reaction::Stay)
}

/// Reads one line, or several between two `"""`, which are a message whatever they begin with.
fn read(editor: &mut LineEditor) -> Result<Input, Failure> {
    let line = match read_line(editor, "> ")? {
        Ok(line) => line,
        Err(input) => return Ok(input),
    };
    let Some(first) = line.trim_start().strip_prefix(FENCE) else {
        let command = commands::parse(&line);
        return Ok(Input::Line { text: line, command });
    };
    let mut text = first.to_owned();
    while !text.trim_end().ends_with(FENCE) {
        match read_line(editor, ". ")? {
            Ok(line) => {
                text.push('\n');
                text.push_str(&line);
            }
            Err(input) => return Ok(input),
        }
    }
    let text = text.trim_end();
    let text = text.strip_suffix(FENCE).unwrap_or(text).trim_matches('\n').to_owned();
    Ok(Input::Line { text, command: None })
}

/// A line, or what was typed in its place.
fn read_line(editor: &mut LineEditor, prompt: &str) -> Result<Result<String, Input>, Failure> {
    match editor.readline(prompt) {
        Ok(line) => Ok(Ok(line)),
        Err(ReadlineError::Interrupted) => Ok(Err(Input::Interrupt)),
        Err(ReadlineError::Eof) => Ok(Err(Input::End)),
        Err(error) => Err(error.into()),
    }
}

/// Writes the conversation to a new file, whole or not at all.
fn save(talk: &Talk, file: &Path) -> Result<(), Failure> {
    let context = format!("cannot save to `{}`", file.display());
    if file.exists() {
        let error = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        let hint = "choose another name; a file that is there is not written over";
        return Err(Failure::broken(error, hint).context(context));
    }
    let text: String = talk
        .messages()
        .iter()
        .map(|message| format!("## {}\n\n{}\n\n", message.role.name(), message.content))
        .collect();
    let hint = "check the folder's rights and the room on its disk";
    land_bytes(&RealDisk, file, text.as_bytes())
        .map_err(|error| Failure::broken(error, hint).context(context))
}

fn save_history(editor: &mut LineEditor, path: &Path) -> rustyline::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    editor.save_history(path)
}
