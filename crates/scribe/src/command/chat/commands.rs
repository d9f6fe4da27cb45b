//! What can be typed in the chat besides messages: lines that begin with `/`.

use strsim::levenshtein;

/// What `/help` shows.
pub(super) const HELP: &str = "\
/help            this list
/new             begin a new conversation
/retry           another answer to the last message
/system [TEXT]   set the instructions that go first; without TEXT, take them away
/save FILE       write the conversation to a Markdown file
/quit            leave (Ctrl-D does, too)
\"\"\"              begins and ends a message of several lines
Ctrl-C           stops an answer; at the prompt, twice leaves";

/// Every command, for completion of slips.
const NAMES: [&str; 6] = ["/help", "/new", "/retry", "/system", "/save", "/quit"];

/// A line that is not a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ChatCommand {
    Help,
    New,
    Retry,
    System(String),
    Save(String),
    Quit,
}

/// The command that a line holds; `None` = it is a message.
///
/// # Errors
///
/// What to tell the person about a line that begins with `/` and is no command.
pub(super) fn parse(line: &str) -> Option<Result<ChatCommand, String>> {
    let line = line.trim();
    if !line.starts_with('/') {
        return None;
    }
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim().to_owned();
    Some(match (name, rest.is_empty()) {
        ("/help" | "/?", _) => Ok(ChatCommand::Help),
        ("/new" | "/clear", _) => Ok(ChatCommand::New),
        ("/retry", _) => Ok(ChatCommand::Retry),
        ("/system", _) => Ok(ChatCommand::System(rest)),
        ("/save", false) => Ok(ChatCommand::Save(rest)),
        ("/save", true) => Err("name a file, as in /save talk.md".into()),
        ("/quit" | "/exit" | "/bye", _) => Ok(ChatCommand::Quit),
        _ => {
            let nearest = NAMES.into_iter().min_by_key(|known| levenshtein(known, name));
            Err(match nearest.filter(|known| levenshtein(known, name) <= 2) {
                Some(known) => format!("`{name}` is no command; did you mean `{known}`?"),
                None => format!("`{name}` is no command; /help lists them"),
            })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_begin_with_a_slash_are_commands() {
        assert_eq!(parse("what is 1/2?"), None);
        assert_eq!(parse(" /new "), Some(Ok(ChatCommand::New)));
        assert_eq!(parse("/system Be  brief"), Some(Ok(ChatCommand::System("Be  brief".into()))));
        assert_eq!(parse("/save a b.md"), Some(Ok(ChatCommand::Save("a b.md".into()))));
        assert!(parse("/save").unwrap().unwrap_err().contains("name a file"));
        assert!(parse("/quti").unwrap().unwrap_err().contains("did you mean `/quit`?"));
        assert!(parse("/etc/passwd").unwrap().unwrap_err().contains("/help lists them"));
    }
}
