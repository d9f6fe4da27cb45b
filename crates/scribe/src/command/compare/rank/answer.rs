//! A line that a person types about a question: a ranking, or what else is wanted.

use comparisons::Ranking;

/// The most completions that are marked by digits; more have letters.
const DIGITS_MAX: usize = 9;

/// What a line asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// A ranking of the texts as shown, and perhaps why.
    Ranked(Ranking, Option<String>),
    Skip,
    Undo,
    Guidelines,
    Quit,
    /// Nothing was typed.
    Nothing,
}

/// Reads a line about `count` texts; the error says how to write it.
///
/// `2 > 1 = 3`, `2>1=3` and `21=3` are the same. What follows a `#` is the reason.
pub(super) fn read(line: &str, count: usize) -> Result<Answer, String> {
    let (ranking, reason) = match line.split_once('#') {
        Some((ranking, reason)) => (ranking.trim(), Some(reason.trim())),
        None => (line.trim(), None),
    };
    match ranking.to_ascii_lowercase().as_str() {
        "" if reason.is_none() => return Ok(Answer::Nothing),
        "s" | "skip" => return Ok(Answer::Skip),
        "u" | "undo" => return Ok(Answer::Undo),
        "?" | "help" => return Ok(Answer::Guidelines),
        "q" | "quit" => return Ok(Answer::Quit),
        _ => (),
    }
    let groups = groups(ranking, count)?;
    let ranking = Ranking::new(count, groups).map_err(|refusal| refusal.to_string())?;
    let reason = reason.filter(|reason| !reason.is_empty()).map(str::to_owned);
    Ok(Answer::Ranked(ranking, reason))
}

/// What a text is called on the screen: `1`, or `a` where there are many.
pub(super) fn mark(place: usize, count: usize) -> char {
    let first = if count <= DIGITS_MAX { b'1' } else { b'a' };
    // A candidate has at most 16 completions.
    u8::try_from(place).map_or('?', |place| char::from(first.saturating_add(place)))
}

/// A ranking of the texts as shown, in their marks: `2 > 1 = 3`.
pub(super) fn in_marks(ranking: &Ranking) -> String {
    let count = ranking.completions();
    let marks = |group: &Vec<usize>| {
        let marks = group.iter().map(|place| mark(*place, count).to_string());
        marks.collect::<Vec<_>>().join(" = ")
    };
    ranking.groups().iter().map(marks).collect::<Vec<_>>().join(" > ")
}

fn groups(text: &str, count: usize) -> Result<Vec<Vec<usize>>, String> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    // The sign that the next mark follows.
    let mut sign = None;
    for c in text.chars().filter(|c| !c.is_whitespace()) {
        if matches!(c, '>' | '=') {
            if sign.is_some() || groups.is_empty() {
                return Err(format!("a mark is missing before `{c}`; {}", how(count)));
            }
            sign = Some(c);
            continue;
        }
        let place = place(c, count)?;
        if groups.iter().flatten().any(|named| *named == place) {
            return Err(format!("`{c}` is there twice; give each one place"));
        }
        match (sign.take(), groups.last_mut()) {
            (Some('='), Some(group)) => group.push(place),
            _ => groups.push(vec![place]),
        }
    }
    if let Some(sign) = sign {
        return Err(format!("a mark is missing behind `{sign}`; {}", how(count)));
    }
    let missing = (0..count).filter(|place| !groups.iter().flatten().any(|named| named == place));
    let missing: Vec<String> = missing.map(|place| mark(place, count).to_string()).collect();
    match missing.as_slice() {
        [] => Ok(groups),
        missing => Err(format!("no place for {}; {}", missing.join(", "), how(count))),
    }
}

/// The text that a mark means; letters are understood where digits are shown, too.
fn place(c: char, count: usize) -> Result<usize, String> {
    let letter = c.to_ascii_lowercase();
    let place = match letter {
        '1'..='9' if count <= DIGITS_MAX => Some(u32::from(letter) - u32::from('1')),
        'a'..='p' => Some(u32::from(letter) - u32::from('a')),
        _ => None,
    };
    let place = place.and_then(|place| usize::try_from(place).ok());
    place.filter(|place| *place < count).ok_or_else(|| {
        let shown = artifacts::shown(&c.to_string());
        format!("`{shown}` is no completion and no command; {}", how(count))
    })
}

fn how(count: usize) -> String {
    let (first, second) = (mark(0, count), mark(1, count));
    let last = mark(count - 1, count);
    format!(
        "rank all of {first} to {last}, best first, such as `{second}>{first}`, with `=` for \
             ties, or type s, u, ? or q"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(line: &str, count: usize) -> Vec<Vec<usize>> {
        match read(line, count) {
            Ok(Answer::Ranked(ranking, _)) => ranking.groups().to_vec(),
            other => panic!("`{line}`: {other:?}"),
        }
    }

    #[test]
    fn signs_keys_and_letters_say_the_same() {
        let expected = vec![vec![1], vec![0, 2], vec![3]];
        for line in ["2 > 1 = 3 > 4", "2>1=3>4", "21=34", "2 1=3 4 # why", "b>a=c>d", "BA=CD"] {
            assert_eq!(ranked(line, 4), expected, "{line}");
        }
        assert_eq!(ranked("ponmlkjihgfedcba", 16)[0], [15]);
        assert_eq!(ranked("1=2", 2), [vec![0, 1]]);
    }

    #[test]
    fn commands_and_reasons_are_told_from_rankings() {
        for (line, answer) in [
            (" s ", Answer::Skip),
            ("UNDO", Answer::Undo),
            ("?", Answer::Guidelines),
            ("q", Answer::Quit),
            ("  ", Answer::Nothing),
        ] {
            assert_eq!(read(line, 2), Ok(answer), "{line}");
        }
        let Ok(Answer::Ranked(_, reason)) = read("12 #  b is # wrong ", 2) else { panic!() };
        assert_eq!(reason.as_deref(), Some("b is # wrong"));
    }

    #[test]
    fn what_is_no_ranking_of_all_says_how_to_write_it() {
        for (line, told) in [
            ("21", "no place for 3"),
            ("2", "no place for 1, 3"),
            ("2>2>1", "`2` is there twice"),
            ("4>1>2", "`4` is no completion"),
            ("0>1>2", "`0` is no completion"),
            (">1>2>3", "missing before `>`"),
            ("1>=2>3", "missing before `=`"),
            ("1>2>3=", "missing behind `=`"),
            ("1-2-3", "`-` is no completion"),
            ("x", "`x` is no completion"),
            ("\u{1b}[A", "is no completion"),
            ("# a reason alone", "no place for 1, 2, 3"),
        ] {
            let error = read(line, 3).unwrap_err();
            assert!(error.contains(told), "`{line}`: {error}");
        }
        assert!(read("1", 10).unwrap_err().contains("rank all of a to j"));
    }

    #[test]
    fn a_ranking_is_shown_in_its_marks() {
        for (line, count) in [("2 > 1 = 3", 3), ("b > a > c > d > e > f > g > h > i > j", 10)] {
            let Ok(Answer::Ranked(ranking, _)) = read(line, count) else { panic!() };
            assert_eq!(in_marks(&ranking), line);
        }
    }
}
