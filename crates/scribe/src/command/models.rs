//! `scribe models`: which models there are, fetching them, looking at them, removing them.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use model::adapter::CONFIG_FILE;
use serde::Serialize;
use tokenizer::ChatFormat;
use training::run_folder::{self, RECIPE_FILE};

use super::pretrain::samples;
use super::progress::Progress;
use super::{Failure, Session, export};
use crate::config::{AdapterArguments, ChatFormatOption, EngineOptions, RunOptions, StageName};
use crate::fetch::catalogue::{Entry, is_model_name};
use crate::fetch::pull::PullOptions;
use crate::fetch::{Catalogue, Found, Installed, Library};
use crate::loading::{self, Loaded, Located, LocatedAdapter, Outline, SamplingDefaults};
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

/// What lies at a place that was named.
enum Place {
    Model(Located),
    /// A folder in PEFT's layout, and what people call it.
    Adapter {
        name: String,
        folder: PathBuf,
    },
}

/// Finds the model that options ask for, with its adapter.
pub(super) fn locate(session: &mut Session, options: &EngineOptions) -> Result<Located, Failure> {
    locate_with(session, options.model.as_deref(), &options.adapter)
}

/// The model that is asked for by --run, else by --model, with its adapter.
pub(super) fn locate_any(
    session: &mut Session,
    run: &RunOptions,
    options: &EngineOptions,
) -> Result<Located, Failure> {
    let Some(folder) = &run.run else { return locate(session, options) };
    let located = locate_run(session, folder, run.stage)?;
    beside(located, &options.adapter)
}

/// Finds the model that is asked for and the adapter that belongs to it, fetching the model if it
/// is one of the catalogue.
pub(super) fn locate_with(
    session: &mut Session,
    asked: Option<&str>,
    options: &AdapterArguments,
) -> Result<Located, Failure> {
    match (&options.adapter, asked) {
        (Some(adapter), None) => {
            let located = locate_model(session, Some(&adapter.to_string_lossy()))?;
            computed(located, options)
        }
        _ => beside(locate_model(session, asked)?, options),
    }
}

/// A model with the adapter that options name, if they do.
fn beside(located: Located, options: &AdapterArguments) -> Result<Located, Failure> {
    let Some(adapter) = &options.adapter else { return computed(located, options) };
    if located.adapter.is_some() {
        return Err(Failure::usage(
            format!("{} has an adapter already", located.name),
            "leave out --adapter, or name the model that both were made for",
        ));
    }
    let adapter = Some(LocatedAdapter { folder: adapter_folder(adapter)?, merged: false });
    computed(Located { adapter, sha256: None, ..located }, options)
}

/// A model whose adapter is merged or not, as options say.
fn computed(mut located: Located, options: &AdapterArguments) -> Result<Located, Failure> {
    let asked = options.merge_adapter || options.adapter.is_some();
    match &mut located.adapter {
        Some(adapter) => adapter.merged = options.merge_adapter,
        None if asked => {
            let path = options.adapter.as_deref().map(|path| path.display().to_string());
            return Err(Failure::usage(
                format!("`{}` has no adapter", path.unwrap_or(located.name)),
                "name a folder with adapter_config.json, or a run that made one",
            ));
        }
        None => {}
    }
    Ok(located)
}

/// The folder of an adapter: itself, or the newest checkpoint of a run.
fn adapter_folder(path: &Path) -> Result<PathBuf, Failure> {
    let folder = run_folder::newest_model(path)?.unwrap_or_else(|| path.to_owned());
    if is_adapter(&folder) {
        return Ok(folder);
    }
    Err(Failure::not_found(
        format!("there is no adapter at `{}`", path.display()),
        "name a folder with adapter_config.json, or a run that made one",
    ))
}

fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG_FILE).exists() && !folder.join("config.json").exists()
}

/// Finds a model, or an adapter and the model that it says it belongs to.
pub(super) fn locate_model(session: &mut Session, asked: Option<&str>) -> Result<Located, Failure> {
    let place = find(session, asked)?;
    with_base(session, place)
}

/// What was found, with the model that it says it lies beside if it is an adapter.
fn with_base(session: &mut Session, place: Place) -> Result<Located, Failure> {
    let (name, folder) = match place {
        Place::Model(located) => return Ok(located),
        Place::Adapter { name, folder } => (name, folder),
    };
    let base = model::Adapter::read_base(&folder)?;
    // Within a run a base is named by its way from the adapter.
    let beside = folder.join(&base);
    let base = match base.starts_with("..") && beside.exists() {
        true => beside.to_string_lossy().into_owned(),
        false => base,
    };
    let failed = |failure: Failure| failure.context(format!("cannot find the model of `{name}`"));
    let hint = "name the model that it was made for with --model, and it with --adapter";
    if base.is_empty() {
        return Err(failed(Failure::usage("its files do not say which", hint)));
    }
    match find(session, Some(&base)).map_err(failed)? {
        Place::Model(located) => {
            let adapter = Some(LocatedAdapter { folder, merged: false });
            Ok(Located { name, adapter, sha256: None, ..located })
        }
        Place::Adapter { .. } => {
            Err(failed(Failure::usage(format!("`{base}` is an adapter, too"), hint)))
        }
    }
}

/// Finds what is asked for, fetching it if it is a model of the catalogue.
fn find(session: &mut Session, asked: Option<&str>) -> Result<Place, Failure> {
    let library = session.library()?;
    let name = asked.unwrap_or(&library.catalogue().default).to_owned();
    let path = Path::new(&name);
    let is_name = is_model_name(&name)
        && (library.catalogue().get(&name).is_some() || library.find(&name)?.is_some());
    if !is_name && (path.exists() || name.contains('/') || name.ends_with(".gguf")) {
        return find_path(library.catalogue(), path);
    }
    let installed = ensure(session, &library, &name, false)?;
    let sampling = library.catalogue().get(&name).map(|entry| entry.sampling).unwrap_or_default();
    let sha256 = match installed.manifest.files.as_slice() {
        [file] => Some(file.sha256.clone()),
        _ => None,
    };
    let (path, adapter) = (installed.path(), None);
    Ok(Place::Model(Located { name, path, adapter, sampling, sha256, only_writes: false }))
}

fn find_path(catalogue: &Catalogue, path: &Path) -> Result<Place, Failure> {
    if !path.exists() {
        return Err(Failure::not_found(
            format!("there is no model at `{}`", path.display()),
            "check the path, or name a model from `scribe models list`",
        ));
    }
    if let Some(checkpoint) = run_folder::newest_model(path)? {
        return Ok(place_of(path, checkpoint));
    }
    if is_adapter(path) {
        let folder = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = folder.file_name().map_or_else(|| "adapter".into(), |n| n.to_string_lossy());
        return Ok(Place::Adapter { name: name.to_lowercase(), folder });
    }
    if path.is_dir() && !path.join("config.json").exists() {
        return Err(Failure::not_found(
            format!("`{}` has no config.json, so it is no Hugging Face folder", path.display()),
            "name a folder with config.json, tokenizer.json and weights, or a .gguf file",
        ));
    }
    // `.` and `..` have no name of their own.
    let absolute = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let stem = if path.is_dir() { absolute.file_name() } else { absolute.file_stem() };
    let name = stem.map_or_else(|| "model".into(), |stem| stem.to_string_lossy().to_lowercase());
    // A model of the catalogue is advised alike, however it came here.
    let sampling = catalogue.recognize(&absolute).map(|entry| entry.sampling).unwrap_or_default();
    let (path, adapter) = (absolute, None);
    Ok(Place::Model(Located { name, path, adapter, sampling, sha256: None, only_writes: false }))
}

/// Finds a model of a run: that of a stage, or the newest.
fn locate_run(
    session: &mut Session,
    run: &Path,
    stage: Option<StageName>,
) -> Result<Located, Failure> {
    let shown = run.display();
    if !run.join(RECIPE_FILE).is_file() {
        return Err(Failure::not_found(
            format!("`{shown}` holds no run"),
            format!(
                "name the folder that was given as --run, or make one: scribe story RECIPE --run \
                 {shown}"
            ),
        ));
    }
    let model = |stage: StageName| run_folder::model_of_stage(run, stage.folder());
    let found = match stage {
        Some(stage) => model(stage)?,
        None => run_folder::newest_model(run)?,
    };
    if let Some(checkpoint) = found {
        return checkpoint_of(session, run, checkpoint);
    }
    let mut there = Vec::new();
    for stage in StageName::ALL {
        if model(stage)?.is_some() {
            there.push(stage.name());
        }
    }
    let message = match stage {
        Some(stage) => format!("the stage {} of `{shown}` has no model yet", stage.name()),
        None => format!("no stage of `{shown}` has a model yet"),
    };
    let command = match stage {
        Some(StageName::Sft) => "sft",
        _ => "pretrain",
    };
    let make = format!("`scribe {command} RECIPE --run {shown}` makes it");
    let hint = match there.as_slice() {
        [] => make,
        there => format!("{make}; there is --stage {}", there.join(", ")),
    };
    Err(Failure::not_found(message, hint))
}

/// A checkpoint of a run, with the model that it lies beside if it is an adapter.
pub(super) fn checkpoint_of(
    session: &mut Session,
    run: &Path,
    checkpoint: PathBuf,
) -> Result<Located, Failure> {
    let place = place_of(run, checkpoint);
    with_base(session, place)
}

/// A checkpoint of a run, which is called by the run's name, whatever its own is.
fn place_of(run: &Path, checkpoint: PathBuf) -> Place {
    let run = run.canonicalize().unwrap_or_else(|_| run.to_owned());
    let name = run.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy());
    let name = name.to_lowercase();
    if is_adapter(&checkpoint) {
        return Place::Adapter { name, folder: checkpoint };
    }
    let only_writes = run_folder::is_pretrained(&checkpoint);
    let sampling = match only_writes {
        true => samples::advice(),
        false => SamplingDefaults::default(),
    };
    let (path, adapter) = (checkpoint, None);
    Place::Model(Located { name, path, adapter, sampling, sha256: None, only_writes })
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
