//! The fast twins of the operations, one folder per kernel path.

pub(crate) mod lanes;
pub(crate) mod log_softmax;
pub(crate) mod matmul;
pub(crate) mod rms_norm;
pub(crate) mod rope;
pub(crate) mod swiglu;
