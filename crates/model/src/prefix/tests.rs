//! The tree by hand, with pages of four tokens.

use super::*;

fn tree() -> PrefixTree {
    PrefixTree::new(4)
}

fn taken(offered: Offered) -> NodeId {
    match offered {
        Offered::Taken { node, superseded: None } => node,
        other => panic!("expected a plain insertion, got {other:?}"),
    }
}

#[test]
fn whole_pages_are_followed_and_the_best_partial_one_is_found() {
    let mut tree = tree();
    let first = taken(tree.offer(ROOT, &[1, 2, 3, 4], 10));
    let second = taken(tree.offer(first, &[5, 6, 7, 8], 11));
    let other = taken(tree.offer(first, &[5, 6, 9, 9], 12));
    let leaf = taken(tree.offer(first, &[5, 5], 13));
    assert_eq!(tree.find(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), Match { node: second, partial: None });
    let partial = |tokens: &[u32]| tree.find(tokens).partial;
    assert_eq!(partial(&[1, 2, 3, 4, 5, 6, 9]), Some((other, 3)));
    assert_eq!(partial(&[1, 2, 3, 4, 5, 6, 7]), Some((second, 3)));
    assert_eq!(partial(&[1, 2, 3, 4, 5, 5, 1, 1]), Some((leaf, 2)));
    assert_eq!(partial(&[1, 2, 3, 4, 4]), None);
    assert_eq!(tree.find(&[1, 2, 9]), Match { node: ROOT, partial: Some((first, 2)) });
    assert_eq!(tree.path(second), [10, 11]);
}

#[test]
fn known_tokens_are_not_kept_twice_and_longer_leaves_replace_shorter_ones() {
    let mut tree = tree();
    let leaf = taken(tree.offer(ROOT, &[1, 2], 10));
    assert_eq!(tree.offer(ROOT, &[1, 2], 11), Offered::Known(leaf));
    assert_eq!(tree.offer(ROOT, &[1], 11), Offered::Known(leaf));
    let Offered::Taken { node, superseded: Some(10) } = tree.offer(ROOT, &[1, 2, 3, 4], 12) else {
        panic!("the shorter leaf gives way");
    };
    assert_eq!(tree.path(node), [12]);
    assert_eq!(tree.held(), 1);
}

#[test]
fn the_oldest_unused_leaf_goes_first_and_pinned_paths_stay() {
    let mut tree = tree();
    let a = taken(tree.offer(ROOT, &[1, 1, 1, 1], 10));
    let b = taken(tree.offer(a, &[2, 2, 2, 2], 11));
    taken(tree.offer(ROOT, &[3, 3, 3, 3], 12));
    tree.pin(b);
    assert_eq!((tree.held(), tree.evictable()), (3, 1));
    assert_eq!(tree.evict(), Some(12));
    assert_eq!(tree.evict(), None);
    tree.unpin(b);
    assert_eq!(tree.evictable(), 2);
    assert_eq!(tree.evict(), Some(11), "a parent outlives its children");
    assert_eq!(tree.evict(), Some(10));
    assert_eq!((tree.evict(), tree.held()), (None, 0));
    assert_eq!(taken(tree.offer(ROOT, &[3, 3, 3, 3], 13)), a, "numbers of nodes are used again");
}

#[test]
fn offering_again_makes_young() {
    let mut tree = tree();
    taken(tree.offer(ROOT, &[1], 10));
    taken(tree.offer(ROOT, &[2], 11));
    assert!(matches!(tree.offer(ROOT, &[1], 12), Offered::Known(_)));
    assert_eq!(tree.evict(), Some(11));
}
