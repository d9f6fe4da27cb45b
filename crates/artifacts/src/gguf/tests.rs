//! Round trips and hostile files.

use std::io;

use proptest::prelude::*;

use super::*;
use crate::StoredType;
use crate::tensors::TensorSpec;

fn small_metadata() -> Metadata {
    let mut metadata = Metadata::new();
    let array = |array| Value::Array(array);
    let entries = [
        ("general.architecture", Value::String("llama".to_owned())),
        ("u8", Value::U8(u8::MAX)),
        ("i8", Value::I8(i8::MIN)),
        ("u16", Value::U16(u16::MAX)),
        ("i16", Value::I16(i16::MIN)),
        ("u32", Value::U32(u32::MAX)),
        ("i32", Value::I32(i32::MIN)),
        ("u64", Value::U64(u64::MAX)),
        ("i64", Value::I64(i64::MIN)),
        ("f32", Value::F32(1e-5)),
        ("f64", Value::F64(-0.5)),
        ("bool", Value::Bool(true)),
        ("strings", array(Array::Strings(vec!["".to_owned(), "Ġé".to_owned()]))),
        ("bools", array(Array::Bool(vec![true, false]))),
        ("u8s", array(Array::U8(vec![1, 2]))),
        ("i8s", array(Array::I8(vec![-1]))),
        ("u16s", array(Array::U16(vec![3]))),
        ("i16s", array(Array::I16(vec![-3]))),
        ("u32s", array(Array::U32(vec![]))),
        ("i32s", array(Array::I32(vec![-7, 7]))),
        ("u64s", array(Array::U64(vec![u64::MAX]))),
        ("i64s", array(Array::I64(vec![i64::MIN]))),
        ("f32s", array(Array::F32(vec![0.25, -4.0]))),
        ("f64s", array(Array::F64(vec![0.125]))),
    ];
    for (key, value) in entries {
        metadata.insert(key, value).unwrap();
    }
    metadata
}

fn small_tensors() -> Vec<TensorSpec> {
    vec![
        TensorSpec::new("token_embd.weight", StoredType::Q4_1, &[3, 64]),
        TensorSpec::new("output_norm.weight", StoredType::F32, &[5]),
        TensorSpec::new("cube", StoredType::Bf16, &[2, 3, 4]),
    ]
}

/// The bytes of each of [`small_tensors`].
const DATA: [&[u8]; 3] = [&[1; 120], &[2; 20], &[3; 48]];

fn small_file() -> Vec<u8> {
    let mut file = Vec::new();
    let length = write(&mut file, &small_metadata(), &small_tensors(), |index, out| {
        out.write_all(DATA[index])
    })
    .unwrap();
    assert_eq!(length, file.len() as u64);
    file
}

#[test]
fn what_is_written_is_read_again() {
    let bytes = small_file();
    let header = Gguf::parse(&bytes, bytes.len() as u64).unwrap();
    assert_eq!(header.metadata(), &small_metadata());
    assert_eq!(header.version(), 3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.gguf");
    std::fs::write(&path, &bytes).unwrap();
    let file = Gguf::open(&path).unwrap();
    for (index, spec) in small_tensors().iter().enumerate() {
        let info = file.header().tensor(&spec.name).unwrap();
        assert_eq!((info.dtype, &info.shape), (spec.dtype, &spec.shape));
        assert_eq!(info.offset % DEFAULT_ALIGNMENT, 0);
        assert_eq!(file.read(info).unwrap(), DATA[index]);
    }
    assert_eq!(file.header().tensor("missing"), None);
}

/// What was read, written again: metadata, tensors and their bytes.
fn written_again(header: &Gguf, bytes: &[u8]) -> Vec<u8> {
    let spec = |info: &TensorInfo| TensorSpec::new(&info.name, info.dtype, &info.shape);
    let specs: Vec<TensorSpec> = header.tensors().iter().map(spec).collect();
    let mut again = Vec::new();
    write(&mut again, header.metadata(), &specs, |index, out| {
        let info = &header.tensors()[index];
        let range = usize::try_from(info.offset).unwrap()..usize::try_from(info.end()).unwrap();
        out.write_all(&bytes[range])
    })
    .unwrap();
    again
}

#[test]
fn files_are_written_again_to_the_byte() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-chat.gguf");
    for bytes in [std::fs::read(&fixture).unwrap(), small_file()] {
        let header = Gguf::parse(&bytes, bytes.len() as u64).unwrap();
        assert!(header.tensors().len() > 2 && header.version() == 3);
        assert!(written_again(&header, &bytes) == bytes, "{:?}", header.tensors()[0]);
    }
    assert_eq!(small_file(), small_file(), "the same arguments give the same bytes");
}

#[test]
fn files_of_another_layout_are_written_again_in_this_one() {
    // Version 2 becomes 3: nothing else differs.
    let mut second = small_file();
    second[4] = 2;
    let header = Gguf::parse(&second, second.len() as u64).unwrap();
    assert_eq!((header.version(), written_again(&header, &second)), (2, small_file()));
    // Tensors that lie in another order than the header lists them come to lie in that order.
    let swapped = Raw::new(2, 0).tensor("a", &[8], F32, 32).tensor("b", &[8], F32, 0);
    let mut swapped = swapped.data(0).0;
    swapped.extend([[b'b'; 32], [b'a'; 32]].concat());
    let header = Gguf::parse(&swapped, swapped.len() as u64).unwrap();
    let again = written_again(&header, &swapped);
    assert!(again.ends_with(&[[b'a'; 32], [b'b'; 32]].concat()) && again.len() == swapped.len());
    // The padding behind the last tensor is written where it was left out.
    let short = small_file();
    let cut = &short[..short.len() - 16];
    let header = Gguf::parse(cut, cut.len() as u64).unwrap();
    assert_eq!(written_again(&header, cut), short);
}

/// Metadata values of every type, numbers by their bits.
fn any_value() -> impl Strategy<Value = Value> {
    fn many<T: std::fmt::Debug + 'static>(
        element: impl Strategy<Value = T> + 'static,
        array: fn(Vec<T>) -> Array,
    ) -> BoxedStrategy<Value> {
        let elements = prop::collection::vec(element, 0..4);
        elements.prop_map(move |elements| Value::Array(array(elements))).boxed()
    }
    let f32s = any::<u32>().prop_map(f32::from_bits);
    let f64s = any::<u64>().prop_map(f64::from_bits);
    let numbers = prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
    ];
    let others = prop_oneof![
        f32s.clone().prop_map(Value::F32),
        f64s.clone().prop_map(Value::F64),
        any::<bool>().prop_map(Value::Bool),
        ".{0,8}".prop_map(Value::String),
        many(".{0,4}", Array::Strings),
        many(any::<bool>(), Array::Bool),
        many(f32s, Array::F32),
        many(f64s, Array::F64),
    ];
    let arrays = prop_oneof![
        many(any::<u8>(), Array::U8),
        many(any::<i8>(), Array::I8),
        many(any::<u16>(), Array::U16),
        many(any::<i16>(), Array::I16),
        many(any::<u32>(), Array::U32),
        many(any::<i32>(), Array::I32),
        many(any::<u64>(), Array::U64),
        many(any::<i64>(), Array::I64),
    ];
    prop_oneof![numbers, others, arrays]
}

proptest! {
    #[test]
    fn any_file_is_read_as_it_was_written(
        values in prop::collection::btree_map("[ -~é]{0,12}", any_value(), 0..8),
        alignment in prop::option::of(0_u32..8),
        tensors in prop::collection::btree_map(
            "[ -~日]{0,12}",
            (
                prop::sample::select(
                    StoredType::all().filter(|dtype| dtype.gguf_id().is_some()).collect::<Vec<_>>(),
                ),
                prop::collection::vec(1_u64..4, 1..4),
            ),
            0..6,
        ),
    ) {
        let mut metadata = Metadata::new();
        if let Some(power) = alignment {
            metadata.insert("general.alignment", Value::U32(1 << power)).unwrap();
        }
        for (key, value) in values {
            metadata.insert(key, value).unwrap();
        }
        let specs: Vec<TensorSpec> = tensors
            .into_iter()
            .map(|(name, (dtype, mut shape))| {
                *shape.last_mut().unwrap() *= dtype.block_elements() as u64;
                TensorSpec::new(name, dtype, &shape)
            })
            .collect();
        let mut bytes = Vec::new();
        let length = write(&mut bytes, &metadata, &specs, |index, out| {
            let spec = &specs[index];
            let length = spec.dtype.bytes_of(spec.shape.iter().product()).unwrap();
            (0..length).try_for_each(|at| out.write_all(&(at + 1).to_le_bytes()[..1]))
        })
        .unwrap();
        prop_assert_eq!(length, bytes.len() as u64);
        let header = Gguf::parse(&bytes, length).unwrap();
        let keys = |metadata: &Metadata| -> Vec<String> {
            metadata.iter().map(|(key, value)| format!("{key}: {value:?}")).collect()
        };
        prop_assert_eq!(keys(header.metadata()), keys(&metadata));
        for (info, spec) in header.tensors().iter().zip(&specs) {
            prop_assert_eq!((&info.name, info.dtype), (&spec.name, spec.dtype));
            prop_assert_eq!(&info.shape, &spec.shape);
            let at = usize::try_from(info.offset).unwrap();
            prop_assert_eq!(bytes[at], 1);
            let aligned = 1 << alignment.unwrap_or(5);
            prop_assert_eq!(info.offset % aligned, 0);
        }
        // Bit by bit, which `PartialEq` of numbers that are none would not see.
        prop_assert_eq!(written_again(&header, &bytes), bytes);
    }
}

#[test]
fn every_truncation_is_refused_until_only_padding_is_missing() {
    let bytes = small_file();
    let whole = Gguf::parse(&bytes, bytes.len() as u64).unwrap();
    let data_end = whole.tensor("cube").unwrap().end();
    for length in 0..bytes.len() as u64 {
        let cut = &bytes[..usize::try_from(length).unwrap()];
        assert_eq!(Gguf::parse(cut, length).is_ok(), length >= data_end, "{length} bytes");
        // The file claims its whole length but ends inside the header.
        if length + DEFAULT_ALIGNMENT <= whole.data_offset() {
            let error = Gguf::parse(cut, bytes.len() as u64).unwrap_err();
            assert!(matches!(error, Error::Truncated { .. }), "{length} bytes: {error}");
        }
    }
}

#[test]
fn a_file_that_shrinks_after_it_was_opened_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.gguf");
    std::fs::write(&path, small_file()).unwrap();
    let file = Gguf::open(&path).unwrap();
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
    let error = file.read(file.header().tensor("token_embd.weight").unwrap()).unwrap_err();
    let Error::InFile { source, .. } = &error else { panic!("{error}") };
    assert!(matches!(**source, Error::Shrunk { found, expected }
        if found == length - 1 && expected == length));
    assert!(error.to_string().contains("small.gguf"), "{error}");
}

#[test]
fn a_tensor_of_another_file_is_not_read_past_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.gguf");
    std::fs::write(&path, small_file()).unwrap();
    let file = Gguf::open(&path).unwrap();
    let mut foreign = file.header().tensors()[0].clone();
    for (offset, bytes) in [(0, u64::MAX), (u64::MAX, 2), (0, 1 << 60)] {
        (foreign.offset, foreign.bytes) = (offset, bytes);
        let error = file.read(&foreign).unwrap_err();
        let Error::InFile { source, .. } = error else { panic!("{error}") };
        assert!(matches!(*source, Error::BeyondFile { .. }));
    }
    let error = Gguf::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Io { action: "open", .. }), "{error}");
}

/// A file made by hand, part by part.
struct Raw(Vec<u8>);

impl Raw {
    fn new(tensors: u64, keys: u64) -> Self {
        Self(Vec::new()).magic(3).u64(tensors).u64(keys)
    }

    fn magic(mut self, version: u32) -> Self {
        self.0.extend(MAGIC);
        self.u32(version)
    }

    fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        self.u64(text.len() as u64).bytes(text.as_bytes())
    }

    /// One entry of the list of tensors; `dimensions` innermost first.
    fn tensor(self, name: &str, dimensions: &[u64], dtype: u32, offset: u64) -> Self {
        let count = u32::try_from(dimensions.len()).unwrap();
        let begun = self.text(name).u32(count);
        let entry = dimensions.iter().fold(begun, |raw, &dimension| raw.u64(dimension));
        entry.u32(dtype).u64(offset)
    }

    /// Padding to 32 bytes, then this many bytes of tensors.
    fn data(mut self, bytes: usize) -> Self {
        let begin = self.0.len().next_multiple_of(32);
        self.0.resize(begin + bytes, 0);
        self
    }

    fn parse(&self) -> Result<Gguf, Error> {
        Gguf::parse(&self.0, self.0.len() as u64)
    }

    fn error(&self) -> Error {
        self.parse().expect_err("a hostile file was accepted")
    }
}

const F32: u32 = 0;
const Q4_0: u32 = 2;

#[test]
fn files_of_another_kind_version_or_byte_order_are_refused() {
    let error = Raw(b"PK\x03\x04 and so on".to_vec()).error();
    assert!(matches!(error, Error::NotGguf { found } if &found == b"PK\x03\x04"), "{error}");
    assert!(matches!(Raw(Vec::new()).magic(1).error(), Error::Version { found: 1 }));
    assert!(matches!(Raw(Vec::new()).magic(4).error(), Error::Version { found: 4 }));
    assert!(matches!(Raw(Vec::new()).magic(0).error(), Error::Version { found: 0 }));
    let swapped = Raw(Vec::new()).magic(3_u32.swap_bytes());
    assert!(matches!(swapped.error(), Error::BigEndian { version: 3 }));
    let second = Raw(Vec::new()).magic(2).u64(0).u64(0).parse().unwrap();
    assert_eq!((second.version(), second.tensors().len()), (2, 0));
}

#[test]
fn counts_that_lie_are_refused_before_memory_is_taken() {
    for (tensors, keys) in [(1, 0), (0, 1), (TENSORS, 0), (0, KEYS_MAX)] {
        let error = Raw::new(tensors, keys).error();
        assert!(matches!(error, Error::Truncated { .. }), "{tensors} {keys}: {error}");
    }
    for (tensors, keys) in [(TENSORS + 1, 0), (u64::MAX, 0), (0, KEYS_MAX + 1), (0, 1 << 60)] {
        let error = Raw::new(tensors, keys).error();
        assert!(matches!(error, Error::TooLarge { .. }), "{tensors} {keys}: {error}");
    }
    // One key fewer than there are: the rest is taken for tensors and does not fit.
    let fewer = Raw::new(1, 0).text("key").u32(4).u32(7).tensor("a", &[8], F32, 0).data(32);
    assert!(fewer.parse().is_err());
}

const TENSORS: u64 = crate::tensors::TENSORS_MAX;

#[test]
fn strings_and_arrays_are_measured_against_the_file() {
    let long_key = Raw::new(0, 1).u64(u64::MAX).bytes(&[0; 32]);
    assert!(matches!(long_key.error(), Error::Truncated { needed: u64::MAX, .. }));
    let key_over_limit = Raw::new(0, 1).text(&"k".repeat(1_025)).u32(4).u32(0);
    assert!(matches!(key_over_limit.error(), Error::TooLarge { value: 1_025, .. }));
    let long_value = Raw::new(0, 1).text("key").u32(8).u64(1 << 40);
    assert!(matches!(long_value.error(), Error::Truncated { .. }));
    for element in 0..=12_u32 {
        let huge = Raw::new(0, 1).text("key").u32(9).u32(element).u64(1 << 60).bytes(&[0; 64]);
        let error = huge.error();
        let expected = matches!(error, Error::Truncated { .. });
        assert!(expected || element == 9, "array of type {element}: {error}");
    }
    let overflow = Raw::new(0, 1).text("key").u32(9).u32(12).u64(u64::MAX / 8 + 2);
    assert!(matches!(overflow.error(), Error::Truncated { needed: u64::MAX, .. }));
    let inner = Raw::new(0, 1).text("key").u32(9).u32(8).u64(2).text("ok").u64(1 << 60);
    assert!(matches!(inner.error(), Error::Truncated { .. }));
}

#[test]
fn a_header_over_the_limit_is_refused_even_where_the_file_is_long_enough() {
    let huge = Raw::new(0, 1).text("key").u32(8).u64(1 << 40);
    let error = Gguf::parse(&huge.0, 1 << 41).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "the length of the header", .. }), "{error}");
}

#[test]
fn metadata_that_means_nothing_is_refused() {
    let nested = Raw::new(0, 1).text("key").u32(9).u32(9).u64(1).u32(9).u64(1).bytes(&[0; 64]);
    assert!(matches!(nested.error(), Error::NestedArray { key } if key == "key"));
    let unknown = Raw::new(0, 1).text("key").u32(13).bytes(&[0; 64]);
    assert!(matches!(unknown.error(), Error::ValueType { id: 13, .. }));
    let unknown_element = Raw::new(0, 1).text("key").u32(9).u32(99).u64(1).bytes(&[0; 64]);
    assert!(matches!(unknown_element.error(), Error::ValueType { id: 99, .. }));
    let truth = Raw::new(0, 1).text("key").u32(7).bytes(&[2]);
    assert!(matches!(truth.error(), Error::NotBool { byte: 2, .. }));
    let truths = Raw::new(0, 1).text("key").u32(9).u32(7).u64(2).bytes(&[1, 255]);
    assert!(matches!(truths.error(), Error::NotBool { byte: 255, .. }));
    let twice = Raw::new(0, 2).text("key").u32(4).u32(1).text("key").u32(4).u32(2);
    assert!(matches!(twice.error(), Error::Duplicate { name, .. } if name == "key"));
    let not_text = Raw::new(0, 1).u64(2).bytes(b"\xff\xfe").u32(4).u32(1);
    assert!(matches!(not_text.error(), Error::NotUtf8 { what: "a metadata key", offset: 32 }));
    let not_text = Raw::new(0, 1).text("key").u32(8).u64(1).bytes(b"\xc3");
    assert!(matches!(not_text.error(), Error::NotUtf8 { what: "a metadata value", .. }));
}

#[test]
fn alignments_that_break_arithmetic_are_refused() {
    for alignment in [0, 3, 24, 65_537, 131_072, u32::MAX] {
        let raw = Raw::new(0, 1).text("general.alignment").u32(4).u32(alignment);
        let expected = u64::from(alignment);
        assert!(matches!(raw.error(), Error::Alignment { alignment, .. } if alignment == expected));
    }
    let huge = Raw::new(0, 1).text("general.alignment").u32(10).u64(1 << 63);
    assert!(matches!(huge.error(), Error::Alignment { .. }));
    let text = Raw::new(0, 1).text("general.alignment").u32(8).text("32");
    assert!(matches!(text.error(), Error::MetadataType { .. }));
}

#[test]
fn shapes_that_cannot_be_are_refused() {
    let shapes: [&[u64]; 6] =
        [&[], &[0], &[4, 0], &[1 << 32, 1 << 32], &[u64::MAX, u64::MAX], &[1 << 62, 2]];
    for shape in shapes {
        let error = Raw::new(1, 0).tensor("a", shape, F32, 0).data(64).error();
        assert!(matches!(error, Error::Shape { .. }), "{shape:?}: {error}");
    }
    // The product fits 64 bits but the bytes do not.
    let error = Raw::new(1, 0).tensor("a", &[1 << 62], F32, 0).data(64).error();
    assert!(matches!(error, Error::Shape { problem, .. } if problem.contains("bytes")));
    // A zero among dimensions that overflow.
    let error = Raw::new(1, 0).tensor("a", &[u64::MAX, u64::MAX, 0], F32, 0).data(64).error();
    assert!(matches!(error, Error::Shape { .. }));
    let error = Raw::new(1, 0).tensor("a", &[1; 9], F32, 0).data(64).error();
    assert!(matches!(error, Error::TooLarge { value: 9, .. }));
    let count = Raw::new(1, 0).text("a").u32(u32::MAX).data(64).error();
    assert!(matches!(count, Error::TooLarge { .. }));
    // 64 elements in all, but no row is a whole block.
    let error = Raw::new(1, 0).tensor("a", &[16, 4], Q4_0, 0).data(64).error();
    assert!(matches!(error, Error::Shape { problem, .. } if problem.contains("blocks")));
    assert!(Raw::new(1, 0).tensor("a", &[8, 1, 1, 1, 1, 1, 1, 1], F32, 0).data(32).parse().is_ok());
}

#[test]
fn tensors_without_a_place_of_their_own_are_refused() {
    let two = |first: u64, second: u64, data: usize| {
        let raw = Raw::new(2, 0).tensor("a", &[8], F32, first).tensor("b", &[8], F32, second);
        raw.data(data).parse().map(|_| ())
    };
    assert!(two(0, 32, 64).is_ok());
    assert!(two(32, 0, 64).is_ok(), "the header may list tensors in any order");
    assert!(matches!(two(0, 0, 64), Err(Error::Overlap { first, second })
        if first == "a" && second == "b"));
    assert!(matches!(two(0, 16, 64), Err(Error::Overlap { .. })));
    assert!(matches!(two(0, 64, 96), Err(Error::Hole { bytes: 32, .. })));
    assert!(matches!(two(32, 64, 96), Err(Error::Hole { .. })));
    assert!(matches!(two(0, 32, 65), Err(Error::Hole { bytes: 1, .. })));
    assert!(matches!(two(0, 32, 63), Err(Error::BeyondFile { .. })));
    assert!(matches!(two(0, 1 << 40, 64), Err(Error::BeyondFile { .. })));
    // Offsets that wrap around when the start of the data, or the length, is added.
    for offset in [u64::MAX, u64::MAX - 31, u64::MAX - 127, u64::MAX - 159] {
        assert!(matches!(two(0, offset, 64), Err(Error::BeyondFile { .. })), "{offset}");
    }
    let short = |offset: u64| {
        let raw = Raw::new(2, 0).tensor("a", &[5], F32, 0).tensor("b", &[8], F32, offset);
        raw.data(64).parse().map(|_| ())
    };
    assert!(short(32).is_ok());
    assert!(matches!(short(20), Err(Error::Misaligned { .. })));
    assert!(matches!(short(24), Err(Error::Misaligned { .. })));
}

#[test]
fn bytes_after_a_file_without_tensors_are_refused() {
    assert!(Raw::new(0, 0).parse().is_ok());
    assert!(Raw::new(0, 0).data(0).parse().is_ok());
    assert!(matches!(Raw::new(0, 0).data(1).error(), Error::Hole { offset: 32, bytes: 1, .. }));
}

#[test]
fn tensor_names_and_types_are_checked() {
    let twice = Raw::new(2, 0).tensor("a", &[8], F32, 0).tensor("a", &[8], F32, 32).data(64);
    assert!(matches!(twice.error(), Error::Duplicate { what: "tensor", .. }));
    let long = Raw::new(1, 0).tensor(&"n".repeat(257), &[8], F32, 0).data(32);
    assert!(matches!(long.error(), Error::TooLarge { value: 257, limit: 256, .. }));
    let not_text = Raw::new(1, 0).u64(1).bytes(b"\xff").u32(1).u64(8).u32(F32).u64(0).data(32);
    assert!(matches!(not_text.error(), Error::NotUtf8 { what: "a tensor's name", .. }));
    for (id, name) in [(4, "Q4_2"), (31, "Q4_0_4_4"), (42, "42"), (u32::MAX, "4294967295")] {
        let error = Raw::new(1, 0).tensor("a", &[256], id, 0).data(4_096).error();
        assert!(matches!(&error, Error::TensorType { dtype, .. } if dtype == name), "{error}");
    }
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let none = Metadata::new();
    let write = |metadata: &Metadata, tensors: &[TensorSpec], data: &[u8]| {
        write(&mut io::sink(), metadata, tensors, |_, out| out.write_all(data))
    };
    let tensor = TensorSpec::new("a", StoredType::F32, &[2]);
    assert!(write(&none, std::slice::from_ref(&tensor), &[0; 8]).is_ok());
    let error = write(&none, std::slice::from_ref(&tensor), &[0; 7]).unwrap_err();
    assert!(matches!(error, Error::WrongData { expected: 8, given: 7, .. }), "{error}");
    let error = write(&none, std::slice::from_ref(&tensor), &[0; 9]).unwrap_err();
    assert!(matches!(error, Error::WrongData { expected: 8, given: 9, .. }), "{error}");
    let error = write(&none, &[tensor.clone(), tensor], &[0; 8]).unwrap_err();
    assert!(matches!(error, Error::Duplicate { .. }), "{error}");
    let unknown = TensorSpec::new("a", StoredType::U64, &[1]);
    assert!(matches!(write(&none, &[unknown], &[0; 8]), Err(Error::NotStorable { .. })));
    let huge = TensorSpec::new("a", StoredType::U8, &[1 << 63, 2]);
    assert!(matches!(write(&none, &[huge], &[]), Err(Error::Shape { .. })));
    let huge = TensorSpec::new("a", StoredType::I8, &[u64::MAX]);
    assert!(matches!(write(&none, &[huge], &[]), Err(Error::Shape { .. })));
    let mut odd = Metadata::new();
    odd.insert("general.alignment", Value::U32(12)).unwrap();
    assert!(matches!(write(&odd, &[], &[]), Err(Error::Alignment { .. })));
}

#[test]
fn getters_name_the_key_and_the_type() {
    let metadata = small_metadata();
    assert_eq!(metadata.str("general.architecture").unwrap(), Some("llama"));
    assert_eq!(metadata.u64("u64").unwrap(), Some(u64::MAX));
    assert_eq!(metadata.u64("u8").unwrap(), Some(255));
    assert_eq!(metadata.i64("i32").unwrap(), Some(i64::from(i32::MIN)));
    assert_eq!(metadata.f64("f64").unwrap(), Some(-0.5));
    assert_eq!(metadata.f64("f32").unwrap(), Some(f64::from(1e-5_f32)));
    assert_eq!(metadata.bool("bool").unwrap(), Some(true));
    assert_eq!(metadata.strings("strings").unwrap().unwrap()[1], "Ġé");
    assert_eq!(metadata.f32s("f32s").unwrap(), Some([0.25, -4.0].as_slice()));
    assert_eq!(metadata.bools("bools").unwrap(), Some([true, false].as_slice()));
    assert_eq!(metadata.i64s("i32s").unwrap(), Some(vec![-7, 7]));
    assert_eq!(metadata.i64s("u32s").unwrap(), Some(Vec::new()));
    assert_eq!(metadata.str("missing").unwrap(), None);
    assert!(matches!(metadata.u64("i8"), Err(Error::MetadataType { .. })));
    assert!(matches!(metadata.i64("u64"), Err(Error::MetadataType { .. })));
    assert!(matches!(metadata.i64s("u64s"), Err(Error::MetadataType { .. })));
    let error = metadata.str("u32").unwrap_err().to_string();
    assert_eq!(
        error,
        "metadata key \"u32\" should be a string but is an unsigned number; \
         convert the model again with a current converter"
    );
    assert_eq!(metadata.len(), metadata.iter().count());
}

#[test]
fn names_from_a_file_cannot_write_to_a_terminal() {
    let error = Raw::new(2, 0)
        .tensor("\u{1b}[2J", &[8], F32, 0)
        .tensor("\u{1b}[2J", &[8], F32, 32)
        .data(64)
        .error();
    assert!(!error.to_string().contains('\u{1b}'), "{error}");
}

#[test]
fn files_of_two_to_the_63_bytes_are_not_begun() {
    let length = |bytes: u64| {
        let mut out = Vec::new();
        let tensor = TensorSpec::new("a", StoredType::I8, &[bytes]);
        let data = |_: usize, _: &mut dyn io::Write| Err(io::Error::other("not to be asked for"));
        let error = write(&mut out, &Metadata::new(), &[tensor], data).unwrap_err();
        assert!(out.is_empty() || matches!(error, Error::Write { .. }), "{error}");
        error
    };
    let limit = i64::MAX as u64;
    assert!(matches!(length(limit), Error::Shape { .. }));
    // The header takes 64 bytes.
    let over = length(limit - 31);
    let value_is = limit - 31 + 64;
    assert!(matches!(over, Error::TooLarge { value, .. } if value == value_is), "{over}");
    assert!(matches!(length(limit - 95), Error::Write { .. }));
}

#[test]
fn a_disk_that_fails_in_a_header_is_named_with_the_file() {
    /// Gives the magic number and then nothing.
    struct Failing(bool);
    impl io::Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::Error::other("a bad sector"));
            }
            buffer[..4].copy_from_slice(&MAGIC);
            Ok(4)
        }
    }
    let error = parse::header(Failing(false), 100).unwrap_err();
    assert!(matches!(error, Error::Unreadable { what: "the version", .. }), "{error}");
    let error = error.in_file(Path::new("models/some.gguf")).to_string();
    assert_eq!(error, "cannot read models/some.gguf: a bad sector; check the disk and try again");
}
