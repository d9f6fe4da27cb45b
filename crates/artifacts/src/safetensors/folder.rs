//! A model folder: one `model.safetensors`, or shards and the index that says what lies where.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::SafetensorsFile;
use crate::Error;
use crate::json;
use crate::plain_name::is_plain;
use crate::tensors::{HEADER_BYTES_MAX, TENSORS_MAX, TensorInfo, TensorSource};

/// The name of the file that holds a whole model.
pub const SINGLE_FILE: &str = "model.safetensors";
/// The name of the file that lists the shards of a model.
pub const INDEX_FILE: &str = "model.safetensors.index.json";
/// The most shards of one model; known models have fewer than 200. All are open at once, which has
/// to fit under the usual limit of 1,024 open files with room for connections.
pub const SHARDS_MAX: usize = 512;

/// How much of a name from an index an error message tells.
const NAME_CHARS_SHOWN: usize = 256;

/// An open model folder: all tensors of its one file or of all its shards.
#[derive(Debug)]
pub struct SafetensorsFolder {
    shards: Vec<SafetensorsFile>,
    /// The shard of each tensor.
    shard_of: BTreeMap<String, usize>,
}

impl SafetensorsFolder {
    /// Opens the one file of a folder, or all its shards where it has an index.
    ///
    /// The index and the shards must agree: each tensor lies in the shard that the index names, and
    /// no shard holds a tensor that the index does not name. Links are followed, as the caches of
    /// Hugging Face consist of them.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where a file cannot be read, [`Error::InFile`] with what is wrong in it.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let index_path = folder.join(INDEX_FILE);
        match std::fs::exists(&index_path) {
            Ok(true) => Self::open_shards(folder, &index_path),
            Ok(false) => Self::collect(vec![SafetensorsFile::open(&folder.join(SINGLE_FILE))?]),
            Err(source) => Err(Error::io("open", &index_path, source)),
        }
    }

    /// All tensors, shard by shard in the order of their bytes.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.shards.iter().flat_map(|shard| shard.tensors())
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.shards[*self.shard_of.get(name)?].tensor(name)
    }

    /// The open files.
    pub fn shards(&self) -> &[SafetensorsFile] {
        &self.shards
    }

    /// The bytes of one tensor, as stored: little-endian, outermost dimension first.
    ///
    /// # Errors
    ///
    /// As [`SafetensorsFile::read`]; [`Error::MissingTensor`] where the folder has none so named.
    pub fn read(&self, tensor: &TensorInfo) -> Result<Vec<u8>, Error> {
        match self.shard_of.get(&tensor.name) {
            Some(&shard) => self.shards[shard].read(tensor),
            None => Err(Error::MissingTensor { tensor: tensor.name.clone() }),
        }
    }

    fn open_shards(folder: &Path, index_path: &Path) -> Result<Self, Error> {
        let index = read_index(index_path)?;
        let mut shards = Vec::new();
        let mut names: Vec<&String> = index.weight_map.values().collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > SHARDS_MAX {
            return Err(Error::TooLarge {
                what: "the number of shards",
                value: names.len() as u64,
                limit: SHARDS_MAX as u64,
            }
            .in_file(index_path));
        }
        for name in names {
            if !is_plain_shard_name(name) {
                return Err(Error::ShardName { name: excerpt(name) }.in_file(index_path));
            }
            shards.push(SafetensorsFile::open(&folder.join(name))?);
        }
        let opened = Self::collect(shards)?;
        opened.check_against(&index).map_err(|error| error.in_file(index_path))?;
        Ok(opened)
    }

    fn collect(shards: Vec<SafetensorsFile>) -> Result<Self, Error> {
        let mut shard_of = BTreeMap::new();
        for (index, shard) in shards.iter().enumerate() {
            for tensor in shard.tensors() {
                if shard_of.len() as u64 == TENSORS_MAX {
                    return Err(Error::TooLarge {
                        what: "the number of tensors",
                        value: TENSORS_MAX + 1,
                        limit: TENSORS_MAX,
                    }
                    .in_file(shard.path()));
                }
                if shard_of.insert(tensor.name.clone(), index).is_some() {
                    let name = tensor.name.clone();
                    return Err(Error::Duplicate { what: "tensor", name }.in_file(shard.path()));
                }
            }
        }
        Ok(Self { shards, shard_of })
    }

    fn check_against(&self, index: &Index) -> Result<(), Error> {
        for (tensor, name) in &index.weight_map {
            let shard = self.shard_of.get(tensor).map(|&shard| self.shards[shard].path());
            if shard.and_then(Path::file_name) != Some(name.as_ref()) {
                let (tensor, shard) = (excerpt(tensor), name.clone());
                return Err(Error::WrongShard { tensor, shard });
            }
        }
        match self.tensors().find(|tensor| !index.weight_map.contains_key(&tensor.name)) {
            Some(tensor) => Err(Error::NotInIndex { tensor: tensor.name.clone() }),
            None => Ok(()),
        }
    }
}

/// Whether the name is that of a file in the same folder and nothing else.
fn is_plain_shard_name(name: &str) -> bool {
    name.len() <= 255 && is_plain(name) && name.ends_with(".safetensors")
}

/// A name of any length, cut for an error message that escapes it.
fn excerpt(name: &str) -> String {
    name.chars().take(NAME_CHARS_SHOWN).collect()
}

fn read_index(path: &Path) -> Result<Index, Error> {
    let source = TensorSource::open(path)?;
    if source.length() > HEADER_BYTES_MAX {
        return Err(Error::TooLarge {
            what: "the length of the index",
            value: source.length(),
            limit: HEADER_BYTES_MAX,
        }
        .in_file(path));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(source.length()).unwrap_or(0));
    source
        .file()
        .take(source.length())
        .read_to_end(&mut bytes)
        .map_err(|source| Error::io("read", path, source))?;
    json::parse("the index of shards", &bytes).map_err(|error| error.in_file(path))
}

/// The part of an index that says which shard holds which tensor.
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IndexVisitor;
        impl<'de> Visitor<'de> for IndexVisitor {
            type Value = Index;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a weight_map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index, A::Error> {
                let mut weight_map = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != "weight_map" {
                        map.next_value::<IgnoredAny>()?;
                    } else if weight_map.replace(map.next_value::<WeightMap>()?.0).is_some() {
                        return Err(de::Error::duplicate_field("weight_map"));
                    }
                }
                let weight_map =
                    weight_map.ok_or_else(|| de::Error::missing_field("weight_map"))?;
                Ok(Index { weight_map })
            }
        }
        deserializer.deserialize_map(IndexVisitor)
    }
}

/// A file name for each tensor.
struct WeightMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WeightMapVisitor;
        impl<'de> Visitor<'de> for WeightMapVisitor {
            type Value = WeightMap;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "file names for at most {TENSORS_MAX} tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let mut files = BTreeMap::new();
                while let Some((tensor, file)) = map.next_entry::<String, String>()? {
                    if files.len() as u64 == TENSORS_MAX {
                        return Err(de::Error::invalid_length(files.len() + 1, &self));
                    }
                    if files.insert(tensor, file).is_some() {
                        return Err(de::Error::custom("a tensor occurs twice in the weight_map"));
                    }
                }
                Ok(WeightMap(files))
            }
        }
        deserializer.deserialize_map(WeightMapVisitor)
    }
}
