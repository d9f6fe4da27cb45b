//! What counts of tokens, gzip and xz make of a held-out part of a text: `baselines FILE VOCABULARY…`.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::Path;

use corpus::{BuildOptions, Content, Corpus, Source};
use tokenizer::{Tokenizer, TrainOptions, Trainer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("give a file of texts and sizes of vocabularies")?;
    for vocabulary in arguments {
        let tokenizer = train(&file, vocabulary.parse()?)?;
        let folder = std::env::temp_dir().join(format!("baselines-{}", std::process::id()));
        let found = measure(&file, &tokenizer, &folder);
        std::fs::remove_dir_all(&folder)?;
        for (name, value) in found? {
            println!("{vocabulary} tokens, {name}: {value}");
        }
    }
    Ok(())
}

fn train(file: &str, vocabulary: usize) -> Result<Tokenizer, Box<dyn std::error::Error>> {
    let special_tokens = vec!["<|endoftext|>".to_owned()];
    let options = TrainOptions { vocabulary, special_tokens, ..TrainOptions::default() };
    let mut trainer = Trainer::new(options)?;
    let source = Source::text("text", file);
    let mut fed = Ok(());
    source.read(corpus::sources::BadRows::Counted, &mut |document, _| {
        if let (Ok(()), Content::Text(text)) = (&fed, &document.content) {
            fed = trainer.feed(text);
        }
        Ok(())
    })?;
    fed?;
    Ok(trainer.train(&mut |_| ())?.tokenizer()?)
}

fn measure(
    file: &str,
    tokenizer: &Tokenizer,
    folder: &Path,
) -> Result<Vec<(String, String)>, Box<dyn std::error::Error>> {
    let sources = vec![Source::text("text", file)];
    let options = BuildOptions { validation_ppm: 20_000, ..BuildOptions::new(sources) };
    let report = Corpus::build(&options, tokenizer, folder, &mut |_| ())?;
    let corpus = Corpus::open(folder)?;
    let mut rows = vec![("corpus".to_owned(), report.to_string().replace('\n', "; "))];
    let begun = std::time::Instant::now();
    for (name, figure) in evals::baselines(&evals::Texts::new(&corpus, tokenizer)?)? {
        let evals::BitsPerByte { bits, bytes } = figure;
        rows.push((
            name.to_owned(),
            format!("{:.4} ({bits:.0} bits, {bytes} bytes)", figure.value()),
        ));
    }
    rows.push(("time".to_owned(), format!("{:?}", begun.elapsed())));
    Ok(rows)
}
