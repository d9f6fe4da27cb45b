//! What gzip and xz make of a text when they have seen the training text before it.
//!
//! `bits per byte = 8 * (compressed(training + held out) - compressed(training)) / held-out bytes`
//!
//! A compressor is a model of text with a short memory (gzip: 32 KiB) or a long one (xz: the whole
//! training text, up to [`DICTIONARY_BYTES_MAX`]), so that its figure is what a trained model has to
//! beat. Both texts are compressed whole, one after the other, and only counted: to flush once in a
//! single pass instead was 2 % off for xz on a held-out text of 60 KB.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use liblzma::stream::{Check, Filters, LzmaOptions, PRESET_EXTREME, Stream};
use liblzma::write::XzEncoder;

use crate::Error;

/// The farthest that xz looks back, in bytes. Its encoder takes up to 11.5 times as much memory.
pub const DICTIONARY_BYTES_MAX: u32 = 256 << 20;
/// The shortest dictionary, which small texts get.
const DICTIONARY_BYTES_MIN: u32 = 1 << 20;

/// Which compressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compressor {
    /// `gzip -9` (by zlib-rs): DEFLATE, which looks back 32 KiB.
    Gzip,
    /// `xz -9e` (by liblzma), with a dictionary as long as the text.
    Xz {
        /// How long the text is, in bytes.
        text_bytes: u64,
    },
}

/// How many bytes documents take when they are compressed, a line end after each.
///
/// Memory: one document, and the encoder's own.
///
/// # Errors
///
/// What `documents` fail with, and [`Error::Compress`], for want of memory alone.
pub fn compressed_bytes(
    compressor: Compressor,
    documents: impl Iterator<Item = Result<String, Error>>,
) -> Result<u64, Error> {
    let out = Counted::default();
    match compressor {
        Compressor::Gzip => {
            let mut encoder = GzEncoder::new(out, Compression::best());
            feed(&mut encoder, documents)?;
            encoder.finish()
        }
        Compressor::Xz { text_bytes } => {
            let stream = xz(text_bytes).map_err(|error| failed(error.into()))?;
            let mut encoder = XzEncoder::new_stream(out, stream);
            feed(&mut encoder, documents)?;
            encoder.finish()
        }
    }
    .map(|out| out.bytes)
    .map_err(failed)
}

/// Counts bytes and forgets them.
#[derive(Debug, Default)]
struct Counted {
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn feed(
    encoder: &mut dyn Write,
    documents: impl Iterator<Item = Result<String, Error>>,
) -> Result<(), Error> {
    for document in documents {
        encoder
            .write_all(document?.as_bytes())
            .and_then(|()| encoder.write_all(b"\n"))
            .map_err(failed)?;
    }
    Ok(())
}

/// The encoder of `xz -9e`, but for the size of its dictionary.
fn xz(text_bytes: u64) -> Result<Stream, liblzma::stream::Error> {
    let asked = u32::try_from(text_bytes).unwrap_or(u32::MAX);
    let dictionary = asked.clamp(DICTIONARY_BYTES_MIN, DICTIONARY_BYTES_MAX).next_power_of_two();
    let mut options = LzmaOptions::new_preset(9 | PRESET_EXTREME)?;
    options.dict_size(dictionary);
    let mut filters = Filters::new();
    filters.lzma2(&options);
    Stream::new_stream_encoder(&filters, Check::Crc64)
}

fn failed(source: io::Error) -> Error {
    Error::Compress { source }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const WORDS: [&str; 8] =
        ["the ", "coffee ", "is ", "ready ", "and ", "warm ", "now\n", "again "];

    /// Words in an order that does not repeat.
    fn text(seed: u64, words: usize) -> String {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            WORDS[(state >> 61) as usize]
        };
        (0..words).map(|_| next()).collect()
    }

    fn bytes(compressor: Compressor, texts: &[&str]) -> u64 {
        let documents = texts.iter().map(|text| Ok((*text).to_owned()));
        compressed_bytes(compressor, documents).unwrap()
    }

    #[test]
    fn xz_remembers_all_of_the_text_and_gzip_the_last_of_it() {
        let (held_out, other) = (text(1, 1_000), text(2, 40_000));
        // What it takes more, with the held-out text at the beginning, or at the end, of the rest.
        let more = |compressor, before: &[&str]| {
            bytes(compressor, &[before, &[&held_out]].concat()) - bytes(compressor, before)
        };
        let xz = Compressor::Xz { text_bytes: 300_000 };
        let fresh = bytes(Compressor::Gzip, &[&held_out]);
        assert!(more(xz, &[&held_out, &other]) < fresh / 10);
        assert!(more(Compressor::Gzip, &[&other, &held_out]) < fresh / 10);
        assert!(more(Compressor::Gzip, &[&held_out, &other]) > fresh / 2);
    }

    #[test]
    fn files_are_as_long_as_those_of_the_commands() {
        // `cat fixtures/state-of-the-union/*.txt`, piped into `gzip -9n | wc -c` (gzip 1.12) and into
        // `xz -9e | wc -c` (5.4.1), whose dictionary is 64 MiB.
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/state-of-the-union");
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(Result::unwrap).collect();
        files.sort_by_key(std::fs::DirEntry::path);
        let texts: Vec<String> =
            files.iter().map(|file| std::fs::read_to_string(file.path()).unwrap()).collect();
        // Each file ends with a line end, which is given by whoever compresses.
        let texts: Vec<&str> = texts.iter().map(|text| text.strip_suffix('\n').unwrap()).collect();
        let gzip = bytes(Compressor::Gzip, &texts);
        assert!(gzip.abs_diff(85_454) < 850, "{gzip}");
        let xz = bytes(Compressor::Xz { text_bytes: 64 << 20 }, &texts);
        assert!(xz.abs_diff(72_872) < 72, "{xz}");
    }

    #[test]
    fn what_documents_fail_with_comes_through() {
        let documents = [Ok(String::new()), Err(Error::Empty { what: "text" })];
        let failed = compressed_bytes(Compressor::Gzip, documents.into_iter());
        assert!(matches!(failed, Err(Error::Empty { .. })));
    }
}
