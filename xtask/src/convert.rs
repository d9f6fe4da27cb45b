//! `cargo xtask convert`: the same model in another element type, for comparing speed.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use artifacts::StoredType;
use artifacts::gguf::{self, Gguf, GgufFile, Metadata};
use artifacts::tensors::{TensorInfo, TensorSpec};
use engine::Dtype;

/// Rewrites the matrices of `input` in the type `dtype` (`q8_0` or `bf16`); vectors and metadata stay.
///
/// What quantization has lost stays lost: the result serves to compare speed, not answers.
///
/// # Errors
///
/// Where the type is another one, or a file cannot be read or written.
pub(crate) fn run(dtype: &str, input: &Path, output: &Path) -> Result<()> {
    let (stored, target) = match dtype {
        "q8_0" => (StoredType::Q8_0, Dtype::Q8_0),
        "bf16" => (StoredType::Bf16, Dtype::Bf16),
        other => bail!("unknown type `{other}`: give q8_0 or bf16"),
    };
    let file = Gguf::open(input)?;
    let header = file.header();
    let specs: Vec<TensorSpec> = header
        .tensors()
        .iter()
        .map(|tensor| {
            let dtype = if tensor.shape.len() == 2 { stored } else { tensor.dtype };
            TensorSpec::new(tensor.name.as_str(), dtype, &tensor.shape)
        })
        .collect();
    let mut metadata = Metadata::new();
    for (key, value) in header.metadata().iter().filter(|(key, _)| *key != "general.file_type") {
        metadata.insert(key, value.clone())?;
    }
    let mut out = BufWriter::new(File::create(output).context("cannot create the output file")?);
    gguf::write(&mut out, &metadata, &specs, |index, out| {
        let tensor = &header.tensors()[index];
        let bytes = tensor_bytes(&file, tensor, target).map_err(std::io::Error::other)?;
        out.write_all(&bytes)
    })?;
    out.flush()?;
    Ok(())
}

fn tensor_bytes(file: &GgufFile, tensor: &TensorInfo, target: Dtype) -> Result<Vec<u8>> {
    let bytes = file.read(tensor)?;
    if tensor.shape.len() != 2 {
        return Ok(bytes);
    }
    let columns = tensor.shape[1] as usize;
    let source = dtype_of(tensor.dtype)?;
    let row_bytes = bytes.len() / tensor.shape[0] as usize;
    let mut values = vec![0.0; columns];
    let mut converted = Vec::new();
    for row in bytes.chunks_exact(row_bytes) {
        engine::dtype::dequantize_row(source, row, &mut values);
        converted.extend(engine::dtype::quantize_row(target, &values)?);
    }
    Ok(converted)
}

fn dtype_of(stored: StoredType) -> Result<Dtype> {
    let found = Dtype::ALL.into_iter().find(|dtype| dtype.to_string() == stored.name());
    found.with_context(|| format!("the engine does not know {}", stored.name()))
}
