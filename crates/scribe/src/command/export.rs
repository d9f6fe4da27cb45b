//! `scribe models export` and `scribe models quantize`: a model as files for other programs.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use engine::Dtype;
use serde::Serialize;

use super::locate::locate_with;
use super::models::cannot_use;
use super::progress::Progress;
use super::{Failure, Session};
use crate::config::AdapterArguments;
use crate::export::Opened;
use crate::loading::Located;
use crate::terminal::bytes_for_people;

/// Examples of `scribe models export`.
pub(super) const EXPORT_EXAMPLES: &str = "Examples:\n  scribe models export smollm2-135m-instruct --to hf --out smollm2\n  scribe models \
     export ./my-model --to gguf --dtype q8_0 --out my-model.gguf\n  scribe models export \
     ./my-model --adapter ./my-adapter --to hf --out merged\n\nA folder holds config.json, \
     model.safetensors and the tokenizer, as transformers reads them; a GGUF file is what llama.cpp \
     and Ollama read.";

/// Examples of `scribe models quantize`.
pub(super) const QUANTIZE_EXAMPLES: &str = "Examples:\n  scribe models quantize ./my-model --out my-model.gguf\n  scribe models quantize \
     ./my-model --dtype q4_0 --out my-model-q4.gguf";

/// What to write, and how.
#[derive(Debug, Args)]
pub struct ExportArguments {
    /// The model: a name, a GGUF file or a Hugging Face folder
    #[arg(value_name = "NAME|PATH")]
    model: String,

    /// Adapter to add to the model's weights: a folder in PEFT's layout, or a run that made one
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,

    /// The layout of the files
    #[arg(long, value_enum)]
    to: Layout,

    /// How weights are stored [default: as they are, or f32 where that is not one of these types]
    #[arg(long, value_enum, value_name = "TYPE")]
    dtype: Option<TypeName>,

    /// The folder or file to write; nothing may be there yet
    #[arg(short, long, value_name = "PATH")]
    out: PathBuf,
}

/// What to make smaller.
#[derive(Debug, Args)]
pub struct QuantizeArguments {
    /// The model: a name, a GGUF file or a Hugging Face folder
    #[arg(value_name = "NAME|PATH")]
    model: String,

    /// How weights are stored
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = TypeName::Q8_0)]
    dtype: TypeName,

    /// The GGUF file to write; nothing may be there yet
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

/// A layout of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Layout {
    /// A folder as Hugging Face's libraries have it
    Hf,
    /// One file as llama.cpp has it
    Gguf,
}

/// A type that weights can be stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TypeName {
    /// 32 bits
    F32,
    /// 16 bits, of which 10 are digits
    F16,
    /// 16 bits with the range of 32
    Bf16,
    /// 8 bits and a half for each 32 (GGUF)
    #[value(name = "q8_0")]
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 4 bits and a half for each 32 (GGUF)
    #[value(name = "q4_0")]
    #[serde(rename = "q4_0")]
    Q4_0,
}

/// `scribe models export --json`, `scribe models quantize --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    model: &'a str,
    output: &'a Path,
    layout: Layout,
    dtype: TypeName,
    bytes: u64,
    tensors: usize,
    /// Matrices whose rows are no whole blocks; stored as F16.
    unblocked: &'a [String],
}

impl TypeName {
    const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q4_0];

    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::Bf16,
            Self::Q8_0 => Dtype::Q8_0,
            Self::Q4_0 => Dtype::Q4_0,
        }
    }

    fn has_blocks(self) -> bool {
        self.dtype().block_elements() > 1
    }

    /// The type of the source, where this layout can hold it.
    fn of_source(stored: Option<Dtype>, layout: Layout) -> Self {
        let same = Self::ALL.into_iter().find(|name| Some(name.dtype()) == stored);
        same.filter(|name| layout == Layout::Gguf || !name.has_blocks()).unwrap_or(Self::F32)
    }
}

/// Writes a model in the layout that is asked for.
pub(super) fn export(session: &mut Session, arguments: ExportArguments) -> Result<(), Failure> {
    let ExportArguments { model, adapter, to, dtype, out } = arguments;
    if to == Layout::Hf && dtype.is_some_and(TypeName::has_blocks) {
        return Err(Failure::usage(
            "a Hugging Face folder holds weights in f32, f16 or bf16",
            "choose one of these, or --to gguf",
        ));
    }
    check_target(&out)?;
    let adapter = AdapterArguments { adapter, merge_adapter: false };
    let located = locate_with(session, Some(&model), &adapter)?;
    write(session, &located, to, dtype, &out)
}

/// Writes a model as a GGUF file.
pub(super) fn quantize(session: &mut Session, arguments: QuantizeArguments) -> Result<(), Failure> {
    let QuantizeArguments { model, dtype, out } = arguments;
    check_target(&out)?;
    let none = AdapterArguments { adapter: None, merge_adapter: false };
    let located = locate_with(session, Some(&model), &none)?;
    write(session, &located, Layout::Gguf, Some(dtype), &out)
}

fn write(
    session: &mut Session,
    located: &Located,
    layout: Layout,
    dtype: Option<TypeName>,
    out: &Path,
) -> Result<(), Failure> {
    let opened = Opened::open(located).map_err(|error| cannot_use(located, error))?;
    let stored = opened.stored_dtype();
    let dtype = dtype.unwrap_or_else(|| TypeName::of_source(stored, layout));
    if stored != Some(dtype.dtype()) && stored.is_none_or(|stored| stored.block_elements() > 1) {
        let from = stored.map_or_else(|| "several types".to_owned(), |stored| stored.to_string());
        session.terminal.note(format_args!(
            "the weights of {} are rounded to {from} already; what that has lost stays lost",
            located.name
        ));
    }
    let (exported, bytes) = land(session, located, opened, (layout, dtype), out)?;
    if !exported.unblocked.is_empty() {
        session.terminal.warn(format_args!(
            "stored as F16, because their rows are no multiple of 32: {}",
            exported.unblocked.join(", ")
        ));
    }
    if session.terminal.wants_json() {
        session.terminal.json(&Report {
            schema: "scribe.models.export/1",
            model: &located.name,
            output: out,
            layout,
            dtype,
            bytes,
            tensors: exported.tensors,
            unblocked: &exported.unblocked,
        })?;
        return Ok(());
    }
    session.terminal.line(out.display())?;
    session.terminal.note(format_args!(
        "{} as {}, {}",
        located.name,
        dtype.dtype(),
        bytes_for_people(bytes)
    ));
    Ok(())
}

/// What is wrong with the output shows before a model is fetched.
pub(super) fn check_target(out: &Path) -> Result<(), Failure> {
    if out.symlink_metadata().is_ok() {
        return Err(Failure::usage(
            format!("`{}` is there already", out.display()),
            "choose another --out, or remove it first",
        ));
    }
    let folder = out.parent().filter(|folder| *folder != Path::new(""));
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => Err(Failure::not_found(
            format!("there is no folder `{}`", folder.display()),
            "make it, or name another --out",
        )),
        None => Ok(()),
    }
}

/// Writes the files, showing progress.
fn land(
    session: &mut Session,
    located: &Located,
    opened: Opened<'_>,
    (layout, dtype): (Layout, TypeName),
    out: &Path,
) -> Result<(model::export::Exported, u64), Failure> {
    let mut progress = Progress::new(&mut session.terminal);
    let mut begun = false;
    let mut heard = |done: u64, total: u64| {
        if !begun {
            progress.begin(format!("writing {}", located.name), 0, total);
            begun = true;
        }
        progress.advance(done);
    };
    let written = match layout {
        Layout::Hf => opened.write_folder(out, dtype.dtype(), &mut heard),
        Layout::Gguf => opened.write_gguf(out, dtype.dtype(), &mut heard),
    };
    drop(progress);
    written
        .map_err(|error| Failure::from(error).context(format!("cannot write `{}`", out.display())))
}
