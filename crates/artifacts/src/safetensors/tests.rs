//! Round trips, hostile files, and folders whose index lies.

use super::*;
use crate::StoredType;
use crate::tensors::TensorSpec;

fn small_tensors() -> Vec<TensorSpec> {
    vec![
        TensorSpec::new("flags", StoredType::Bool, &[3]),
        TensorSpec::new("b.weight", StoredType::F32, &[2, 3]),
        TensorSpec::new("a.weight", StoredType::Bf16, &[4]),
        TensorSpec::new("scalar", StoredType::F64, &[]),
        TensorSpec::new("empty", StoredType::F32, &[0, 7]),
    ]
}

/// The bytes of each of [`small_tensors`].
const DATA: [&[u8]; 5] = [&[1; 3], &[2; 24], &[3; 8], &[4; 8], &[]];

fn small_file() -> Vec<u8> {
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut file = Vec::new();
    let length =
        write(&mut file, &metadata, &small_tensors(), |index, out| out.write_all(DATA[index]))
            .unwrap();
    assert_eq!(length, file.len() as u64);
    file
}

#[test]
fn what_is_written_is_read_again() {
    let bytes = small_file();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, &bytes).unwrap();
    let file = SafetensorsFolder::open(folder.path()).unwrap();
    assert_eq!(file.shards()[0].header().metadata()["format"], "pt");
    for (index, spec) in small_tensors().iter().enumerate() {
        let info = file.tensor(&spec.name).unwrap();
        assert_eq!((info.dtype, &info.shape), (spec.dtype, &spec.shape));
        assert_eq!(file.read(info).unwrap(), DATA[index]);
        assert_eq!(info.offset % info.dtype.block_bytes() as u64, 0);
    }
    assert_eq!(file.tensors().count(), small_tensors().len());
    assert_eq!(file.tensor("missing"), None);
}
