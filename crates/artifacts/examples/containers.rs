//! Describes GGUF files, SafeTensors files and folders of shards as JSON, or writes samples.
//!
//! `containers describe PATH` prints metadata, and of each tensor name, type, shape and digest;
//! `containers write FOLDER` writes `rust.gguf` and `rust.safetensors` with tensors of all types.
//! xtask/python/check_containers.py compares both with what the formats' own libraries say.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use artifacts::StoredType;
use artifacts::gguf::{self, Array, Gguf, Metadata, Value};
use artifacts::hash::Digest;
use artifacts::safetensors::{self, SafetensorsFile, SafetensorsFolder};
use artifacts::tensors::{TensorInfo, TensorSpec};
use serde_json::{Value as Json, json};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["describe", path] => {
            let description = describe(Path::new(path))?;
            writeln!(std::io::stdout(), "{description}")?;
            Ok(())
        }
        ["write", folder] => write(Path::new(folder)),
        _ => Err("usage: containers describe PATH | containers write FOLDER".into()),
    }
}

fn describe(path: &Path) -> Result<Json, Box<dyn Error>> {
    if path.is_dir() {
        let folder = SafetensorsFolder::open(path)?;
        return describe_tensors(json!({}), folder.tensors(), |tensor| folder.read(tensor));
    }
    if path.extension().is_some_and(|extension| extension == "gguf") {
        let file = Gguf::open(path)?;
        let metadata = file.header().metadata().iter();
        let metadata: BTreeMap<&str, Json> =
            metadata.map(|(key, value)| (key, value_as_json(value))).collect();
        let tensors = file.header().tensors().iter();
        return describe_tensors(json!(metadata), tensors, |tensor| file.read(tensor));
    }
    let file = SafetensorsFile::open(path)?;
    let metadata = json!(file.header().metadata());
    describe_tensors(metadata, file.tensors().iter(), |tensor| file.read(tensor))
}

fn describe_tensors<'a>(
    metadata: Json,
    tensors: impl Iterator<Item = &'a TensorInfo>,
    read: impl Fn(&TensorInfo) -> Result<Vec<u8>, artifacts::Error>,
) -> Result<Json, Box<dyn Error>> {
    let mut described = serde_json::Map::new();
    for tensor in tensors {
        let digest = Digest::of(&read(tensor)?);
        described.insert(
            tensor.name.clone(),
            json!({
                "dtype": tensor.dtype.name(),
                "shape": tensor.shape,
                "offset": tensor.offset,
                "bytes": tensor.bytes,
                "sha256": digest,
            }),
        );
    }
    Ok(json!({ "metadata": metadata, "tensors": described }))
}

fn value_as_json(value: &Value) -> Json {
    match value {
        Value::U8(number) => json!(number),
        Value::I8(number) => json!(number),
        Value::U16(number) => json!(number),
        Value::I16(number) => json!(number),
        Value::U32(number) => json!(number),
        Value::I32(number) => json!(number),
        Value::F32(number) => json!(f64::from(*number)),
        Value::Bool(truth) => json!(truth),
        Value::String(text) => json!(text),
        Value::U64(number) => json!(number),
        Value::I64(number) => json!(number),
        Value::F64(number) => json!(number),
        Value::Array(array) => match array {
            Array::U8(numbers) => json!(numbers),
            Array::I8(numbers) => json!(numbers),
            Array::U16(numbers) => json!(numbers),
            Array::I16(numbers) => json!(numbers),
            Array::U32(numbers) => json!(numbers),
            Array::I32(numbers) => json!(numbers),
            Array::F32(numbers) => {
                json!(numbers.iter().map(|&number| f64::from(number)).collect::<Vec<_>>())
            }
            Array::Bool(truths) => json!(truths),
            Array::Strings(strings) => json!(strings),
            Array::U64(numbers) => json!(numbers),
            Array::I64(numbers) => json!(numbers),
            Array::F64(numbers) => json!(numbers),
        },
    }
}

fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut metadata = Metadata::new();
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
        ("yes", Value::Bool(true)),
        ("strings", Value::Array(Array::Strings(vec![String::new(), "Ġé".to_owned()]))),
        ("truths", Value::Array(Array::Bool(vec![true, false]))),
        ("i32s", Value::Array(Array::I32(vec![-7, 7]))),
        ("f32s", Value::Array(Array::F32(vec![0.25, -4.0]))),
        ("f64s", Value::Array(Array::F64(vec![0.125]))),
        ("u64s", Value::Array(Array::U64(vec![u64::MAX]))),
    ];
    for (key, value) in entries {
        metadata.insert(key, value)?;
    }
    let specs = |ids: &[StoredType]| -> Vec<TensorSpec> {
        let shape = |dtype: StoredType| [3, 2 * dtype.block_elements() as u64];
        ids.iter().map(|&dtype| TensorSpec::new(dtype.name(), dtype, &shape(dtype))).collect()
    };
    // gguf-py believes that Q8_1, which no file holds, is longer than it is.
    let gguf_types: Vec<StoredType> = (0..64)
        .filter_map(StoredType::from_gguf_id)
        .filter(|&dtype| dtype != StoredType::Q8_1)
        .collect();
    let tensors = specs(&gguf_types);
    let mut out = BufWriter::new(File::create(folder.join("rust.gguf"))?);
    gguf::write(&mut out, &metadata, &tensors, |index, out| sample(&tensors[index], out))?;
    out.flush()?;

    let tensors = specs(&[
        StoredType::Bool,
        StoredType::U8,
        StoredType::I8,
        StoredType::F16,
        StoredType::Bf16,
        StoredType::I16,
        StoredType::I32,
        StoredType::F32,
        StoredType::I64,
        StoredType::F64,
        StoredType::F8E4M3,
        StoredType::F8E5M2,
    ]);
    let metadata = safetensors::for_pytorch();
    let mut out = BufWriter::new(File::create(folder.join("rust.safetensors"))?);
    safetensors::write(&mut out, &metadata, &tensors, |index, out| sample(&tensors[index], out))?;
    out.flush()?;
    Ok(())
}

/// Bytes that are 0 or 1 in turn, so that they are truth values too.
fn sample(tensor: &TensorSpec, out: &mut dyn Write) -> std::io::Result<()> {
    let blocks = tensor.shape.iter().product::<u64>() / tensor.dtype.block_elements() as u64;
    for block in 0..blocks {
        for byte in 0..tensor.dtype.block_bytes() as u64 {
            out.write_all(&[u8::from((block * 5 + byte).is_multiple_of(3))])?;
        }
    }
    Ok(())
}
