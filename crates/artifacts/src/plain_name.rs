//! Names of files that lead nowhere else.

/// Whether `name` is of letters, digits, `.`, `-` and `_` alone and does not begin with a dot: the
/// name of a file in the same folder, which needs no escapes anywhere.
pub(crate) fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !name.is_empty() && name.bytes().all(plain) && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_in_the_same_folder_are_plain() {
        for name in ["a", "model-00001-of-00002.safetensors", "MANIFEST.json", "a..b"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", ".", "..", ".a", "a/b", r"a\b", "a b", "é", "a\n", "a:b"] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
