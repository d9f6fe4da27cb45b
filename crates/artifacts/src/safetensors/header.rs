//! From the bytes of a header to validated tensors; JSON is read into types, never into a tree.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{METADATA_ENTRIES_MAX, Safetensors};
use crate::cursor::Cursor;
use crate::tensors::{
    DIMENSIONS_MAX, HEADER_BYTES_MAX, Layout, NAME_BYTES_MAX, TENSORS_MAX, TensorInfo, TensorTable,
    bytes_of_shape,
};
use crate::{Error, StoredType, json};

/// The length that precedes the header takes this many bytes.
const LENGTH_BYTES: u64 = 8;

/// Reads and validates the header of a file that is `file_length` bytes long.
pub(super) fn parse<R: Read>(source: R, file_length: u64) -> Result<Safetensors, Error> {
    let mut cursor = Cursor::new(source, file_length);
    let length = cursor.u64("the length of the header")?;
    if length > HEADER_BYTES_MAX - LENGTH_BYTES {
        let what = "the length of the header";
        return Err(Error::TooLarge { what, value: length, limit: HEADER_BYTES_MAX });
    }
    let bytes = cursor.bytes("the header", length)?;
    let data_offset = cursor.position();
    // A file that begins with anything but `{` could pass for a file of another kind.
    if bytes.first() != Some(&b'{') {
        let message = "it does not begin with a brace".to_owned();
        return Err(Error::Json { what: "the header", message });
    }
    if str::from_utf8(&bytes).is_err() {
        return Err(Error::NotUtf8 { what: "the header", offset: LENGTH_BYTES });
    }
    let Header { metadata, entries } = json::parse("the header", &bytes)?;
    drop(bytes);

    let mut tensors = Vec::with_capacity(entries.len());
    for entry in entries {
        tensors.push(entry.place(data_offset, file_length)?);
    }
    tensors.sort_by(|a, b| (a.offset, a.bytes, &a.name).cmp(&(b.offset, b.bytes, &b.name)));
    let tensors = TensorTable::new(tensors)?;
    Layout { data_offset, alignment: 1, file_length }.check(tensors.all())?;
    Ok(Safetensors { metadata, tensors, data_offset })
}

/// The whole header.
struct Header {
    metadata: BTreeMap<String, String>,
    entries: Vec<Entry>,
}

/// One tensor, as the header gives it.
struct Entry {
    name: Name,
    body: Body,
}

/// What the header says of one tensor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    dtype: Name,
    shape: Few,
    data_offsets: [u64; 2],
}

impl Entry {
    /// The tensor with its place in the file, if type, shape, offsets and file agree.
    fn place(self, data_offset: u64, file_length: u64) -> Result<TensorInfo, Error> {
        let Self { name: Name(name), body } = self;
        let Some(dtype) = StoredType::from_safetensors_name(&body.dtype.0) else {
            return Err(Error::TensorType { tensor: name, dtype: body.dtype.0 });
        };
        let shape = body.shape.0;
        let expected = bytes_of_shape(&name, dtype, &shape)?;
        let [begin, end] = body.data_offsets;
        if end.checked_sub(begin) != Some(expected) {
            let stated = end.saturating_sub(begin);
            return Err(Error::TensorLength { tensor: name, stated, expected });
        }
        let end = end.saturating_add(data_offset);
        if end > file_length {
            return Err(Error::BeyondFile { tensor: name, end, file_length });
        }
        Ok(TensorInfo { name, dtype, shape, offset: begin + data_offset, bytes: expected })
    }
}

/// A name of bounded length.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl Visitor<'_> for NameVisitor {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a name of at most {NAME_BYTES_MAX} bytes")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Name, E> {
                if text.len() as u64 > NAME_BYTES_MAX {
                    return Err(E::invalid_length(text.len(), &self));
                }
                Ok(Name(text.to_owned()))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// At most as many numbers as a tensor may have dimensions.
struct Few(Vec<u64>);

impl<'de> Deserialize<'de> for Few {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FewVisitor;
        impl<'de> Visitor<'de> for FewVisitor {
            type Value = Few;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {DIMENSIONS_MAX} dimensions")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Few, A::Error> {
                let mut shape = Vec::new();
                while let Some(number) = numbers.next_element()? {
                    if shape.len() as u64 == DIMENSIONS_MAX {
                        return Err(de::Error::invalid_length(shape.len() + 1, &self));
                    }
                    shape.push(number);
                }
                shape.shrink_to_fit();
                Ok(Few(shape))
            }
        }
        deserializer.deserialize_seq(FewVisitor)
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Header;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object with at most {TENSORS_MAX} tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut metadata = None;
                let mut entries: Vec<Entry> = Vec::new();
                while let Some(name) = map.next_key::<Name>()? {
                    if name.0 == "__metadata__" {
                        if metadata.replace(map.next_value::<FreeText>()?.0).is_some() {
                            return Err(de::Error::duplicate_field("__metadata__"));
                        }
                        continue;
                    }
                    if entries.len() as u64 == TENSORS_MAX {
                        return Err(de::Error::invalid_length(entries.len() + 1, &self));
                    }
                    entries.push(Entry { name, body: map.next_value()? });
                }
                Ok(Header { metadata: metadata.unwrap_or_default(), entries })
            }
        }
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// Strings under unique names.
struct FreeText(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for FreeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FreeTextVisitor;
        impl<'de> Visitor<'de> for FreeTextVisitor {
            type Value = FreeText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {METADATA_ENTRIES_MAX} strings under unique names")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FreeText, A::Error> {
                let mut texts = BTreeMap::new();
                while let Some((key, text)) = map.next_entry::<String, String>()? {
                    if texts.len() as u64 == METADATA_ENTRIES_MAX {
                        return Err(de::Error::invalid_length(texts.len() + 1, &self));
                    }
                    if texts.insert(key, text).is_some() {
                        return Err(de::Error::custom("a name in __metadata__ occurs twice"));
                    }
                }
                Ok(FreeText(texts))
            }
        }
        deserializer.deserialize_map(FreeTextVisitor)
    }
}
