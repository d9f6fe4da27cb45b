//! `scribe serve`: the page and the API, on this machine.

mod promotion;

use std::env::VarError;
use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use chat::{Generator, GeneratorOptions};
use clap::Args;
use serde::Serialize;

use self::promotion::Promotions;
use super::plan::{self, SlotsOption};
use super::{Failure, Session, locate, models};
use crate::config::{ChatFormatOption, EngineOptions, RunOptions};
use crate::loading::{Loaded, Located};
use crate::web::{self, AppState, ServedModel, Shutdown, guard::KeyDigest};

/// Shortest key that is taken: shorter ones can be guessed.
const KEY_LENGTH_MIN: usize = 16;

/// Longest file with a key, in bytes: keys are far shorter, and what comes out of a pipe or a device
/// may have no end.
const KEY_FILE_BYTES_MAX: u64 = 4 << 10;

/// The variable that may hold the key itself.
const KEY_VARIABLE: &str = "SCRIBE_API_KEY";

/// Time for tasks to end after the last request.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

/// Where to listen, who may ask, and with which model.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  scribe serve\n  scribe serve --run runs/tiny\n  scribe serve --model \
                        qwen2.5-coder-0.5b-instruct --address 127.0.0.1:9000\n  \
                        SCRIBE_API_KEY=$(openssl rand -hex 32) scribe serve --address 0.0.0.0:8080 \
                        --allow-host chat.example.org"
)]
pub struct ServeOptions {
    /// Address to listen on; one that others can reach needs a key
    #[arg(long, env = "SCRIBE_ADDRESS", default_value = super::DEFAULT_ADDRESS,
          value_parser = super::parse_address, value_name = "HOST:PORT", hide_env_values = true)]
    address: SocketAddr,

    /// Open the page in the browser
    #[arg(long)]
    open: bool,

    /// File with the key that requests must show (or SCRIBE_API_KEY, with the key itself)
    #[arg(long, env = "SCRIBE_API_KEY_FILE", value_name = "FILE", hide_env_values = true)]
    api_key_file: Option<PathBuf>,

    /// Host name that requests may use besides loopback names; may be given again
    #[arg(
        long,
        env = "SCRIBE_ALLOW_HOST",
        value_name = "HOST",
        value_delimiter = ',',
        hide_env_values = true
    )]
    allow_host: Vec<String>,

    /// Other name that requests may use for the model; may be given again
    #[arg(
        long,
        env = "SCRIBE_ALIAS",
        value_name = "NAME",
        value_delimiter = ',',
        hide_env_values = true
    )]
    alias: Vec<String>,

    /// Requests that may wait when all slots are taken (0: none); more are told to come back later
    #[arg(
        long,
        env = "SCRIBE_QUEUE",
        value_name = "N",
        default_value = "64",
        hide_env_values = true
    )]
    queue: usize,

    #[command(flatten)]
    engine: EngineOptions,

    #[command(flatten)]
    run: RunOptions,

    #[command(flatten)]
    format: ChatFormatOption,

    #[command(flatten)]
    slots: SlotsOption,
}

/// `scribe serve --json`: one line once the server answers.
#[derive(Debug, Serialize)]
struct Ready<'a> {
    schema: &'static str,
    url: String,
    model: &'a str,
    slots: usize,
    context_tokens: usize,
    key_required: bool,
    /// Whether there is a run, whose answers people rank at `/label`.
    ranks: bool,
}

/// Serves until Ctrl-C or SIGTERM.
pub(super) fn run(session: &mut Session, options: &ServeOptions) -> Result<(), Failure> {
    let key = read_key(options.api_key_file.as_deref())?;
    if web::guard::check_exposure(options.address, key.is_some()).is_err() {
        return Err(Failure::usage(
            format!("others could use the model at {} without a key", options.address),
            "set a key with --api-key-file FILE or SCRIBE_API_KEY, or listen on 127.0.0.1",
        ));
    }
    // Bound first: a port in use shows before anything is loaded, and early clients learn to wait.
    let listener = bind(options.address)?;
    let bound = listener.local_addr()?;
    let mut edge = web::ServeOptions::new(bound);
    edge.allowed_hosts.clone_from(&options.allow_host);
    edge.key = key;
    edge.run.clone_from(&options.run.run);
    let state = AppState::loading(edge);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (trigger, shutdown) = Shutdown::manual();
    let server = runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        Ok::<_, Failure>(tokio::spawn(web::serve(state.clone(), listener, shutdown)))
    })?;
    // Looked at first, so that no promotion is missed that comes while the model is loaded.
    let promotions = Promotions::of(options);
    let located = locate::locate_any(session, &options.run, &options.engine)?;
    let served = load(session, options, &located)?;
    // Until here Ctrl-C ends the program at once; there is nothing to be finished.
    runtime.block_on(async { trigger.follow_signals() })?;
    let generator = served.generator.clone();
    let ready = Ready {
        schema: "scribe.serve/1",
        url: url(bound),
        model: &served.name.clone(),
        slots: generator.slots(),
        context_tokens: generator.context_tokens(),
        key_required: state.options().key.is_some(),
        ranks: options.run.run.is_some(),
    };
    state.ready(vec![served]);
    if let Some(promotions) = promotions {
        promotions.follow(session, &state, located)?;
    }
    tell_ready(session, &ready, options.open)?;
    let ended = runtime.block_on(server);
    // Work that nobody waits for any more is left where it is.
    runtime.shutdown_timeout(RUNTIME_GRACE);
    session.terminal.note("stopped");
    ended.map_err(|error| Failure::broken(error, "start it again"))
}

/// The model behind its queue; its memory plan is told on the way.
fn load(
    session: &mut Session,
    options: &ServeOptions,
    located: &Located,
) -> Result<ServedModel, Failure> {
    if located.only_pretrained {
        session.terminal.warn(format_args!(
            "{} has learned to write, not to answer: /v1/completions goes on with a text; for the \
             chat, teach it with `scribe sft`",
            located.name
        ));
    }
    let outline = models::outline(located, &options.engine)?;
    let batch = outline.batch_options(&options.engine, options.slots.slots.get())?;
    plan::tell(&mut session.terminal, &outline, &batch)?;
    plan::check_memory(&mut session.terminal, &outline, &batch)?;
    let loaded = models::load_to_chat(session, outline, options.format)?;
    served_model(loaded, batch, options.queue, &options.alias)
}

/// The model behind its queue, as the server wants it.
pub(super) fn served_model(
    loaded: Loaded,
    batch: model::BatchOptions,
    queue: usize,
    aliases: &[String],
) -> Result<ServedModel, Failure> {
    let Loaded { weights, tokenizer, format, sampling, template_passed_over: _ } = loaded;
    let generator =
        Generator::start(weights.model, tokenizer.clone(), GeneratorOptions { batch, queue })?;
    Ok(ServedModel {
        name: weights.name,
        aliases: aliases.to_vec(),
        created: weights.created,
        generator,
        chat_template: tokenizer.chat_template().map(str::to_owned),
        tokenizer,
        format,
        sampling,
        details: weights.details,
    })
}

fn tell_ready(session: &mut Session, ready: &Ready<'_>, open: bool) -> Result<(), Failure> {
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        terminal.json_line(ready)?;
    } else {
        terminal.line(&ready.url)?;
        terminal.note("chat at that address; the API is below /v1; Ctrl-C stops the server");
        if ready.ranks {
            terminal.note(format_args!("people rank answers of this run at {}/label", ready.url));
        }
    }
    if open && !open_in_browser(&ready.url) {
        terminal.warn("no browser could be opened; open the address by hand");
    }
    Ok(())
}

/// The key from the file, else from [`KEY_VARIABLE`]; the text itself goes no further than here.
pub(super) fn read_key(file: Option<&Path>) -> Result<Option<KeyDigest>, Failure> {
    let text = match file {
        Some(path) => read_key_file(path)?,
        None => match std::env::var(KEY_VARIABLE) {
            Ok(text) => text,
            Err(VarError::NotPresent) => return Ok(None),
            // Serving without a key is not what was asked for.
            Err(VarError::NotUnicode(_)) => {
                return Err(Failure::usage(
                    format!("the key in {KEY_VARIABLE} is no valid text"),
                    "make one with `openssl rand -hex 32`",
                ));
            }
        },
    };
    let key = text.trim();
    // Others could not be sent: a header holds no more than these.
    if !key.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Failure::usage(
            "the key may only have letters from A to Z, digits and signs of ASCII, and no spaces",
            "make one with `openssl rand -hex 32`",
        ));
    }
    if key.len() < KEY_LENGTH_MIN {
        return Err(Failure::usage(
            format!("the key must have {KEY_LENGTH_MIN} characters or more"),
            "make one with `openssl rand -hex 32`",
        ));
    }
    Ok(Some(KeyDigest::of(key)))
}

/// What is in the file with the key. Whoever starts the program names it, so it may be a pipe, as
/// no other file may: `--api-key-file <(pass show scribe)`.
fn read_key_file(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| file.take(KEY_FILE_BYTES_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| {
        Failure::from(error).context(format!("cannot read the key in `{}`", path.display()))
    })?;
    if text.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(Failure::usage(
            format!("`{}` has more than the {KEY_FILE_BYTES_MAX} bytes of a key", path.display()),
            "name a file with a key alone, such as one of `openssl rand -hex 32`",
        ));
    }
    Ok(text)
}

fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                let other =
                    SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(0));
                format!("stop what listens there, or choose another port: --address {other}")
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need special rights; choose a higher one with --address".into()
            }
            _ => "choose an address of this machine with --address, such as 127.0.0.1:8080".into(),
        };
        Failure::broken(error, hint).context(format!("cannot listen on {address}"))
    })
}

/// The address as it is typed into a browser of this machine.
fn url(bound: SocketAddr) -> String {
    let host = if bound.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { bound.ip() };
    format!("http://{}", SocketAddr::new(host, bound.port()))
}

/// Whether some program took the address.
fn open_in_browser(url: &str) -> bool {
    ["xdg-open", "open"].into_iter().any(|program| {
        Command::new(program)
            .arg(url)
            .env_remove(KEY_VARIABLE)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .is_ok()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_address_of_all_networks_is_opened_as_this_machine() {
        assert_eq!(url(([0, 0, 0, 0], 81).into()), "http://127.0.0.1:81");
    }

    #[test]
    fn keys_that_are_short_or_cannot_be_sent_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "short\n").unwrap();
        assert!(read_key(Some(&path)).is_err());
        for key in
            ["0123456789abcdé", "0123456789 abcdef", "0123456789abcdef\u{1}", "пароль-из-букв"]
        {
            fs::write(&path, key).unwrap();
            let error = format!("{:?}", read_key(Some(&path)).unwrap_err());
            assert!(error.contains("signs of ASCII"), "{key}: {error}");
        }
        fs::write(&path, "0123456789abcdef\n").unwrap();
        assert!(read_key(Some(&path)).unwrap().unwrap().matches("0123456789abcdef"));
    }

    #[test]
    fn a_key_may_come_through_a_pipe_and_no_endless_one_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        let read = |bytes: &'static [u8]| {
            std::thread::scope(|scope| {
                // Who reads may leave before all is written.
                scope.spawn(|| fs::write(&path, bytes));
                read_key(Some(&path))
            })
        };
        assert!(read(b"0123456789abcdef\n").unwrap().unwrap().matches("0123456789abcdef"));
        let error = format!("{:?}", read(&[b'k'; 1 << 20]).unwrap_err());
        assert!(error.contains("more than the 4096 bytes of a key"), "{error}");
        assert!(read_key(Some(Path::new("/dev/zero"))).is_err());
    }
}
