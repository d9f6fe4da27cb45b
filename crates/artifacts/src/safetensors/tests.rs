//! Round trips, hostile files, and folders whose index lies.

use std::io;

use proptest::prelude::*;

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
    let metadata = for_pytorch();
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

/// What was read, written again: metadata, tensors and their bytes, the tensors turned around.
fn written_again(file: &SafetensorsFile) -> Vec<u8> {
    let infos: Vec<&TensorInfo> = file.tensors().iter().rev().collect();
    let spec = |info: &&TensorInfo| TensorSpec::new(&info.name, info.dtype, &info.shape);
    let specs: Vec<TensorSpec> = infos.iter().map(spec).collect();
    let mut bytes = Vec::new();
    write(&mut bytes, file.header().metadata(), &specs, |index, out| {
        out.write_all(&file.read(infos[index]).map_err(io::Error::other)?)
    })
    .unwrap();
    bytes
}

#[test]
fn files_of_the_safetensors_library_are_written_again_to_the_byte() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    for name in [
        "tiny-llama/model.safetensors",
        "tiny-qwen2/model.safetensors",
        "tiny-llama-shards/model-00001-of-00002.safetensors",
        "tiny-llama-shards/model-00002-of-00002.safetensors",
    ] {
        let path = fixtures.join(name);
        let file = SafetensorsFile::open(&path).unwrap();
        assert!(file.tensors().len() > 5);
        assert_eq!(written_again(&file), std::fs::read(&path).unwrap(), "{name}");
    }
}

#[test]
fn the_layout_is_that_of_the_safetensors_library() {
    // The fields' order, the tensors' order and the padding are those of `serialize` in 0.8.0.
    let expected = concat!(
        r#"{"__metadata__":{"format":"pt"},"#,
        r#""scalar":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"#,
        r#""b.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]},"#,
        r#""empty":{"dtype":"F32","shape":[0,7],"data_offsets":[32,32]},"#,
        r#""a.weight":{"dtype":"BF16","shape":[4],"data_offsets":[32,40]},"#,
        r#""flags":{"dtype":"BOOL","shape":[3],"data_offsets":[40,43]}}"#,
    );
    let bytes = small_file();
    let data_offset = usize::try_from(parse(&bytes).unwrap().data_offset()).unwrap();
    let text = str::from_utf8(&bytes[8..data_offset]).unwrap();
    assert_eq!(text.trim_end_matches(' '), expected);
    assert_eq!((data_offset % 8, text.len()), (0, expected.len().next_multiple_of(8)));
    assert_eq!(small_file(), bytes, "the same arguments give the same bytes");
    let mut bare = Vec::new();
    write(&mut bare, &BTreeMap::new(), &[], |_, _| Ok(())).unwrap();
    assert_eq!(bare, b"\x08\0\0\0\0\0\0\0{}      ");
}

#[test]
fn every_type_of_the_format_has_its_place_in_the_order() {
    let mut stored: Vec<&str> =
        StoredType::all().filter_map(StoredType::safetensors_name).collect();
    let mut ordered: Vec<&str> =
        write::ORDER.iter().map(|dtype| dtype.safetensors_name().unwrap()).collect();
    stored.sort_unstable();
    ordered.sort_unstable();
    assert_eq!(stored, ordered);
    let width = |dtype: &StoredType| dtype.block_bytes() * 8 / dtype.block_elements();
    let numbers = &write::ORDER[..21];
    assert!(numbers.is_sorted_by(|a, b| width(a) >= width(b)), "wide elements come first");
}

/// Tensors of any type, with names that may need escapes, and the seed of their bytes.
fn any_tensors() -> impl Strategy<Value = Vec<(TensorSpec, u8)>> {
    let dtypes: Vec<StoredType> =
        StoredType::all().filter(|dtype| dtype.safetensors_name().is_some()).collect();
    let shape = prop::collection::vec(0_u64..5, 0..4);
    let tensor = (prop::sample::select(dtypes), shape, any::<u8>());
    prop::collection::btree_map("[ -~é\u{1b}\u{202e}日]{0,12}", tensor, 0..8).prop_map(|tensors| {
        let named = tensors.into_iter().map(|(name, (dtype, mut shape, seed))| {
            // Rows are whole blocks; a scalar is one element, so it has to be a block itself.
            let block = dtype.block_elements() as u64;
            match shape.last_mut() {
                Some(row) => *row *= block,
                None if block > 1 => shape.push(block),
                None => (),
            }
            (TensorSpec::new(name, dtype, &shape), seed)
        });
        named.collect()
    })
}

/// The bytes of a tensor that was made up.
fn made_up(spec: &TensorSpec, seed: u8) -> Vec<u8> {
    let elements = spec.shape.iter().product();
    let length = spec.dtype.bytes_of(elements).unwrap();
    (0..length).map(|at| seed.wrapping_add(at.to_le_bytes()[0])).collect()
}

proptest! {
    #[test]
    fn any_tensors_are_read_as_they_were_written(
        tensors in any_tensors(),
        metadata in prop::collection::btree_map(".{0,8}", ".{0,8}", 0..3),
        piece in 1_usize..9,
    ) {
        let specs: Vec<TensorSpec> = tensors.iter().map(|(spec, _)| spec.clone()).collect();
        let mut bytes = Vec::new();
        let length = write(&mut bytes, &metadata, &specs, |index, out| {
            let (spec, seed) = &tensors[index];
            made_up(spec, *seed).chunks(piece).try_for_each(|chunk| out.write_all(chunk))
        })
        .unwrap();
        prop_assert_eq!(length, bytes.len() as u64);
        let header = parse(&bytes).unwrap();
        prop_assert_eq!(header.metadata(), &metadata);
        prop_assert_eq!(header.data_offset() % 8, 0);
        prop_assert_eq!(header.tensors().len(), specs.len());
        for (spec, seed) in &tensors {
            let info = header.tensor(&spec.name).unwrap();
            prop_assert_eq!((info.dtype, &info.shape), (spec.dtype, &spec.shape));
            let range = usize::try_from(info.offset).unwrap()..usize::try_from(info.end()).unwrap();
            prop_assert_eq!(&bytes[range], made_up(spec, *seed));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SINGLE_FILE);
        std::fs::write(&path, &bytes).unwrap();
        prop_assert_eq!(written_again(&SafetensorsFile::open(&path).unwrap()), bytes);
    }
}

/// A file of this header and this many bytes of tensors.
fn raw(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

fn parse(file: &[u8]) -> Result<Safetensors, Error> {
    Safetensors::parse(file, file.len() as u64)
}

fn error(header: &str, data: usize) -> Error {
    parse(&raw(header, data)).expect_err("a hostile file was accepted")
}

/// A header of tensors: name, type, shape, offsets.
fn header(tensors: &[(&str, &str, &str, &str)]) -> String {
    let entries: Vec<String> = tensors
        .iter()
        .map(|(name, dtype, shape, offsets)| {
            format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
        })
        .collect();
    format!("{{{}}}", entries.join(","))
}

#[test]
fn every_truncation_is_refused() {
    let bytes = small_file();
    assert!(parse(&bytes).is_ok());
    for length in 0..bytes.len() {
        assert!(parse(&bytes[..length]).is_err(), "{length} bytes");
        let lie = Safetensors::parse(&bytes[..length], bytes.len() as u64);
        let data_offset = usize::try_from(parse(&bytes).unwrap().data_offset()).unwrap();
        assert_eq!(lie.is_err(), length < data_offset, "{length} bytes");
    }
}

#[test]
fn a_file_that_shrinks_after_it_was_opened_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, small_file()).unwrap();
    let file = SafetensorsFile::open(&path).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(20).unwrap();
    let error = file.read(&file.tensors()[0]).unwrap_err();
    let Error::InFile { source, .. } = error else { panic!("{error}") };
    assert!(matches!(*source, Error::Shrunk { found: 20, .. }));
}

#[test]
fn lengths_of_the_header_that_lie_are_refused() {
    for length in [u64::MAX, 1 << 60, 100_000_001] {
        let mut file = raw("{}", 0);
        file[..8].copy_from_slice(&length.to_le_bytes());
        let error = parse(&file).unwrap_err();
        assert!(matches!(error, Error::TooLarge { value, .. } if value == length), "{error}");
    }
    let mut file = raw("{}", 0);
    file[0] = 3;
    assert!(matches!(parse(&file), Err(Error::Truncated { needed: 3, available: 2, .. })));
    file[0] = 1;
    assert!(parse(&file).is_err());
    assert!(parse(&raw("{}", 0)).is_ok());
    assert!(parse(&raw("{}   ", 0)).is_ok(), "spaces may pad the header");
    assert!(matches!(error(" {}", 0), Error::Json { .. }));
    assert!(matches!(error("[]", 0), Error::Json { .. }));
    assert!(matches!(error("{}x", 0), Error::Json { .. }));
    assert!(matches!(error("", 0), Error::Json { .. }));
}

#[test]
fn tensors_without_a_place_of_their_own_are_refused() {
    let two = |first: &str, second: &str, data: usize| {
        let header = header(&[("a", "F32", "[2]", first), ("b", "F32", "[2]", second)]);
        parse(&raw(&header, data)).map(|_| ())
    };
    assert!(two("[0,8]", "[8,16]", 16).is_ok());
    assert!(two("[8,16]", "[0,8]", 16).is_ok(), "the header may list tensors in any order");
    assert!(matches!(two("[0,8]", "[0,8]", 16), Err(Error::Overlap { .. })));
    assert!(matches!(two("[0,8]", "[4,12]", 16), Err(Error::Overlap { .. })));
    assert!(matches!(two("[0,8]", "[12,20]", 20), Err(Error::Hole { bytes: 4, .. })));
    assert!(matches!(two("[4,12]", "[12,20]", 20), Err(Error::Hole { bytes: 4, .. })));
    assert!(matches!(two("[0,8]", "[8,16]", 17), Err(Error::Hole { bytes: 1, .. })));
    assert!(matches!(two("[0,8]", "[8,16]", 15), Err(Error::BeyondFile { .. })));
    assert!(matches!(two("[0,8]", "[8,12]", 16), Err(Error::TensorLength { .. })));
    assert!(matches!(two("[0,8]", "[16,8]", 16), Err(Error::TensorLength { .. })));
    let top = "[18446744073709551607,18446744073709551615]";
    assert!(matches!(two("[0,8]", top, 16), Err(Error::BeyondFile { .. })));
    assert!(matches!(two("[0,8]", "[8,16,24]", 16), Err(Error::Json { .. })));
    assert!(matches!(two("[0,8]", "[8]", 16), Err(Error::Json { .. })));
    assert!(matches!(two("[0,8]", "[-8,16]", 16), Err(Error::Json { .. })));
    assert!(matches!(two("[0,8]", "[8.0,16]", 16), Err(Error::Json { .. })));
    assert!(matches!(two("[0,8]", "[8,18446744073709551616]", 16), Err(Error::Json { .. })));
}

#[test]
fn shapes_and_types_that_cannot_be_are_refused() {
    let one = |dtype: &str, shape: &str, offsets: &str| {
        let data = if offsets == "[0,0]" { 0 } else { 8 };
        parse(&raw(&header(&[("a", dtype, shape, offsets)]), data)).map(|_| ())
    };
    assert!(one("F32", "[2]", "[0,8]").is_ok());
    assert!(one("F32", "[0,18446744073709551615]", "[0,0]").is_ok());
    let overflow = "[0,18446744073709551615,18446744073709551615]";
    assert!(matches!(one("F32", overflow, "[0,0]"), Err(Error::Shape { .. })));
    assert!(matches!(one("F32", "[4294967296,4294967296]", "[0,0]"), Err(Error::Shape { .. })));
    assert!(matches!(one("F32", "[4611686018427387904]", "[0,0]"), Err(Error::Shape { .. })));
    assert!(matches!(one("F4", "[3]", "[0,8]"), Err(Error::Shape { .. })));
    assert!(matches!(one("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), Err(Error::Json { .. })));
    assert!(matches!(one("F32", "[-2]", "[0,8]"), Err(Error::Json { .. })));
    assert!(matches!(one("F32", "2", "[0,8]"), Err(Error::Json { .. })));
    assert!(matches!(one("Q4_0", "[2]", "[0,8]"), Err(Error::TensorType { .. })));
    assert!(matches!(one("f32", "[2]", "[0,8]"), Err(Error::TensorType { .. })));
}

#[test]
fn names_that_occur_twice_are_refused() {
    let twice = header(&[("a", "F32", "[2]", "[0,8]"), ("a", "F32", "[2]", "[8,16]")]);
    assert!(matches!(error(&twice, 16), Error::Duplicate { name, .. } if name == "a"));
    // The same name, once spelled with an escape.
    let twice = header(&[("a", "F32", "[2]", "[0,8]"), ("\\u0061", "F32", "[2]", "[8,16]")]);
    assert!(matches!(error(&twice, 16), Error::Duplicate { .. }));
    for header in [
        r#"{"__metadata__":{},"__metadata__":{}}"#,
        r#"{"__metadata__":{"a":"b","a":"c"}}"#,
        r#"{"__metadata__":{"a":1}}"#,
        r#"{"__metadata__":null}"#,
        r#"{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#,
        r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"more":1}}"#,
        r#"{"a":{"dtype":"U8","shape":[0]}}"#,
        r#"{"a":null}"#,
    ] {
        assert!(matches!(error(header, 0), Error::Json { .. }), "{header}");
    }
    let long = header(&[(&"n".repeat(257), "U8", "[0]", "[0,0]")]);
    assert!(matches!(error(&long, 0), Error::Json { .. }));
    let limit = header(&[(&"n".repeat(256), "U8", "[0]", "[0,0]")]);
    assert!(parse(&raw(&limit, 0)).is_ok());
    let mut not_text = raw(r#"{"__metadata__":{"a":"b"}}"#, 0);
    not_text[28] = 0xff;
    assert!(matches!(parse(&not_text), Err(Error::NotUtf8 { what: "the header", offset: 8 })));
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    assert!(matches!(error(&deep, 0), Error::Json { .. }));
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let none = BTreeMap::new();
    let write = |tensors: &[TensorSpec], data: &[u8]| {
        write(&mut io::sink(), &none, tensors, |_, out| out.write_all(data))
    };
    let tensor = TensorSpec::new("a", StoredType::F32, &[2]);
    assert!(matches!(
        write(std::slice::from_ref(&tensor), &[0; 7]),
        Err(Error::WrongData { expected: 8, given: 7, .. })
    ));
    assert!(matches!(write(&[tensor.clone(), tensor], &[0; 8]), Err(Error::Duplicate { .. })));
    let quantized = TensorSpec::new("a", StoredType::Q8_0, &[32]);
    assert!(matches!(write(&[quantized], &[]), Err(Error::NotStorable { .. })));
    let reserved = TensorSpec::new("__metadata__", StoredType::U8, &[1]);
    assert!(write(&[reserved], &[0]).is_err());
    let long = TensorSpec::new("n".repeat(257), StoredType::U8, &[1]);
    assert!(matches!(write(&[long], &[0]), Err(Error::Json { .. })));
    let torn = TensorSpec::new("a", StoredType::F4, &[3]);
    assert!(matches!(write(&[torn], &[0; 2]), Err(Error::Shape { .. })));
    let deep = TensorSpec::new("a", StoredType::U8, &[1; 9]);
    assert!(matches!(write(&[deep], &[0]), Err(Error::Shape { .. })));
}

#[test]
fn nothing_is_written_where_the_header_is_refused() {
    let u8s = |name: &str, bytes: u64| TensorSpec::new(name, StoredType::U8, &[bytes]);
    let half = 1_u64 << 62;
    let many: Vec<TensorSpec> = (0..=100_000).map(|index| u8s(&index.to_string(), 0)).collect();
    for tensors in [
        vec![u8s("a", 1), u8s("a", 2)],
        vec![u8s("a", u64::MAX)],
        vec![u8s("a", half), u8s("b", half)],
        vec![u8s("a", half), u8s("b", half - 9)],
        vec![TensorSpec::new("a", StoredType::F32, &[half])],
        many,
    ] {
        let mut out = Vec::new();
        let data = |_: usize, _: &mut dyn io::Write| Err(io::Error::other("not to be asked for"));
        let error = write(&mut out, &BTreeMap::new(), &tensors, data).unwrap_err();
        assert!(out.is_empty() && !matches!(error, Error::Write { .. }), "{error}");
    }
}

#[test]
fn a_full_disk_and_data_that_fail_are_told() {
    struct Full(usize);
    impl io::Write for Full {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            match self.0.min(buffer.len()) {
                0 => Err(io::ErrorKind::StorageFull.into()),
                taken => {
                    self.0 -= taken;
                    Ok(taken)
                }
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let length = small_file().len();
    for room in 0..=length {
        let written = write(&mut Full(room), &BTreeMap::new(), &small_tensors(), |index, out| {
            out.write_all(DATA[index])
        });
        match written {
            Ok(needed) => assert!(needed <= room as u64),
            Err(Error::Write { source }) => {
                assert_eq!(source.kind(), io::ErrorKind::StorageFull, "{room} bytes");
            }
            Err(other) => panic!("{room} bytes: {other}"),
        }
    }
    let failed = write(&mut Vec::new(), &BTreeMap::new(), &small_tensors(), |index, out| {
        out.write_all(&DATA[index][..DATA[index].len() / 2])?;
        Err(io::Error::other("the device is gone"))
    });
    let Err(Error::Write { source }) = failed else { panic!("{failed:?}") };
    assert_eq!(source.to_string(), "the device is gone");
}

#[test]
fn names_cannot_write_to_a_terminal() {
    let (escaped, raw) = (r"\u001b]0;x", '\u{1b}');
    let field = error(&format!(r#"{{"a":{{"{escaped}":1}}}}"#), 0).to_string();
    assert!(field.contains(r"unknown field `\u{1b}]0;x`") && !field.contains(raw), "{field}");
    let type_ =
        error(&format!(r#"{{"a":{{"dtype":"{escaped}","shape":[],"data_offsets":[0,0]}}}}"#), 0);
    assert!(!type_.to_string().contains(raw), "{type_}");
    let (_folder, opened) = sharded(&format!(r#"{{"weight_map":{{"a":"{escaped}"}}}}"#));
    let name = opened.unwrap_err().to_string();
    assert!(name.contains(r"\u{1b}") && !name.contains(raw), "{name}");
    let long = r"\u202e".repeat(10_000);
    for index in [
        format!(r#"{{"weight_map":{{"a":"{long}"}}}}"#),
        format!(r#"{{"weight_map":{{"{long}":"one.safetensors"}}}}"#),
    ] {
        let (_folder, opened) = sharded(&index);
        let name = opened.unwrap_err().to_string();
        assert!(name.contains(r"\u{202e}") && !name.contains('\u{202e}'), "{name}");
        assert!(name.len() < 4_000, "{} bytes", name.len());
    }
}

/// A folder with two shards of one tensor each, and this index.
fn sharded(index: &str) -> (tempfile::TempDir, Result<SafetensorsFolder, Error>) {
    let folder = tempfile::tempdir().unwrap();
    for (file, tensor) in [("one.safetensors", "a"), ("two.safetensors", "b")] {
        let mut bytes = Vec::new();
        let tensors = [TensorSpec::new(tensor, StoredType::U8, &[1])];
        write(&mut bytes, &BTreeMap::new(), &tensors, |_, out| out.write_all(tensor.as_bytes()))
            .unwrap();
        std::fs::write(folder.path().join(file), bytes).unwrap();
    }
    std::fs::write(folder.path().join(INDEX_FILE), index).unwrap();
    let opened = SafetensorsFolder::open(folder.path());
    (folder, opened)
}

#[test]
fn shards_are_read_as_one_model() {
    let index = r#"{"metadata":{"total_size":2},
        "weight_map":{"a":"one.safetensors","b":"two.safetensors"}}"#;
    let (_folder, opened) = sharded(index);
    let opened = opened.unwrap();
    assert_eq!(opened.shards().len(), 2);
    for (name, data) in [("a", b"a"), ("b", b"b")] {
        assert_eq!(opened.read(opened.tensor(name).unwrap()).unwrap(), data);
    }
    let mut foreign = opened.tensor("a").unwrap().clone();
    foreign.name = "c".to_owned();
    assert!(matches!(opened.read(&foreign), Err(Error::MissingTensor { .. })));
}

#[test]
fn an_index_that_disagrees_with_its_shards_is_refused() {
    let fault = |index: &str| {
        let (_folder, opened) = sharded(index);
        let error = opened.expect_err("a hostile index was accepted");
        let Error::InFile { path, source } = error else { panic!("{error}") };
        assert_eq!(path.file_name().unwrap(), INDEX_FILE);
        *source
    };
    let swapped = r#"{"weight_map":{"a":"two.safetensors","b":"one.safetensors"}}"#;
    assert!(matches!(fault(swapped), Error::WrongShard { tensor, .. } if tensor == "a"));
    let more = r#"{"weight_map":{"a":"one.safetensors","b":"two.safetensors",
        "c":"two.safetensors"}}"#;
    assert!(matches!(fault(more), Error::WrongShard { tensor, .. } if tensor == "c"));
    let twice = r#"{"weight_map":{"a":"one.safetensors","a":"two.safetensors"}}"#;
    assert!(matches!(fault(twice), Error::Json { .. }));
    for name in ["../one.safetensors", "/etc/one.safetensors", "a\\\\b.safetensors", "one.bin", ""]
    {
        let index = format!(r#"{{"weight_map":{{"a":"{name}","b":"two.safetensors"}}}}"#);
        assert!(matches!(fault(&index), Error::ShardName { .. }), "{name}");
    }
    let shards: Vec<String> =
        (0..=SHARDS_MAX).map(|n| format!(r#""{n}":"{n}.safetensors""#)).collect();
    let many = fault(&format!(r#"{{"weight_map":{{{}}}}}"#, shards.join(",")));
    assert!(matches!(many, Error::TooLarge { value: 513, limit: 512, .. }), "{many}");
    assert!(matches!(fault("{}"), Error::Json { .. }));
    assert!(matches!(fault(r#"{"weight_map":{},"weight_map":{}}"#), Error::Json { .. }));
    assert!(matches!(fault(r#"{"weight_map":{"a":1}}"#), Error::Json { .. }));
    assert!(matches!(fault("[["), Error::Json { .. }));
}

#[test]
fn a_shard_that_is_missing_or_holds_more_is_refused() {
    let (_folder, opened) = sharded(r#"{"weight_map":{"a":"three.safetensors"}}"#);
    let error = opened.unwrap_err();
    assert!(error.to_string().ends_with("check the path"), "{error}");
    let (folder, _) = sharded("{}");
    let mut bytes = Vec::new();
    let tensors = ["a", "extra"].map(|name| TensorSpec::new(name, StoredType::U8, &[1]));
    write(&mut bytes, &BTreeMap::new(), &tensors, |_, out| out.write_all(&[0])).unwrap();
    std::fs::write(folder.path().join("one.safetensors"), bytes).unwrap();
    let index = r#"{"weight_map":{"a":"one.safetensors"}}"#;
    std::fs::write(folder.path().join(INDEX_FILE), index).unwrap();
    let error = SafetensorsFolder::open(folder.path()).unwrap_err();
    let Error::InFile { source, .. } = error else { panic!("{error}") };
    assert!(matches!(*source, Error::NotInIndex { tensor } if tensor == "extra"));
}
