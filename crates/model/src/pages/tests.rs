//! Pages are conserved whatever sequences do, and contents match the tokens on their path.
#![expect(clippy::cast_possible_truncation, reason = "a test knows how few tokens it has")]

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const PAGE_TOKENS: usize = 4;

/// What a test does to the pages.
#[derive(Debug, Clone)]
enum Action {
    /// Tries to let a sequence in: prompt and longest completion.
    Admit { prompt: Vec<u32>, completion: usize },
    /// Stores some more tokens of a live sequence.
    Store { which: usize, tokens: usize },
    /// Ends a live sequence.
    Release { which: usize },
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let prompt = prop::collection::vec(0_u32..2, 1..20);
    let action = prop_oneof![
        (prompt, 0_usize..8).prop_map(|(prompt, completion)| Action::Admit { prompt, completion }),
        (0_usize..8, 1_usize..9).prop_map(|(which, tokens)| Action::Store { which, tokens }),
        (0_usize..8).prop_map(|which| Action::Release { which }),
    ];
    prop::collection::vec(action, 1..120)
}

/// A live sequence of the test, and a model of the cache: what each page holds.
struct Live {
    tokens: Vec<u32>,
    stored: usize,
    lease: Lease,
}

struct World {
    pages: Pages,
    contents: HashMap<Page, Vec<Vec<u32>>>,
    live: Vec<Live>,
}

impl World {
    /// Every stored token lies where the lease says, computed from exactly the tokens before it.
    fn check_contents(&self) {
        for live in &self.live {
            for position in 0..live.stored {
                let page = live.lease.pages()[position / PAGE_TOKENS];
                let history = &self.contents[&page][position % PAGE_TOKENS];
                assert_eq!(history, &live.tokens[..=position], "position {position}");
            }
        }
    }

    fn store(&mut self, which: usize, tokens: usize) {
        let Some(live) = self.live.get_mut(which) else { return };
        for position in live.stored..live.tokens.len().min(live.stored + tokens) {
            if position / PAGE_TOKENS == live.lease.pages().len() {
                self.pages.grow(&mut live.lease);
            }
            let page = live.lease.pages()[position / PAGE_TOKENS];
            let place = self.contents.entry(page).or_default();
            place.resize(PAGE_TOKENS, Vec::new());
            place[position % PAGE_TOKENS] = live.tokens[..=position].to_vec();
            live.stored = position + 1;
            if live.stored.is_multiple_of(PAGE_TOKENS) {
                self.pages.publish(&mut live.lease, &live.tokens[..live.stored]);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Admit { prompt, completion } => {
                let reusable = &prompt[..prompt.len() - 1];
                let worst = prompt.len() + completion;
                let Some(admission) = self.pages.admit(reusable, worst) else { return };
                if let Some((from, to)) = admission.copy {
                    let copied = self.contents[&from].clone();
                    self.contents.insert(to, copied);
                }
                assert!(admission.cached_tokens < prompt.len());
                let mut tokens = prompt;
                tokens.extend((0..completion).map(|n| n as u32 % 3));
                let (stored, lease) = (admission.cached_tokens, admission.lease);
                self.live.push(Live { tokens, stored, lease });
            }
            Action::Store { which, tokens } => self.store(which, tokens),
            Action::Release { which } => {
                if which < self.live.len() {
                    let live = self.live.swap_remove(which);
                    self.pages.release(live.lease, &live.tokens[..live.stored]);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn pages_are_conserved(actions in actions(), total in 1_usize..24, reuse: bool) {
        let pages = Pages::new(total, PAGE_TOKENS, reuse);
        let mut world = World { pages, contents: HashMap::new(), live: Vec::new() };
        for action in actions {
            world.act(action);
            world.pages.check();
            world.check_contents();
        }
        for live in std::mem::take(&mut world.live) {
            world.pages.release(live.lease, &live.tokens[..live.stored]);
        }
        prop_assert_eq!(world.pages.free() + world.pages.cached(), total);
    }
}

#[test]
fn a_second_turn_finds_the_first() {
    let mut pages = Pages::new(8, PAGE_TOKENS, true);
    let first: Vec<u32> = (0..10).collect();
    let mut admission = pages.admit(&first[..9], 10).unwrap();
    assert_eq!(admission.cached_tokens, 0);
    for _ in 0..3 {
        pages.grow(&mut admission.lease);
    }
    pages.release(admission.lease, &first);
    let second: Vec<u32> = (0..14).collect();
    let again = pages.admit(&second[..13], 14).unwrap();
    // Two whole pages are shared; two tokens of the third are copied into an own one.
    assert_eq!(again.cached_tokens, 10);
    assert!(again.copy.is_some());
    assert_eq!(again.lease.pages().len(), 3);
}

#[test]
fn what_cannot_be_promised_is_not_let_in() {
    let mut pages = Pages::new(4, PAGE_TOKENS, true);
    let first = pages.admit(&[1, 2, 3], 9).unwrap();
    assert!(pages.admit(&[7], 5).is_none(), "three of four pages are promised");
    let second = pages.admit(&[7], 4).unwrap();
    pages.release(first.lease, &[]);
    assert!(pages.admit(&[7], 12).is_some());
    pages.release(second.lease, &[]);
}
