//! The line editor around a conversation.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

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
    Line(String),
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
                session.terminal.note("Ctrl-C again, Ctrl-D or /quit leaves");
            }
            Input::Line(line) if line.trim().is_empty() => interrupted = false,
            Input::Line(line) => {
                // A history that cannot be kept is no reason to stop talking.
                let _ = editor.add_history_entry(line.as_str());
                match react(session, talk, line) {
                    Ok(Reaction::Leave) => break Ok(()),
                    Ok(Reaction::Stay { stopped }) => interrupted = stopped,
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
    Stay { stopped: bool },
}

fn react(session: &mut Session, talk: &mut Talk, line: String) -> Result<Reaction, Failure> {
    let terminal = &mut session.terminal;
    match commands::parse(&line) {
        None => talk.say(line),
        Some(Err(message)) => {
            terminal.note(message);
            return Ok(Reaction::Stay { stopped: false });
        }
        Some(Ok(ChatCommand::Quit)) => return Ok(Reaction::Leave),
        Some(Ok(ChatCommand::Retry)) => {
            if !talk.take_back() {
                terminal.note("there is nothing to answer yet");
                return Ok(Reaction::Stay { stopped: false });
            }
        }
        Some(Ok(command)) => {
            match command {
                ChatCommand::New => {
                    talk.forget();
                    terminal.note("a new conversation");
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
            return Ok(Reaction::Stay { stopped: false });
        }
    }
    let ended = talk.answer(terminal)?;
    Ok(Reaction::Stay { stopped: ended == Ended::Interrupted })
}

/// Reads one line, or several between two `"""`.
fn read(editor: &mut LineEditor) -> Result<Input, Failure> {
    let mut text = match read_line(editor, "> ")? {
        Input::Line(line) => line,
        other => return Ok(other),
    };
    let Some(first) = text.trim_start().strip_prefix(FENCE) else { return Ok(Input::Line(text)) };
    text = first.to_owned();
    while !text.trim_end().ends_with(FENCE) {
        match read_line(editor, ". ")? {
            Input::Line(line) => {
                text.push('\n');
                text.push_str(&line);
            }
            other => return Ok(other),
        }
    }
    let text = text.trim_end();
    let text = text.strip_suffix(FENCE).unwrap_or(text).trim_matches('\n');
    Ok(Input::Line(text.to_owned()))
}

fn read_line(editor: &mut LineEditor, prompt: &str) -> Result<Input, Failure> {
    match editor.readline(prompt) {
        Ok(line) => Ok(Input::Line(line)),
        Err(ReadlineError::Interrupted) => Ok(Input::Interrupt),
        Err(ReadlineError::Eof) => Ok(Input::End),
        Err(error) => Err(error.into()),
    }
}

fn save(talk: &Talk, file: &Path) -> Result<(), Failure> {
    let refuse = |error: std::io::Error| {
        let hint = "choose another name; a file that is there is not written over";
        Failure::broken(error, hint).context(format!("cannot save to `{}`", file.display()))
    };
    let mut output = OpenOptions::new().write(true).create_new(true).open(file).map_err(refuse)?;
    for message in talk.messages() {
        write!(output, "## {}\n\n{}\n\n", message.role.name(), message.content).map_err(refuse)?;
    }
    Ok(())
}

fn save_history(editor: &mut LineEditor, path: &Path) -> rustyline::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    editor.save_history(path)
}
