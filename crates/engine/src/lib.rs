//! Arithmetic on tensors, on the CPU.
//!
//! 1. [`Device`]: which kernels run and on how many threads.
//! 2. [`Tensor`]: f32 activations, `[rows, columns]`.
//! 3. [`Matrix`]: weights `[out_features, in_features]`, re-laid once from their file layout.
//! 4. [`ops`]: one module per operation with its contract.
//!
//! ```
//! use engine::{Device, DeviceOptions, Dtype, Matrix, MatrixPart, Tensor, dtype, ops};
//!
//! let device = Device::cpu(&DeviceOptions::default())?;
//! let bytes = dtype::quantize_row(Dtype::F32, &[1.0, 2.0, 3.0, 4.0])?;
//! let part = MatrixPart { dtype: Dtype::F32, out_features: 2, bytes: &bytes };
//! let weights = Matrix::pack(&device, &[part], 2)?;
//! let x = Tensor::from_slice(&device, 1, 2, &[10.0, 1.0]);
//! let mut out = Tensor::zeros(&device, 1, 2);
//! ops::matmul::forward(&device, &mut out, &x, &weights, None, ops::matmul::Store::Overwrite);
//! assert_eq!(out.to_vec(), [12.0, 34.0]);
//! # Ok::<(), engine::Error>(())
//! ```

mod arena;
mod cpu;
mod device;
pub mod dtype;
mod error;
mod math;
mod matrix;
pub mod ops;
pub mod random;
mod tensor;
#[cfg(test)]
mod testing;
mod threads;

pub use device::{Device, DeviceOptions, KernelPath};
pub use dtype::Dtype;
pub use error::Error;
pub use math::cosine;
pub use math::double::{exp, exp_m1, log, log_1p};
pub use matrix::{Matrix, MatrixPart, Order};
pub use tensor::Tensor;
