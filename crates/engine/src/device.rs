//! The device that owns the kernels' choice and the threads.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;

use crate::Error;
use crate::threads::Pool;

/// Which family of kernels does the arithmetic. Results are the same to the bit within a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KernelPath {
    /// Slow and clear: weights as real numbers, sums in f64, activations not quantized.
    Reference,
    /// Plain Rust, for any processor.
    Portable,
    /// 256-bit vectors: AVX2, FMA and F16C.
    Avx2,
    /// 512-bit vectors: AVX-512 F, BW, DQ, VL and VNNI; BF16 is used where present, and takes
    /// subnormal numbers for zero: the one case in which two processors differ on this path.
    Avx512,
}

impl KernelPath {
    /// The fastest path that this processor runs.
    #[must_use]
    pub fn best() -> Self {
        [Self::Avx512, Self::Avx2]
            .into_iter()
            .find(|path| path.is_supported())
            .unwrap_or(Self::Portable)
    }

    /// Whether this processor has the instructions of the path.
    #[must_use]
    pub fn is_supported(self) -> bool {
        match self {
            Self::Reference | Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_supported()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }
}

impl fmt::Display for KernelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reference => "reference",
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

impl FromStr for KernelPath {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        [Self::Reference, Self::Portable, Self::Avx2, Self::Avx512]
            .into_iter()
            .find(|path| path.to_string() == name)
            .ok_or_else(|| Error::KernelsUnknown { name: name.to_owned() })
    }
}

/// How a [`Device`] is set up; the default leaves every choice to the engine.
#[derive(Clone, Debug, Default)]
pub struct DeviceOptions {
    /// Threads that compute, the caller's included; default: one per available core.
    pub threads: Option<NonZeroUsize>,
    /// Kernel path; default: [`KernelPath::best`].
    pub kernels: Option<KernelPath>,
}

/// A processor with its kernels and its threads. Clones share the threads.
///
/// Several threads may run operations on one device at once: one of them gets the workers, the
/// others compute alone. No result depends on the number of threads.
#[derive(Clone, Debug)]
pub struct Device {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kernels: KernelPath,
    pool: Pool,
}

impl Device {
    /// The processor this program runs on.
    ///
    /// # Errors
    ///
    /// [`Error::KernelsUnsupported`] if the processor lacks the requested path's instructions;
    /// [`Error::Thread`] if a worker cannot be started.
    pub fn cpu(options: &DeviceOptions) -> Result<Self, Error> {
        let best = KernelPath::best();
        let kernels = options.kernels.unwrap_or(best);
        if !kernels.is_supported() {
            return Err(Error::KernelsUnsupported { requested: kernels, best });
        }
        let threads = options
            .threads
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, NonZeroUsize::get);
        let pool = Pool::new(threads)?;
        Ok(Self { inner: Arc::new(Inner { kernels, pool }) })
    }

    /// The kernel path in use.
    #[must_use]
    pub fn kernels(&self) -> KernelPath {
        self.inner.kernels
    }

    /// Threads that compute, the caller's included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.inner.pool.threads()
    }

    /// The threads.
    pub(crate) fn pool(&self) -> &Pool {
        &self.inner.pool
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kernel_paths_round_trip() {
        for path in
            [KernelPath::Reference, KernelPath::Portable, KernelPath::Avx2, KernelPath::Avx512]
        {
            assert_eq!(path.to_string().parse::<KernelPath>().unwrap(), path);
        }
        let error = "sse".parse::<KernelPath>().unwrap_err();
        assert!(error.to_string().contains("\"sse\""), "{error}");
    }

    #[test]
    fn the_best_path_makes_a_device() {
        let options = DeviceOptions { threads: NonZeroUsize::new(2), kernels: None };
        let device = Device::cpu(&options).unwrap();
        assert_eq!(device.kernels(), KernelPath::best());
        assert_eq!(device.threads(), 2);
    }
}
