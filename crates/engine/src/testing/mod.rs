//! What the tests of kernels share: paths, devices, numbers, tolerances, differences, the values of
//! PyTorch and guarded memory.

pub(crate) mod differences;
pub(crate) mod golden;
#[cfg(target_os = "linux")]
pub(crate) mod guard;

use std::num::NonZeroUsize;

use crate::random::Philox;
use crate::{Device, DeviceOptions, KernelPath};

/// The fast kernel paths that this machine runs; says which it does not.
pub(crate) fn paths() -> Vec<KernelPath> {
    [KernelPath::Portable, KernelPath::Avx2, KernelPath::Avx512]
        .into_iter()
        .filter(|path| {
            let supported = path.is_supported();
            if !supported {
                println!("skipped: this processor has no {path} kernels");
            }
            supported
        })
        .collect()
}

/// A device with a path and a number of threads.
pub(crate) fn device(path: KernelPath, threads: usize) -> Device {
    let options = DeviceOptions { threads: NonZeroUsize::new(threads), kernels: Some(path) };
    Device::cpu(&options).expect("the path is supported and a thread can be started")
}

/// `count` numbers between −1 and 1, the same for the same seed.
#[expect(clippy::cast_precision_loss, reason = "24 bits fit an f32")]
pub(crate) fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let philox = Philox::new(seed);
    let draw = |index: usize| {
        let words = philox.block([index as u64 / 4, 0]);
        (words[index % 4] >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(draw).collect()
}

/// Whether both slices hold the same bits.
pub(crate) fn same_bits(left: &[f32], right: &[f32]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|(left, right)| left.to_bits() == right.to_bits())
}

/// Asserts `|actual - expected| <= tolerance` element by element.
#[track_caller]
pub(crate) fn assert_close(actual: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths");
    for (index, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
        let close = (actual - expected).abs() <= tolerance;
        assert!(close, "{what}: [{index}] is {actual}, expected {expected} within {tolerance}");
    }
}
