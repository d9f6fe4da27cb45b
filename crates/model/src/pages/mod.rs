//! Who owns which page of the key-value cache: nobody, one live sequence, or the prefix tree.
//!
//! A sequence is admitted only if the pages that it may need in the worst case can be had, so
//! [`Pages::grow`] never fails: what live sequences may yet take is at most what is free or can be
//! evicted. Pages are conserved: `free + own pages of sequences + pages in the tree = total`.

#[cfg(test)]
mod tests;

use crate::prefix::{NodeId, Offered, Page, PrefixTree, ROOT};

/// The pages of one live sequence, in the order of its tokens.
#[derive(Debug)]
pub(crate) struct Lease {
    pages: Vec<Page>,
    /// How many first pages belong to the tree; they are full and never written again.
    shared: usize,
    /// The tree's node of the last shared page.
    node: NodeId,
    /// Pages that this sequence may yet take.
    reserved: usize,
}

impl Lease {
    /// The pages, first tokens first.
    pub(crate) fn pages(&self) -> &[Page] {
        &self.pages
    }
}

/// A sequence that was let in.
#[derive(Debug)]
pub(crate) struct Admission {
    pub lease: Lease,
    /// First tokens of the prompt whose keys and values are there already.
    pub cached_tokens: usize,
    /// Contents to copy at once, from page to page, for the last of those tokens.
    pub copy: Option<(Page, Page)>,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Pages {
    free: Vec<Page>,
    total: usize,
    page_tokens: usize,
    tree: PrefixTree,
    /// Pages that single sequences own.
    owned: usize,
    /// Pages that live sequences may yet take.
    reserved: usize,
    reuse: bool,
}

impl Pages {
    /// All of `total` pages free; `reuse` says whether pages of ended sequences are kept.
    pub(crate) fn new(total: usize, page_tokens: usize, reuse: bool) -> Self {
        let pages = 0..Page::try_from(total).expect("the cache's page count was capped");
        Self {
            free: pages.rev().collect(),
            total,
            page_tokens,
            tree: PrefixTree::new(page_tokens),
            owned: 0,
            reserved: 0,
            reuse,
        }
    }

    /// Lets a sequence in that will store at most `worst_tokens` tokens and whose first tokens
    /// `reusable` may come from the tree; `None` if the pages cannot be promised now.
    pub(crate) fn admit(&mut self, reusable: &[u32], worst_tokens: usize) -> Option<Admission> {
        let worst = worst_tokens.div_ceil(self.page_tokens);
        if !self.reuse {
            return self.reserve(ROOT, 0, worst);
        }
        let found = self.tree.find(reusable);
        self.tree.pin(found.node);
        let shared = self.tree.path(found.node).len();
        let Some(mut admission) = self.reserve(found.node, shared, worst) else {
            self.tree.unpin(found.node);
            return None;
        };
        if let Some((leaf, tokens)) = found.partial {
            self.copy_partial(&mut admission, leaf, tokens);
        }
        Some(admission)
    }

    fn reserve(&mut self, node: NodeId, shared: usize, worst: usize) -> Option<Admission> {
        let reserved = worst.saturating_sub(shared);
        if self.reserved + reserved > self.free.len() + self.tree.evictable() {
            return None;
        }
        self.reserved += reserved;
        let lease = Lease { pages: self.tree.path(node), shared, node, reserved };
        Some(Admission { lease, cached_tokens: shared * self.page_tokens, copy: None })
    }

    /// Gives the sequence a page of its own with the first `tokens` tokens of the page of `leaf`,
    /// unless the only page to be had for it is that very one.
    fn copy_partial(&mut self, admission: &mut Admission, leaf: NodeId, tokens: usize) {
        self.tree.pin_one(leaf);
        if self.free.len() + self.tree.evictable() > 0 && admission.lease.reserved > 0 {
            let to = self.grow(&mut admission.lease);
            admission.copy = Some((self.tree.page(leaf), to));
            admission.cached_tokens += tokens;
        }
        self.tree.unpin_one(leaf);
    }

    /// The next page of a sequence.
    ///
    /// # Panics
    ///
    /// Panics if the sequence already took all that it reserved.
    pub(crate) fn grow(&mut self, lease: &mut Lease) -> Page {
        assert!(lease.reserved > 0, "a sequence took more pages than it reserved");
        let page = self.free.pop().or_else(|| self.tree.evict());
        let page = page.expect("reserved pages are free or can be evicted");
        lease.reserved -= 1;
        lease.pages.push(page);
        self.reserved -= 1;
        self.owned += 1;
        page
    }

    /// Hands the sequence's full pages to the tree, so that others can share them at once.
    /// `stored` are the tokens whose keys and values are there.
    pub(crate) fn publish(&mut self, lease: &mut Lease, stored: &[u32]) {
        if !self.reuse {
            return;
        }
        while (lease.shared + 1) * self.page_tokens <= stored.len() {
            let first = lease.shared * self.page_tokens;
            let page = lease.pages[lease.shared];
            let tokens = &stored[first..first + self.page_tokens];
            let node = match self.tree.offer(lease.node, tokens, page) {
                Offered::Taken { node, superseded } => {
                    self.free.extend(superseded);
                    node
                }
                Offered::Known(node) => {
                    // The same tokens gave the same bytes: go on with the page that is shared.
                    lease.pages[lease.shared] = self.tree.page(node);
                    self.free.push(page);
                    node
                }
            };
            self.owned -= 1;
            self.tree.pin_one(node);
            lease.node = node;
            lease.shared += 1;
        }
    }

    /// Ends a sequence. What it computed (`stored` tokens) stays in the tree for as long as nobody
    /// needs the room.
    pub(crate) fn release(&mut self, mut lease: Lease, stored: &[u32]) {
        self.publish(&mut lease, stored);
        let mut own = lease.pages.split_off(lease.shared);
        self.owned -= own.len();
        self.reserved -= lease.reserved;
        let rest = &stored[(lease.shared * self.page_tokens).min(stored.len())..];
        if self.reuse && !rest.is_empty() {
            match self.tree.offer(lease.node, rest, own[0]) {
                Offered::Taken { superseded, .. } => {
                    own.remove(0);
                    self.free.extend(superseded);
                }
                Offered::Known(_) => {}
            }
        }
        self.tree.unpin(lease.node);
        self.free.extend(own);
        self.check();
    }

    /// Pages that nobody owns.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Pages of the tree that no live sequence uses.
    pub(crate) fn cached(&self) -> usize {
        self.tree.evictable()
    }

    /// All pages.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// # Panics
    ///
    /// Panics if a page was lost or counted twice, or if more is promised than can be had.
    pub(crate) fn check(&self) {
        let (free, held) = (self.free.len(), self.tree.held());
        assert_eq!(free + self.owned + held, self.total, "free + owned + held = total");
        let available = free + self.tree.evictable();
        assert!(self.reserved <= available, "{} promised, {available} there", self.reserved);
    }
}
