//! Hostile JSON into types: no string is long enough to blow up memory or an error message.

use serde::de::DeserializeOwned;

use crate::{Error, shown};

/// The longest string of a header, index or manifest, in bytes as written.
///
/// The JSON reader holds a string up to five times when it complains about it; at this length that
/// is less than what reading may take for any file. Training notes of known files stay under 1 MiB.
pub(crate) const STRING_BYTES_MAX: usize = 4 << 20;

/// Parses the whole of `bytes`; `what` names it in errors.
pub(crate) fn parse<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Error> {
    if let Some(length) = too_long_string(bytes) {
        return Err(Error::TooLarge {
            what: "the length of a string",
            value: length as u64,
            limit: STRING_BYTES_MAX as u64,
        });
    }
    // The JSON reader may quote the file at length, and names fields as they are.
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Json { what, message: shown(&error.to_string()) })
}

/// The length of the first string over the limit; what is not JSON is left to the parser.
fn too_long_string(bytes: &[u8]) -> Option<usize> {
    let mut begin = None;
    let mut escaped = false;
    for (index, &byte) in bytes.iter().enumerate() {
        match (begin, byte) {
            (None, b'"') => begin = Some(index),
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(first), b'"') if index - first > STRING_BYTES_MAX => return Some(index - first),
            (Some(_), b'"') => begin = None,
            _ => (),
        }
    }
    begin.map(|first| bytes.len() - first).filter(|&length| length > STRING_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_measured_as_they_are_written() {
        let limit = STRING_BYTES_MAX;
        assert_eq!(too_long_string(br#"{"a\"b\\":"c","d":[1]}"#), None);
        let text = |inner: &str| format!("[\"\",\"{inner}\"]").into_bytes();
        assert_eq!(too_long_string(&text(&"x".repeat(limit - 1))), None);
        assert_eq!(too_long_string(&text(&"x".repeat(limit))), Some(limit + 1));
        assert_eq!(too_long_string(&text(&"\\\"".repeat(limit))), Some(2 * limit + 1));
        assert!(too_long_string(format!("\"{}", "x".repeat(limit)).as_bytes()).is_some());
        assert_eq!(too_long_string("x".repeat(2 * limit).as_bytes()), None);
    }

    #[test]
    fn messages_are_cut() {
        let text = format!("{{\"{}\":1}}", "x".repeat(5_000));
        let error = parse::<Vec<u8>>("the list", text.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("the list is not valid: invalid type: map"));
        let error = parse::<u64>("the number", format!("\"{}\"", "x".repeat(5_000)).as_bytes());
        let Err(Error::Json { message, .. }) = error else { panic!("accepted") };
        assert_eq!(message.chars().count(), 300);
    }
}
