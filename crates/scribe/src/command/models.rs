//! `scribe models`: which models there are, fetching them, looking at them, removing them.

use clap::{Args, Subcommand};
use serde::Serialize;
use tokenizer::ChatFormat;

use super::progress::Progress;
use super::{Failure, Session, export};
use crate::config::{ChatFormatOption, EngineOptions};
use crate::fetch::catalogue::Entry;
use crate::fetch::pull::PullOptions;
use crate::fetch::{Found, Installed, Library};
use crate::loading::{self, Loaded, Located, Outline};
use crate::terminal::bytes_for_people;

/// What to do with models.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  scribe models list\n  scribe models pull \
                        smollm2-135m-instruct")]
pub enum ModelsCommand {
    /// List the models of the catalogue and those that are installed
    #[command(after_help = "Examples:\n  scribe models list\n  scribe models list --json")]
    List,
    /// Fetch a model, verify it and keep it
    #[command(after_help = "Examples:\n  scribe models pull smollm2-135m-instruct\n  scribe \
                            models pull qwen2.5-coder-0.5b-instruct")]
    Pull(PullArguments),
    /// Show what is known about a model
    #[command(after_help = "Examples:\n  scribe models show smollm2-135m-instruct")]
    Show(NameArgument),
    /// Write a model anew for other programs, as a Hugging Face folder or a GGUF file
    #[command(after_help = export::EXPORT_EXAMPLES)]
    Export(export::ExportArguments),
    /// Write a model as a GGUF file with fewer bits a weight
    #[command(after_help = export::QUANTIZE_EXAMPLES)]
    Quantize(export::QuantizeArguments),
    /// Remove an installed model
    #[command(after_help = "Examples:\n  scribe models remove smollm2-135m-instruct")]
    Remove(NameArgument),
}

/// A model's name.
#[derive(Debug, Args)]
pub struct NameArgument {
    /// The model's name
    name: String,
}

/// What to fetch, and how.
#[derive(Debug, Args)]
pub struct PullArguments {
    /// The model's name [default: the catalogue's default model]
    name: Option<String>,

    /// Take files whose sha256 the catalogue does not state, and record what came
    #[arg(long)]
    trust_first_use: bool,
}

/// One row of `scribe models list --json`.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    bytes: u64,
    license: String,
    installed: bool,
    /// What is wrong with an installed model; absent when nothing is known to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<String>,
    default: bool,
    title: String,
}

/// `scribe models list --json`.
#[derive(Debug, Serialize)]
struct ListReport {
    schema: &'static str,
    models: Vec<Row>,
}

/// `scribe models show --json`, `scribe models pull --json`.
#[derive(Debug, Serialize)]
struct ShowReport<'a> {
    schema: &'static str,
    name: &'a str,
    catalogue: Option<&'a Entry>,
    installed: Option<&'a Installed>,
}

/// `scribe models remove --json`.
#[derive(Debug, Serialize)]
struct RemoveReport<'a> {
    schema: &'static str,
    name: &'a str,
    freed_bytes: u64,
}

/// Does it.
pub(super) fn run(session: &mut Session, command: ModelsCommand) -> Result<(), Failure> {
    let library = session.library()?;
    match command {
        ModelsCommand::List => list(session, &library),
        ModelsCommand::Pull(arguments) => pull(session, &library, arguments),
        ModelsCommand::Show(argument) => show(session, &library, &argument.name),
        ModelsCommand::Export(arguments) => export::export(session, arguments),
        ModelsCommand::Quantize(arguments) => export::quantize(session, arguments),
        ModelsCommand::Remove(argument) => remove(session, &library, &argument.name),
    }
}

/// Fetches a model unless it is installed, showing progress.
pub(super) fn ensure(
    session: &mut Session,
    library: &Library,
    name: &str,
    trust_first_use: bool,
) -> Result<Installed, Failure> {
    let options = PullOptions { offline: session.global.offline, trust_first_use };
    let mut progress = Progress::new(&mut session.terminal);
    Ok(library.pull(name, options, &mut |event| progress.show(event))?)
}

/// Looks at a model without reading its weights.
pub(super) fn outline(located: &Located, options: &EngineOptions) -> Result<Outline, Failure> {
    Outline::read(located, options).map_err(|error| cannot_use(located, error))
}

/// Reads a model with `load`, showing progress.
pub(super) fn load<T>(
    session: &mut Session,
    outline: Outline,
    load: impl FnOnce(Outline, &mut dyn FnMut(u64, u64)) -> Result<T, loading::Error>,
) -> Result<T, Failure> {
    let located = outline.located.clone();
    let mut progress = Progress::new(&mut session.terminal);
    let mut begun = false;
    let result = load(outline, &mut |done, total| {
        if !begun {
            progress.begin(format!("loading {}", located.name), done, total);
            begun = true;
        }
        progress.advance(done);
    });
    drop(progress);
    result.map_err(|error| cannot_use(&located, error))
}

/// Reads a model that is to chat, showing progress; says so where its own template is not used.
pub(super) fn load_to_chat(
    session: &mut Session,
    outline: Outline,
    option: ChatFormatOption,
) -> Result<Loaded, Failure> {
    let loaded = load(session, outline, |outline, progress| {
        Loaded::load(outline, option.chat_format, progress)
    })?;
    if let Some(reason) = &loaded.template_passed_over {
        let (format, option) = match &loaded.format {
            ChatFormat::ChatMl { .. } => ("ChatML", "chatml"),
            ChatFormat::Llama3 => ("Llama 3", "llama3"),
            other => (other.name(), "auto"),
        };
        session.terminal.warn(format_args!(
            "conversations are written as {format}, by the model's special tokens; with \
             --chat-format {option} this is not said: {reason}"
        ));
    }
    Ok(loaded)
}

pub(super) fn cannot_use(located: &Located, error: loading::Error) -> Failure {
    let path = located.path.display();
    Failure::from(error).context(format!("cannot use the model at `{path}`"))
}

fn list(session: &mut Session, library: &Library) -> Result<(), Failure> {
    let installed = library.installed()?;
    let state = |name: &str| installed.iter().find(|found| found.name == name);
    let damage = |name: &str| state(name)?.model.as_ref().err().map(ToString::to_string);
    let catalogue = library.catalogue();
    let mut models: Vec<Row> = catalogue
        .models
        .iter()
        .map(|entry| Row {
            name: entry.name.clone(),
            bytes: entry.bytes(),
            license: entry.license.clone(),
            installed: state(&entry.name).is_some(),
            damaged: damage(&entry.name),
            default: entry.name == catalogue.default,
            title: entry.title.clone(),
        })
        .collect();
    for Found { name, model } in installed.iter().filter(|f| catalogue.get(&f.name).is_none()) {
        let manifest = model.as_ref().ok().map(|model| &model.manifest);
        models.push(Row {
            name: name.clone(),
            bytes: model.as_ref().map_or(0, Installed::bytes),
            license: manifest.map_or_else(String::new, |manifest| manifest.license.clone()),
            installed: true,
            damaged: damage(name),
            default: false,
            title: "not in this catalogue".into(),
        });
    }
    if session.terminal.wants_json() {
        session.terminal.json(&ListReport { schema: "scribe.models.list/1", models })?;
        return Ok(());
    }
    let rows: Vec<Vec<String>> = models
        .into_iter()
        .map(|row| {
            let state = match (row.damaged, row.installed) {
                (Some(_), _) => "damaged",
                (None, true) => "installed",
                (None, false) => "can be pulled",
            };
            let default = if row.default { " (default)" } else { "" };
            vec![
                format!("{}{default}", row.name),
                bytes_for_people(row.bytes),
                row.license,
                state.into(),
            ]
        })
        .collect();
    session.terminal.table(&["NAME", "SIZE", "LICENSE", "STATE"], &rows)?;
    Ok(())
}

fn pull(session: &mut Session, library: &Library, arguments: PullArguments) -> Result<(), Failure> {
    let name = arguments.name.unwrap_or_else(|| library.catalogue().default.clone());
    let installed = match library.find(&name)? {
        Some(installed) => verified(session, installed)?,
        None => ensure(session, library, &name, arguments.trust_first_use)?,
    };
    if session.terminal.wants_json() {
        return show(session, library, &name);
    }
    session.terminal.line(installed.path().display())?;
    Ok(())
}

/// A model that is here already, after a look at every byte: whoever pulls it again doubts it.
fn verified(session: &mut Session, installed: Installed) -> Result<Installed, Failure> {
    let name = &installed.manifest.name;
    let mut progress = Progress::new(&mut session.terminal);
    progress.begin(format!("checking {name}"), 0, installed.bytes());
    let checked = installed.verify(&mut |bytes| progress.advance(bytes));
    drop(progress);
    checked.map_err(|error| Failure {
        hint: Some(format!("`scribe models remove {name}`, then `scribe models pull {name}`")),
        ..error.into()
    })?;
    session.terminal.note(format_args!("{name} is here already and has the right sha256"));
    Ok(installed)
}

fn show(session: &mut Session, library: &Library, name: &str) -> Result<(), Failure> {
    let installed = library.find(name)?;
    let entry = library.catalogue().get(name);
    if installed.is_none() && entry.is_none() {
        return Err(library.unknown(name).into());
    }
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        terminal.json(&ShowReport {
            schema: "scribe.models.show/1",
            name,
            catalogue: entry,
            installed: installed.as_ref(),
        })?;
        return Ok(());
    }
    terminal.heading(name)?;
    if let Some(entry) = entry {
        terminal.line(format_args!("  {}", entry.title))?;
        terminal.line(format_args!("  license   {}", entry.license))?;
        terminal.line(format_args!("  homepage  {}", entry.homepage))?;
        terminal.line(format_args!("  size      {}", bytes_for_people(entry.bytes())))?;
        for file in &entry.files {
            let digest = file.sha256.as_deref().unwrap_or("no digest: needs --trust-first-use");
            terminal.line(format_args!("  file      {}  sha256 {digest}", file.name))?;
            for source in &file.sources {
                terminal.line(format_args!("            from {}", source.describe()))?;
            }
        }
        terminal.line(format_args!("  {}", entry.about.trim()))?;
    }
    match &installed {
        Some(installed) => {
            terminal.line(format_args!("  installed {}", installed.path().display()))?;
            for file in &installed.manifest.files {
                terminal.line(format_args!("            {} from {}", file.name, file.source))?;
            }
        }
        None => terminal.line(format_args!("  not installed; `scribe models pull {name}`"))?,
    }
    Ok(())
}

fn remove(session: &mut Session, library: &Library, name: &str) -> Result<(), Failure> {
    let freed_bytes = library.remove(name)?;
    if session.terminal.wants_json() {
        session.terminal.json(&RemoveReport {
            schema: "scribe.models.remove/1",
            name,
            freed_bytes,
        })?;
    } else {
        session
            .terminal
            .note(format_args!("removed {name}, {} are free again", bytes_for_people(freed_bytes)));
    }
    Ok(())
}
