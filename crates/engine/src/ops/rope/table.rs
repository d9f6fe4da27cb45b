//! Cosines and sines of every position, and the ways to stretch a model's context.
#![expect(
    clippy::cast_precision_loss,
    reason = "positions and channels have far fewer than 53 bits"
)]

use crate::math::double;

/// Which channels of a head form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Channel `i` with `i + head_size / 2`: Hugging Face checkpoints, and GGUF of most families.
    Halves,
    /// Channel `2 i` with `2 i + 1`: the GGUF files of the Llama family, whose rows are permuted.
    Interleaved,
}

/// How frequencies are changed so that a model reaches beyond the context it was trained on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Frequencies as trained.
    None,
    /// All positions are divided by `factor` (Chen et al. 2023, arXiv:2306.15595).
    Linear {
        /// New context over old.
        factor: f64,
    },
    /// Slow frequencies are divided by `factor`, fast ones kept, those between mixed (Llama 3.1).
    Llama3 {
        /// New context over old.
        factor: f64,
        /// Waves longer than the old context over this are slow.
        low_frequency_factor: f64,
        /// Waves shorter than the old context over this are fast.
        high_frequency_factor: f64,
        /// The context the model was first trained on.
        original_context_tokens: usize,
    },
    /// A ramp between kept and divided frequencies, and sharper attention
    /// (Peng et al. 2023, arXiv:2309.00071).
    Yarn {
        /// New context over old.
        factor: f64,
        /// The context the model was first trained on.
        original_context_tokens: usize,
        /// Pairs that turn more often than this in the old context are kept; usually 32.
        beta_fast: f64,
        /// Pairs that turn less often than this are divided; usually 1.
        beta_slow: f64,
        /// What cosines and sines are multiplied with; by default `0.1 ln(factor) + 1`.
        attention_factor: Option<f64>,
    },
    /// Each pair's frequency is divided by its own number (`rope_freqs` of a GGUF file).
    Divisors(Vec<f32>),
}

/// Cosines and sines for every position of a context.
#[derive(Clone, Debug)]
pub struct RopeTable {
    head_size: usize,
    context_tokens: usize,
    pairing: Pairing,
    /// `[context_tokens, row]`: a pair's value once (halves) or twice (interleaved).
    cosines: Vec<f32>,
    /// As `cosines`; interleaved, the first of each two is negated.
    sines: Vec<f32>,
}

impl RopeTable {
    /// The most positions of a table: up to there angles are reduced exactly.
    pub const CONTEXT_TOKENS_MAX: usize = 1 << 20;

    /// The table for heads of `head_size` channels and frequencies `base^(-2 i / head_size)`.
    ///
    /// # Panics
    ///
    /// Panics if `head_size` is odd or 0, if `context_tokens` is above
    /// [`CONTEXT_TOKENS_MAX`](Self::CONTEXT_TOKENS_MAX), if `base` is not above 1, or if there is
    /// not one divisor per pair.
    #[must_use]
    pub fn new(
        head_size: usize,
        context_tokens: usize,
        base: f64,
        scaling: &RopeScaling,
        pairing: Pairing,
    ) -> Self {
        assert!(head_size > 0 && head_size.is_multiple_of(2), "head_size {head_size}: it is even");
        assert!(context_tokens <= Self::CONTEXT_TOKENS_MAX, "{context_tokens} positions");
        let (frequencies, magnitude) = frequencies(head_size, base, scaling);
        let row = match pairing {
            Pairing::Halves => head_size / 2,
            Pairing::Interleaved => head_size,
        };
        let mut cosines = Vec::with_capacity(context_tokens * row);
        let mut sines = Vec::with_capacity(context_tokens * row);
        for position in 0..context_tokens {
            for frequency in &frequencies {
                let (sine, cosine) = double::sin_cos(position as f64 * frequency);
                let (sine, cosine) = (rounded(sine * magnitude), rounded(cosine * magnitude));
                if pairing == Pairing::Interleaved {
                    cosines.push(cosine);
                    sines.push(-sine);
                }
                cosines.push(cosine);
                sines.push(sine);
            }
        }
        Self { head_size, context_tokens, pairing, cosines, sines }
    }

    /// Channels of a head.
    #[must_use]
    pub fn head_size(&self) -> usize {
        self.head_size
    }

    /// Number of positions.
    #[must_use]
    pub fn context_tokens(&self) -> usize {
        self.context_tokens
    }

    /// Which channels form a pair.
    #[must_use]
    pub fn pairing(&self) -> Pairing {
        self.pairing
    }

    /// Memory taken, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        (self.cosines.len() + self.sines.len()) * size_of::<f32>()
    }

    /// Cosines and sines of a position, as the kernels take them.
    pub(super) fn row(&self, position: usize) -> (&[f32], &[f32]) {
        let length = self.cosines.len() / self.context_tokens;
        let range = position * length..(position + 1) * length;
        (&self.cosines[range.clone()], &self.sines[range])
    }

    /// Cosine and sine of one pair at a position.
    pub(super) fn pair(&self, position: usize, pair: usize) -> (f32, f32) {
        let (cosines, sines) = self.row(position);
        match self.pairing {
            Pairing::Halves => (cosines[pair], sines[pair]),
            Pairing::Interleaved => (cosines[2 * pair + 1], sines[2 * pair + 1]),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is meant")]
fn rounded(value: f64) -> f32 {
    value as f32
}

/// Radians per position of each pair, and what cosines and sines are multiplied with.
pub(super) fn frequencies(head_size: usize, base: f64, scaling: &RopeScaling) -> (Vec<f64>, f64) {
    assert!(base > 1.0, "base {base}: it must be above 1");
    let log_base = double::log(base);
    let trained = |pair: usize| double::exp(-(2.0 * pair as f64 / head_size as f64) * log_base);
    let pairs = 0..head_size / 2;
    match scaling {
        RopeScaling::None => (pairs.map(trained).collect(), 1.0),
        RopeScaling::Linear { factor } => (pairs.map(|pair| trained(pair) / factor).collect(), 1.0),
        RopeScaling::Llama3 { .. } => {
            (pairs.map(|pair| llama3(trained(pair), scaling)).collect(), 1.0)
        }
        &RopeScaling::Yarn { factor, attention_factor, .. } => {
            let (low, high) = yarn_ramp(head_size, log_base, scaling);
            let mixed = |pair: usize| {
                let slow = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
                trained(pair) * (slow / factor + (1.0 - slow))
            };
            let default = 0.1 * double::log(factor.max(1.0)) + 1.0;
            (pairs.map(mixed).collect(), attention_factor.unwrap_or(default))
        }
        RopeScaling::Divisors(divisors) => {
            assert_eq!(divisors.len(), head_size / 2, "divisors and pairs of a head");
            let divided = |pair: usize| trained(pair) / f64::from(divisors[pair]);
            (pairs.map(divided).collect(), 1.0)
        }
    }
}

/// By what a scaling divides the frequency of each pair of a head: 1 where it leaves it as it is.
///
/// # Panics
///
/// As [`RopeTable::new`], for a base or a scaling that makes no sense.
#[must_use]
pub fn divisors(head_size: usize, base: f64, scaling: &RopeScaling) -> Vec<f64> {
    let (trained, _) = frequencies(head_size, base, &RopeScaling::None);
    let (scaled, _) = frequencies(head_size, base, scaling);
    trained.iter().zip(scaled).map(|(trained, scaled)| trained / scaled).collect()
}

/// One frequency of Llama 3.1; any other scaling leaves it as it is.
fn llama3(frequency: f64, scaling: &RopeScaling) -> f64 {
    let &RopeScaling::Llama3 {
        factor,
        low_frequency_factor: low,
        high_frequency_factor: high,
        original_context_tokens,
    } = scaling
    else {
        return frequency;
    };
    let turns = original_context_tokens as f64 * frequency / std::f64::consts::TAU;
    let fast = ((turns - low) / (high - low)).clamp(0.0, 1.0);
    (1.0 - fast) * frequency / factor + fast * frequency
}

/// The pairs between which YaRN's ramp rises; any other scaling has none.
fn yarn_ramp(head_size: usize, log_base: f64, scaling: &RopeScaling) -> (f64, f64) {
    let &RopeScaling::Yarn { original_context_tokens, beta_fast, beta_slow, .. } = scaling else {
        return (0.0, 1.0);
    };
    // The pair that turns `turns` times in the old context.
    let pair_of = |turns: f64| {
        let ratio = original_context_tokens as f64 / (turns * std::f64::consts::TAU);
        head_size as f64 * double::log(ratio) / (2.0 * log_base)
    };
    let low = pair_of(beta_fast).floor().max(0.0);
    let high = pair_of(beta_slow).ceil().min(head_size as f64 - 1.0);
    // A ramp of no width becomes a step.
    if high > low { (low, high) } else { (low, low + 0.001) }
}
