//! How a source is written on the command line: `[NAME=]PATH[@WEIGHT]`, or `set:NAME` for the path.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use corpus::Weight;
use corpus::split::PPM;

/// What stands before the name of a set.
const SET: &str = "set:";

/// Most decimals of a number that is counted in millionths.
const DECIMALS_MAX: usize = 6;

/// A source as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceArgument {
    /// What reports call it.
    pub(super) name: String,
    /// Where its documents are.
    pub(super) place: Place,
    /// How often its documents are taken.
    pub(super) weight: Weight,
}

/// Where documents are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In a file or a folder.
    Path(PathBuf),
    /// In a set that is known by name.
    Set(String),
}

impl FromStr for SourceArgument {
    type Err = String;

    /// The weight is what follows the last `@`, where that is a number; the name is what stands
    /// before the first `=`, where that is no path.
    fn from_str(text: &str) -> Result<Self, String> {
        let (place, weight) = match text.rsplit_once('@') {
            Some((place, number)) if is_number(number) => (place, weight(number)?),
            _ => (text, Weight::default()),
        };
        let (name, place) = match place.split_once('=') {
            Some((name, place)) if is_name(name) => (Some(name), place),
            _ => (None, place),
        };
        if place.is_empty() {
            return Err("there is no path; write it as [NAME=]PATH[@WEIGHT]".to_owned());
        }
        let (own_name, place) = match place.strip_prefix(SET) {
            Some(set) => (set.to_owned(), Place::Set(set.to_owned())),
            None => (name_of(Path::new(place)), Place::Path(place.into())),
        };
        Ok(Self { name: name.map_or(own_name, str::to_owned), place, weight })
    }
}

/// Reads a share of at least 0 and below 1, in millionths.
pub(super) fn share(text: &str) -> Result<u32, String> {
    millionths(text).filter(|&ppm| ppm < PPM).ok_or_else(|| {
        format!(
            "it must be a decimal number from 0 to below 1, with {DECIMALS_MAX} decimals at most"
        )
    })
}

fn weight(text: &str) -> Result<Weight, String> {
    millionths(text).and_then(Weight::from_ppm).ok_or_else(|| {
        let most = corpus::weight::REPETITIONS_MAX;
        format!(
            "the weight `{text}` must be a decimal number from 0 to {most}, with {DECIMALS_MAX} \
             decimals at most"
        )
    })
}

/// A decimal number in millionths, exactly; `None` where there is none or it has more decimals.
fn millionths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > DECIMALS_MAX {
        return None;
    }
    let part: u32 = format!("{part:0<DECIMALS_MAX$}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(PPM)?.checked_add(part)
}

/// Whether it is meant as a number.
fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// Whether it can be a name: letters, digits, `-`, `_`.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
}

/// The name of a source that has none: that of its file, without endings.
fn name_of(path: &Path) -> String {
    // `.` and `..` have no name of their own.
    let absolute = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = absolute.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    let stem = name.split('.').find(|part| !part.is_empty());
    stem.map_or_else(|| "source".to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, String, u32), String> {
        let source: SourceArgument = text.parse()?;
        let place = match source.place {
            Place::Path(path) => path.to_string_lossy().into_owned(),
            Place::Set(set) => format!("the set {set}"),
        };
        Ok((source.name, place, source.weight.ppm()))
    }

    #[test]
    fn names_and_weights_are_told_from_paths() {
        for (text, name, path, ppm) in [
            ("/books/all.jsonl.zst", "all", "/books/all.jsonl.zst", PPM),
            ("/books/all.txt@2.5", "all", "/books/all.txt", 2_500_000),
            ("wiki=/a/b.txt@0", "wiki", "/a/b.txt", 0),
            ("wiki=/a/b.txt@0.000001", "wiki", "/a/b.txt", 1),
            ("me@home.txt", "me@home", "me@home.txt", PPM),
            ("/a@2/b.txt", "b", "/a@2/b.txt", PPM),
            ("/a/b@2@1", "b@2", "/a/b@2", PPM),
            ("/x=y/c.txt", "c", "/x=y/c.txt", PPM),
            ("n=x=y.txt", "n", "x=y.txt", PPM),
            ("/", "source", "/", PPM),
            ("set:sotu", "sotu", "the set sotu", PPM),
            ("messages=set:sotu@0.5", "messages", "the set sotu", 500_000),
            ("./set:sotu", "set:sotu", "./set:sotu", PPM),
        ] {
            let expected = Ok((name.to_owned(), path.to_owned(), ppm));
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_weight_is_refused() {
        for text in ["a@65", "a@1.", "a@1.0000001", "a@1.2.3", "a@99999999999"] {
            assert!(read(text).unwrap_err().contains("from 0 to 64"), "{text}");
        }
        for text in ["", "@2", "name=", "name=@2"] {
            assert!(read(text).unwrap_err().contains("[NAME=]PATH[@WEIGHT]"), "{text}");
        }
    }

    #[test]
    fn shares_are_below_one() {
        assert_eq!(share("0"), Ok(0));
        assert_eq!(share("0.01"), Ok(10_000));
        assert_eq!(share("0.999999"), Ok(999_999));
        for text in ["1", "-0.1", ".5", "1e-3", "half", "", "0.0000001", "+0.5"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
