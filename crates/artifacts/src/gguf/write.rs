//! Writing a GGUF file, version 3, in one pass.

use std::io::{self, Write};

use super::{Array, Gguf, MAGIC, Metadata, Value, parse};
use crate::Error;
use crate::tensors::{TensorSpec, bytes_of_shape, file_length, next_offset, write_data};

/// Writes a file: the metadata, the list of tensors, then the bytes of each tensor in that order.
///
/// `data` is called once for each tensor with its index, and writes its bytes, in as many pieces as
/// it likes: no more than the header and one piece is ever in memory. Returns the length of the
/// file. The alignment is `general.alignment` where the metadata have it, else
/// [`DEFAULT_ALIGNMENT`](super::DEFAULT_ALIGNMENT).
///
/// The same arguments give the same bytes. A file that was read and is written again with its
/// metadata and tensors in their order is the same to the byte if it is of version 3 and its
/// tensors lie in the order in which the header lists them, the last one padded, too, as GGUF's own
/// tools write it.
///
/// # Errors
///
/// [`Error::Write`] where `out` or `data` fails; [`Error::WrongData`] where `data` gives more or
/// fewer bytes than the shape needs; [`Error::NotStorable`] for a type that GGUF does not have; and
/// before a byte is written whatever [`Gguf::parse`] would refuse in the result.
pub fn write<W: Write + ?Sized>(
    out: &mut W,
    metadata: &Metadata,
    tensors: &[TensorSpec],
    mut data: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> Result<u64, Error> {
    let alignment = parse::alignment(metadata)?;
    let lengths = tensors
        .iter()
        .map(|tensor| bytes_of_shape(&tensor.name, tensor.dtype, &tensor.shape))
        .collect::<Result<Vec<u64>, Error>>()?;
    let (header, file_length) = header(metadata, tensors, &lengths, alignment)?;
    Gguf::parse(&header, file_length)?;
    out.write_all(&header).map_err(|source| Error::Write { source })?;
    for (index, (tensor, &length)) in tensors.iter().zip(&lengths).enumerate() {
        write_data(out, &tensor.name, length, |out| data(index, out))?;
        let padding = length.next_multiple_of(alignment) - length;
        out.write_all(&zeros(padding)).map_err(|source| Error::Write { source })?;
    }
    Ok(file_length)
}

/// The padded header, and the length of the file that it describes.
fn header(
    metadata: &Metadata,
    tensors: &[TensorSpec],
    lengths: &[u64],
    alignment: u64,
) -> Result<(Vec<u8>, u64), Error> {
    let mut header = Vec::new();
    header.extend(MAGIC);
    header.extend(3_u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        put_string(&mut header, key);
        put_value(&mut header, value);
    }
    let mut offset = 0_u64;
    for (tensor, &length) in tensors.iter().zip(lengths) {
        let id = tensor.dtype.gguf_id().ok_or_else(|| Error::NotStorable {
            container: "GGUF",
            tensor: tensor.name.clone(),
            dtype: tensor.dtype,
        })?;
        put_string(&mut header, &tensor.name);
        header.extend(u32::try_from(tensor.shape.len()).unwrap_or(u32::MAX).to_le_bytes());
        for dimension in tensor.shape.iter().rev() {
            header.extend(dimension.to_le_bytes());
        }
        header.extend(id.to_le_bytes());
        header.extend(offset.to_le_bytes());
        // Past 2^64 it saturates, which is too long as well.
        let padded = length.checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
        offset = next_offset(tensor, offset, padded)?;
    }
    let data_offset = (header.len() as u64).next_multiple_of(alignment);
    header.extend(zeros(data_offset - header.len() as u64));
    let file_length = file_length(data_offset, offset)?;
    Ok((header, file_length))
}

fn zeros(count: u64) -> Vec<u8> {
    // Less than one alignment, which is bounded.
    vec![0; usize::try_from(count).unwrap_or(0)]
}

fn put_string(header: &mut Vec<u8>, text: &str) {
    header.extend((text.len() as u64).to_le_bytes());
    header.extend(text.as_bytes());
}

fn put_value(header: &mut Vec<u8>, value: &Value) {
    let (id, bytes): (u32, Vec<u8>) = match value {
        Value::U8(number) => (0, number.to_le_bytes().into()),
        Value::I8(number) => (1, number.to_le_bytes().into()),
        Value::U16(number) => (2, number.to_le_bytes().into()),
        Value::I16(number) => (3, number.to_le_bytes().into()),
        Value::U32(number) => (4, number.to_le_bytes().into()),
        Value::I32(number) => (5, number.to_le_bytes().into()),
        Value::F32(number) => (6, number.to_le_bytes().into()),
        Value::Bool(truth) => (7, vec![u8::from(*truth)]),
        Value::String(text) => {
            let mut bytes = Vec::with_capacity(text.len() + 8);
            put_string(&mut bytes, text);
            (8, bytes)
        }
        Value::Array(array) => (9, array_bytes(array)),
        Value::U64(number) => (10, number.to_le_bytes().into()),
        Value::I64(number) => (11, number.to_le_bytes().into()),
        Value::F64(number) => (12, number.to_le_bytes().into()),
    };
    header.extend(id.to_le_bytes());
    header.extend(bytes);
}

fn array_bytes(array: &Array) -> Vec<u8> {
    fn all<T: Copy, const N: usize>(
        id: u32,
        elements: &[T],
        to_bytes: fn(T) -> [u8; N],
    ) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(12 + N * elements.len());
        bytes.extend(id.to_le_bytes());
        bytes.extend((elements.len() as u64).to_le_bytes());
        bytes.extend(elements.iter().flat_map(|&element| to_bytes(element)));
        bytes
    }
    match array {
        Array::U8(numbers) => all(0, numbers, u8::to_le_bytes),
        Array::I8(numbers) => all(1, numbers, i8::to_le_bytes),
        Array::U16(numbers) => all(2, numbers, u16::to_le_bytes),
        Array::I16(numbers) => all(3, numbers, i16::to_le_bytes),
        Array::U32(numbers) => all(4, numbers, u32::to_le_bytes),
        Array::I32(numbers) => all(5, numbers, i32::to_le_bytes),
        Array::F32(numbers) => all(6, numbers, f32::to_le_bytes),
        Array::Bool(truths) => all(7, truths, |truth| [u8::from(truth)]),
        Array::Strings(strings) => {
            let mut bytes = all::<u8, 1>(8, &[], u8::to_le_bytes);
            bytes[4..12].copy_from_slice(&(strings.len() as u64).to_le_bytes());
            for text in strings {
                put_string(&mut bytes, text);
            }
            bytes
        }
        Array::U64(numbers) => all(10, numbers, u64::to_le_bytes),
        Array::I64(numbers) => all(11, numbers, i64::to_le_bytes),
        Array::F64(numbers) => all(12, numbers, f64::to_le_bytes),
    }
}
