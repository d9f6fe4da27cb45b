//! Writing a SafeTensors file in one pass, to the byte as the safetensors library writes it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Safetensors;
use crate::tensors::{TensorSpec, bytes_of_shape, file_length, next_offset, write_data};
use crate::{Error, StoredType};

/// The types in the order of their tensors in a file: wide elements first, so that every tensor is
/// aligned to its elements.
///
/// Source: `Dtype` of the safetensors crate 0.8.0, which sorts tensors by it backwards.
pub(super) const ORDER: [StoredType; 22] = [
    StoredType::U64,
    StoredType::I64,
    StoredType::F64,
    StoredType::C64,
    StoredType::F32,
    StoredType::U32,
    StoredType::I32,
    StoredType::Bf16,
    StoredType::F16,
    StoredType::U16,
    StoredType::I16,
    StoredType::F8E5M2Fnuz,
    StoredType::F8E4M3Fnuz,
    StoredType::F8E8M0,
    StoredType::F8E4M3,
    StoredType::F8E5M2,
    StoredType::I8,
    StoredType::U8,
    StoredType::F6E3M2,
    StoredType::F6E2M3,
    StoredType::F4,
    StoredType::Bool,
];

/// Writes a file: the header, then the bytes of each tensor.
///
/// Tensors are sorted by type, wide elements first, and by name among equals, as the safetensors
/// library does it: so the order in which a program makes its tensors does not change the file, and
/// a model that went through here compares equal to the byte with what Hugging Face's tools write.
/// The header is padded with spaces to a multiple of 8 bytes. `metadata` become `__metadata__`,
/// sorted by key (the library leaves their order to chance); empty ones are left out.
///
/// `data` is called in the order of the file, once for each tensor, with its index in `tensors`. It
/// writes the tensor's bytes in as many pieces as it likes: no more than the header and one piece
/// is ever in memory. Returns the length of the file. The same arguments give the same bytes.
///
/// # Errors
///
/// [`Error::Write`] where `out` or `data` fails; [`Error::WrongData`] where `data` gives more or
/// fewer bytes than the shape needs; [`Error::NotStorable`] for a type that SafeTensors does not
/// have; and before a byte is written whatever [`Safetensors::parse`] would refuse in the result,
/// such as a name that occurs twice.
///
/// # Examples
///
/// ```
/// use std::collections::BTreeMap;
/// use artifacts::safetensors::{self, Safetensors};
/// use artifacts::tensors::TensorSpec;
/// use artifacts::{Error, StoredType};
///
/// let rows = [[1.0_f32, 2.0], [3.0, 4.0], [5.0, 6.0]];
/// let tensors = [TensorSpec::new("weight", StoredType::F32, &[3, 2])];
/// let mut file = Vec::new();
/// safetensors::write(&mut file, &BTreeMap::new(), &tensors, |_, out| {
///     rows.iter().flatten().try_for_each(|number| out.write_all(&number.to_le_bytes()))
/// })?;
/// let header = Safetensors::parse(&file, file.len() as u64)?;
/// assert_eq!(header.tensors()[0].bytes, 24);
/// # Ok::<(), Error>(())
/// ```
pub fn write<W: Write + ?Sized>(
    out: &mut W,
    metadata: &BTreeMap<String, String>,
    tensors: &[TensorSpec],
    mut data: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> Result<u64, Error> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    let key = |index: usize| (rank(tensors[index].dtype), tensors[index].name.as_str());
    order.sort_by(|&a, &b| key(a).cmp(&key(b)));
    let mut entries = Vec::with_capacity(tensors.len());
    let mut offset = 0;
    for &index in &order {
        let entry = Entry::new(&tensors[index], offset)?;
        offset = entry.data_offsets[1];
        entries.push((tensors[index].name.as_str(), entry));
    }
    let header = Header { metadata, entries: &entries }.to_bytes()?;
    let file_length = file_length(header.len() as u64, offset)?;
    Safetensors::parse(&header, file_length)?;
    out.write_all(&header).map_err(|source| Error::Write { source })?;
    for (index, (name, entry)) in order.into_iter().zip(&entries) {
        let [begin, end] = entry.data_offsets;
        write_data(out, name, end - begin, |out| data(index, out))?;
    }
    Ok(file_length)
}

/// The metadata that programs on top of PyTorch, such as transformers and PEFT, look for.
#[must_use]
pub fn for_pytorch() -> BTreeMap<String, String> {
    BTreeMap::from([("format".to_owned(), "pt".to_owned())])
}

/// Where a type stands in [`ORDER`]; one that the format lacks comes last, and is refused later.
fn rank(dtype: StoredType) -> usize {
    ORDER.iter().position(|&other| other == dtype).unwrap_or(ORDER.len())
}

/// What the header says of one tensor, in the order of the library's fields.
#[derive(serde::Serialize)]
struct Entry<'a> {
    dtype: &'static str,
    shape: &'a [u64],
    data_offsets: [u64; 2],
}

impl<'a> Entry<'a> {
    fn new(tensor: &'a TensorSpec, offset: u64) -> Result<Self, Error> {
        let bytes = bytes_of_shape(&tensor.name, tensor.dtype, &tensor.shape)?;
        let dtype = tensor.dtype.safetensors_name().ok_or_else(|| Error::NotStorable {
            container: "SafeTensors",
            tensor: tensor.name.clone(),
            dtype: tensor.dtype,
        })?;
        let end = next_offset(tensor, offset, bytes)?;
        Ok(Self { dtype, shape: &tensor.shape, data_offsets: [offset, end] })
    }
}

/// The whole header, in the order of the file.
struct Header<'a> {
    metadata: &'a BTreeMap<String, String>,
    entries: &'a [(&'a str, Entry<'a>)],
}

impl Header<'_> {
    /// The header with its length before it and the padding behind it.
    fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; 8];
        serde_json::to_writer(&mut bytes, self)
            .map_err(|error| Error::Json { what: "the header", message: error.to_string() })?;
        // The length takes 8 bytes itself, so all is aligned when the rest is.
        bytes.resize(bytes.len().next_multiple_of(8), b' ');
        let length = bytes.len() as u64 - 8;
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        Ok(bytes)
    }
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry("__metadata__", self.metadata)?;
        }
        for (name, entry) in self.entries {
            map.serialize_entry(name, entry)?;
        }
        map.end()
    }
}
