//! Which models answer: those of now, and those before them that finish what they began.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use super::state::ServedModel;

/// The models of a server, which may change while it runs.
///
/// A request holds the model that it began with, and that model is gone with its last request.
#[derive(Debug, Default)]
pub(super) struct Models {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Absent while they are loaded.
    current: Option<Vec<Arc<ServedModel>>>,
    /// Those whose place another one took.
    before: Vec<Weak<ServedModel>>,
    /// How often that was.
    changes: u64,
    /// Whether a model that should answer by now cannot.
    outdated: bool,
}

impl Models {
    /// Takes the first models; later ones are not taken.
    pub(super) fn begin(&self, models: Vec<ServedModel>) {
        let mut state = self.write();
        state.current.get_or_insert_with(|| models.into_iter().map(Arc::new).collect());
    }

    /// Gives the place of the first model to another one.
    pub(super) fn replace(&self, model: ServedModel) {
        let mut state = self.write();
        state.before.retain(|model| model.strong_count() > 0);
        let Some(first) = state.current.as_mut().and_then(|models| models.first_mut()) else {
            return;
        };
        let before = std::mem::replace(first, Arc::new(model));
        state.before.push(Arc::downgrade(&before));
        state.changes += 1;
        state.outdated = false;
        // A model without requests goes here, and whoever asks for another one need not wait for it.
        drop(state);
        drop(before);
    }

    pub(super) fn set_outdated(&self, outdated: bool) {
        self.write().outdated = outdated;
    }

    pub(super) fn is_outdated(&self) -> bool {
        self.read().outdated
    }

    pub(super) fn changes(&self) -> u64 {
        self.read().changes
    }

    pub(super) fn are_there(&self) -> bool {
        self.read().current.is_some()
    }

    /// Those that new requests may ask; none while they are loaded.
    pub(super) fn current(&self) -> Vec<Arc<ServedModel>> {
        self.read().current.clone().unwrap_or_default()
    }

    /// Those that still work for requests that began before another one took their place.
    pub(super) fn before(&self) -> Vec<Arc<ServedModel>> {
        self.read().before.iter().filter_map(Weak::upgrade).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
