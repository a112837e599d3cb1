//! What holds for every file of a collection, whatever it says.

use agentops_route::catalogue::layout::{self, Layout};
use agentops_route::catalogue::{BODY_BYTES_MAX, DESCRIPTION_BYTES_MAX, EXAMPLE_BYTES_MAX, EXAMPLES_MAX, Markdown};

/// Reads the bytes as an agent file, and their first line as its path. Panics where something does not hold.
pub fn check(data: &[u8]) {
    let path = String::from_utf8_lossy(data.split(|byte| *byte == b'\n').next().unwrap_or_default());
    if layout::may_be_agent(&path) {
        let label = Layout::new([path.as_ref()].into_iter(), "").label("c", &path);
        assert!(label.starts_with("c/") && label.len() > 2, "{label}");
        assert!(!layout::group(&path).contains('/'));
    }
    let Ok(read) = Markdown::read(data) else { return };
    let entry = read.entry("c/group/name", "group");
    assert!(!entry.name.is_empty() && !entry.name.contains('\n'));
    assert!(entry.description.len() <= DESCRIPTION_BYTES_MAX && entry.body.len() <= BODY_BYTES_MAX);
    assert!(entry.examples.len() <= EXAMPLES_MAX);
    assert!(entry.examples.iter().all(|example| !example.is_empty() && example.len() <= EXAMPLE_BYTES_MAX));
    assert!(!entry.description.is_empty() || !entry.body.is_empty() || !entry.examples.is_empty());
    let front = &read.front;
    assert!(front.driver.is_none() && front.window.is_none() && front.settings.is_empty(), "a collection chose a program");
}
