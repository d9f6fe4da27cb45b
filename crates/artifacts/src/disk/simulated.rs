//! A disk in memory that remembers what a power cut may take back, and fails on demand.
//!
//! The model is the one of ALICE (Pillai et al., OSDI 2014): every write and every change of a name
//! stays pending until its file or folder is synced, and a power cut may lose any of the pending
//! ones while later ones survive. A write may also survive by half, or as zeros of its length. A
//! rename is one change. A failed sync of a file loses its pending writes for good, although they
//! can still be read until the power cut.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, Kind, NewFile};

/// A disk in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk {
    shared: Arc<Mutex<Shared>>,
}

/// A fault that a test plants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The call that fails, counted from 0.
    pub call: usize,
    /// How it fails.
    pub kind: FaultKind,
    /// Whether all later calls fail too.
    pub lasting: bool,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// No space is left (ENOSPC); half of a write is done.
    NoSpace,
    /// The device fails (EIO); half of a write is done.
    InputOutput,
    /// A write takes only half of the bytes and says so, which is no error; no other call fails.
    ShortWrite,
    /// The call is done in full and reports a failure all the same.
    DoneButReported,
}

/// What a power cut does to one pending change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It survives.
    Kept,
    /// It is lost.
    Lost,
    /// A write survives by its first half; a change of a name survives.
    Half,
    /// A write leaves zeros of its length; a change of a name survives.
    Zeros,
}

#[derive(Debug, Default)]
struct Shared {
    state: State,
    calls: Vec<String>,
    fault: Option<Fault>,
    /// The state after each call, where a test asked for them.
    snapshots: Option<Vec<State>>,
}

/// What processes see, what a power cut leaves for certain, and the changes between the two.
#[derive(Clone, Debug, Default)]
struct State {
    seen: Tree,
    durable: Tree,
    pending: Vec<Change>,
}

/// Files and folders by number; number 0 is the root.
#[derive(Clone, Debug)]
struct Tree {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
enum Node {
    File(Vec<u8>),
    Folder(BTreeMap<String, usize>),
}

/// The place of a name: a folder's number, and the name in it.
type Place = (usize, String);

#[derive(Clone, Debug)]
enum Change {
    Write { file: usize, offset: usize, bytes: Vec<u8> },
    Link { at: Place, node: usize },
    Unlink { at: Place },
    Rename { from: Place, to: Place, node: usize },
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![Node::Folder(BTreeMap::new())] }
    }
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Plants a fault, or none; the count of calls begins anew.
    pub fn plant(&self, fault: Option<Fault>) {
        let mut shared = self.lock();
        shared.fault = fault;
        shared.calls.clear();
    }

    /// Begins to keep the state after each call; the count of calls begins anew.
    pub fn record(&self) {
        let mut shared = self.lock();
        shared.calls.clear();
        shared.snapshots = Some(vec![shared.state.clone()]);
    }

    /// All calls since [`SimulatedDisk::plant`] or [`SimulatedDisk::record`], in words.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// The disk as it was before the first recorded call, then after each of them.
    pub fn recorded(&self) -> Vec<Self> {
        let states = self.lock().snapshots.clone().unwrap_or_default();
        states.into_iter().map(Self::of).collect()
    }

    /// How many changes a power cut may lose now.
    pub fn pending(&self) -> usize {
        self.lock().state.pending.len()
    }

    /// The disk after a power cut in which each pending change met its fate, oldest first.
    ///
    /// # Panics
    ///
    /// Panics if there are not as many fates as pending changes.
    pub fn after_power_cut(&self, fates: &[Fate]) -> Self {
        let State { mut durable, pending, .. } = self.lock().state.clone();
        assert_eq!(fates.len(), pending.len(), "one fate for each pending change");
        for (change, fate) in pending.into_iter().zip(fates) {
            match (change, fate) {
                (_, Fate::Lost) => (),
                (Change::Write { file, offset, mut bytes }, Fate::Half) => {
                    bytes.truncate(bytes.len() / 2);
                    durable.apply(&Change::Write { file, offset, bytes });
                }
                (Change::Write { file, offset, bytes }, Fate::Zeros) => {
                    let bytes = vec![0; bytes.len()];
                    durable.apply(&Change::Write { file, offset, bytes });
                }
                (change, Fate::Kept | Fate::Half | Fate::Zeros) => durable.apply(&change),
            }
        }
        Self::of(State { seen: durable.clone(), durable, pending: Vec::new() })
    }

    /// Each set of fates to try where that many changes are pending.
    ///
    /// Up to 10: every subset lost. Beyond: every prefix kept, every single one lost, every single
    /// one kept. And each prefix once more with its last change by half, and as zeros.
    pub fn fates(pending: usize) -> Vec<Vec<Fate>> {
        let each = |fate_of: &dyn Fn(usize) -> Fate| (0..pending).map(fate_of).collect();
        let kept = |keep: bool| if keep { Fate::Kept } else { Fate::Lost };
        let mut fates: Vec<Vec<Fate>> = Vec::new();
        if pending <= 10 {
            fates.extend((0..1_usize << pending).map(|set| each(&|i| kept(set >> i & 1 == 1))));
        } else {
            fates.extend((0..=pending).map(|length| each(&|i| kept(i < length))));
            fates.extend((0..pending).map(|lost| each(&|i| kept(i != lost))));
            fates.extend((0..pending).map(|single| each(&|i| kept(i == single))));
        }
        for torn in [Fate::Half, Fate::Zeros] {
            fates.extend(
                (0..pending).map(|last| each(&|i| if i == last { torn } else { kept(i < last) })),
            );
        }
        fates
    }

    fn of(state: State) -> Self {
        Self { shared: Arc::new(Mutex::new(Shared { state, ..Shared::default() })) }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one call, and does it unless it is to fail.
    fn call<T>(
        &self,
        words: String,
        action: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut shared = self.lock();
        let fault = shared.due(words);
        let result = match fault {
            None | Some(FaultKind::ShortWrite) => action(&mut shared.state),
            Some(FaultKind::DoneButReported) => {
                action(&mut shared.state).and_then(|_| Err(error_of(FaultKind::DoneButReported)))
            }
            Some(kind) => Err(error_of(kind)),
        };
        shared.snapshot();
        result
    }
}

impl Shared {
    /// Records a call, and tells how it is to fail.
    fn due(&mut self, words: String) -> Option<FaultKind> {
        let index = self.calls.len();
        self.calls.push(words);
        let fault = self.fault?;
        let due = index == fault.call || fault.lasting && index > fault.call;
        due.then_some(fault.kind)
    }

    fn snapshot(&mut self) {
        let state = &self.state;
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.push(state.clone());
        }
    }
}

impl State {
    /// Makes a change that can be seen at once and is pending.
    fn change(&mut self, change: Change) {
        self.seen.apply(&change);
        self.pending.push(change);
    }

    /// Makes all pending changes durable for which `belongs` holds.
    fn settle(&mut self, belongs: impl Fn(&Change) -> bool) {
        let (settled, pending) = std::mem::take(&mut self.pending).into_iter().partition(belongs);
        self.pending = pending;
        let settled: Vec<Change> = settled;
        settled.iter().for_each(|change| self.durable.apply(change));
    }

    /// A new node, which exists for certain once something durable leads to it.
    fn add(&mut self, node: Node) -> usize {
        self.seen.nodes.push(node.clone());
        self.durable.nodes.push(node);
        self.seen.nodes.len() - 1
    }
}

impl Tree {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { file, offset, bytes } => {
                if let Node::File(data) = &mut self.nodes[*file] {
                    let end = offset + bytes.len();
                    data.resize(data.len().max(end), 0);
                    data[*offset..end].copy_from_slice(bytes);
                }
            }
            Change::Link { at: (folder, name), node } => {
                self.names(*folder).insert(name.clone(), *node);
            }
            Change::Unlink { at: (folder, name) } => {
                self.names(*folder).remove(name);
            }
            Change::Rename { from, to, node } => {
                self.names(from.0).remove(&from.1);
                self.names(to.0).insert(to.1.clone(), *node);
            }
        }
    }

    /// The names in a folder.
    ///
    /// # Panics
    ///
    /// Panics if the number is that of a file: numbers of folders come from [`Tree::place`].
    fn names(&mut self, folder: usize) -> &mut BTreeMap<String, usize> {
        match &mut self.nodes[folder] {
            Node::Folder(names) => names,
            Node::File(_) => unreachable!("a folder's number leads to a file"),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        names_of(path)?.iter().try_fold(0, |node, name| match &self.nodes[node] {
            Node::Folder(names) => {
                names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
            }
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        })
    }

    fn find_folder(&self, path: &Path) -> io::Result<usize> {
        let node = self.find(path)?;
        match &self.nodes[node] {
            Node::Folder(_) => Ok(node),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The folder that holds a name, which itself need not be there.
    fn place(&self, path: &Path) -> io::Result<Place> {
        let mut names = names_of(path)?;
        let name = names.pop().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.find_folder(&names.iter().collect::<std::path::PathBuf>())?, name))
    }
}

/// The names on the way from the root, whether or not the path begins with a slash.
fn names_of(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => (),
            Component::Normal(name) => {
                names.push(name.to_str().ok_or(io::ErrorKind::InvalidInput)?.to_owned());
            }
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(names)
}

fn error_of(kind: FaultKind) -> io::Error {
    match kind {
        FaultKind::NoSpace => io::ErrorKind::StorageFull.into(),
        FaultKind::InputOutput | FaultKind::ShortWrite | FaultKind::DoneButReported => {
            io::Error::other("simulated input/output error")
        }
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let file = self.call(format!("create {}", path.display()), |state| {
            if state.seen.find(path).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let at = state.seen.place(path)?;
            let node = state.add(Node::File(Vec::new()));
            state.change(Change::Link { at, node });
            Ok(node)
        })?;
        let words = path.display().to_string();
        Ok(Box::new(SimulatedFile { disk: self.clone(), file, offset: 0, words }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        self.call(format!("open {}", path.display()), |state| {
            match &state.seen.nodes[state.seen.find(path)?] {
                Node::File(data) => Ok(Box::new(io::Cursor::new(data.clone())) as Box<dyn Read>),
                Node::Folder(_) => Err(io::ErrorKind::IsADirectory.into()),
            }
        })
    }

    fn kind(&self, path: &Path) -> io::Result<Option<Kind>> {
        self.call(format!("look at {}", path.display()), |state| match state.seen.find(path) {
            Ok(node) => Ok(Some(match &state.seen.nodes[node] {
                Node::File(data) => Kind::File { length: data.len() as u64 },
                Node::Folder(_) => Kind::Folder,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.call(format!("list {}", folder.display()), |state| {
            let node = state.seen.find_folder(folder)?;
            Ok(state.seen.names(node).keys().cloned().collect())
        })
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.call(format!("create folder {}", path.display()), |state| {
            if state.seen.find(path).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let at = state.seen.place(path)?;
            let node = state.add(Node::Folder(BTreeMap::new()));
            state.change(Change::Link { at, node });
            Ok(())
        })
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.call(format!("sync folder {}", path.display()), |state| {
            let folder = state.seen.find_folder(path)?;
            state.settle(|change| match change {
                Change::Write { .. } => false,
                Change::Link { at, .. } | Change::Unlink { at } => at.0 == folder,
                Change::Rename { from, to, .. } => from.0 == folder || to.0 == folder,
            });
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(format!("rename {} to {}", from.display(), to.display()), |state| {
            let node = state.seen.find(from)?;
            if let Ok(there) = state.seen.find(to)
                && matches!(&state.seen.nodes[there], Node::Folder(names) if !names.is_empty())
            {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            let (from, to) = (state.seen.place(from)?, state.seen.place(to)?);
            state.change(Change::Rename { from, to, node });
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call(format!("remove {}", path.display()), |state| {
            if matches!(&state.seen.nodes[state.seen.find(path)?], Node::Folder(_)) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            let at = state.seen.place(path)?;
            state.change(Change::Unlink { at });
            Ok(())
        })
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.call(format!("remove folder {}", path.display()), |state| {
            let node = state.seen.find_folder(path)?;
            if !state.seen.names(node).is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            let at = state.seen.place(path)?;
            state.change(Change::Unlink { at });
            Ok(())
        })
    }
}

/// An open file of a simulated disk.
#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    file: usize,
    offset: usize,
    words: String,
}

impl Write for SimulatedFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut shared = self.disk.lock();
        let fault = shared.due(format!("write {} bytes to {}", buffer.len(), self.words));
        let taken = match fault {
            None | Some(FaultKind::DoneButReported) => buffer.len(),
            // At least one byte, as a write of none would mean that the file can take no more.
            Some(FaultKind::ShortWrite) => buffer.len().div_ceil(2),
            Some(FaultKind::NoSpace | FaultKind::InputOutput) => buffer.len() / 2,
        };
        let bytes = buffer[..taken].to_vec();
        shared.state.change(Change::Write { file: self.file, offset: self.offset, bytes });
        shared.snapshot();
        self.offset += taken;
        match fault {
            None | Some(FaultKind::ShortWrite) => Ok(taken),
            Some(kind) => Err(error_of(kind)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewFile for SimulatedFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut shared = self.disk.lock();
        let fault = shared.due(format!("sync {}", self.words));
        let file = self.file;
        let own = |change: &Change| matches!(change, Change::Write { file: of, .. } if *of == file);
        let result = match fault {
            None | Some(FaultKind::ShortWrite) => {
                shared.state.settle(own);
                Ok(())
            }
            Some(FaultKind::DoneButReported) => {
                shared.state.settle(own);
                Err(error_of(FaultKind::DoneButReported))
            }
            Some(kind) => {
                shared.state.pending.retain(|change| !own(change));
                Err(error_of(kind))
            }
        };
        shared.snapshot();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(disk: &SimulatedDisk, path: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        disk.open(Path::new(path)).ok()?.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    #[test]
    fn a_power_cut_takes_back_what_was_not_synced() {
        let disk = SimulatedDisk::new();
        let mut file = disk.create(Path::new("a")).unwrap();
        file.write_all(b"data").unwrap();
        assert_eq!(disk.pending(), 2, "the name and the bytes");
        let lost = disk.after_power_cut(&[Fate::Lost, Fate::Lost]);
        assert_eq!(read(&lost, "a"), None);
        let empty = disk.after_power_cut(&[Fate::Kept, Fate::Lost]);
        assert_eq!(read(&empty, "a").unwrap(), b"");
        let half = disk.after_power_cut(&[Fate::Kept, Fate::Half]);
        assert_eq!(read(&half, "a").unwrap(), b"da");
        let zeros = disk.after_power_cut(&[Fate::Kept, Fate::Zeros]);
        assert_eq!(read(&zeros, "a").unwrap(), [0; 4]);
        file.sync().unwrap();
        assert_eq!(disk.pending(), 1, "a synced file may still have no name");
        disk.sync_folder(Path::new("/")).unwrap();
        assert_eq!(read(&disk.after_power_cut(&[]), "a").unwrap(), b"data");
    }

    #[test]
    fn a_failed_sync_loses_the_data_though_a_retry_succeeds() {
        let disk = SimulatedDisk::new();
        let mut file = disk.create(Path::new("a")).unwrap();
        file.write_all(b"data").unwrap();
        disk.sync_folder(Path::new("")).unwrap();
        disk.plant(Some(Fault { call: 0, kind: FaultKind::InputOutput, lasting: false }));
        assert!(file.sync().is_err());
        assert!(file.sync().is_ok());
        assert_eq!(read(&disk, "a").unwrap(), b"data");
        assert_eq!(read(&disk.after_power_cut(&[]), "a").unwrap(), b"");
    }

    #[test]
    fn it_refuses_what_a_real_disk_refuses() {
        let disk = SimulatedDisk::new();
        let kind = |result: io::Result<()>| result.unwrap_err().kind();
        let path = Path::new;
        disk.create_folder(path("f")).unwrap();
        drop(disk.create(path("f/a")).unwrap());
        assert_eq!(kind(disk.create_folder(path("f"))), io::ErrorKind::AlreadyExists);
        assert_eq!(kind(disk.create(path("f/a")).map(|_| ())), io::ErrorKind::AlreadyExists);
        assert_eq!(kind(disk.create(path("g/a")).map(|_| ())), io::ErrorKind::NotFound);
        assert_eq!(kind(disk.remove_folder(path("f"))), io::ErrorKind::DirectoryNotEmpty);
        assert_eq!(kind(disk.remove_file(path("f"))), io::ErrorKind::IsADirectory);
        assert_eq!(kind(disk.open(path("f")).map(|_| ())), io::ErrorKind::IsADirectory);
        assert_eq!(kind(disk.list(path("f/a")).map(|_| ())), io::ErrorKind::NotADirectory);
        disk.create_folder(path("g")).unwrap();
        assert_eq!(kind(disk.rename(path("g"), path("f"))), io::ErrorKind::DirectoryNotEmpty);
        assert_eq!(disk.list(path("")).unwrap(), ["f", "g"]);
        assert_eq!(disk.kind(path("f/a")).unwrap(), Some(Kind::File { length: 0 }));
        assert_eq!(disk.kind(path("h")).unwrap(), None);
    }

    #[test]
    fn fates_cover_all_subsets_up_to_ten() {
        let ten = SimulatedDisk::fates(10);
        assert_eq!(ten.len(), 1_024 + 20);
        let twelve = SimulatedDisk::fates(12);
        assert_eq!(twelve.len(), 13 + 12 + 12 + 24);
        assert!(twelve.contains(&vec![Fate::Kept; 12]) && twelve.contains(&vec![Fate::Lost; 12]));
    }
}
