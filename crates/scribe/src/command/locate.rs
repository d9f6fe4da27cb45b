//! Finding the model that is asked for: by name, by path, in a run, or beside an adapter.

use std::path::{Path, PathBuf};

use artifacts::checkpoints::Newest;
use artifacts::disk::RealDisk;
use artifacts::folder;
use model::adapter::CONFIG_FILE;
use training::run_folder::{self, RECIPE_FILE};

use super::models::ensure;
use super::pretrain::samples;
use super::{Exit, Failure, Session};
use crate::config::{AdapterArguments, EngineOptions, RunOptions, StageName};
use crate::fetch::Catalogue;
use crate::fetch::catalogue::is_model_name;
use crate::loading::{Located, LocatedAdapter, SamplingDefaults};

/// What an adapter is named by.
const ADAPTER_HINT: &str = "name a folder with adapter_config.json, or a run that made one";

/// What the weights of a checkpoint are called: those of an adapter, or of a model.
const WEIGHTS_FILES: [&str; 2] = ["adapter_model.safetensors", "model.safetensors"];

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
    if let Some(model) = &options.model {
        session.terminal.warn(format_args!("--run says which model: `{model}` is left out"));
    }
    let located = locate_run(session, folder, run.stage)?;
    beside(session, located, &options.adapter)
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
            let folder = adapter_folder(session, adapter)?;
            let located = with_base(session, place_of(adapter, folder))?;
            computed(located, options)
        }
        _ => {
            let located = locate_model(session, asked)?;
            beside(session, located, options)
        }
    }
}

/// A model with the adapter that options name, if they do.
fn beside(
    session: &mut Session,
    located: Located,
    options: &AdapterArguments,
) -> Result<Located, Failure> {
    let Some(adapter) = &options.adapter else { return computed(located, options) };
    if located.adapter.is_some() {
        return Err(Failure::usage(
            format!("{} has an adapter already", located.name),
            "leave out --adapter, or name the model that both were made for",
        ));
    }
    let folder = adapter_folder(session, adapter)?;
    computed(with_adapter(located, folder), options)
}

/// A model beside which an adapter lies: it answers, whatever the model alone does.
fn with_adapter(located: Located, folder: PathBuf) -> Located {
    let sampling = match located.only_pretrained {
        true => SamplingDefaults::default(),
        false => located.sampling,
    };
    let sha256 = digest_of(&folder);
    let adapter = Some(LocatedAdapter { folder, merged: false });
    Located { adapter, sampling, sha256, only_pretrained: false, ..located }
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
                ADAPTER_HINT,
            ));
        }
        None => {}
    }
    Ok(located)
}

/// The folder of an adapter: itself, or the newest checkpoint of a run.
fn adapter_folder(session: &mut Session, path: &Path) -> Result<PathBuf, Failure> {
    let newest = run_folder::newest_model(path)?;
    let folder = newest.map_or_else(|| path.to_owned(), |newest| whole(session, newest));
    if folder.join(CONFIG_FILE).exists() {
        return Ok(folder);
    }
    Err(Failure::not_found(format!("there is no adapter at `{}`", path.display()), ADAPTER_HINT))
}

/// Whether a folder holds an adapter and no model of its own.
fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG_FILE).exists() && !folder.join("config.json").exists()
}

/// The newest checkpoint that is whole; says which newer ones are damaged.
fn whole(session: &mut Session, newest: Newest) -> PathBuf {
    for damage in &newest.damage {
        session.terminal.warn(format_args!("an older checkpoint is used: {damage}"));
    }
    newest.path
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
    let base = match Path::new(&base).starts_with("..") && beside.exists() {
        true => beside.to_string_lossy().into_owned(),
        false => base,
    };
    let hint = "name the model that it was made for with --model, and it with --adapter";
    let failed = |failure: Failure| {
        let failure = failure.context(format!("cannot find the model of `{name}`"));
        match failure.exit {
            Exit::NotFound => Failure { hint: Some(hint.to_owned()), ..failure },
            _ => failure,
        }
    };
    if base.is_empty() {
        return Err(failed(Failure::usage("its files do not say which", hint)));
    }
    match find(session, Some(&base)).map_err(failed)? {
        Place::Model(located) => Ok(Located { name, ..with_adapter(located, folder) }),
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
        return find_path(session, library.catalogue(), path);
    }
    let installed = ensure(session, &library, &name, false)?;
    let sampling = library.catalogue().get(&name).map(|entry| entry.sampling).unwrap_or_default();
    let sha256 = match installed.manifest.files.as_slice() {
        [file] => Some(file.sha256.clone()),
        _ => None,
    };
    let (path, adapter) = (installed.path(), None);
    Ok(Place::Model(Located { name, path, adapter, sampling, sha256, only_pretrained: false }))
}

fn find_path(session: &mut Session, catalogue: &Catalogue, path: &Path) -> Result<Place, Failure> {
    if !path.exists() {
        return Err(Failure::not_found(
            format!("there is no model at `{}`", path.display()),
            "check the path, or name a model from `scribe models list`",
        ));
    }
    if let Some(newest) = run_folder::newest_model(path)? {
        return Ok(place_of(path, whole(session, newest)));
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
    Ok(Place::Model(Located {
        name,
        path,
        adapter,
        sampling,
        sha256: None,
        only_pretrained: false,
    }))
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
    if let Some(newest) = found {
        let checkpoint = whole(session, newest);
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
        Some(StageName::Ppo) => "ppo",
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
    let only_pretrained = run_folder::is_pretrained(&checkpoint);
    let sampling = match only_pretrained {
        true => samples::advice(),
        false => SamplingDefaults::default(),
    };
    let sha256 = digest_of(&checkpoint);
    let (path, adapter) = (checkpoint, None);
    Place::Model(Located { name, path, adapter, sampling, sha256, only_pretrained })
}

/// The digest of the weights in a folder, where it has a manifest.
fn digest_of(folder: &Path) -> Option<String> {
    let manifest = folder::open(&RealDisk, folder).ok()?;
    let file = WEIGHTS_FILES.iter().find_map(|name| manifest.file(name))?;
    Some(file.sha256.to_string())
}
