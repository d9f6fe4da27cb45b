//! Settings from files: which keys there are, and where each value comes from.
