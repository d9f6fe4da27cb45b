//! The prefix tree: pages of keys and values by the tokens they were computed from, kept after
//! their sequence ended, so that the next turn of a conversation computes only what is new.
//!
//! A node is one page with its tokens; the path from the root spells a prefix. Only full pages
//! have children; a partly filled page is a leaf whose contents can be copied. A live sequence
//! pins the nodes of its path, the rest can be evicted, oldest leaf first. A page's bytes follow
//! from the tokens on its path alone, so sharing one never changes what is computed.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

/// Index of a page in the key-value cache.
pub(crate) type Page = u32;

/// Index of a node in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(usize);

/// The node above all first pages; it has no page.
pub(crate) const ROOT: NodeId = NodeId(0);

#[derive(Debug)]
struct Node {
    /// At most a page of tokens; fewer only in a leaf.
    tokens: Box<[u32]>,
    page: Page,
    parent: NodeId,
    /// By the child's tokens: the child with the longest common prefix is a neighbor in this order.
    children: BTreeMap<Box<[u32]>, NodeId>,
    /// Live sequences whose path includes this node.
    users: usize,
    /// Clock reading of the last use, for eviction.
    used: u64,
}

/// Where a prompt leaves the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    /// The deepest node whose page is full and whose tokens all match.
    pub node: NodeId,
    /// A child of `node` of whose tokens some first ones match, and how many.
    pub partial: Option<(NodeId, usize)>,
}

/// What became of a page that was offered to the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It is the tree's now; what it made superfluous is free.
    Taken {
        /// The new node.
        node: NodeId,
        /// The page of a shorter leaf with the same beginning.
        superseded: Option<Page>,
    },
    /// The tree had these tokens; the offered page stays the caller's.
    Known(NodeId),
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct PrefixTree {
    nodes: Vec<Node>,
    vacant: Vec<NodeId>,
    /// Leaves without users, oldest first.
    idle_leaves: BTreeSet<(u64, NodeId)>,
    page_tokens: usize,
    /// Nodes that hold a page.
    held: usize,
    /// Those among them with users.
    pinned: usize,
    clock: u64,
}

impl PrefixTree {
    pub(crate) fn new(page_tokens: usize) -> Self {
        let root = Node {
            tokens: Box::default(),
            page: 0,
            parent: ROOT,
            children: BTreeMap::new(),
            users: 0,
            used: 0,
        };
        Self {
            nodes: vec![root],
            vacant: Vec::new(),
            idle_leaves: BTreeSet::new(),
            page_tokens,
            held: 0,
            pinned: 0,
            clock: 0,
        }
    }

    /// Follows `tokens` as deep as whole pages go, then looks for the best partial page.
    pub(crate) fn find(&self, tokens: &[u32]) -> Match {
        let mut node = ROOT;
        let mut rest = tokens;
        while let Some((page, after)) = rest.split_at_checked(self.page_tokens) {
            let Some(child) = self.nodes[node.0].children.get(page) else { break };
            node = *child;
            rest = after;
        }
        Match { node, partial: self.longest_common_child(node, rest) }
    }

    /// The child that shares the most first tokens with `rest`: one of the two neighbors of `rest`
    /// in the order of the children.
    fn longest_common_child(&self, node: NodeId, rest: &[u32]) -> Option<(NodeId, usize)> {
        let children = &self.nodes[node.0].children;
        let below = children.range::<[u32], _>((Unbounded, Included(rest))).next_back();
        let above = children.range::<[u32], _>((Excluded(rest), Unbounded)).next();
        let neighbors = below.into_iter().chain(above);
        let shared = neighbors.map(|(tokens, child)| (*child, common(tokens, rest)));
        shared.filter(|(_, n)| *n > 0).max_by_key(|(_, n)| *n)
    }

    /// The pages from the first to `node`'s own.
    pub(crate) fn path(&self, node: NodeId) -> Vec<Page> {
        let mut pages = Vec::new();
        let mut at = node;
        while at != ROOT {
            pages.push(self.nodes[at.0].page);
            at = self.nodes[at.0].parent;
        }
        pages.reverse();
        pages
    }

    /// The page of one node.
    pub(crate) fn page(&self, node: NodeId) -> Page {
        self.nodes[node.0].page
    }

    /// Counts one more live sequence on the path to `node`.
    pub(crate) fn pin(&mut self, node: NodeId) {
        let mut at = node;
        while at != ROOT {
            self.pin_one(at);
            at = self.nodes[at.0].parent;
        }
    }

    /// Takes back a [`pin`](Self::pin) of the same node.
    pub(crate) fn unpin(&mut self, node: NodeId) {
        let mut at = node;
        while at != ROOT {
            self.unpin_one(at);
            at = self.nodes[at.0].parent;
        }
    }

    /// Takes back a [`pin_one`](Self::pin_one).
    pub(crate) fn unpin_one(&mut self, node: NodeId) {
        self.clock += 1;
        let one = &mut self.nodes[node.0];
        assert!(one.users > 0, "node {node:?} was unpinned more often than pinned");
        one.users -= 1;
        one.used = self.clock;
        if one.users == 0 {
            self.pinned -= 1;
            if one.children.is_empty() {
                self.idle_leaves.insert((self.clock, node));
            }
        }
    }

    /// Offers `page`, computed from `tokens` right after the path to `parent`, for keeping. A live
    /// sequence that goes on from there has to pin the child: see [`pin_one`](Self::pin_one).
    ///
    /// # Panics
    ///
    /// Panics if `tokens` is empty or longer than a page, or if `parent`'s page is not full.
    pub(crate) fn offer(&mut self, parent: NodeId, tokens: &[u32], page: Page) -> Offered {
        assert!((1..=self.page_tokens).contains(&tokens.len()), "{} tokens", tokens.len());
        let full = parent == ROOT || self.nodes[parent.0].tokens.len() == self.page_tokens;
        assert!(full, "only full pages have children");
        self.clock += 1;
        if let Some((child, shared)) = self.longest_common_child(parent, tokens) {
            if shared == tokens.len() {
                self.touch(child);
                return Offered::Known(child);
            }
            let shorter = &self.nodes[child.0];
            if shared == shorter.tokens.len() && shorter.users == 0 {
                let superseded = Some(self.remove(child));
                let node = self.insert(parent, tokens, page);
                return Offered::Taken { node, superseded };
            }
        }
        Offered::Taken { node: self.insert(parent, tokens, page), superseded: None }
    }

    /// Counts one more live sequence on `node` alone: one that is on its parent's path already.
    pub(crate) fn pin_one(&mut self, node: NodeId) {
        let one = &mut self.nodes[node.0];
        one.users += 1;
        if one.users == 1 {
            self.pinned += 1;
            self.idle_leaves.remove(&(one.used, node));
        }
    }

    /// Gives up the leaf that was unused for longest; `None` when every page is pinned.
    pub(crate) fn evict(&mut self) -> Option<Page> {
        let (_, node) = *self.idle_leaves.first()?;
        Some(self.remove(node))
    }

    /// Pages in the tree.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Pages in the tree that no live sequence uses; all of them can be evicted, leaves first.
    pub(crate) fn evictable(&self) -> usize {
        self.held - self.pinned
    }

    fn touch(&mut self, node: NodeId) {
        let clock = self.clock;
        let one = &mut self.nodes[node.0];
        if self.idle_leaves.remove(&(one.used, node)) {
            self.idle_leaves.insert((clock, node));
        }
        one.used = clock;
    }

    fn insert(&mut self, parent: NodeId, tokens: &[u32], page: Page) -> NodeId {
        let node = Node {
            tokens: tokens.into(),
            page,
            parent,
            children: BTreeMap::new(),
            users: 0,
            used: self.clock,
        };
        let id = match self.vacant.pop() {
            Some(id) => {
                self.nodes[id.0] = node;
                id
            }
            None => {
                self.nodes.push(node);
                NodeId(self.nodes.len() - 1)
            }
        };
        let above = &mut self.nodes[parent.0];
        above.children.insert(tokens.into(), id);
        self.idle_leaves.remove(&(above.used, parent));
        self.idle_leaves.insert((self.clock, id));
        self.held += 1;
        id
    }

    /// Takes an idle leaf out of the tree.
    fn remove(&mut self, node: NodeId) -> Page {
        let one = &mut self.nodes[node.0];
        assert!(one.users == 0 && one.children.is_empty(), "node {node:?} is in use");
        let (tokens, parent, page) = (std::mem::take(&mut one.tokens), one.parent, one.page);
        self.idle_leaves.remove(&(one.used, node));
        let above = &mut self.nodes[parent.0];
        above.children.remove(&tokens);
        if parent != ROOT && above.children.is_empty() && above.users == 0 {
            self.idle_leaves.insert((above.used, parent));
        }
        self.vacant.push(node);
        self.held -= 1;
        page
    }
}

/// How many first tokens two slices share.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}
