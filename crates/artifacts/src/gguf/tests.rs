//! Round trips and hostile files.

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
