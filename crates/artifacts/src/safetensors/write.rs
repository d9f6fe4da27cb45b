//! Writing a SafeTensors file in one pass.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::Safetensors;
use crate::Error;
use crate::tensors::{TensorSpec, bytes_of_shape, write_data};

/// Writes a file: the header, then the bytes of each tensor.
///
/// Types of wide elements come first and names decide among equals, as the safetensors library has
/// it, so that every tensor is aligned to its elements. `data` is called in that order, once for
/// each tensor, with its index in `tensors`. Returns the length of the file.
///
/// # Errors
///
/// [`Error::Write`] where `out` or `data` fails; [`Error::WrongData`] where `data` gives more or
/// fewer bytes than the shape needs; [`Error::NotStorable`] for a type that SafeTensors does not
/// have; and before a byte is written whatever [`Safetensors::parse`] would refuse in the result.
pub fn write<W: Write>(
    out: &mut W,
    metadata: &BTreeMap<String, String>,
    tensors: &[TensorSpec],
    mut data: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> Result<u64, Error> {
    let mut order: Vec<(usize, &TensorSpec)> = tensors.iter().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| {
        let width =
            |tensor: &TensorSpec| tensor.dtype.block_bytes() / tensor.dtype.block_elements();
        width(b).cmp(&width(a)).then_with(|| a.name.cmp(&b.name))
    });
    let (header, file_length) = header(metadata, &order)?;
    Safetensors::parse(&header, file_length)?;
    out.write_all(&header).map_err(|source| Error::Write { source })?;
    for (index, tensor) in order {
        let length = bytes_of_shape(&tensor.name, tensor.dtype, &tensor.shape)?;
        write_data(out, &tensor.name, length, |out| data(index, out))?;
    }
    Ok(file_length)
}

/// The header with the length before it, and the length of the file that it describes.
fn header(
    metadata: &BTreeMap<String, String>,
    order: &[(usize, &TensorSpec)],
) -> Result<(Vec<u8>, u64), Error> {
    let mut entries = Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut offset = 0_u64;
    for (_, tensor) in order {
        let length = bytes_of_shape(&tensor.name, tensor.dtype, &tensor.shape)?;
        let Some(dtype) = tensor.dtype.safetensors_name() else {
            return Err(Error::NotStorable {
                container: "SafeTensors",
                tensor: tensor.name.clone(),
                dtype: tensor.dtype,
            });
        };
        let end = offset.checked_add(length).filter(|&end| end <= i64::MAX as u64);
        let end = end.ok_or_else(|| Error::Shape {
            tensor: tensor.name.clone(),
            shape: tensor.shape.clone(),
            problem: "the file would take 2^63 bytes or more",
        })?;
        let body = json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [offset, end] });
        if entries.insert(tensor.name.clone(), body).is_some() {
            return Err(Error::Duplicate { what: "tensor", name: tensor.name.clone() });
        }
        offset = end;
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    // Spaces up to a multiple of 8, so that the tensors begin aligned.
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend(text);
    let file_length = header.len() as u64 + offset;
    Ok((header, file_length))
}
