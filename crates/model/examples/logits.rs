//! Writes the logits after each token of a file: what a comparison with other programs reads.
//!
//! ```text
//! logits MODEL KERNELS TOKENS OUT [ADAPTER]
//!
//! TOKENS: little-endian u32; OUT: little-endian f32 [time, vocab]; ADAPTER: a folder, computed beside
//! ```

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use engine::{Device, DeviceOptions};
use model::{Adapted, Adapter, Model, Outline, Source};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, kernels, tokens, out, adapter @ ..] = arguments.as_slice() else {
        return Err("usage: logits MODEL KERNELS TOKENS OUT [ADAPTER]".into());
    };
    let device = Device::cpu(&DeviceOptions {
        kernels: Some(kernels.parse()?),
        ..DeviceOptions::default()
    })?;
    let source = Source::detect(Path::new(path));
    let adapted = match adapter.first() {
        None => None,
        Some(folder) => {
            let outline = Outline::read(&device, &source)?;
            let adapter = Adapter::read(&device, outline.config(), Path::new(folder))?;
            Some(Adapted::Beside(Arc::new(adapter)))
        }
    };
    let model = Model::load_adapted(&device, &source, adapted.as_ref(), &mut |_, _| ())?;
    let bytes = std::fs::read(tokens)?;
    let tokens: Vec<u32> =
        bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    let mut out = BufWriter::new(File::create(out)?);
    let mut outcome = Ok(());
    model.read_logits(&tokens, &mut |_, logits| {
        let bytes: Vec<u8> = logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
        if outcome.is_ok() {
            outcome = out.write_all(&bytes);
        }
    })?;
    outcome?;
    out.flush()?;
    Ok(())
}
