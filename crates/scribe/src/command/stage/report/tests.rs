//! The page of a run: what it tells, that words stay words, that its colors can be told apart.

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::run_state::STAGE_FILE;

const STAGE_FOLDER: &str = "3-pretrained";

const RECIPE: &str = "seed = 7\n[[corpus.source]]\npath = \"/somewhere/of/mine/<text>\"\n\
    [tokenizer]\nvocabulary = 1024\n[model]\nlayers = 1\nwidth = 4\nheads = 1\ncontext_tokens = 10\n\
    [pretrain]\nsteps = 40\nrows = 2\nlearning_rate = 1e-3\n";

/// A run of 40 steps in a folder with an odd name.
fn run(folder: &Path) -> PathBuf {
    let run = folder.join("<b>run</b>");
    let stage = run.join(STAGE_FOLDER);
    drop(RunFolder::open(&run, RECIPE).unwrap());
    fs::create_dir(&stage).unwrap();
    fs::write(stage.join(STAGE_FILE), "{\"steps\":40,\"step_tokens\":20}").unwrap();
    let (mut metrics, mut timing) = (String::new(), String::new());
    for step in 1..=40 {
        let loss = 2.0 + 4.0 / f64::from(step);
        let seen = match step % 10 {
            0 => format!(",\"validation\":{{\"loss\":{loss},\"bits_per_byte\":{}}}", loss / 2.0),
            _ => String::new(),
        };
        metrics += &format!(
            "{{\"step\":{step},\"loss\":{loss},\"rate\":1e-3,\"gradient_norm\":0.5,\"tokens\":20\
             {seen}}}\n"
        );
        timing += &format!("{{\"step\":{step},\"seconds\":2}}\n");
    }
    fs::write(stage.join("metrics.jsonl"), metrics).unwrap();
    fs::write(stage.join("timing.jsonl"), timing).unwrap();
    let samples = r#"[{"prompt": "<i>", "text": "</main><script>alert(1)</script>\u0000"}]"#;
    fs::write(stage.join("samples.json"), samples).unwrap();
    run
}

fn written(run: &Path, language: Language) -> String {
    let recipe = Recipe::parse(RECIPE).unwrap();
    let run = RunFolder::open(run, RECIPE).unwrap();
    let subject = Subject::of_pretraining(&run, &recipe);
    fs::read_to_string(write(&subject, language).unwrap()).unwrap()
}

#[test]
fn the_page_tells_of_the_run_in_both_languages() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    for (language, words) in [
        (
            Language::English,
            ["lang=\"en\"", "Finished after 40 steps", "1 min 20 s", "0.001", "1,024", "2.1"],
        ),
        (
            Language::French,
            ["lang=\"fr\"", "Terminé après 40 pas", "1 min 20 s", "0,001", "1\u{202f}024", "2,1"],
        ),
    ] {
        let page = written(&run, language);
        for word in words {
            assert!(page.contains(word), "{word}: {page}");
        }
        assert_eq!(page.matches("<svg ").count(), 4);
        assert_eq!(page, written(&run, language), "the same run gives the same bytes");
    }
}

#[test]
fn the_page_needs_nothing_beside_itself_and_words_stay_words() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let page = written(&run, Language::English);
    let asks = ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<b>", "<i>"];
    for asked in asks {
        assert!(!page.contains(asked), "{asked}: {page}");
    }
    assert!(!page.contains("/somewhere") && page.contains("&#60;text&#62;"), "{page}");
    let ids: Vec<&str> =
        page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    for label in page.split("aria-labelledby=\"").skip(1) {
        let label = label.split('"').next().unwrap();
        assert!(label.split(' ').all(|id| ids.contains(&id)), "{label}");
    }
}

#[test]
fn a_run_without_steps_has_a_page_without_curves() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    for name in ["metrics.jsonl", "timing.jsonl", "samples.json"] {
        fs::remove_file(run.join(STAGE_FOLDER).join(name)).unwrap();
    }
    let page = written(&run, Language::English);
    assert!(page.contains("Stopped after 0 of 40 steps") && !page.contains("<svg"), "{page}");
    assert!(!page.contains("Curves") && !page.contains("Samples"), "{page}");
}

/// The contrast of two colors by WCAG 2.2, from 1 to 21.
fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |color: &str| {
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&color[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    };
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn colors_can_be_told_from_the_paper_in_light_and_dark() {
    let style = include_str!("../../../../templates/report.css");
    let colors = |name: &str| {
        let (_, rest) = style.split_once(&format!("--{name}: light-dark(")).unwrap();
        let (light, rest) = rest.split_once(", ").unwrap();
        (light.to_owned(), rest[..7].to_owned())
    };
    let paper = ["paper", "raised"].map(colors);
    for name in ["ink", "soft", "first", "second", "third", "fourth"] {
        let (light, dark) = colors(name);
        for (paper_light, paper_dark) in &paper {
            assert!(contrast(&light, paper_light) >= 4.5, "{name}, light");
            assert!(contrast(&dark, paper_dark) >= 4.5, "{name}, dark");
        }
    }
}
