//! `cargo xtask fixtures`: a chat model of random weights, small enough for every test of the server.
//!
//! It has the shape of the real ones (llama, byte-level BPE, ChatML, grouped-query attention, an untied head) and
//! says nothing sensible. The head gives special tokens logit 0 and all others a wide spread, so that a completion
//! hardly ever ends by itself and a test decides when it does (`logit_bias`, `max_tokens`, `stop`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};

use anyhow::{Context as _, Result, ensure};
use artifacts::StoredType;
use artifacts::gguf::{self, Array, Metadata, Value};
use artifacts::tensors::TensorSpec;
use engine::Dtype;
use engine::random::Philox;

use crate::command::{root, say};

const WIDTH: usize = 128;
const LAYERS: usize = 2;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_SIZE: usize = WIDTH / HEADS;
const FFN_WIDTH: usize = 384;
const CONTEXT_TOKENS: u32 = 2048;
const SEED: u64 = 20_260_101;

const SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Pieces that become one token each, with all their beginnings.
const PIECES: &str = " the and ing ion ent er re on at is it in of to that was for with you are have this not but what \
                      answer question capital France Paris user assistant system hello world";

/// Uniform spread of most weights, and of the head: wide, so that logits differ.
const SPREAD: f32 = 0.12;
const HEAD_SPREAD: f32 = 0.5;

/// Writes `fixtures/tiny-chat.gguf`; the same bytes each time.
///
/// # Errors
///
/// Where the file cannot be written.
pub(crate) fn make() -> Result<()> {
    let path = root().join("fixtures/tiny-chat.gguf");
    let (tokens, merges) = vocabulary();
    let tensors = tensors(tokens.len());
    let metadata = metadata(tokens, merges)?;
    let specs: Vec<TensorSpec> = tensors.iter().map(|tensor| tensor.spec.clone()).collect();
    let mut out = BufWriter::new(File::create(&path).context("fixtures/tiny-chat.gguf")?);
    let length = gguf::write(&mut out, &metadata, &specs, |index, out| {
        out.write_all(&tensors[index].bytes(index as u64))
    })?;
    out.flush()?;
    ensure!(length <= 1 << 20, "{length} bytes: the tests' model is to stay under 1 MiB");
    say(&format!("wrote {} ({length} bytes)", path.display()));
    Ok(())
}

struct RandomTensor {
    spec: TensorSpec,
    spread: f32,
    /// Rows from here on are zero.
    zero_from: usize,
}

impl RandomTensor {
    fn bytes(&self, index: u64) -> Vec<u8> {
        let columns = self.spec.shape.last().map_or(1, |&columns| columns) as usize;
        let rows = self.spec.shape.iter().product::<u64>() as usize / columns;
        let random = Philox::new(SEED);
        let mut bytes = Vec::new();
        for row in 0..rows {
            let values: Vec<f32> = (0..columns)
                .map(|column| {
                    if row >= self.zero_from {
                        return 0.0;
                    }
                    if self.spread == 0.0 {
                        return 1.0;
                    }
                    let word = random.block([(row * columns + column) as u64, index])[0];
                    (f64::from(word) / f64::from(u32::MAX) * 2.0 - 1.0) as f32 * self.spread
                })
                .collect();
            match self.spec.dtype {
                StoredType::Q8_0 => {
                    bytes.extend(
                        engine::dtype::quantize_row(Dtype::Q8_0, &values).unwrap_or_default(),
                    );
                }
                _ => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            }
        }
        bytes
    }
}

fn tensors(vocab: usize) -> Vec<RandomTensor> {
    let mut tensors = Vec::new();
    let mut matrix = |name: String, out: usize, inner: usize, spread: f32, zero_from: usize| {
        let spec = TensorSpec::new(name, StoredType::Q8_0, &[out as u64, inner as u64]);
        tensors.push(RandomTensor { spec, spread, zero_from });
    };
    let plain = vocab - SPECIALS.len();
    matrix("token_embd.weight".into(), vocab, WIDTH, 1.0, usize::MAX);
    matrix("output.weight".into(), vocab, WIDTH, HEAD_SPREAD, plain);
    for layer in 0..LAYERS {
        for (name, out, inner) in [
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", KV_HEADS * HEAD_SIZE, WIDTH),
            ("attn_v", KV_HEADS * HEAD_SIZE, WIDTH),
            ("attn_output", WIDTH, WIDTH),
            ("ffn_gate", FFN_WIDTH, WIDTH),
            ("ffn_up", FFN_WIDTH, WIDTH),
            ("ffn_down", WIDTH, FFN_WIDTH),
        ] {
            matrix(format!("blk.{layer}.{name}.weight"), out, inner, SPREAD, usize::MAX);
        }
    }
    let norms = (0..LAYERS).flat_map(|layer| {
        ["attn_norm", "ffn_norm"].map(|name| format!("blk.{layer}.{name}.weight"))
    });
    for name in norms.chain(["output_norm.weight".to_owned()]) {
        let spec = TensorSpec::new(name, StoredType::F32, &[WIDTH as u64]);
        tensors.push(RandomTensor { spec, spread: 0.0, zero_from: usize::MAX });
    }
    tensors
}

/// All bytes in GPT-2's alphabet, then the pieces with their merges, then the special tokens.
fn vocabulary() -> (Vec<String>, Vec<String>) {
    let alphabet = alphabet();
    let mut tokens: Vec<String> = (0..=255_u8).map(|byte| alphabet[&byte].to_string()).collect();
    let mut merges = Vec::new();
    for piece in PIECES.split_whitespace().flat_map(|piece| [piece.to_owned(), format!(" {piece}")])
    {
        let letters: Vec<char> = piece.bytes().map(|byte| alphabet[&byte]).collect();
        for end in 2..=letters.len() {
            let token: String = letters[..end].iter().collect();
            if !tokens.contains(&token) {
                let head: String = letters[..end - 1].iter().collect();
                merges.push(format!("{head} {}", letters[end - 1]));
                tokens.push(token);
            }
        }
    }
    tokens.extend(SPECIALS.map(str::to_owned));
    (tokens, merges)
}

/// GPT-2's printable letter for each byte.
///
/// Source: `bytes_to_unicode` in openai/gpt-2 `src/encoder.py`.
fn alphabet() -> BTreeMap<u8, char> {
    let mut next = 256..;
    (0..=255_u8)
        .map(|byte| {
            let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
            let letter = if printable { Some(u32::from(byte)) } else { next.next() };
            (byte, letter.and_then(char::from_u32).unwrap_or('?'))
        })
        .collect()
}

fn metadata(tokens: Vec<String>, merges: Vec<String>) -> Result<Metadata> {
    let first_special = tokens.len() - SPECIALS.len();
    let special = |index: usize| Value::U32((first_special + index) as u32);
    let kinds = (0..tokens.len()).map(|token| if token < first_special { 1 } else { 3 }).collect();
    let template = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] \
                    + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}\
                    {{ '<|im_start|>assistant\\n' }}{% endif %}";
    let mut metadata = Metadata::new();
    for (key, value) in [
        ("general.architecture", Value::String("llama".into())),
        ("general.name", Value::String("Tiny Chat of random weights".into())),
        ("llama.vocab_size", Value::U32(tokens.len() as u32)),
        ("llama.context_length", Value::U32(CONTEXT_TOKENS)),
        ("llama.embedding_length", Value::U32(WIDTH as u32)),
        ("llama.block_count", Value::U32(LAYERS as u32)),
        ("llama.feed_forward_length", Value::U32(FFN_WIDTH as u32)),
        ("llama.attention.head_count", Value::U32(HEADS as u32)),
        ("llama.attention.head_count_kv", Value::U32(KV_HEADS as u32)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.dimension_count", Value::U32(HEAD_SIZE as u32)),
        ("llama.rope.freq_base", Value::F32(10_000.0)),
        ("tokenizer.ggml.model", Value::String("gpt2".into())),
        ("tokenizer.ggml.pre", Value::String("smollm".into())),
        ("tokenizer.ggml.tokens", Value::Array(Array::Strings(tokens))),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds))),
        ("tokenizer.ggml.merges", Value::Array(Array::Strings(merges))),
        ("tokenizer.ggml.bos_token_id", special(1)),
        ("tokenizer.ggml.eos_token_id", special(2)),
        ("tokenizer.ggml.unknown_token_id", special(0)),
        ("tokenizer.ggml.padding_token_id", special(2)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        ("tokenizer.chat_template", Value::String(template.into())),
    ] {
        metadata.insert(key, value)?;
    }
    Ok(metadata)
}
