//! code

use std::path::Path;

use crate::{Compressed, SourceError};

/// x
///
/// # Errors
/// x
pub fn compress(root: &Path, task: &str, budget: u64) -> Result<Compressed, SourceError> {
    let _ = (root, task, budget);
    Ok(Compressed { text: String::new(), before: 0, after: 0, facts: Vec::new() })
}
