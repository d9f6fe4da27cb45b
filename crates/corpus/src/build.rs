//! From sources to a folder of shards: the whole way of a document, on one screen.

use std::num::NonZeroUsize;
use std::path::Path;

use artifacts::disk::RealDisk;
use artifacts::folder::{self, NewFolder};
use tokenizer::Tokenizer;

use crate::clean::CleanOptions;
use crate::deduplicate::{DeduplicateOptions, Deduplicator};
use crate::demonstration::Encoded;
use crate::folder::{
    FACTS_FILE, REPORT_FILE, REPORT_TEXT_FILE, SHARDS_MAX, VERSION, shard_name, tokenizer_digest,
};
use crate::language::Language;
use crate::prepare::{Portion, Prepared, Preparer};
use crate::shard::{SHARD_TOKENS_MAX, ShardBuilder};
use crate::sources::{BadRows, Rows, refuse};
use crate::split::PPM;
use crate::{BadRow, Corpus, Error, Facts, Report, Source, SourceReport, Split, SplitReport};

/// The most sources of a corpus.
pub const SOURCES_MAX: usize = 1_024;

/// How a corpus is made.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Where documents come from, in order: of duplicates the first is kept.
    pub sources: Vec<Source>,
    /// What is required of a text.
    pub clean: CleanOptions,
    /// The languages that are kept; empty keeps all. A guess: see [`crate::language`].
    pub languages: Vec<Language>,
    /// What counts as a duplicate.
    pub deduplicate: DeduplicateOptions,
    /// Of a million documents, how many are for validation. Those are written once at most, whatever
    /// the weight of their source.
    pub validation_ppm: u32,
    /// The most tokens of a shard. The shard of each split is in memory while it is filled, 2 bytes
    /// a token, or 4 where the vocabulary has more than 65,536.
    pub shard_tokens: usize,
    /// What to do about bad rows.
    pub bad_rows: BadRows,
    /// Threads that clean and encode documents; their number changes nothing.
    pub threads: NonZeroUsize,
}

impl BuildOptions {
    /// The options for these sources: everything is cleaned and without duplicates, and one document
    /// in a hundred is for validation.
    #[must_use]
    pub fn new(sources: Vec<Source>) -> Self {
        Self {
            sources,
            clean: CleanOptions::default(),
            languages: Vec::new(),
            deduplicate: DeduplicateOptions::default(),
            validation_ppm: 10_000,
            shard_tokens: 1 << 24,
            bad_rows: BadRows::Counted,
            threads: NonZeroUsize::MIN,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let fault = |option, found: String, expected: String| {
            Err(Error::Option { option, found, expected })
        };
        if !(1..=SOURCES_MAX).contains(&self.sources.len()) {
            let expected = format!("a list of 1 to {SOURCES_MAX} sources");
            return fault("sources", format!("{} long", self.sources.len()), expected);
        }
        if self.validation_ppm >= PPM {
            let expected = format!("below {PPM}, so that something is left to train on");
            return fault("validation_ppm", self.validation_ppm.to_string(), expected);
        }
        if !(1..=SHARD_TOKENS_MAX).contains(&self.shard_tokens) {
            let expected = format!("between 1 and {SHARD_TOKENS_MAX}");
            return fault("shard_tokens", self.shard_tokens.to_string(), expected);
        }
        self.deduplicate.check()
    }
}

/// How far a corpus is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The source that is being read.
    pub source: &'a str,
    /// Its rows so far.
    pub rows: u64,
    /// Tokens of all splits so far.
    pub tokens: u64,
}

impl Corpus {
    /// Builds a corpus and writes it whole into a folder that is not there yet.
    ///
    /// The same options, files and tokenizer give the same bytes. Memory: a few MiB of documents, the
    /// shard of each split, and what the duplicates take (see [`crate::deduplicate`]).
    ///
    /// # Errors
    ///
    /// Where an option makes no sense, a source cannot be read, no document is left to train on, the
    /// tokenizer has no chat format for conversations, or the folder cannot be written. There is no
    /// folder then.
    pub fn build(
        options: &BuildOptions,
        tokenizer: &Tokenizer,
        out: &Path,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Report, Error> {
        options.check()?;
        let mut report = Report::default();
        folder::land_folder(&RealDisk, out, |folder| {
            report = Build::new(options, tokenizer, folder)?.run(progress)?;
            Ok::<(), Error>(())
        })?;
        Ok(report)
    }
}

/// A corpus that is being built.
struct Build<'a, 'disk> {
    options: &'a BuildOptions,
    tokenizer: &'a Tokenizer,
    preparer: Preparer<'a>,
    vocabulary: u32,
    folder: &'a mut NewFolder<'disk>,
    deduplicator: Deduplicator,
    train: SplitWriter,
    validation: SplitWriter,
}

impl<'a, 'disk> Build<'a, 'disk> {
    fn new(
        options: &'a BuildOptions,
        tokenizer: &'a Tokenizer,
        folder: &'a mut NewFolder<'disk>,
    ) -> Result<Self, Error> {
        let vocabulary = u32::try_from(tokenizer.vocabulary_len()).map_err(|_| Error::Option {
            option: "the vocabulary",
            found: format!("{} tokens", tokenizer.vocabulary_len()),
            expected: "less than 2^32".to_owned(),
        })?;
        let writer = |split| SplitWriter::new(split, vocabulary, options.shard_tokens);
        Ok(Self {
            options,
            tokenizer,
            preparer: Preparer::new(options, tokenizer)?,
            vocabulary,
            folder,
            deduplicator: Deduplicator::new(options.deduplicate),
            train: writer(Split::Train),
            validation: writer(Split::Validation),
        })
    }

    fn run(mut self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Report, Error> {
        let mut sources = Vec::new();
        for source in &self.options.sources {
            sources.push(self.read(source, progress)?);
        }
        self.train.finish(self.folder)?;
        self.validation.finish(self.folder)?;
        let report = Report {
            sources,
            not_remembered: self.deduplicator.not_remembered(),
            train: self.train.report,
            validation: self.validation.report,
        };
        if report.train.documents == 0 {
            return Err(Error::Empty { why: why_empty(&report) });
        }
        let facts = Facts {
            version: VERSION,
            vocabulary: self.vocabulary,
            tokenizer: tokenizer_digest(self.tokenizer),
            end_of_text: self.preparer.end_of_text(),
            train: report.train.clone(),
            validation: report.validation.clone(),
        };
        self.folder.write_bytes(FACTS_FILE, &json(&facts))?;
        self.folder.write_bytes(REPORT_FILE, &json(&report))?;
        self.folder.write_bytes(REPORT_TEXT_FILE, report.to_string().as_bytes())?;
        Ok(report)
    }

    fn read(
        &mut self,
        source: &Source,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<SourceReport, Error> {
        let mut report = SourceReport { name: source.name.clone(), ..SourceReport::default() };
        let mut portion = Portion::default();
        let bad_rows = self.options.bad_rows;
        let mut rows = source.read(bad_rows, &mut |document, rows| {
            portion.push(document);
            if portion.is_full() {
                self.take(source, &mut portion, rows, &mut report)?;
                progress(self.progress(source, rows));
            }
            Ok(())
        })?;
        self.take(source, &mut portion, &mut rows, &mut report)?;
        progress(self.progress(source, &rows));
        report.rows = rows;
        Ok(report)
    }

    fn progress<'s>(&self, source: &'s Source, rows: &Rows) -> Progress<'s> {
        let tokens = self.train.tokens() + self.validation.tokens();
        Progress { source: &source.name, rows: rows.rows, tokens }
    }

    /// Prepares the documents of a portion, and puts those that are new into the shards, in order.
    fn take(
        &mut self,
        source: &Source,
        portion: &mut Portion,
        rows: &mut Rows,
        report: &mut SourceReport,
    ) -> Result<(), Error> {
        let prepared = self.preparer.prepare_all(portion, source.weight, &self.deduplicator);
        for document in prepared {
            // Those of its own portion were not known when it was prepared.
            let unseen = document.and_then(|document| {
                self.deduplicator.look_again(&document.unseen).map(|()| document)
            });
            match unseen {
                Ok(document) => self.keep(document, rows, report)?,
                Err(reason) => *report.dropped.entry(reason).or_default() += 1,
            }
        }
        Ok(())
    }

    fn keep(
        &mut self,
        document: Prepared,
        rows: &mut Rows,
        report: &mut SourceReport,
    ) -> Result<(), Error> {
        let Some(encoded) = document.encoded else {
            refuse(self.options.bad_rows, &document.place, BadRow::Unwritable)?;
            rows.add_bad(&document.place, BadRow::Unwritable);
            return Ok(());
        };
        self.deduplicator.remember(&document.unseen);
        let copies = document.copies;
        report.documents += 1;
        report.copies += u64::from(copies);
        report.text_bytes += document.text_bytes;
        report.tokens += encoded.tokens.len() as u64 * u64::from(copies);
        let writer = match document.split {
            Split::Train => &mut self.train,
            Split::Validation => &mut self.validation,
        };
        (0..copies).try_for_each(|_| writer.push(&encoded, self.folder))
    }
}

/// The shards of a split, one after the other.
struct SplitWriter {
    split: Split,
    shard_tokens: usize,
    shard: ShardBuilder,
    report: SplitReport,
}

impl SplitWriter {
    fn new(split: Split, vocabulary: u32, shard_tokens: usize) -> Self {
        let shard = ShardBuilder::new(vocabulary);
        Self { split, shard_tokens, shard, report: SplitReport::default() }
    }

    fn push(&mut self, document: &Encoded, folder: &mut NewFolder<'_>) -> Result<(), Error> {
        let tokens = document.tokens.len();
        if self.shard.tokens() > 0 && self.shard.tokens() + tokens > self.shard_tokens {
            self.finish(folder)?;
        }
        self.shard.push(document);
        self.report.documents += 1;
        self.report.tokens += tokens as u64;
        self.report.silent_tokens +=
            document.silent.iter().map(|run| run.len() as u64).sum::<u64>();
        Ok(())
    }

    /// Writes the shard, unless it is empty.
    fn finish(&mut self, folder: &mut NewFolder<'_>) -> Result<(), Error> {
        if self.shard.tokens() == 0 {
            return Ok(());
        }
        let number = usize::try_from(self.report.shards).unwrap_or(usize::MAX);
        if number >= SHARDS_MAX {
            return Err(Error::TooManyShards { limit: SHARDS_MAX });
        }
        folder.write(&shard_name(self.split, number), |out| {
            self.shard.write(out).map_err(|source| artifacts::Error::Write { source })
        })?;
        self.shard.clear();
        self.report.shards += 1;
        Ok(())
    }

    fn tokens(&self) -> u64 {
        self.report.tokens
    }
}

/// What became of all documents where none is left.
fn why_empty(report: &Report) -> String {
    let count = |of: fn(&SourceReport) -> u64| report.sources.iter().map(of).sum::<u64>();
    let rows = count(|source| source.rows.rows);
    let (bad, dropped) =
        (count(|source| source.rows.bad_rows()), count(SourceReport::dropped_documents));
    let mut reasons: Vec<String> = Vec::new();
    for source in &report.sources {
        reasons.extend(source.dropped.keys().map(ToString::to_string));
        reasons.extend(source.rows.bad.keys().map(ToString::to_string));
    }
    reasons.sort_unstable();
    reasons.dedup();
    let reasons =
        if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let validation = report.validation.documents;
    format!(
        "of {rows} rows {bad} were bad, {dropped} were dropped{reasons}, and {validation} are for \
         validation"
    )
}

/// A value as it is stored, one field a line.
fn json(value: &impl serde::Serialize) -> Vec<u8> {
    // Maps with names as keys and numbers: there is nothing that cannot be written.
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
