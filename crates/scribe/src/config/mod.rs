//! Options that many commands share, where their values come from, and the data folder.
//!
//! A value is taken from the command line, else from the environment (`SCRIBE_…`), else from
//! `scribe.toml` in the current folder, else from the person's own `config.toml`, else it is the
//! default that `--help` shows.

pub mod file;
pub mod sampling;

use std::ffi::OsString;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgAction, Args};
use training::run_folder::{PPO_FOLDER, STAGES};

use crate::terminal::{ColorChoice, TerminalOptions};

/// Heading of the options that every command takes.
const GLOBAL: &str = "Global options";

/// Heading of the options about the model and how it is run.
const ENGINE: &str = "Model options";

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct GlobalOptions {
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = GLOBAL)]
    pub verbose: u8,

    /// Say less; twice for errors only
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = GLOBAL)]
    pub quiet: u8,

    /// When to color what is shown
    #[arg(long, global = true, value_enum, default_value_t, env = "SCRIBE_COLOR",
          value_name = "WHEN", hide_env_values = true, help_heading = GLOBAL)]
    pub color: ColorChoice,

    /// Print results as JSON on standard output
    #[arg(long, global = true, env = "SCRIBE_JSON", value_parser = truth,
          hide_env_values = true, help_heading = GLOBAL)]
    pub json: bool,

    /// Fetch nothing from the network
    #[arg(long, global = true, env = "SCRIBE_OFFLINE", value_parser = truth,
          hide_env_values = true, help_heading = GLOBAL)]
    pub offline: bool,

    /// Show no progress bars
    #[arg(long, global = true, env = "SCRIBE_NO_PROGRESS",
          value_parser = truth, hide_env_values = true, help_heading = GLOBAL)]
    pub no_progress: bool,

    /// Folder of models, history and settings [default: the XDG data folder]
    #[arg(long, global = true, env = "SCRIBE_DATA", value_name = "DIR", hide_env_values = true,
          help_heading = GLOBAL)]
    pub data: Option<PathBuf>,

    /// Catalogue of models to use in place of the embedded one
    #[arg(long, global = true, env = "SCRIBE_CATALOGUE", value_name = "FILE",
          hide_env_values = true, hide_short_help = true, help_heading = GLOBAL)]
    pub catalogue: Option<PathBuf>,
}

/// Options about the model and how it is run.
#[derive(Debug, Clone, Args)]
pub struct EngineOptions {
    /// Model: a name from `scribe models list`, a .gguf file, or a Hugging Face folder
    /// [default: the catalogue's default model]
    #[arg(short, long, env = "SCRIBE_MODEL", value_name = "NAME|PATH", hide_env_values = true,
          help_heading = ENGINE)]
    pub model: Option<String>,

    /// What was learned beside it.
    #[command(flatten)]
    pub adapter: AdapterArguments,

    /// What computes.
    #[command(flatten)]
    pub device: DeviceArguments,

    /// Most tokens of one conversation [default: what the model was made for, 8192 at most]
    #[arg(long, env = "SCRIBE_CONTEXT_TOKENS", value_name = "N", hide_env_values = true,
          value_parser = count::<TOKENS_MAX>, help_heading = ENGINE)]
    pub context_tokens: Option<NonZeroUsize>,

    /// Memory for the cache of keys and values, as in 512M or 2G [default: planned]
    #[arg(long, env = "SCRIBE_CACHE_BYTES", value_name = "SIZE", hide_env_values = true,
          help_heading = ENGINE)]
    pub cache_bytes: Option<ByteSize>,
}

/// Options about what was learned beside a model.
#[derive(Debug, Clone, Args)]
pub struct AdapterArguments {
    /// Adapter that was learned beside the model: a folder in PEFT's layout, or a run that made one
    /// [without --model, the adapter says which model]
    #[arg(long, env = "SCRIBE_ADAPTER", value_name = "DIR", hide_env_values = true,
          help_heading = ENGINE)]
    pub adapter: Option<PathBuf>,

    /// Add the adapter to the weights while they are read, which costs nothing more later but
    /// rounds them anew
    #[arg(long, env = "SCRIBE_MERGE_ADAPTER", value_parser = truth, hide_env_values = true,
          help_heading = ENGINE)]
    pub merge_adapter: bool,
}

/// Options about a model that a run has made.
#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// The folder of a run: the newest model in it, in place of --model
    #[arg(long, value_name = "DIR", help_heading = ENGINE)]
    pub run: Option<PathBuf>,

    /// A stage of the run [default: the newest]
    #[arg(long, value_enum, value_name = "STAGE", requires = "run", help_heading = ENGINE)]
    pub stage: Option<StageName>,
}

/// The stages of a run that leave a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StageName {
    /// It writes: it goes on with any text
    Pretrained,
    /// It answers
    Sft,
    /// It learned from what people preferred: the last round
    Ppo,
}

impl StageName {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Pretrained, Self::Sft, Self::Ppo];

    /// Its folder in a run.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Pretrained => STAGES[0],
            Self::Sft => STAGES[1],
            Self::Ppo => PPO_FOLDER,
        }
    }

    /// What people type for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pretrained => "pretrained",
            Self::Sft => "sft",
            Self::Ppo => "ppo",
        }
    }
}

/// The option of the commands that write conversations.
#[derive(Debug, Clone, Copy, Args)]
pub struct ChatFormatOption {
    /// How conversations are written for the model
    #[arg(long, env = "SCRIBE_CHAT_FORMAT", value_enum, default_value_t, value_name = "FORMAT",
          hide_env_values = true, help_heading = ENGINE)]
    pub chat_format: ChatFormatName,
}

/// Options about what computes.
#[derive(Debug, Clone, Args)]
pub struct DeviceArguments {
    /// Threads that compute [default: one per core]
    #[arg(long, env = "SCRIBE_THREADS", value_name = "N", hide_env_values = true,
          value_parser = count::<THREADS_MAX>, help_heading = ENGINE)]
    pub threads: Option<NonZeroUsize>,

    /// Which kernels compute [default: the fastest that this CPU has]
    #[arg(long, env = "SCRIBE_KERNELS", value_enum, value_name = "PATH", hide_env_values = true,
          help_heading = ENGINE)]
    pub kernels: Option<Kernels>,
}

/// Most threads that can be asked for.
pub(crate) const THREADS_MAX: usize = 1024;

/// Most tokens that can be asked for: no model reads more.
pub(crate) const TOKENS_MAX: usize = 1 << 24;

/// Reads a number from 1 to `MOST`.
pub(crate) fn count<const MOST: usize>(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.trim().parse().ok().filter(|number: &NonZeroUsize| number.get() <= MOST);
    number.ok_or_else(|| format!("it must be a whole number from 1 to {MOST}"))
}

/// Reads a number that has no sign.
pub(crate) fn whole<N: FromStr>(text: &str) -> Result<N, String> {
    text.trim().parse().map_err(|_| "it must be a whole number, 0 or larger".to_owned())
}

/// Reads a number from 1 on.
pub(crate) fn positive(text: &str) -> Result<NonZeroU64, String> {
    text.trim().parse().map_err(|_| "it must be a whole number, 1 or larger".to_owned())
}

/// Reads what an environment variable says of an option that is on or off.
fn truth(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => {
            Err("its variable or setting must be 1 or 0, true or false, yes or no, on or off"
                .into())
        }
    }
}

/// A number of bytes, written `1234`, `512M`, `2G`; K, M, G and T are powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

/// The kernels that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kernels {
    /// Clear and slow, for comparison
    Reference,
    /// Any CPU
    Portable,
    /// AVX2 and FMA
    Avx2,
    /// AVX-512 with VNNI
    Avx512,
}

/// The chat formats that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ChatFormatName {
    /// As the model's own template says, else by its special tokens
    #[default]
    Auto,
    /// `<|im_start|>role … <|im_end|>`, as Qwen, SmolLM2 and many others
    Chatml,
    /// `<|start_header_id|>role<|end_header_id|> … <|eot_id|>`
    Llama3,
}

impl DeviceArguments {
    /// How the engine is to be started.
    #[must_use]
    pub fn options(&self) -> engine::DeviceOptions {
        engine::DeviceOptions { threads: self.threads, kernels: self.kernels.map(Into::into) }
    }
}

impl GlobalOptions {
    /// How to talk to the person.
    #[must_use]
    pub fn terminal(&self) -> TerminalOptions {
        TerminalOptions {
            color: self.color,
            verbosity: i16::from(self.verbose) - i16::from(self.quiet),
            json: self.json,
            no_progress: self.no_progress,
        }
    }

    /// The folder of models, history and settings; not created by this call.
    ///
    /// # Errors
    ///
    /// Fails if no option names one and the person has no home folder.
    pub fn data_folder(&self) -> anyhow::Result<PathBuf> {
        self.data.clone().or_else(|| user_folder("XDG_DATA_HOME", ".local/share")).ok_or_else(
            || anyhow::anyhow!("no home folder is known; name a folder with --data DIR"),
        )
    }
}

impl From<Kernels> for engine::KernelPath {
    fn from(kernels: Kernels) -> Self {
        match kernels {
            Kernels::Reference => Self::Reference,
            Kernels::Portable => Self::Portable,
            Kernels::Avx2 => Self::Avx2,
            Kernels::Avx512 => Self::Avx512,
        }
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is no size; write a number, or one with K, M, G or T");
        let trimmed = text.trim().trim_end_matches(['b', 'B']).trim_end_matches(['i', 'I']);
        let digits = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match trimmed[digits.len()..].to_ascii_uppercase().as_str() {
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            _ => return Err(refuse()),
        };
        let number: u64 = digits.trim_end().parse().map_err(|_| refuse())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(refuse)
    }
}

/// `$variable/scribe`, else `~/fallback/scribe`.
pub(crate) fn user_folder(variable: &str, fallback: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    // The XDG rules say that a relative path there is to be ignored.
    let base = set(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(fallback)))?;
    Some(base.join("scribe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let parse = |text: &str| text.parse().map(|ByteSize(bytes)| bytes);
        assert_eq!(parse("1234"), Ok(1234));
        assert_eq!(parse("512M"), Ok(512 << 20));
        assert_eq!(parse("2g"), Ok(2 << 30));
        assert_eq!(parse("2GiB"), Ok(2 << 30));
        assert!(parse("2X").unwrap_err().contains("`2X` is no size"));
        assert!(parse("").is_err());
        assert!(parse("99999999999T").is_err());
    }
}
