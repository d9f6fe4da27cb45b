//! Keys and values of all sequences, in pages of 64 tokens.
//!
//! A sequence is a list of pages; token `t` is slot `t % 64` of page `t / 64` of the list. Within a
//! page the numbers stand as the kernels read them, in chunks of 32: 16 lanes of two neighbors.
//!
//! - keys of one head: lanes run over 16 positions, the two neighbors are channels `2 i` and
//!   `2 i + 1`; chunks in order `[head_size / 2, 4]`
//! - values of one head: lanes run over 16 channels, the two neighbors are positions `2 i` and
//!   `2 i + 1`; chunks in order `[32, head_size / 16 rounded up]`

use std::fmt;

use crate::Device;
use crate::arena::LINE_BYTES;
use crate::cpu::lanes::{LANES, Lanes};
use crate::dtype::half::{bf16_to_f32, f32_to_bf16};

/// Tokens of a page, and of an attention tile.
pub const PAGE_TOKENS: usize = 64;
/// Numbers of a chunk.
pub(crate) const CHUNK: usize = 2 * LANES;
/// Chunks that hold one pair of channels of all keys of a page.
pub(crate) const KEY_CHUNKS: usize = PAGE_TOKENS / LANES;
/// The widest head.
pub const HEAD_SIZE_MAX: usize = 256;

/// How keys and values are rounded when they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheType {
    /// To bf16, 2 bytes.
    Bf16,
    /// Not at all, 4 bytes.
    F32,
}

/// What a cache holds of each token, and how the queries meet it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CacheShape {
    /// Layers of the model.
    pub layers: usize,
    /// Key and value heads of a layer.
    pub kv_heads: usize,
    /// Channels of a head: even and at most 256.
    pub head_size: usize,
    /// What products of queries and keys are multiplied with; usually `1 / sqrt(head_size)`.
    pub scale: f32,
    /// How keys and values are stored.
    pub cache_type: CacheType,
}

impl CacheShape {
    /// Memory of one page, over all layers, in bytes.
    #[must_use]
    pub fn page_bytes(&self) -> usize {
        let element_bytes = match self.cache_type {
            CacheType::Bf16 => size_of::<u16>(),
            CacheType::F32 => size_of::<f32>(),
        };
        self.layers * self.layer_page_elements() * element_bytes
    }

    /// Chunks that hold all channels of one pair of values.
    pub(crate) fn value_chunks(&self) -> usize {
        self.head_size.div_ceil(LANES)
    }

    fn key_elements(&self) -> usize {
        self.head_size * PAGE_TOKENS
    }

    pub(super) fn head_elements(&self) -> usize {
        self.key_elements() + self.value_chunks() * LANES * PAGE_TOKENS
    }

    fn layer_page_elements(&self) -> usize {
        self.kv_heads * self.head_elements()
    }
}

/// A pool of pages of keys and values.
///
/// The memory is committed by the operating system as pages are first written.
pub struct KvCache {
    shape: CacheShape,
    pages: usize,
    pub(super) storage: Storage,
}

/// The numbers of all pages, by type.
pub(super) enum Storage {
    Bf16(Zeros<u16>),
    F32(Zeros<f32>),
}

impl KvCache {
    /// A pool of `pages` zeroed pages.
    ///
    /// # Panics
    ///
    /// Panics if `head_size` is odd, 0 or above 256, or if the pool cannot be addressed.
    #[must_use]
    pub fn new(_device: &Device, shape: &CacheShape, pages: usize) -> Self {
        let head_size = shape.head_size;
        let fits = head_size > 0 && head_size.is_multiple_of(2) && head_size <= HEAD_SIZE_MAX;
        assert!(fits, "head_size {head_size}: it is even and at most {HEAD_SIZE_MAX}");
        let heads = shape.layers.checked_mul(shape.kv_heads);
        let length = heads
            .and_then(|heads| heads.checked_mul(shape.head_elements()))
            .and_then(|elements| elements.checked_mul(pages))
            .expect("a cache can be addressed");
        let storage = match shape.cache_type {
            CacheType::Bf16 => Storage::Bf16(Zeros::new(length)),
            CacheType::F32 => Storage::F32(Zeros::new(length)),
        };
        Self { shape: *shape, pages, storage }
    }

    /// Copies a page over all layers: the copy can grow on from a prefix that others keep.
    ///
    /// # Panics
    ///
    /// Panics if a page does not exist.
    pub fn copy_page(&mut self, _device: &Device, from: u32, to: u32) {
        let length = self.shape.layer_page_elements();
        for layer in 0..self.shape.layers {
            let source = self.page_start(layer, from);
            let target = self.page_start(layer, to);
            match &mut self.storage {
                Storage::Bf16(all) => all.values_mut().copy_within(source..source + length, target),
                Storage::F32(all) => all.values_mut().copy_within(source..source + length, target),
            }
        }
    }

    /// What the cache holds of each token.
    #[must_use]
    pub fn shape(&self) -> &CacheShape {
        &self.shape
    }

    /// Number of pages.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Memory of all pages in bytes, written or not.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.pages * self.shape.page_bytes()
    }

    /// Where a head's keys in a page start; its values follow them.
    pub(super) fn head_start(&self, layer: usize, page: u32, kv_head: usize) -> usize {
        assert!(kv_head < self.shape.kv_heads, "head {kv_head} of {}", self.shape.kv_heads);
        self.page_start(layer, page) + kv_head * self.shape.head_elements()
    }

    fn page_start(&self, layer: usize, page: u32) -> usize {
        let (layers, pages, page) = (self.shape.layers, self.pages, page as usize);
        assert!(
            layer < layers && page < pages,
            "page {page} of {pages}, layer {layer} of {layers}"
        );
        (layer * pages + page) * self.shape.layer_page_elements()
    }
}

impl fmt::Debug for KvCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KvCache({} pages, {:?})", self.pages, self.shape)
    }
}

/// A number as it is stored in a cache.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// Rounds to the stored type.
    fn round(value: f32) -> Self;
    /// The stored number.
    fn widen(self) -> f32;
    /// Where in a chunk the first or second neighbor (`half` 0 or 1) of a lane stands.
    fn place(lane: usize, half: usize) -> usize;
    /// The first and the second neighbors of all lanes.
    fn load<L: Lanes>(chunk: &[Self; CHUNK]) -> (L, L);
}

impl Element for u16 {
    #[inline(always)]
    fn round(value: f32) -> Self {
        f32_to_bf16(value)
    }
    fn widen(self) -> f32 {
        bf16_to_f32(self)
    }
    #[inline(always)]
    fn place(lane: usize, half: usize) -> usize {
        2 * lane + half
    }
    #[inline(always)]
    fn load<L: Lanes>(chunk: &[Self; CHUNK]) -> (L, L) {
        L::load_bf16_pair(chunk)
    }
}

impl Element for f32 {
    fn round(value: f32) -> Self {
        value
    }
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn place(lane: usize, half: usize) -> usize {
        half * LANES + lane
    }
    #[inline(always)]
    fn load<L: Lanes>(chunk: &[Self; CHUNK]) -> (L, L) {
        let (halves, _) = chunk.as_chunks::<LANES>();
        (L::load(&halves[0]), L::load(&halves[1]))
    }
}

/// One kv head of one layer, in all pages.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a, E> {
    pub(crate) cache: &'a KvCache,
    /// The cache's numbers.
    pub(crate) all: &'a [E],
    pub(crate) layer: usize,
    pub(crate) kv_head: usize,
}

impl<'a, E: Element> Head<'a, E> {
    /// The head's keys and values in a page.
    #[inline(always)]
    pub(crate) fn tile(&self, page: u32) -> Tile<'a, E> {
        let shape = &self.cache.shape;
        let start = self.cache.head_start(self.layer, page, self.kv_head);
        let (keys, values) =
            self.all[start..start + shape.head_elements()].split_at(shape.key_elements());
        Tile { keys: keys.as_chunks().0, values: values.as_chunks().0 }
    }
}

/// One head's keys and values in one page.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a, E> {
    /// `[head_size / 2, KEY_CHUNKS]` chunks.
    pub(crate) keys: &'a [[E; CHUNK]],
    /// `[PAGE_TOKENS / 2, value_chunks]` chunks.
    pub(crate) values: &'a [[E; CHUNK]],
}

impl<E: Element> Tile<'_, E> {
    /// One number of a key.
    pub(super) fn key(&self, slot: usize, channel: usize) -> f32 {
        let chunk = &self.keys[channel / 2 * KEY_CHUNKS + slot / LANES];
        chunk[E::place(slot % LANES, channel % 2)].widen()
    }

    /// One number of a value.
    pub(super) fn value(&self, slot: usize, channel: usize) -> f32 {
        let chunks = self.values.len() / (PAGE_TOKENS / 2);
        let chunk = &self.values[slot / 2 * chunks + channel / LANES];
        chunk[E::place(channel % LANES, slot % 2)].widen()
    }
}

impl CacheShape {
    /// Files one head's key and value, rounded, in slot `slot` of the tile that starts at `start`.
    #[inline(always)]
    pub(super) fn write<E: Element>(
        &self,
        all: &mut [E],
        start: usize,
        slot: usize,
        (key, value): (&[E], &[E]),
    ) {
        let (keys, rest) = all[start..].split_at_mut(self.key_elements());
        let (chunks, _) = keys.as_chunks_mut::<CHUNK>();
        let (lane, group) = (slot % LANES, slot / LANES);
        let own_chunks = chunks.iter_mut().skip(group).step_by(KEY_CHUNKS);
        for (chunk, channels) in own_chunks.zip(key.as_chunks::<2>().0) {
            chunk[E::place(lane, 0)] = channels[0];
            chunk[E::place(lane, 1)] = channels[1];
        }
        let chunks_per_pair = self.value_chunks();
        let (chunks, _) = rest.as_chunks_mut::<CHUNK>();
        let chunks = &mut chunks[slot / 2 * chunks_per_pair..][..chunks_per_pair];
        for (chunk, channels) in chunks.iter_mut().zip(value.chunks(LANES)) {
            for (lane, &channel) in channels.iter().enumerate() {
                chunk[E::place(lane, slot % 2)] = channel;
            }
        }
    }
}

/// Zeros that take memory only where they were written, aligned to a cache line.
pub(super) struct Zeros<T> {
    all: Vec<T>,
    skip: usize,
    length: usize,
}

impl<T: Copy + Default> Zeros<T> {
    /// A vector of zeros comes zeroed from the operating system, untouched.
    fn new(length: usize) -> Self {
        let line = LINE_BYTES / size_of::<T>();
        let all = vec![T::default(); length.checked_add(line).expect("a cache can be addressed")];
        let skip = all.as_ptr().align_offset(LINE_BYTES).min(line);
        Self { all, skip, length }
    }

    pub(super) fn values(&self) -> &[T] {
        &self.all[self.skip..self.skip + self.length]
    }

    pub(super) fn values_mut(&mut self) -> &mut [T] {
        &mut self.all[self.skip..self.skip + self.length]
    }
}
