//! The metadata of a GGUF file: typed values under unique keys.

use crate::Error;

/// One metadata value.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the format's own name for the type")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A metadata array, all of one type.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the format's own name for the type")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    Strings(Vec<String>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Value {
    /// What this value is, in the words of an error message.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) | Self::U16(_) | Self::U32(_) | Self::U64(_) => "an unsigned number",
            Self::I8(_) | Self::I16(_) | Self::I32(_) | Self::I64(_) => "a signed number",
            Self::F32(_) | Self::F64(_) => "a floating-point number",
            Self::Bool(_) => "a truth value",
            Self::String(_) => "a string",
            Self::Array(Array::Strings(_)) => "an array of strings",
            Self::Array(Array::Bool(_)) => "an array of truth values",
            Self::Array(Array::F32(_) | Array::F64(_)) => "an array of floating-point numbers",
            Self::Array(_) => "an array of whole numbers",
        }
    }

    fn as_i128(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(number) => number.into(),
            Self::I8(number) => number.into(),
            Self::U16(number) => number.into(),
            Self::I16(number) => number.into(),
            Self::U32(number) => number.into(),
            Self::I32(number) => number.into(),
            Self::U64(number) => number.into(),
            Self::I64(number) => number.into(),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::String(_) | Self::Array(_) => {
                return None;
            }
        })
    }
}

/// Values under unique keys, in file order.
///
/// The typed getters return `None` for a key that is missing, and an error that names the key where
/// its value is of another type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    /// Indices into `entries`, sorted by key.
    by_key: Vec<u32>,
}

impl Metadata {
    /// No entries yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// No entries yet, with room for `entries` of them.
    pub(crate) fn with_capacity(entries: usize) -> Self {
        Self { entries: Vec::with_capacity(entries), by_key: Vec::with_capacity(entries) }
    }

    /// Adds an entry at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`] where the key is there already, [`Error::TooLarge`] where there are as
    /// many as a file may hold.
    pub fn insert(&mut self, key: impl Into<String>, value: Value) -> Result<(), Error> {
        let key = key.into();
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        if u64::from(index) >= super::KEYS_MAX {
            return Err(Error::TooLarge {
                what: "the number of metadata keys",
                value: u64::from(index) + 1,
                limit: super::KEYS_MAX,
            });
        }
        match self.position(&key) {
            Ok(_) => Err(Error::Duplicate { what: "metadata key", name: key }),
            Err(at) => {
                self.by_key.insert(at, index);
                self.entries.push((key, value));
                Ok(())
            }
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries, in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value under `key`, of whatever type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let at = self.position(key).ok()?;
        Some(&self.entries[self.by_key[at] as usize].1)
    }

    /// The string under `key`.
    ///
    /// # Errors
    ///
    /// [`Error::MetadataType`] where it is something else.
    pub fn str(&self, key: &str) -> Result<Option<&str>, Error> {
        self.typed(key, "a string", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The whole number under `key`, of any width, if it is not negative.
    ///
    /// # Errors
    ///
    /// [`Error::MetadataType`] where it is something else.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, Error> {
        self.typed(key, "a whole number that is not negative", |value| {
            u64::try_from(value.as_i128()?).ok()
        })
    }

    /// The whole number under `key`, of any width, if it fits.
    ///
    /// # Errors
    ///
    /// [`Error::MetadataType`] where it is something else.
    pub fn i64(&self, key: &str) -> Result<Option<i64>, Error> {
        self.typed(key, "a whole number below 2^63", |value| i64::try_from(value.as_i128()?).ok())
    }

    /// The floating-point number under `key`.
    ///
    /// # Errors
    ///
    /// [`Error::MetadataType`] where it is something else.
    pub fn f64(&self, key: &str) -> Result<Option<f64>, Error> {
        self.typed(key, "a floating-point number", |value| match *value {
            Value::F32(number) => Some(number.into()),
            Value::F64(number) => Some(number),
            _ => None,
        })
    }

    /// The truth value under `key`.
    ///
    /// # Errors
    ///
    /// [`Error::MetadataType`] where it is something else.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "a truth value", |value| match *value {
            Value::Bool(truth) => Some(truth),
            _ => None,
        })
    }

    /// The strings under `key`.
    ///
    /// # Errors
    ///
    /// [`Error::MetadataType`] where it is something else.
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>, Error> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(Array::Strings(strings)) => Some(strings.as_slice()),
            _ => None,
        })
    }

    /// The single-precision numbers under `key`.
    ///
    /// # Errors
    ///
    /// [`Error::MetadataType`] where it is something else.
    pub fn f32s(&self, key: &str) -> Result<Option<&[f32]>, Error> {
        self.typed(key, "an array of single-precision numbers", |value| match value {
            Value::Array(Array::F32(numbers)) => Some(numbers.as_slice()),
            _ => None,
        })
    }

    /// The truth values under `key`.
    ///
    /// # Errors
    ///
    /// [`Error::MetadataType`] where it is something else.
    pub fn bools(&self, key: &str) -> Result<Option<&[bool]>, Error> {
        self.typed(key, "an array of truth values", |value| match value {
            Value::Array(Array::Bool(truths)) => Some(truths.as_slice()),
            _ => None,
        })
    }

    /// The whole numbers under `key`, of any width.
    ///
    /// # Errors
    ///
    /// [`Error::MetadataType`] where it is something else, or one of them is 2^63 or more.
    pub fn i64s(&self, key: &str) -> Result<Option<Vec<i64>>, Error> {
        fn widened<T: Copy + TryInto<i64>>(numbers: &[T]) -> Option<Vec<i64>> {
            numbers.iter().map(|&number| number.try_into().ok()).collect()
        }
        self.typed(key, "an array of whole numbers below 2^63", |value| {
            let Value::Array(array) = value else { return None };
            match array {
                Array::U8(numbers) => widened(numbers),
                Array::I8(numbers) => widened(numbers),
                Array::U16(numbers) => widened(numbers),
                Array::I16(numbers) => widened(numbers),
                Array::U32(numbers) => widened(numbers),
                Array::I32(numbers) => widened(numbers),
                Array::U64(numbers) => widened(numbers),
                Array::I64(numbers) => widened(numbers),
                Array::F32(_) | Array::F64(_) | Array::Bool(_) | Array::Strings(_) => None,
            }
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        convert(value).map(Some).ok_or_else(|| Error::MetadataType {
            key: key.to_owned(),
            expected,
            found: value.type_name(),
        })
    }

    /// Where `key` is in `by_key`, or where it would be.
    fn position(&self, key: &str) -> Result<usize, usize> {
        self.by_key.binary_search_by(|&index| self.entries[index as usize].0.as_str().cmp(key))
    }
}
