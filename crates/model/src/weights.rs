//! Loads the weights tensor by tensor, straight into the engine's packed matrices: at no time is
//! more in memory than the packed weights and the file bytes of one matrix.

use std::sync::Arc;

use engine::{Device, Matrix, MatrixPart, Tensor};

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::Error;
use crate::names::{Global, Kind, Layer};

/// A linear layer: `y = x · matrixᵀ + bias`.
#[derive(Debug)]
pub(crate) struct Linear {
    /// `[out, in]`, several layers with the same input stacked by rows; shared with the model that
    /// learns, where one does.
    pub matrix: Arc<Matrix>,
    /// `[1, out]`
    pub bias: Option<Tensor>,
}

/// The RMS norms of single heads, each `[1, head_size]`.
#[derive(Debug)]
pub(crate) struct HeadNorms {
    pub query: Tensor,
    pub key: Tensor,
}

/// The weights of one layer.
#[derive(Debug)]
pub(crate) struct BlockWeights {
    pub attention_norm: Tensor,
    /// q, k and v stacked.
    pub qkv: Linear,
    pub head_norms: Option<HeadNorms>,
    pub attention_output: Linear,
    pub ffn_norm: Tensor,
    /// gate and up stacked.
    pub gate_up: Linear,
    pub down: Linear,
}

/// All weights of a model.
#[derive(Debug)]
pub(crate) struct Weights {
    pub embedding: Matrix,
    pub blocks: Vec<BlockWeights>,
    pub final_norm: Tensor,
    /// `None`: the embedding is the head, too.
    pub head: Option<Arc<Matrix>>,
}

impl Weights {
    /// Memory of the matrices; norms and biases are too small to count.
    pub(crate) fn bytes(&self) -> u64 {
        let of_block = |block: &BlockWeights| {
            let linear = [&block.qkv, &block.attention_output, &block.gate_up, &block.down];
            linear.map(|linear| linear.matrix.memory_bytes()).iter().sum::<usize>()
        };
        let blocks: usize = self.blocks.iter().map(of_block).sum();
        let head = self.head.as_ref().map_or(0, |head| head.memory_bytes());
        (self.embedding.memory_bytes() + blocks + head) as u64
    }
}

/// Reads and packs everything; `progress` hears how many of how many bytes were read.
pub(crate) fn load(
    device: &Device,
    checkpoint: &mut Checkpoint,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Weights, Error> {
    let config = checkpoint.config().clone();
    let total = checkpoint.tensor_bytes();
    let mut loader = Loader { device, config: &config, checkpoint, progress, read: 0, total };
    let vocab = config.vocab;
    // The largest tensors first: while one is packed, its stored bytes are in memory, too.
    let embedding = loader.table(Global::Embedding, vocab)?;
    let head = match config.tied_head {
        true => None,
        false => Some(Arc::new(loader.table(Global::Head, vocab)?)),
    };
    let blocks = (0..config.layers).map(|l| loader.block(l)).collect::<Result<_, _>>()?;
    let name = loader.checkpoint.convention().global(Global::FinalNorm);
    let final_norm = loader.checkpoint.read_tensor(device, name, config.width)?;
    checkpoint.check_all_used()?;
    progress(total, total);
    Ok(Weights { embedding, blocks, final_norm, head })
}

/// The matrices of a layer: q, k and v; the output of attention; gate and up; down.
pub(crate) fn stacks(config: &Config) -> [Stack; 4] {
    let Config { width, ffn_width, .. } = *config;
    let (query, kv) = (config.query_width(), config.kv_width());
    let stack = |parts: &[(Layer, usize)], in_features| Stack { parts: parts.into(), in_features };
    [
        stack(&[(Layer::Query, query), (Layer::Key, kv), (Layer::Value, kv)], width),
        stack(&[(Layer::AttentionOutput, width)], query),
        stack(&[(Layer::Gate, ffn_width), (Layer::Up, ffn_width)], width),
        stack(&[(Layer::Down, width)], ffn_width),
    ]
}

/// Matrices with the same input, stacked by rows.
pub(crate) struct Stack {
    /// Each with its number of rows.
    pub(crate) parts: Vec<(Layer, usize)>,
    pub(crate) in_features: usize,
}

/// What [`Weights::bytes`] is going to be, by the checkpoint's table of tensors alone.
pub(crate) fn packed_bytes(checkpoint: &Checkpoint) -> Result<u64, Error> {
    let (config, convention) = (checkpoint.config(), checkpoint.convention());
    let table = |table: Global| {
        let rows = config.vocab;
        let dtype = checkpoint.dtype(convention.global(table), &[rows, config.width])?;
        Ok::<_, Error>(Matrix::packed_bytes(&[(dtype, rows)], config.width) as u64)
    };
    let mut bytes = table(Global::Embedding)?;
    if !config.tied_head {
        bytes += table(Global::Head)?;
    }
    for layer in 0..config.layers {
        for Stack { parts, in_features } in stacks(config) {
            let dtype = |&(part, rows): &(Layer, usize)| {
                let name = convention.layer(layer, part, Kind::Weight);
                Ok((checkpoint.dtype(&name, &[rows, in_features])?, rows))
            };
            let parts: Vec<_> = parts.iter().map(dtype).collect::<Result<_, Error>>()?;
            bytes = bytes.saturating_add(Matrix::packed_bytes(&parts, in_features) as u64);
        }
    }
    Ok(bytes)
}

struct Loader<'a> {
    device: &'a Device,
    config: &'a Config,
    checkpoint: &'a mut Checkpoint,
    progress: &'a mut dyn FnMut(u64, u64),
    read: u64,
    total: u64,
}

impl Loader<'_> {
    fn block(&mut self, layer: usize) -> Result<BlockWeights, Error> {
        let Config { width, head_size, biases, .. } = *self.config;
        let [qkv, output, gate_up, down] = stacks(self.config);
        let head_norms = if self.config.qk_norm {
            Some(HeadNorms {
                query: self.norm(layer, Layer::QueryNorm, head_size)?,
                key: self.norm(layer, Layer::KeyNorm, head_size)?,
            })
        } else {
            None
        };
        Ok(BlockWeights {
            attention_norm: self.norm(layer, Layer::AttentionNorm, width)?,
            qkv: self.linear(layer, &qkv, biases.qkv)?,
            head_norms,
            attention_output: self.linear(layer, &output, biases.output)?,
            ffn_norm: self.norm(layer, Layer::FfnNorm, width)?,
            gate_up: self.linear(layer, &gate_up, biases.ffn)?,
            down: self.linear(layer, &down, biases.ffn)?,
        })
    }

    fn table(&mut self, table: Global, rows: usize) -> Result<Matrix, Error> {
        let name = self.checkpoint.convention().global(table);
        let (dtype, bytes) = self.checkpoint.read(name, &[rows, self.config.width])?;
        self.report(bytes.len());
        let part = MatrixPart { dtype, out_features: rows, bytes: &bytes };
        Ok(Matrix::pack(self.device, &[part], self.config.width)?)
    }

    fn norm(&mut self, layer: usize, norm: Layer, len: usize) -> Result<Tensor, Error> {
        let name = self.checkpoint.convention().layer(layer, norm, Kind::Weight);
        self.checkpoint.read_tensor(self.device, &name, len)
    }

    /// Reads and packs a stack, each part `[out_features, in_features]`.
    fn linear(&mut self, layer: usize, stack: &Stack, has_bias: bool) -> Result<Linear, Error> {
        let Stack { parts, in_features } = stack;
        let in_features = *in_features;
        let convention = self.checkpoint.convention();
        let mut stored = Vec::with_capacity(parts.len());
        let mut bias = Vec::new();
        for (part, out_features) in parts {
            let name = convention.layer(layer, *part, Kind::Weight);
            let (dtype, bytes) = self.checkpoint.read(&name, &[*out_features, in_features])?;
            self.report(bytes.len());
            stored.push((dtype, *out_features, bytes));
            if has_bias {
                let name = convention.layer(layer, *part, Kind::Bias);
                bias.extend(self.checkpoint.read_vector(&name, *out_features)?);
            }
        }
        let stacked: Vec<MatrixPart<'_>> = stored
            .iter()
            .map(|(dtype, out, bytes)| MatrixPart { dtype: *dtype, out_features: *out, bytes })
            .collect();
        let matrix = Arc::new(Matrix::pack(self.device, &stacked, in_features)?);
        let bias = has_bias.then(|| Tensor::from_slice(self.device, 1, bias.len(), &bias));
        Ok(Linear { matrix, bias })
    }

    fn report(&mut self, bytes: usize) {
        self.read += bytes as u64;
        (self.progress)(self.read, self.total);
    }
}
