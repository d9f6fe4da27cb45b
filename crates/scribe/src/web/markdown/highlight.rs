//! Colors for code: comments, strings, numbers and keywords of a dozen languages.
//!
//! This is a reader of words, not a parser: it never fails, never looks back, and colors a
//! prefix of a program as it colors the program, so nothing flickers while code is written.

use super::html::escape;

/// Longest string of one line that is colored; each quote that ends nothing is looked at so far.
const STRING_BYTES_MAX: usize = 1024;

/// What has to be known about a language.
struct Syntax {
    line_comments: &'static [&'static str],
    block_comment: Option<(&'static str, &'static str)>,
    quotes: &'static str,
    /// Separated by spaces.
    keywords: &'static str,
    ignore_case: bool,
}

const C_LIKE: Syntax = Syntax {
    line_comments: &["//"],
    block_comment: Some(("/*", "*/")),
    quotes: "\"'",
    keywords: "",
    ignore_case: false,
};

const HASH: Syntax = Syntax { line_comments: &["#"], block_comment: None, quotes: "\"'", ..C_LIKE };

/// Writes `code` escaped, with a span around each colored word.
pub(super) fn write(language: &str, code: &str, html: &mut String) {
    let Some(syntax) = syntax(&language.to_ascii_lowercase()) else {
        escape(code, html);
        return;
    };
    let mut rest = code;
    while !rest.is_empty() {
        let (kind, length) = syntax.word(rest);
        let (word, after) = rest.split_at(length);
        match kind {
            None => escape(word, html),
            Some(class) => {
                html.push_str("<span class=\"");
                html.push_str(class);
                html.push_str("\">");
                escape(word, html);
                html.push_str("</span>");
            }
        }
        rest = after;
    }
}

impl Syntax {
    /// Class and length of the word that `rest` begins with.
    fn word(&self, rest: &str) -> (Option<&'static str>, usize) {
        if self.line_comments.iter().any(|mark| rest.starts_with(mark)) {
            return (Some("hl-c"), rest.find('\n').unwrap_or(rest.len()));
        }
        if let Some((open, close)) = self.block_comment
            && let Some(inside) = rest.strip_prefix(open)
        {
            let end = inside.find(close).map_or(rest.len(), |at| open.len() + at + close.len());
            return (Some("hl-c"), end);
        }
        let first = rest.chars().next().unwrap_or_default();
        if self.quotes.contains(first) {
            return quoted(rest, first);
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        if !is_word(first) {
            return (None, first.len_utf8());
        }
        let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        (self.class(&rest[..end]), end)
    }

    fn class(&self, word: &str) -> Option<&'static str> {
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return Some("hl-n");
        }
        let is_keyword = self.keywords.split(' ').any(|keyword| {
            keyword == word || (self.ignore_case && keyword.eq_ignore_ascii_case(word))
        });
        is_keyword.then_some("hl-k")
    }
}

/// A string up to its end or the end of its line; an apostrophe that ends nothing is no string.
fn quoted(rest: &str, quote: char) -> (Option<&'static str>, usize) {
    let triple: String = std::iter::repeat_n(quote, 3).collect();
    if let Some(inside) = rest.strip_prefix(&triple) {
        return (Some("hl-s"), inside.find(&triple).map_or(rest.len(), |at| at + 6));
    }
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' if quote != '`' => return (None, 1),
            _ if at > STRING_BYTES_MAX && quote != '`' => return (None, 1),
            _ if c == quote => return (Some("hl-s"), at + 1),
            _ => {}
        }
    }
    if quote == '`' { (Some("hl-s"), rest.len()) } else { (None, 1) }
}

fn syntax(language: &str) -> Option<Syntax> {
    let syntax = match language {
        "rust" | "rs" => Syntax { quotes: "\"", keywords: RUST, ..C_LIKE },
        "python" | "py" => Syntax { keywords: PYTHON, ..HASH },
        "javascript" | "js" | "jsx" | "typescript" | "ts" | "tsx" => {
            Syntax { quotes: "\"'`", keywords: JAVASCRIPT, ..C_LIKE }
        }
        "c" | "h" | "cpp" | "c++" | "cc" | "hpp" => Syntax { keywords: C, ..C_LIKE },
        "java" | "kotlin" | "csharp" | "c#" | "cs" => Syntax { keywords: JAVA, ..C_LIKE },
        "go" | "golang" => Syntax { quotes: "\"'`", keywords: GO, ..C_LIKE },
        "bash" | "sh" | "shell" | "zsh" => Syntax { keywords: SHELL, ..HASH },
        "sql" => Syntax {
            line_comments: &["--"],
            quotes: "'\"",
            keywords: SQL,
            ignore_case: true,
            ..C_LIKE
        },
        "css" => Syntax { line_comments: &[], ..C_LIKE },
        "json" => Syntax {
            line_comments: &[],
            block_comment: None,
            quotes: "\"",
            keywords: "true false null",
            ignore_case: false,
        },
        "toml" | "yaml" | "yml" | "ini" => Syntax { keywords: "true false null", ..HASH },
        "ruby" | "rb" => Syntax { keywords: RUBY, ..HASH },
        _ => return None,
    };
    Some(syntax)
}

const RUST: &str = "as async await break const continue crate dyn else enum extern false fn for if \
    impl in let loop match mod move mut pub ref return self Self static struct super trait true \
    type unsafe use where while";
const PYTHON: &str = "False None True and as assert async await break class continue def del elif \
    else except finally for from global if import in is lambda nonlocal not or pass raise return \
    try while with yield";
const JAVASCRIPT: &str = "async await break case catch class const continue debugger default \
    delete do else export extends false finally for from function if implements import in \
    instanceof interface let new null of return static super switch this throw true try type \
    typeof undefined var void while yield";
const C: &str = "auto bool break case char class const constexpr continue default delete do double \
    else enum extern false float for goto if inline int long namespace new nullptr private public \
    return short signed sizeof static struct switch template this true typedef typename union \
    unsigned using virtual void volatile while include define";
const JAVA: &str = "abstract boolean break byte case catch char class const continue default do \
    double else enum extends false final finally float for foreach fun if implements import in \
    instanceof int interface internal is long namespace new null object override package private \
    protected public return short static string super switch this throw throws true try using val \
    var virtual void while";
const GO: &str = "break case chan const continue default defer else fallthrough false for func go \
    goto if import interface map nil package range return select struct switch true type var";
const SHELL: &str = "case do done echo elif else esac exit export fi for function if in local \
    return set then until while";
const SQL: &str = "add alter and as asc begin between by case check commit constraint create \
    default delete desc distinct drop else end exists foreign from full group having in index \
    inner insert into is join key left like limit not null on or order outer primary references \
    right rollback select set table then union unique update values view when where with";
const RUBY: &str = "begin break case class def do else elsif end ensure false for if in module \
    next nil not or redo rescue return self super then true unless until when while yield";
