//! The element types that GGUF and SafeTensors files store, with the layout of their blocks.

use std::fmt;

use crate::Error;

/// How the elements of a tensor are stored in a file.
///
/// All types of both containers are listed, so that a model that uses one which the engine cannot
/// compute with is refused by the type's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant is the format's own name for the type")]
pub enum StoredType {
    F32,
    F16,
    Bf16,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
    C64,
    F8E4M3,
    F8E5M2,
    F8E8M0,
    F8E4M3Fnuz,
    F8E5M2Fnuz,
    F6E2M3,
    F6E3M2,
    F4,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q8_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Q8K,
    Iq1S,
    Iq1M,
    Iq2Xxs,
    Iq2Xs,
    Iq2S,
    Iq3Xxs,
    Iq3S,
    Iq4Nl,
    Iq4Xs,
    Tq1_0,
    Tq2_0,
    Mxfp4,
    Nvfp4,
    Q1_0,
}

/// One row of [`TABLE`].
struct Layout {
    dtype: StoredType,
    name: &'static str,
    block_elements: usize,
    block_bytes: usize,
    gguf_id: Option<u32>,
    in_safetensors: bool,
}

impl StoredType {
    /// The type that GGUF files give the number `id`, unless it is unknown or withdrawn.
    pub fn from_gguf_id(id: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.gguf_id == Some(id)).map(|row| row.dtype)
    }

    /// The type that SafeTensors files call `name`.
    pub fn from_safetensors_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.in_safetensors && row.name == name).map(|row| row.dtype)
    }

    /// The number of this type in GGUF files, or `None` where they cannot hold it.
    pub fn gguf_id(self) -> Option<u32> {
        self.layout().gguf_id
    }

    /// The name of this type in SafeTensors files, or `None` where they cannot hold it.
    pub fn safetensors_name(self) -> Option<&'static str> {
        let layout = self.layout();
        layout.in_safetensors.then_some(layout.name)
    }

    /// The name that model files and their tools use, such as `Q4_K`.
    pub fn name(self) -> &'static str {
        self.layout().name
    }

    /// How many elements share one block; 1 for plain numbers.
    pub fn block_elements(self) -> usize {
        self.layout().block_elements
    }

    /// How many bytes one block takes.
    pub fn block_bytes(self) -> usize {
        self.layout().block_bytes
    }

    /// How many bytes `elements` elements take.
    ///
    /// # Errors
    ///
    /// [`Error::Elements`] where they do not fill whole blocks, or need 2^64 bytes or more.
    pub fn bytes_of(self, elements: u64) -> Result<u64, Error> {
        let layout = self.layout();
        let block_elements = layout.block_elements as u64;
        let whole = elements.is_multiple_of(block_elements);
        let bytes = (elements / block_elements).checked_mul(layout.block_bytes as u64);
        bytes.filter(|_| whole).ok_or(Error::Elements {
            dtype: self,
            elements,
            block_elements: layout.block_elements,
        })
    }

    /// Every type of both containers.
    #[cfg(test)]
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.dtype)
    }

    fn layout(self) -> &'static Layout {
        &TABLE[self as usize]
    }
}

impl fmt::Display for StoredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The types that GGUF once defined and then withdrew, by number.
///
/// Source: `enum ggml_type` of ggml.h, where these are commented out.
pub(crate) const WITHDRAWN: [(u32, &str); 8] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

const fn row(
    dtype: StoredType,
    name: &'static str,
    block: (usize, usize),
    gguf_id: Option<u32>,
    in_safetensors: bool,
) -> Layout {
    Layout { dtype, name, block_elements: block.0, block_bytes: block.1, gguf_id, in_safetensors }
}

/// In the order of the variants: name, (elements, bytes) of a block, GGUF number, in SafeTensors?
///
/// Sources: `GGML_QUANT_SIZES` of gguf-py's constants.py, except that Q8_1, which no file holds, is
/// 36 bytes as in `block_q8_1` of ggml-common.h; `Dtype` of the safetensors crate 0.8.0.
static TABLE: [Layout; 48] = [
    row(StoredType::F32, "F32", (1, 4), Some(0), true),
    row(StoredType::F16, "F16", (1, 2), Some(1), true),
    row(StoredType::Bf16, "BF16", (1, 2), Some(30), true),
    row(StoredType::F64, "F64", (1, 8), Some(28), true),
    row(StoredType::I8, "I8", (1, 1), Some(24), true),
    row(StoredType::I16, "I16", (1, 2), Some(25), true),
    row(StoredType::I32, "I32", (1, 4), Some(26), true),
    row(StoredType::I64, "I64", (1, 8), Some(27), true),
    row(StoredType::U8, "U8", (1, 1), None, true),
    row(StoredType::U16, "U16", (1, 2), None, true),
    row(StoredType::U32, "U32", (1, 4), None, true),
    row(StoredType::U64, "U64", (1, 8), None, true),
    row(StoredType::Bool, "BOOL", (1, 1), None, true),
    row(StoredType::C64, "C64", (1, 8), None, true),
    row(StoredType::F8E4M3, "F8_E4M3", (1, 1), None, true),
    row(StoredType::F8E5M2, "F8_E5M2", (1, 1), None, true),
    row(StoredType::F8E8M0, "F8_E8M0", (1, 1), None, true),
    row(StoredType::F8E4M3Fnuz, "F8_E4M3FNUZ", (1, 1), None, true),
    row(StoredType::F8E5M2Fnuz, "F8_E5M2FNUZ", (1, 1), None, true),
    row(StoredType::F6E2M3, "F6_E2M3", (4, 3), None, true),
    row(StoredType::F6E3M2, "F6_E3M2", (4, 3), None, true),
    row(StoredType::F4, "F4", (2, 1), None, true),
    row(StoredType::Q4_0, "Q4_0", (32, 18), Some(2), false),
    row(StoredType::Q4_1, "Q4_1", (32, 20), Some(3), false),
    row(StoredType::Q5_0, "Q5_0", (32, 22), Some(6), false),
    row(StoredType::Q5_1, "Q5_1", (32, 24), Some(7), false),
    row(StoredType::Q8_0, "Q8_0", (32, 34), Some(8), false),
    row(StoredType::Q8_1, "Q8_1", (32, 36), Some(9), false),
    row(StoredType::Q2K, "Q2_K", (256, 84), Some(10), false),
    row(StoredType::Q3K, "Q3_K", (256, 110), Some(11), false),
    row(StoredType::Q4K, "Q4_K", (256, 144), Some(12), false),
    row(StoredType::Q5K, "Q5_K", (256, 176), Some(13), false),
    row(StoredType::Q6K, "Q6_K", (256, 210), Some(14), false),
    row(StoredType::Q8K, "Q8_K", (256, 292), Some(15), false),
    row(StoredType::Iq1S, "IQ1_S", (256, 50), Some(19), false),
    row(StoredType::Iq1M, "IQ1_M", (256, 56), Some(29), false),
    row(StoredType::Iq2Xxs, "IQ2_XXS", (256, 66), Some(16), false),
    row(StoredType::Iq2Xs, "IQ2_XS", (256, 74), Some(17), false),
    row(StoredType::Iq2S, "IQ2_S", (256, 82), Some(22), false),
    row(StoredType::Iq3Xxs, "IQ3_XXS", (256, 98), Some(18), false),
    row(StoredType::Iq3S, "IQ3_S", (256, 110), Some(21), false),
    row(StoredType::Iq4Nl, "IQ4_NL", (32, 18), Some(20), false),
    row(StoredType::Iq4Xs, "IQ4_XS", (256, 136), Some(23), false),
    row(StoredType::Tq1_0, "TQ1_0", (256, 54), Some(34), false),
    row(StoredType::Tq2_0, "TQ2_0", (256, 66), Some(35), false),
    row(StoredType::Mxfp4, "MXFP4", (32, 17), Some(39), false),
    row(StoredType::Nvfp4, "NVFP4", (64, 36), Some(40), false),
    row(StoredType::Q1_0, "Q1_0", (128, 18), Some(41), false),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_at_the_index_of_its_variant() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.dtype as usize, index, "{}", row.name);
            assert!(row.gguf_id.is_some() || row.in_safetensors, "{}", row.name);
        }
    }

    #[test]
    fn numbers_and_names_lead_back_to_their_type() {
        for row in &TABLE {
            if let Some(id) = row.gguf_id {
                assert_eq!(StoredType::from_gguf_id(id), Some(row.dtype));
                assert!(WITHDRAWN.iter().all(|(withdrawn, _)| *withdrawn != id));
            }
            if row.in_safetensors {
                assert_eq!(StoredType::from_safetensors_name(row.name), Some(row.dtype));
            }
        }
        assert_eq!(StoredType::from_gguf_id(4), None);
        assert_eq!(StoredType::from_safetensors_name("Q4_0"), None);
    }

    #[test]
    fn bytes_count_whole_blocks_only() {
        assert_eq!(StoredType::Q4_1.bytes_of(64).unwrap(), 40);
        assert_eq!(StoredType::Bf16.bytes_of(3).unwrap(), 6);
        assert_eq!(StoredType::F4.bytes_of(6).unwrap(), 3);
        assert!(matches!(
            StoredType::Q4K.bytes_of(128),
            Err(Error::Elements { elements: 128, block_elements: 256, .. })
        ));
        assert!(StoredType::F64.bytes_of(u64::MAX / 4).is_err());
    }
}
