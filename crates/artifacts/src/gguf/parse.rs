//! From bytes to a validated header.

use std::io::Read;

use super::{
    ALIGNMENT_MAX, Array, DEFAULT_ALIGNMENT, Gguf, KEY_BYTES_MAX, KEYS_MAX, MAGIC, Metadata, Value,
};
use crate::cursor::Cursor;
use crate::stored_type::WITHDRAWN;
use crate::tensors::{
    DIMENSIONS_MAX, HEADER_BYTES_MAX, Layout, NAME_BYTES_MAX, TENSORS_MAX, TensorInfo, TensorTable,
    bytes_of_shape,
};
use crate::{Error, StoredType};

/// The shortest tensor entry: empty name, one dimension, type, offset.
const TENSOR_ENTRY_BYTES_MIN: u64 = 8 + 4 + 8 + 4 + 8;
/// The shortest metadata entry: empty key, type, one byte.
const METADATA_ENTRY_BYTES_MIN: u64 = 8 + 4 + 1;

/// Reads and validates the header of a file that is `file_length` bytes long.
pub(super) fn header<R: Read>(source: R, file_length: u64) -> Result<Gguf, Error> {
    let mut cursor = Cursor::new(source, file_length);
    let version = magic_and_version(&mut cursor)?;
    let tensors = count(&mut cursor, "the number of tensors", TENSORS_MAX)?;
    let keys = count(&mut cursor, "the number of metadata keys", KEYS_MAX)?;
    cursor.expect("the metadata", keys, METADATA_ENTRY_BYTES_MIN)?;
    let metadata = read_metadata(&mut cursor, keys)?;
    let alignment = alignment(&metadata)?;
    cursor.expect("the list of tensors", tensors, TENSOR_ENTRY_BYTES_MIN)?;
    let mut infos = Vec::with_capacity(usize::try_from(tensors).unwrap_or(0));
    for _ in 0..tensors {
        infos.push(read_tensor(&mut cursor)?);
    }
    let data_offset = cursor.position().next_multiple_of(alignment);
    for info in &mut infos {
        place(info, data_offset, file_length)?;
    }
    let tensors = TensorTable::new(infos)?;
    Layout { data_offset, alignment, file_length }.check(tensors.all())?;
    Ok(Gguf { version, metadata, tensors, data_offset })
}

fn magic_and_version<R: Read>(cursor: &mut Cursor<R>) -> Result<u32, Error> {
    let magic: [u8; 4] = cursor.array("the magic number")?;
    if magic != MAGIC {
        return Err(Error::NotGguf { found: magic });
    }
    let version = cursor.u32("the version")?;
    match version {
        2 | 3 => Ok(version),
        // A small number in the other byte order.
        _ if version.is_multiple_of(1 << 16) && version != 0 => {
            Err(Error::BigEndian { version: version.swap_bytes() })
        }
        _ => Err(Error::Version { found: version }),
    }
}

fn count<R: Read>(cursor: &mut Cursor<R>, what: &'static str, limit: u64) -> Result<u64, Error> {
    let value = cursor.u64(what)?;
    if value > limit {
        return Err(Error::TooLarge { what, value, limit });
    }
    Ok(value)
}

fn read_metadata<R: Read>(cursor: &mut Cursor<R>, keys: u64) -> Result<Metadata, Error> {
    let mut metadata = Metadata::with_capacity(usize::try_from(keys).unwrap_or(0));
    for _ in 0..keys {
        let key = cursor.string("a metadata key", KEY_BYTES_MAX)?;
        let id = cursor.u32("the type of a metadata value")?;
        let value = read_value(cursor, &key, id)?;
        metadata.insert(key, value)?;
    }
    Ok(metadata)
}

fn read_value<R: Read>(cursor: &mut Cursor<R>, key: &str, id: u32) -> Result<Value, Error> {
    const WHAT: &str = "a metadata value";
    Ok(match id {
        0 => Value::U8(u8::from_le_bytes(cursor.array(WHAT)?)),
        1 => Value::I8(i8::from_le_bytes(cursor.array(WHAT)?)),
        2 => Value::U16(u16::from_le_bytes(cursor.array(WHAT)?)),
        3 => Value::I16(i16::from_le_bytes(cursor.array(WHAT)?)),
        4 => Value::U32(u32::from_le_bytes(cursor.array(WHAT)?)),
        5 => Value::I32(i32::from_le_bytes(cursor.array(WHAT)?)),
        6 => Value::F32(f32::from_le_bytes(cursor.array(WHAT)?)),
        7 => Value::Bool(truth(u8::from_le_bytes(cursor.array(WHAT)?), key)?),
        8 => Value::String(cursor.string(WHAT, HEADER_BYTES_MAX)?),
        9 => Value::Array(read_array(cursor, key)?),
        10 => Value::U64(u64::from_le_bytes(cursor.array(WHAT)?)),
        11 => Value::I64(i64::from_le_bytes(cursor.array(WHAT)?)),
        12 => Value::F64(f64::from_le_bytes(cursor.array(WHAT)?)),
        _ => return Err(Error::ValueType { key: key.to_owned(), id }),
    })
}

fn read_array<R: Read>(cursor: &mut Cursor<R>, key: &str) -> Result<Array, Error> {
    let id = cursor.u32("the type of a metadata array")?;
    let length = cursor.u64("the length of a metadata array")?;
    Ok(match id {
        0 => Array::U8(numbers(cursor, length, u8::from_le_bytes)?),
        1 => Array::I8(numbers(cursor, length, i8::from_le_bytes)?),
        2 => Array::U16(numbers(cursor, length, u16::from_le_bytes)?),
        3 => Array::I16(numbers(cursor, length, i16::from_le_bytes)?),
        4 => Array::U32(numbers(cursor, length, u32::from_le_bytes)?),
        5 => Array::I32(numbers(cursor, length, i32::from_le_bytes)?),
        6 => Array::F32(numbers(cursor, length, f32::from_le_bytes)?),
        7 => {
            let bytes = numbers(cursor, length, u8::from_le_bytes)?;
            let truths: Result<Vec<bool>, Error> =
                bytes.into_iter().map(|byte| truth(byte, key)).collect();
            Array::Bool(truths?)
        }
        8 => Array::Strings(strings(cursor, length)?),
        9 => return Err(Error::NestedArray { key: key.to_owned() }),
        10 => Array::U64(numbers(cursor, length, u64::from_le_bytes)?),
        11 => Array::I64(numbers(cursor, length, i64::from_le_bytes)?),
        12 => Array::F64(numbers(cursor, length, f64::from_le_bytes)?),
        _ => return Err(Error::ValueType { key: key.to_owned(), id }),
    })
}

fn numbers<R: Read, const N: usize, T>(
    cursor: &mut Cursor<R>,
    length: u64,
    from_bytes: fn([u8; N]) -> T,
) -> Result<Vec<T>, Error> {
    const WHAT: &str = "a metadata array";
    cursor.expect(WHAT, length, N as u64)?;
    let bytes = cursor.bytes(WHAT, length * N as u64)?;
    let (elements, _) = bytes.as_chunks::<N>();
    Ok(elements.iter().map(|&element| from_bytes(element)).collect())
}

fn strings<R: Read>(cursor: &mut Cursor<R>, length: u64) -> Result<Vec<String>, Error> {
    // Each string takes at least the 8 bytes of its length, which bounds the vector by the file.
    cursor.expect("an array of strings", length, 8)?;
    let mut strings = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    for _ in 0..length {
        strings.push(cursor.string("a string of a metadata array", HEADER_BYTES_MAX)?);
    }
    Ok(strings)
}

fn truth(byte: u8, key: &str) -> Result<bool, Error> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::NotBool { key: key.to_owned(), byte }),
    }
}

pub(super) fn alignment(metadata: &Metadata) -> Result<u64, Error> {
    let alignment = metadata.u64("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() || alignment > ALIGNMENT_MAX {
        return Err(Error::Alignment { alignment, limit: ALIGNMENT_MAX });
    }
    Ok(alignment)
}

/// One entry of the list of tensors; its offset is still counted from the start of the data.
fn read_tensor<R: Read>(cursor: &mut Cursor<R>) -> Result<TensorInfo, Error> {
    let name = cursor.string("a tensor's name", NAME_BYTES_MAX)?;
    let dimensions = u64::from(cursor.u32("a tensor's number of dimensions")?);
    if dimensions > DIMENSIONS_MAX {
        return Err(Error::TooLarge {
            what: "a tensor's number of dimensions",
            value: dimensions,
            limit: DIMENSIONS_MAX,
        });
    }
    let mut shape = Vec::with_capacity(usize::try_from(dimensions).unwrap_or(0));
    for _ in 0..dimensions {
        shape.push(cursor.u64("a tensor's dimensions")?);
    }
    // GGUF lists the innermost dimension first.
    shape.reverse();
    if shape.is_empty() || shape.contains(&0) {
        return Err(Error::Shape { tensor: name, shape, problem: "it has no elements" });
    }
    let id = cursor.u32("a tensor's element type")?;
    let Some(dtype) = StoredType::from_gguf_id(id) else {
        let withdrawn = WITHDRAWN.iter().find(|(number, _)| *number == id);
        let dtype = withdrawn.map_or_else(|| id.to_string(), |(_, name)| (*name).to_owned());
        return Err(Error::TensorType { tensor: name, dtype });
    };
    let bytes = bytes_of_shape(&name, dtype, &shape)?;
    let offset = cursor.u64("a tensor's offset")?;
    Ok(TensorInfo { name, dtype, shape, offset, bytes })
}

/// Counts a tensor's offset from the start of the file, and refuses one that reaches beyond it.
fn place(info: &mut TensorInfo, data_offset: u64, file_length: u64) -> Result<(), Error> {
    let begin = info.offset.checked_add(data_offset);
    let end = begin.and_then(|begin| begin.checked_add(info.bytes));
    match (begin, end) {
        (Some(begin), Some(end)) if end <= file_length => {
            info.offset = begin;
            Ok(())
        }
        _ => Err(Error::BeyondFile {
            tensor: info.name.clone(),
            end: end.unwrap_or(u64::MAX),
            file_length,
        }),
    }
}
