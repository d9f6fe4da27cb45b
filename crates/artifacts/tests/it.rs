//! Hostile bytes through the public API: mutated files, memory bombs; no panic, bounded memory.
//!
//! `SCRIBE_FUZZ_CASES` sets the number of mutated files for each format and `SCRIBE_FUZZ_SEED` the
//! seed; a failure prints the seed and the case.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of this file is tests, and the lints know only functions marked as such"
)]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use artifacts::StoredType;
use artifacts::folder::Manifest;
use artifacts::gguf::{self, Array, Gguf, Metadata, Value};
use artifacts::hash::Digest;
use artifacts::safetensors::{self, Safetensors, SafetensorsFolder};
use artifacts::tensors::{TensorInfo, TensorSpec};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The most memory that reading a file of that length may take at any moment.
fn memory_limit(length: usize) -> usize {
    4 * length + (16 << 20)
}

/// The allocator counts for the whole process, so the tests of this file take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `action` returns, and how much memory it took at most.
fn measured<T>(action: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let result = action();
    (result, ALLOCATOR.peak_usage().saturating_sub(before))
}

/// A generator of random numbers: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// Numbers at which arithmetic on lengths breaks.
const NUMBERS: [u64; 20] = [
    0,
    1,
    2,
    7,
    8,
    9,
    31,
    32,
    33,
    255,
    256,
    65_536,
    100_000,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 60,
    1 << 63,
    u64::MAX - 31,
    u64::MAX,
];

/// Pieces that mean something in a header.
const PIECES: [&[u8]; 16] = [
    b"GGUF",
    b"general.alignment",
    b"\"__metadata__\"",
    b"\"shape\":[",
    b"\"data_offsets\":[0,",
    b"\"dtype\":\"F4\"",
    b"18446744073709551615",
    b"-1",
    b"1e400",
    b"\\ud800",
    b"\\u0000",
    b"{",
    b"}",
    b"[[[[[[[[",
    b",",
    b"\xff\xfe",
];

/// One to six small damages, mostly few.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    let most = random.below(6) + 1;
    for _ in 0..=random.below(most) {
        let at = random.below(bytes.len() + 1);
        let rest = bytes.len() - at;
        match random.below(11) {
            0 if rest > 0 => bytes[at] ^= 1 << random.below(8),
            1 if rest > 0 => bytes[at] = random.next().to_le_bytes()[0],
            2 if rest >= 8 => {
                let number = NUMBERS[random.below(NUMBERS.len())];
                bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
            }
            3 if rest >= 4 => {
                let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
                bytes[at..at + 4].copy_from_slice(&number[..4]);
            }
            4 => bytes.truncate(at),
            5 => {
                let end = at + random.below(rest.min(40) + 1);
                bytes.drain(at..end);
            }
            6 => {
                let end = at + random.below(rest.min(80) + 1);
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            7 => {
                let piece = random.pick(&PIECES);
                bytes.splice(at..at, piece.iter().copied());
            }
            8 | 9 => {
                // Another number in the place of one written in digits.
                let digits = |byte: &u8| byte.is_ascii_digit();
                let Some(skipped) = bytes[at..].iter().position(digits) else { continue };
                let begin = at + skipped;
                let length = bytes[begin..].iter().take_while(|&byte| digits(byte)).count();
                let number = match random.below(2) {
                    0 => NUMBERS[random.below(NUMBERS.len())],
                    _ => random.next() % 50,
                };
                bytes.splice(begin..begin + length, number.to_string().into_bytes());
            }
            _ => {
                let piece = random.pick(&PIECES);
                let end = at + piece.len().min(rest);
                bytes.splice(at..end, piece.iter().copied());
            }
        }
    }
}

/// Reads mutated copies of `seeds`; what is accepted must satisfy `check`.
fn fuzz<T>(seeds: &[Vec<u8>], read: impl Fn(&[u8]) -> Option<T>, check: impl Fn(&T, u64)) {
    let setting = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
    };
    let cases = setting("SCRIBE_FUZZ_CASES", 20_000);
    let seed = setting("SCRIBE_FUZZ_SEED", 1);
    let (mut accepted, mut most) = (0_u64, 0);
    for case in 0..cases {
        let mut random = Random(seed.wrapping_mul(1 << 40).wrapping_add(case));
        let mut bytes = seeds[random.below(seeds.len())].clone();
        mutate(&mut random, &mut bytes);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let (parsed, peak) = measured(|| read(&bytes));
            assert!(peak <= memory_limit(bytes.len()), "{peak} bytes for {}", bytes.len());
            if let Some(parsed) = &parsed {
                check(parsed, bytes.len() as u64);
            }
            (parsed.is_some(), peak)
        }));
        match result {
            Ok((is_accepted, peak)) => {
                accepted += u64::from(is_accepted);
                most = most.max(peak);
            }
            Err(_) => panic!("case {case} of seed {seed} fails: {}", bytes.escape_ascii()),
        }
    }
    println!("{cases} files, {accepted} accepted, at most {most} bytes of memory");
    assert!(accepted > 0 && accepted < cases, "the mutations are too wild or too tame");
}

/// Tensors of an accepted file: inside it, apart from each other, as long as they should be.
fn check_tensors(tensors: &[TensorInfo], data_offset: u64, file_length: u64) {
    let mut ordered: Vec<&TensorInfo> = tensors.iter().collect();
    ordered.sort_by_key(|tensor| (tensor.offset, tensor.bytes));
    let mut end = data_offset;
    for tensor in ordered {
        assert!(tensor.offset >= end, "{tensor:?} overlaps or precedes the data");
        assert_eq!(tensor.dtype.bytes_of(tensor.elements()).unwrap(), tensor.bytes);
        assert!(tensor.name.len() <= 256 && tensor.shape.len() <= 8);
        end = tensor.offset + tensor.bytes;
        assert!(end <= file_length, "{tensor:?} reaches beyond {file_length}");
    }
}

fn small_gguf(alignment: u32) -> Vec<u8> {
    let mut metadata = Metadata::new();
    let entries = [
        ("general.architecture", Value::String("llama".to_owned())),
        ("general.alignment", Value::U32(alignment)),
        ("llama.rope.freq_base", Value::F32(10_000.0)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        (
            "tokenizer.ggml.tokens",
            Value::Array(Array::Strings(["<s>", "a", "Ġb"].map(str::to_owned).into())),
        ),
        ("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0, -1.0, -2.0]))),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![3, 1, 1]))),
        ("flags", Value::Array(Array::Bool(vec![true, false]))),
        ("wide", Value::U64(1 << 40)),
    ];
    for (key, value) in entries {
        metadata.insert(key, value).unwrap();
    }
    let tensors = [
        TensorSpec::new("token_embd.weight", StoredType::Q4_1, &[3, 32]),
        TensorSpec::new("output_norm.weight", StoredType::F32, &[5]),
        TensorSpec::new("cube", StoredType::Bf16, &[2, 3, 4]),
    ];
    let mut file = Vec::new();
    gguf::write(&mut file, &metadata, &tensors, |index, out| {
        out.write_all(&[7; 60][..[60, 20, 48][index]])
    })
    .unwrap();
    file
}

fn small_safetensors() -> Vec<u8> {
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let tensors = [
        TensorSpec::new("a.weight", StoredType::F32, &[2, 3]),
        TensorSpec::new("b.weight", StoredType::Bf16, &[4]),
        TensorSpec::new("scalar", StoredType::I64, &[]),
    ];
    let mut file = Vec::new();
    safetensors::write(&mut file, &metadata, &tensors, |index, out| {
        out.write_all(&[7; 24][..[24, 8, 8][index]])
    })
    .unwrap();
    file
}

#[test]
fn mutated_gguf_files_neither_panic_nor_take_memory() {
    let _turn = turn();
    fuzz(
        &[small_gguf(32), small_gguf(8), small_gguf(1)],
        |bytes| Gguf::parse(bytes, bytes.len() as u64).ok(),
        |header, length| check_tensors(header.tensors(), header.data_offset(), length),
    );
}

#[test]
fn mutated_safetensors_files_neither_panic_nor_take_memory() {
    let _turn = turn();
    fuzz(
        &[small_safetensors()],
        |bytes| Safetensors::parse(bytes, bytes.len() as u64).ok(),
        |header, length| check_tensors(header.tensors(), header.data_offset(), length),
    );
}

#[test]
fn mutated_manifests_neither_panic_nor_take_memory() {
    let _turn = turn();
    let manifest = |files: &[&str]| {
        let digest = Digest::of(b"x");
        let entry = |name| format!(r#"    {{"name":"{name}","bytes":1,"sha256":"{digest}"}}"#);
        let entries: Vec<String> = files.iter().map(entry).collect();
        format!("{{\n  \"version\":1,\n  \"files\":[\n{}\n  ]\n}}\n", entries.join(",\n"))
    };
    let seeds = [manifest(&["a", "b.bin"]), manifest(&["a"])].map(String::into_bytes);
    for seed in &seeds {
        assert_eq!(&Manifest::parse(seed).unwrap().to_json(), seed);
    }
    fuzz(
        &seeds,
        |bytes| Manifest::parse(bytes).ok().map(|manifest| (manifest, bytes.to_vec())),
        |(manifest, bytes), _| assert_eq!(&manifest.to_json(), bytes),
    );
}

#[test]
fn writing_a_large_tensor_takes_the_memory_of_a_piece() {
    const PIECE_BYTES: usize = 1 << 16;
    let _turn = turn();
    let pieces = 2_048;
    let tensors = [TensorSpec::new("a", StoredType::I8, &[(pieces * PIECE_BYTES) as u64])];
    let data = |_: usize, out: &mut dyn std::io::Write| {
        (0..pieces).map(|_| vec![7; PIECE_BYTES]).try_for_each(|piece| out.write_all(&piece))
    };
    let (written, peak) = measured(|| {
        let sink = &mut std::io::sink();
        let length = safetensors::write(sink, &BTreeMap::new(), &tensors, data)?;
        Ok::<_, artifacts::Error>(length + gguf::write(sink, &Metadata::new(), &tensors, data)?)
    });
    println!("{peak} bytes of memory for {} bytes", written.unwrap());
    assert!(peak < 8 * PIECE_BYTES, "{peak} bytes");
}

/// A GGUF header of these counts and this body.
fn raw_gguf(tensors: u64, keys: u64, body: &[u8]) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend(tensors.to_le_bytes());
    file.extend(keys.to_le_bytes());
    file.extend(body);
    file
}

fn raw_text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

#[test]
fn gguf_memory_bombs_stay_within_the_limit() {
    let _turn = turn();
    let array_of = |element: u32, length: u64, data: &[u8]| {
        let mut body = raw_text("key");
        body.extend(9_u32.to_le_bytes());
        body.extend(element.to_le_bytes());
        body.extend(length.to_le_bytes());
        body.extend(data);
        raw_gguf(0, 1, &body)
    };
    let most_keys = {
        let body: Vec<u8> = (0..16_384)
            .flat_map(|key| [raw_text(&format!("{key}")), vec![0; 5]].concat())
            .collect();
        raw_gguf(0, 16_384, &body)
    };
    let most_tensors = {
        let entry = |index: u64| {
            let mut entry = raw_text(&format!("{index}"));
            entry.extend(8_u32.to_le_bytes());
            entry.extend([1_u64; 8].map(u64::to_le_bytes).concat());
            entry.extend(24_u32.to_le_bytes());
            entry.extend((index * 32).to_le_bytes());
            entry
        };
        let body: Vec<u8> = (0..100_000).flat_map(entry).collect();
        let mut file = raw_gguf(100_000, 0, &body);
        file.resize(file.len().next_multiple_of(32) + 100_000 * 32, 0);
        file
    };
    let bombs = [
        ("empty strings", array_of(8, 2_000_000, &vec![0; 16_000_000]), true),
        (
            "one-byte strings",
            array_of(8, 1_000_000, &[1, 0, 0, 0, 0, 0, 0, 0, 97].repeat(1_000_000)),
            true,
        ),
        ("empty strings, then none", array_of(8, 2_000_001, &vec![0; 16_000_008 - 1]), false),
        ("bytes", array_of(0, 16_000_000, &vec![0; 16_000_000]), true),
        ("truth values", array_of(7, 16_000_000, &vec![0; 16_000_000]), true),
        ("wide numbers", array_of(12, 2_000_000, &vec![0; 16_000_000]), true),
        ("keys", most_keys, true),
        ("tensors", most_tensors, true),
    ];
    for (name, file, is_valid) in bombs {
        let (parsed, peak) = measured(|| Gguf::parse(&file, file.len() as u64));
        println!("{name}: {peak} bytes of memory for {}", file.len());
        assert_eq!(parsed.is_ok(), is_valid, "{name}: {parsed:.200?}");
        assert!(peak <= memory_limit(file.len()), "{name}: {peak} bytes for {}", file.len());
    }
}

#[test]
fn safetensors_memory_bombs_stay_within_the_limit() {
    let _turn = turn();
    let raw = |header: String| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.into_bytes());
        file
    };
    let body = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    let entries = |count: usize| {
        let entries: Vec<String> = (0..count).map(|index| format!("\"{index}\":{body}")).collect();
        format!("{{{}}}", entries.join(","))
    };
    let texts = |count: usize| {
        let texts: Vec<String> = (0..count).map(|index| format!("\"{index}\":\"\"")).collect();
        format!("{{\"__metadata__\":{{{}}}}}", texts.join(","))
    };
    // So long that the fixed part of the limit does not hide how often a file is held in memory.
    let long = "x".repeat(20_000_000);
    let text = "x".repeat(4_000_000);
    let bombs = [
        ("tensors", entries(100_000), true),
        ("too many tensors", entries(100_001), false),
        ("texts", texts(16_384), true),
        ("too many texts", texts(16_385), false),
        ("text", format!(r#"{{"__metadata__":{{"a":"{text}"}}}}"#), true),
        (
            "text of escapes",
            format!(r#"{{"__metadata__":{{"a":"{}"}}}}"#, "\\n".repeat(2_000_000)),
            true,
        ),
        (
            "text that begins with an escape",
            format!(r#"{{"__metadata__":{{"a":"\n{text}"}}}}"#),
            true,
        ),
        ("long name", format!(r#"{{"{long}":{body}}}"#), false),
        ("long name with an escape", format!(r#"{{"\n{long}":{body}}}"#), false),
        ("unknown field with an escape", format!(r#"{{"a":{{"\n{text}":1}}}}"#), false),
        ("text for a map", format!(r#"{{"a":"\n{text}"}}"#), false),
        ("text for a number", format!(r#"{{"a":{{"shape":["\n{text}"]}}}}"#), false),
        ("long text", format!(r#"{{"__metadata__":{{"a":"{long}"}}}}"#), false),
        ("long unknown field", format!(r#"{{"a":{{"{long}":1}}}}"#), false),
        ("long unknown field with an escape", format!(r#"{{"a":{{"\n{long}":1}}}}"#), false),
        (
            "long unknown field of escapes",
            format!(r#"{{"a":{{"{}":1}}}}"#, "\\n".repeat(8_000_000)),
            false,
        ),
        ("long text for a number", format!(r#"{{"a":{{"shape":["\n{long}"]}}}}"#), false),
        ("long text for a map", format!(r#"{{"a":"\n{long}"}}"#), false),
        ("long number", format!(r#"{{"a":{{"shape":[{}]}}}}"#, "1".repeat(8_000_000)), false),
        ("long array", format!(r#"{{"a":{{"shape":[{}0]}}}}"#, "0,".repeat(8_000_000)), false),
        ("deep", "[".repeat(8_000_000), false),
        ("deep in an object", format!(r#"{{"a":{}"#, "[".repeat(8_000_000)), false),
    ];
    for (name, header, is_valid) in bombs {
        let file = raw(header);
        let (parsed, peak) = measured(|| Safetensors::parse(&file, file.len() as u64));
        println!("{name}: {peak} bytes of memory for {}", file.len());
        assert_eq!(parsed.is_ok(), is_valid, "{name}");
        assert!(peak <= memory_limit(file.len()), "{name}: {peak} bytes for {}", file.len());
    }
}

#[test]
fn index_memory_bombs_stay_within_the_limit() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let map = |count: usize| {
        let files: Vec<String> =
            (0..count).map(|index| format!("\"{index}\":\"a.safetensors\"")).collect();
        format!("{{\"weight_map\":{{{}}}}}", files.join(","))
    };
    let long = "x".repeat(20_000_000);
    let bombs = [
        map(100_000),
        map(100_001),
        format!(r#"{{"{long}":1}}"#),
        format!(r#"{{"metadata":"\n{long}"}}"#),
        format!(r#"{{"weight_map":{{"\n{long}":"\n{long}"}}}}"#),
        format!(r#"{{"weight_map":"\n{long}"}}"#),
        format!(r#"{{"metadata":{}"#, "[".repeat(8_000_000)),
        format!(r#"{{"metadata":{}"#, "{\"a\":".repeat(2_000_000)),
    ];
    for (bomb, index) in bombs.iter().enumerate() {
        let path = folder.path().join(safetensors::INDEX_FILE);
        std::fs::write(&path, index).unwrap();
        let (opened, peak) = measured(|| SafetensorsFolder::open(folder.path()));
        println!("index {bomb}: {peak} bytes of memory for {}", index.len());
        assert!(opened.is_err(), "bomb {bomb}");
        assert!(peak <= memory_limit(index.len()), "{bomb}: {peak} bytes for {}", index.len());
    }
}
