//! All tensors that a checkpoint of some shape consists of, whatever it calls them.

use engine::ops::rope::Pairing;

use crate::config::Config;
use crate::names::{Convention, Global, Kind, Layer, Weight};
use crate::weights::{Stack, stacks};

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) weight: Weight,
    /// `[rows, columns]` of a matrix, `[values]` of a norm or bias.
    pub(crate) shape: Vec<usize>,
}

impl Item {
    /// What a checkpoint calls it.
    pub(crate) fn name(&self, convention: Convention) -> String {
        convention.name(self.weight)
    }

    /// Rows of a matrix, values of a vector.
    pub(crate) fn rows(&self) -> usize {
        self.shape[0]
    }

    /// Values of one of its rows: 1 of a vector.
    pub(crate) fn columns(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// Whether it is a norm or a bias.
    pub(crate) fn is_vector(&self) -> bool {
        self.shape.len() == 1
    }

    /// The row of this tensor in a checkpoint of the shape `stored` that is row `row` where rows of
    /// q and k lie in the order `wanted`.
    ///
    /// A pair of channels `(i, i + head_size / 2)` of the one order is `(2 i, 2 i + 1)` of the
    /// other; biases go with their rows.
    pub(crate) fn stored_row(&self, stored: &Config, wanted: Pairing, row: usize) -> usize {
        let turned = matches!(self.weight, Weight::Layer { part: Layer::Query | Layer::Key, .. });
        if !turned || stored.rope.pairing == wanted {
            return row;
        }
        let half = stored.head_size / 2;
        let (head, channel) = (row / stored.head_size, row % stored.head_size);
        let channel = match wanted {
            Pairing::Halves => 2 * (channel % half) + channel / half,
            Pairing::Interleaved => channel / 2 + channel % 2 * half,
        };
        head * stored.head_size + channel
    }
}

/// Every tensor once, in the order of the layers.
pub(crate) fn of(config: &Config) -> Vec<Item> {
    let global =
        |weight, shape: &[usize]| Item { weight: Weight::Global(weight), shape: shape.into() };
    let table = [config.vocab, config.width];
    let mut items = vec![global(Global::Embedding, &table)];
    items.extend((0..config.layers).flat_map(|layer| of_layer(config, layer)));
    items.push(global(Global::FinalNorm, &[config.width]));
    if !config.tied_head {
        items.push(global(Global::Head, &table));
    }
    items
}

fn of_layer(config: &Config, layer: usize) -> Vec<Item> {
    let Config { width, head_size, biases, qk_norm, .. } = *config;
    let item = |part, kind, shape: &[usize]| Item {
        weight: Weight::Layer { layer, part, kind },
        shape: shape.into(),
    };
    let linear = |stack: &Stack, has_bias: bool| {
        let of_part = |&(part, rows): &(Layer, usize)| {
            let matrix = item(part, Kind::Weight, &[rows, stack.in_features]);
            let bias = has_bias.then(|| item(part, Kind::Bias, &[rows]));
            std::iter::once(matrix).chain(bias)
        };
        stack.parts.iter().flat_map(of_part).collect::<Vec<_>>()
    };
    let norm = |part, len| item(part, Kind::Weight, &[len]);
    let [qkv, output, gate_up, down] = stacks(config);
    let mut items = vec![norm(Layer::AttentionNorm, width)];
    items.extend(linear(&qkv, biases.qkv));
    if qk_norm {
        items.extend([Layer::QueryNorm, Layer::KeyNorm].map(|part| norm(part, head_size)));
    }
    items.extend(linear(&output, biases.output));
    items.push(norm(Layer::FfnNorm, width));
    items.extend(linear(&gate_up, biases.ffn));
    items.extend(linear(&down, biases.ffn));
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Shape;

    #[test]
    fn rows_of_queries_and_keys_go_there_and_back() {
        let shape = Shape {
            vocab: 5,
            width: 12,
            layers: 1,
            heads: 3,
            kv_heads: 1,
            head_size: 8,
            ffn_width: 4,
            context_tokens: 16,
            rope_base: 1e4,
            norm_epsilon: 1e-5,
            tied_head: true,
        };
        let halves = Config::new(&shape).unwrap();
        let interleaved = halves.clone().with_pairing(Pairing::Interleaved);
        let items = of(&halves);
        let find = |wanted: Layer| {
            let of_part =
                |item: &&Item| matches!(item.weight, Weight::Layer { part, .. } if part == wanted);
            items.iter().find(of_part).unwrap()
        };
        let query = find(Layer::Query);
        // As llama.cpp's `permute`: `reshape(heads, 2, head_size / 2, …).swapaxes(1, 2)`.
        let rows: Vec<usize> =
            (8..16).map(|row| query.stored_row(&halves, Pairing::Interleaved, row)).collect();
        assert_eq!(rows, [8, 12, 9, 13, 10, 14, 11, 15]);
        for row in 0..query.rows() {
            let there = query.stored_row(&halves, Pairing::Interleaved, row);
            assert_eq!(query.stored_row(&interleaved, Pairing::Halves, there), row);
            assert_eq!(query.stored_row(&halves, Pairing::Halves, row), row);
        }
        let value = find(Layer::Value);
        assert_eq!(value.stored_row(&halves, Pairing::Interleaved, 1), 1);
    }
}
