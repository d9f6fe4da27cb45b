//! Gets what the tests need, says so, and names what could not be had.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::command::{cargo, command, find, output, root, run, say, target};

/// The model that the README's first command fetches.
const DEFAULT_MODEL: &str = "smollm2-135m-instruct";
/// The official client that the HTTP interface is checked with.
const OPENAI_CLIENT: &str = "openai==3.54.0";

/// What checks the page: the rules of accessibility, and the types of its scripts.
const PAGE_CHECKS: [&str; 2] = ["axe-core@4.14.1", "typescript@5.9.3"];

/// What was found or installed; what is absent makes its checks a visible skip.
#[derive(Debug)]
pub(crate) struct Tools {
    model: Option<PathBuf>,
    openai_python: Option<PathBuf>,
    /// TypeScript's compiler.
    tsc: Option<PathBuf>,
}

impl Tools {
    /// The default model's file, where it could be fetched.
    pub(crate) fn model(&self) -> Option<&Path> {
        self.model.as_deref()
    }

    /// The variables that the tests look at.
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        self.model.iter().map(|model| ("SCRIBE_TEST_MODEL", model.clone())).collect()
    }
}

/// Installs Chromium and the page's checkers where they can be had, fetches the default model, and sets
/// up the official OpenAI client.
///
/// # Errors
///
/// Only where the program itself does not build; a tool that cannot be had is a skip.
pub(crate) fn prepare() -> Result<Tools> {
    chromium();
    Ok(Tools { model: default_model()?, openai_python: openai_python(), tsc: page_checks() })
}

fn skipped(what: &str, error: &anyhow::Error) {
    say(&format!("skipped: {what}: {error:#}"));
}

fn chromium() {
    if find(&["chromium", "chromium-browser", "google-chrome"]).is_some()
        && find(&["chromedriver"]).is_some()
    {
        return;
    }
    say(
        "set-up: the page is tested in Chromium; installing chromium and chromium-driver with apt-get",
    );
    let installed = run(&mut command("apt-get", &["update", "-qq"])).and_then(|()| {
        let arguments = ["install", "-qq", "-y", "chromium", "chromium-driver"];
        run(command("apt-get", &arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    });
    if let Err(error) = installed {
        skipped("the checks in a browser", &error);
    }
}

/// The default model's file, fetched where it is not there; none where it cannot be had.
///
/// # Errors
///
/// Where the program that fetches it does not build.
pub(crate) fn default_model() -> Result<Option<PathBuf>> {
    say("set-up: building the program, to fetch its default model with it");
    run(&mut cargo(&["build", "--package", "scribe", "--locked"]))?;
    let program = target().join("debug/scribe");
    let data = target().join("test-data/scribe");
    let scribe = |arguments: &[&str]| {
        let mut scribe = Command::new(&program);
        scribe.arg("--data").arg(&data).args(arguments);
        scribe
    };
    if let Err(error) = run(&mut scribe(&["models", "pull", DEFAULT_MODEL])) {
        skipped("the checks with the default model", &error);
        return Ok(None);
    }
    let shown = output(&mut scribe(&["--json", "models", "show", DEFAULT_MODEL]))?;
    let shown: serde_json::Value = serde_json::from_str(&shown).context("models show --json")?;
    let installed = &shown["installed"];
    let folder = installed["folder"].as_str().context("models show --json names no folder")?;
    let file =
        installed["files"][0]["name"].as_str().context("models show --json names no file")?;
    Ok(Some(Path::new(folder).join(file)))
}

/// A virtual environment under `target/` with these packages, made once.
///
/// # Errors
///
/// Where Python is absent or a package cannot be installed.
pub(crate) fn python_environment(name: &str, install: &[&str]) -> Result<PathBuf> {
    let folder = target().join(name);
    let python = folder.join("bin/python");
    let mark = folder.join("installed");
    let wanted = install.join(" ");
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    say(&format!("set-up: a Python environment in {} with {wanted}", folder.display()));
    let system = find(&["python3", "python"]).context("python3 is not there: install it")?;
    run(command(system, &["-m", "venv"]).arg(&folder))?;
    run(command(&python, &["-m", "pip", "install", "--quiet"]).args(install))?;
    std::fs::write(&mark, wanted)?;
    Ok(python)
}

fn openai_python() -> Option<PathBuf> {
    python_environment("openai-client", &[OPENAI_CLIENT])
        .inspect_err(|error| skipped("the check with the official OpenAI client", error))
        .ok()
}

/// Fetches the page's checkers below `target/`, once.
fn page_checks() -> Option<PathBuf> {
    let folder = target();
    let mark = folder.join("page-checks");
    let tsc = folder.join("node_modules/.bin/tsc");
    let wanted = PAGE_CHECKS.join(" ");
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return Some(tsc);
    }
    say(&format!("set-up: npm brings {wanted}"));
    let arguments = ["install", "--silent", "--no-save", "--ignore-scripts", "--prefix"];
    run(command("npm", &arguments).arg(&folder).args(PAGE_CHECKS))
        .and_then(|()| Ok(std::fs::write(&mark, wanted)?))
        .inspect_err(|error| skipped("the page's accessibility rules and its types", error))
        .ok()?;
    Some(tsc)
}

/// Checks the types of the page's scripts, which are written in their comments.
///
/// # Errors
///
/// Where a type is wrong.
pub(crate) fn page_types(tools: &Tools) -> Result<()> {
    let Some(tsc) = &tools.tsc else { return Ok(()) };
    let options = "--noEmit --allowJs --checkJs --strict --target es2022 --module es2022 \
                   --moduleResolution bundler --lib es2023,dom,dom.iterable main.js label.js sanitize.js";
    let scripts = root().join("crates/scribe/src/web/static");
    run(Command::new(tsc).args(options.split_whitespace()).current_dir(scripts))
}

/// Runs the official client against a server with the tests' model and a key.
///
/// # Errors
///
/// Where the client did not get what its types expect.
pub(crate) fn openai_client(tools: &Tools) -> Result<()> {
    let Some(python) = &tools.openai_python else { return Ok(()) };
    let key = "sk-scribe-for-the-check";
    let fixture = root().join("fixtures/tiny-chat.gguf");
    let server = Server::start(&target().join("debug/scribe"), &fixture, key)?;
    let script = root().join("xtask/python/check_openai_client.py");
    let url = format!("{}/v1", server.url());
    run(Command::new(python).arg(script).args([&url, "tiny-chat", key]).env("OPENAI_API_KEY", key))
}

/// A running `scribe serve`, ended when dropped.
pub(crate) struct Server {
    process: Child,
    address: String,
}

impl Server {
    /// Serves the model on a free port of this machine to those who know the key.
    ///
    /// # Errors
    ///
    /// Where the program cannot be started, or does not answer.
    pub(crate) fn start(program: &Path, model: &Path, key: &str) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let process = Command::new(program)
            .args(["serve", "--quiet", "--address", &address, "--model"])
            .arg(model)
            .arg("--data")
            .arg(target().join("test-data/scribe"))
            .env("SCRIBE_API_KEY", key)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let server = Self { process, address };
        let start = Instant::now();
        while !server.is_ready() {
            if start.elapsed() > Duration::from_secs(30) {
                bail!("scribe serve does not answer on {} after 30 s", server.address);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Where it listens, without a path.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether the server listens and its model is loaded.
    fn is_ready(&self) -> bool {
        let mut answer = [0; 12];
        TcpStream::connect(&self.address)
            .and_then(|mut stream| {
                write!(stream, "GET /health HTTP/1.1\r\nhost: {}\r\n\r\n", self.address)?;
                stream.read_exact(&mut answer)
            })
            .is_ok()
            && answer == *b"HTTP/1.1 200"
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have ended by itself; nothing is lost then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
