//! The fast twins of the operations, each written once over lanes or, for products, per kernel path.

pub(crate) mod adamw;
pub(crate) mod attention;
pub(crate) mod attention_backward;
pub(crate) mod cross_entropy;
pub(crate) mod gradient_norm;
pub(crate) mod lanes;
pub(crate) mod log_softmax;
pub(crate) mod matmul;
mod prefetch;
pub(crate) mod rms_norm;
pub(crate) mod rope;
pub(crate) mod swiglu;
