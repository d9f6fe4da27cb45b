//! A tokenizer, and corpora of small files.

use std::path::{Path, PathBuf};

use corpus::{BuildOptions, Corpus, Report, Source};
use tokenizer::Tokenizer;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

pub(crate) fn tokenizer() -> Tokenizer {
    let json = std::fs::read(fixture("smollm2-small.tokenizer.json")).unwrap();
    Tokenizer::from_json(&json).unwrap()
}

/// A folder for sources and what is built from them.
pub(crate) struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Texts as rows of a file.
    pub(crate) fn texts<T: AsRef<str>>(&self, name: &str, texts: &[T]) -> Source {
        let rows: Vec<String> = texts
            .iter()
            .map(|text| serde_json::json!({"text": text.as_ref()}).to_string())
            .collect();
        self.rows(name, &rows.join("\n"))
    }

    pub(crate) fn rows(&self, name: &str, rows: &str) -> Source {
        let path = self.path(&format!("{name}.jsonl"));
        std::fs::write(&path, rows).unwrap();
        Source::text(name, path)
    }

    pub(crate) fn build(&self, name: &str, options: &BuildOptions) -> (Report, Corpus) {
        let out = self.path(name);
        let report = Corpus::build(options, &tokenizer(), &out, &mut |_| ()).unwrap();
        (report, Corpus::verify(&out, |_| ()).unwrap())
    }
}

/// Different texts of a few words.
pub(crate) fn sentences(count: usize) -> Vec<String> {
    (0..count)
        .map(|n| format!("Sentence {n} says {} and then {}.", n * n, "more ".repeat(n % 7)))
        .collect()
}
