//! transcript

use crate::{Compressed, SourceError};

/// x
///
/// # Errors
/// x
pub fn compress(source: &[u8], budget: u64) -> Result<Compressed, SourceError> {
    let text = String::from_utf8_lossy(source);
    let before = agentops_text::tokens::text_tokens(&text);
    let text = agentops_text::tokens::cut(&text, budget).to_owned();
    let after = agentops_text::tokens::text_tokens(&text);
    Ok(Compressed { text, before, after, facts: Vec::new() })
}
