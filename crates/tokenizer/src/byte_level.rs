//! GPT-2's disguise of bytes as printable characters, in which vocabularies spell their tokens.
//!
//! Bytes that print as themselves in Latin-1 stand for themselves; the other 68 are U+0100 and up,
//! in order. So a space is `Ġ` (U+0120) and a line feed `Ċ` (U+010A).

/// Whether a byte is spelled as the Latin-1 character of the same number.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// The character of each byte.
const CHARS: [char; 256] = {
    let mut chars = ['\0'; 256];
    let mut disguised = 0u8;
    let mut byte = 0u8;
    loop {
        chars[byte as usize] = if is_plain(byte) {
            byte as char
        } else {
            disguised += 1;
            match char::from_u32(0x100 + disguised as u32 - 1) {
                Some(c) => c,
                None => unreachable!(),
            }
        };
        if byte == u8::MAX {
            break chars;
        }
        byte += 1;
    }
};

/// The byte of each character below U+0144, if it has one.
const BYTES: [Option<u8>; 0x144] = {
    let mut bytes = [None; 0x144];
    let mut byte = 0u8;
    loop {
        bytes[CHARS[byte as usize] as usize] = Some(byte);
        if byte == u8::MAX {
            break bytes;
        }
        byte += 1;
    }
};

/// The character that a byte is spelled as.
pub(crate) fn char_of(byte: u8) -> char {
    CHARS[usize::from(byte)]
}

/// Appends the bytes that `spelled` stands for; `false`, with nothing appended, where a character
/// stands for no byte.
pub(crate) fn read(spelled: &str, bytes: &mut Vec<u8>) -> bool {
    let start = bytes.len();
    for c in spelled.chars() {
        let Some(&Some(byte)) = BYTES.get(c as usize) else {
            bytes.truncate(start);
            return false;
        };
        bytes.push(byte);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{CHARS, read};

    #[test]
    fn spelling_of_gpt2() {
        let mut bytes = Vec::new();
        assert!(read("ĠHelloĊ", &mut bytes));
        assert_eq!(bytes, b" Hello\n");
        assert!(!read("a b", &mut bytes), "a plain space stands for no byte");
        assert_eq!(bytes, b" Hello\n");
        assert_eq!((CHARS[0], CHARS[0x7f], CHARS[0xad]), ('Ā', 'ġ', 'Ń'));
    }

    #[test]
    fn every_byte_has_its_own_character() {
        for byte in 0..=u8::MAX {
            let mut bytes = Vec::new();
            assert!(read(&CHARS[usize::from(byte)].to_string(), &mut bytes));
            assert_eq!(bytes, [byte]);
        }
    }
}
