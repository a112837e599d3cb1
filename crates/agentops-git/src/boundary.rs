//! Steps of making and removing a lane after which a crash test may end the process.
//!
//! This crate knows nothing of crash tests. Whoever runs them sets a function that is called after each step.

use std::sync::OnceLock;

static HOOK: OnceLock<fn(&'static str)> = OnceLock::new();

/// Sets the function that is called with the name of each step. Only the first call of a process counts.
pub fn on_boundary(hook: fn(&'static str)) {
    let _set_before = HOOK.set(hook);
}

pub(crate) fn boundary(name: &'static str) {
    if let Some(hook) = HOOK.get() {
        hook(name);
    }
}
