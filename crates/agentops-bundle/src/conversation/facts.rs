//! What of a conversation must not get lost, taken from the turns before anything is chosen.

use super::salience::{Signals, spoken};
use super::turns::{Talk, floor};
use crate::fidelity::flat;
use crate::{Class, Fact};

/// A statement is looked for by its beginning, up to this many bytes.
const STATEMENT_BYTES_MAX: usize = 80;
/// A turn that is worth less states little that one would ask for later: this is about what one number is worth, or two of the
/// weaker signals. A number is part of its statement and no fact of its own: alone it says nothing.
const VALUE_MIN: f64 = 0.35;

/// The facts, in the order of the turns.
pub fn of(talk: &Talk, signals: &[Signals]) -> Vec<Fact> {
    let mut facts = Vec::new();
    for (turn, signals) in talk.turns.iter().zip(signals) {
        let text = flat(spoken(&turn.text));
        if signals.value() >= VALUE_MIN {
            let end = floor(&text, STATEMENT_BYTES_MAX);
            facts.push(Fact::new(Class::Statement, text[..end].trim_end(), turn.place.clone()));
        }
    }
    facts
}
