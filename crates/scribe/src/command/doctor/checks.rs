//! The checks themselves; each returns one finding.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Finding;
use crate::command::Session;
use crate::command::progress::Progress;
use crate::command::serve;
use crate::config::Kernels;
use crate::fetch::{self, Found, Library};
use crate::terminal::bytes_for_people;
use crate::web::guard::check_exposure;

/// What to do about a server that others could use.
const KEY_FIX: &str = "set a key of 16 characters or more with --api-key-file FILE or \
                       SCRIBE_API_KEY, or listen on 127.0.0.1";

/// Less free memory than this does not hold the default model.
const MEMORY_BYTES_MIN: u64 = 512 << 20;

/// Less free disk than this does not hold the default model.
const DISK_BYTES_MIN: u64 = 256 << 20;

/// Less free disk than this will be felt soon.
const DISK_BYTES_COMFORTABLE: u64 = 2 << 30;

/// Bytes of the write test.
const PROBE_BYTES: usize = 1 << 20;

/// 1 January 2025: a clock before that is wrong, and certificates will seem not to be valid yet.
const CLOCK_SECONDS_MIN: u64 = 1_735_689_600;

/// Which kernels this CPU can run, and which one is taken.
pub(super) fn cpu(kernels: Option<Kernels>) -> Finding {
    let features = features();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let listed = if features.is_empty() { "none".to_owned() } else { features.join(" ") };
    let kernels = kernels.map(Into::into);
    match engine::Device::cpu(&engine::DeviceOptions { kernels, threads: None }) {
        Ok(device) => Finding::ok(
            "cpu",
            format!("{cores} cores; features: {listed}; kernels: {}", device.kernels()),
        ),
        Err(error) => Finding::broken(
            "cpu",
            format!("{cores} cores; features: {listed}; the engine cannot start: {error}"),
            "choose kernels that run everywhere: SCRIBE_KERNELS=portable",
        ),
    }
}

/// Memory that is free.
pub(super) fn memory() -> Finding {
    let Some(free) = available_memory_bytes() else {
        return Finding::ok("memory", "this system does not tell how much is free");
    };
    let message = format!("{} are free", bytes_for_people(free));
    if free < MEMORY_BYTES_MIN {
        let fix =
            format!("close other programs; {} are needed", bytes_for_people(MEMORY_BYTES_MIN));
        return Finding::broken("memory", message, fix);
    }
    Finding::ok("memory", message)
}

/// Whether the data folder can be written, flushed and read back.
pub(super) fn data_folder(data: &Path) -> Finding {
    let start = Instant::now();
    match write_flush_read(data) {
        Ok(()) => Finding::ok(
            "data folder",
            format!(
                "{} can be written and flushed ({} ms)",
                data.display(),
                start.elapsed().as_millis()
            ),
        ),
        Err(error) => Finding::broken(
            "data folder",
            format!("{}: {error}", data.display()),
            "give this user the right to write there, or choose another folder with --data DIR",
        ),
    }
}

/// Room on the data folder's disk.
pub(super) fn disk(data: &Path) -> Finding {
    let Some(existing) = data.ancestors().find(|folder| folder.exists()) else {
        return Finding::ok("disk", "the data folder's disk is not known yet");
    };
    let free = match fetch::pull::free_bytes(existing) {
        Ok(free) => free,
        Err(error) => {
            return Finding::warning("disk", error.to_string(), "check that the disk is mounted");
        }
    };
    let message = format!("{} are free on the disk of {}", bytes_for_people(free), data.display());
    let fix = "remove models that are not needed with `scribe models remove`, or choose another \
               folder with --data DIR";
    if free < DISK_BYTES_MIN {
        Finding::broken("disk", message, fix)
    } else if free < DISK_BYTES_COMFORTABLE {
        Finding::warning("disk", message, fix)
    } else {
        Finding::ok("disk", message)
    }
}

/// Whether `scribe serve` could listen.
pub(super) fn port(address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok("port", format!("{address} is free")),
        Err(error) => {
            let other = SocketAddr::new(address.ip(), address.port().wrapping_add(1));
            Finding::warning(
                "port",
                format!("{address}: {error}"),
                format!("stop what listens there, or run `scribe serve --address {other}`"),
            )
        }
    }
}

/// Who could use `scribe serve` at this address.
pub(super) fn exposure(address: SocketAddr, key_file: Option<&Path>) -> Finding {
    let has_key = match serve::read_key(key_file) {
        Ok(key) => key.is_some(),
        Err(failure) => {
            let error = failure.error.map_or_else(String::new, |error| format!("{error:#}"));
            return Finding::broken("exposure", error, KEY_FIX);
        }
    };
    let message = match (check_exposure(address, has_key), has_key) {
        (Err(_), _) => {
            let message = format!("others could use the model at {address} without a key");
            return Finding::broken("exposure", format!("{message}; serve refuses"), KEY_FIX);
        }
        (Ok(()), true) => format!("{address} answers those who have the key"),
        (Ok(()), false) => format!("{address} is reached from this machine alone"),
    };
    Finding::ok("exposure", message)
}

/// Whether wheels could be fetched.
pub(super) fn python() -> Finding {
    match fetch::pip_version() {
        Some((program, version)) => Finding::ok("python", format!("`{program}` has {version}")),
        None => Finding::warning(
            "python",
            "no Python with pip was found; models come from https sources alone",
            "install Python 3 with pip if the https sources cannot be reached from here",
        ),
    }
}

/// Whether the clock is near the truth.
pub(super) fn clock() -> Finding {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(now) if now.as_secs() >= CLOCK_SECONDS_MIN => Finding::ok("clock", "plausible"),
        _ => Finding::broken(
            "clock",
            "it shows a time before 2025, so no certificate will seem valid",
            "set the system's clock",
        ),
    }
}

/// Whether the installed models are what they were when they landed.
pub(super) fn models(session: &mut Session, library: &Library, quick: bool) -> Vec<Finding> {
    let installed = match library.installed() {
        Ok(installed) => installed,
        Err(error) => return vec![Finding::broken("models", error.to_string(), error.hint())],
    };
    if installed.is_empty() {
        let default = &library.catalogue().default;
        return vec![Finding::warning(
            "models",
            "none is installed",
            format!("`scribe models pull {default}`; `scribe serve` does that by itself"),
        )];
    }
    let mut findings = Vec::new();
    for Found { name, model } in installed {
        let checked = model.and_then(|model| {
            if quick {
                return model.check_lengths();
            }
            let mut progress = Progress::new(&mut session.terminal);
            progress.begin(format!("checking {name}"), 0, model.bytes());
            model.verify(&mut |bytes| progress.advance(bytes))
        });
        let how = if quick { "lengths are right" } else { "every sha256 is right" };
        findings.push(match checked {
            Ok(()) => Finding::ok("models", format!("{name}: {how}")),
            Err(error) => Finding::broken(
                "models",
                error.to_string(),
                format!("`scribe models remove {name}`, then `scribe models pull {name}`"),
            ),
        });
    }
    findings
}

/// Memory that programs could still take, swap not counted; nothing where the system does not
/// tell.
pub(crate) fn available_memory_bytes() -> Option<u64> {
    bytes_of("MemAvailable:")
}

/// One of the system's figures of memory; nothing where it does not tell.
pub(crate) fn bytes_of(figure: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(figure))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let known = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    known.into_iter().filter(|(_, present)| *present).map(|(name, _)| name).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

fn write_flush_read(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let result = probe(&path);
    // The probe's own error says more than a removal that fails after it.
    let removed = fs::remove_file(&path);
    result.and(removed)
}

fn probe(path: &Path) -> io::Result<()> {
    let bytes: Vec<u8> = (0..PROBE_BYTES).map(|i| (i % 251).to_le_bytes()[0]).collect();
    let mut file = File::create_new(path)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    drop(file);
    let mut back = Vec::new();
    File::open(path)?.read_to_end(&mut back)?;
    if back == bytes {
        Ok(())
    } else {
        Err(io::Error::other("what was read is not what was written"))
    }
}
