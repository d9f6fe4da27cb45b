//! Opening what somebody else put on the disk: a regular file, and without waiting for anything.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The longest small text, in bytes: settings, a catalogue, advice that comes with a model.
pub const TEXT_BYTES_MAX: u64 = 8 << 20;

/// Opens a regular file to be read; links to one are followed.
///
/// Whatever else has that name is refused, and never waited for: a plain `open` of a named pipe
/// ends when somebody writes to it, and a read of a device may never end.
///
/// # Errors
///
/// What the operating system fails with; `InvalidInput` for what is no regular file, with a source
/// that says what it is.
pub fn open_file(path: &Path) -> io::Result<File> {
    // Looked at first, because to open a device can do something by itself; and once more when it
    // is open, because the name may have come to mean another thing.
    check(&fs::metadata(path)?)?;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = flags.bits().try_into().map_err(|_| io::Error::from(io::ErrorKind::Unsupported))?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// Reads a small text whole, from a file as [`open_file`] opens it.
///
/// # Errors
///
/// As [`open_file`]; `InvalidData` for what is not UTF-8 or has more than [`TEXT_BYTES_MAX`] bytes.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open_file(path)?.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > TEXT_BYTES_MAX {
        let message = format!("it has more than {TEXT_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(text)
}

/// Refuses what is no regular file, in words.
fn check(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    let found = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "something else",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is not a file but {found}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::Error;
    use crate::disk::{Disk, RealDisk};

    /// A folder with a named pipe in it.
    fn pipe(name: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, folder.path().join(name), kind, mode, 0).unwrap();
        folder
    }

    #[test]
    fn only_regular_files_are_opened_and_nothing_is_waited_for() {
        let folder = pipe("pipe");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "text").unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink(at("pipe"), at("link to a pipe")).unwrap();
        symlink("/dev/zero", at("link to a device")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(io::read_to_string(open_file(&at(name)).unwrap()).unwrap(), "text");
        }
        for (name, found) in [
            ("pipe", "a named pipe"),
            ("link to a pipe", "a named pipe"),
            ("socket", "a socket"),
            ("folder", "a folder"),
            ("link to a device", "a device"),
        ] {
            let error = open_file(&at(name)).unwrap_err();
            assert_eq!(error.to_string(), format!("it is not a file but {found}"), "{name}");
        }
        assert_eq!(open_file(&at("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn small_texts_are_read_whole_or_refused() {
        let folder = pipe("pipe");
        let path = folder.path().join("text");
        let most = usize::try_from(TEXT_BYTES_MAX).unwrap();
        for (bytes, read) in [
            (vec![], Some(0)),
            (vec![b'x'; most], Some(most)),
            (vec![b'x'; most + 1], None),
            (vec![0xff], None),
        ] {
            fs::write(&path, bytes).unwrap();
            match read_text(&path) {
                Ok(text) => assert_eq!(Some(text.len()), read),
                Err(error) => assert_eq!((error.kind(), read), (io::ErrorKind::InvalidData, None)),
            }
        }
        assert!(read_text(&folder.path().join("pipe")).is_err());
    }

    #[test]
    fn a_pipe_in_place_of_an_artifact_is_refused_with_its_path() {
        let refusal = |error: Error| {
            let text = error.to_string();
            assert!(text.starts_with("cannot open /"), "{text}");
            assert!(
                text.ends_with("it is not a file but a named pipe; put a file there"),
                "{text}"
            );
        };
        let model = pipe("model.gguf");
        refusal(crate::gguf::Gguf::open(&model.path().join("model.gguf")).unwrap_err());
        refusal(crate::hash::file(&model.path().join("model.gguf"), |_| ()).unwrap_err());
        for name in ["model.safetensors", "model.safetensors.index.json"] {
            let folder = pipe(name);
            refusal(crate::safetensors::SafetensorsFolder::open(folder.path()).unwrap_err());
        }
        let manifest = pipe(crate::folder::MANIFEST_FILE);
        refusal(crate::folder::open(&RealDisk, manifest.path()).unwrap_err());
        assert!(RealDisk.open(manifest.path()).is_err(), "a folder");
    }
}
