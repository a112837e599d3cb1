//! Accounts for every row, value and line of a source: it is shown, or an omission names it.

use std::collections::HashMap;

use crate::coverage::{self, Coverage, Omission, OmissionReason};

/// Omissions that are listed by name; the others are counted.
const NAMED_MAX: usize = 100;

/// Where a unit of a source stands.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A row, element, line or column by its number, from 1. The first part says which of several tables or lists it is in.
    Numbered(String, u64),
    /// A value by its path.
    Named(String),
}

/// One row, value, line or column.
#[derive(Debug)]
struct Unit {
    /// The piece that shows it; `None` if nothing does.
    piece: Option<usize>,
    /// Whether the piece shows all of it.
    is_whole: bool,
    place: Place,
    reason: OmissionReason,
    /// The unit that contains it.
    within: Option<usize>,
}

/// All units of a source, in its order. A unit stands behind the one that contains it.
#[derive(Debug, Default)]
pub(super) struct Account {
    units: Vec<Unit>,
}

impl Account {
    /// Adds a unit that this piece shows, if it is taken; the unit's index.
    pub fn add(&mut self, piece: usize, is_whole: bool, place: Place, within: Option<usize>) -> usize {
        self.units.push(Unit { piece: Some(piece), is_whole, place, reason: OmissionReason::Budget, within });
        self.units.len() - 1
    }

    /// Adds a line that should have been a row and is shown by this piece.
    pub fn add_broken(&mut self, piece: usize, is_whole: bool, place: Place) {
        self.units.push(Unit { piece: Some(piece), is_whole, place, reason: OmissionReason::NotParsed, within: None });
    }

    /// Adds a unit that no piece shows.
    pub fn add_omitted(&mut self, place: Place, within: Option<usize>) {
        self.units.push(Unit { piece: None, is_whole: false, place, reason: OmissionReason::Budget, within });
    }

    /// The coverage of the source, and what is not shown. Within what is not shown, only the number of units counts.
    pub fn finish(&self, is_taken: &[bool]) -> (Coverage, Vec<Omission>) {
        // For each unit that is not shown the outermost one that contains it and is not shown either.
        let mut outermost: Vec<Option<usize>> = Vec::with_capacity(self.units.len());
        let mut amounts: HashMap<usize, u64> = HashMap::new();
        for (at, unit) in self.units.iter().enumerate() {
            let is_shown = unit.is_whole && unit.piece.is_some_and(|piece| is_taken[piece]);
            let above = unit.within.and_then(|within| outermost[within]);
            outermost.push((!is_shown).then(|| above.unwrap_or(at)));
            if let Some(owner) = outermost[at] {
                *amounts.entry(owner).or_default() += 1;
            }
        }
        let mut named: Vec<Omission> = Vec::new();
        let mut groups: Vec<(&str, OmissionReason)> = Vec::new();
        let mut numbers: HashMap<(&str, OmissionReason), Vec<(u64, u64)>> = HashMap::new();
        for (at, unit) in self.units.iter().enumerate() {
            let Some(amount) = amounts.get(&at).copied() else { continue };
            match &unit.place {
                Place::Named(place) => named.push(Omission::new(place.clone(), amount, unit.reason)),
                Place::Numbered(group, number) => {
                    let group = (group.as_str(), unit.reason);
                    let numbers = numbers.entry(group).or_default();
                    if numbers.is_empty() {
                        groups.push(group);
                    }
                    numbers.push((*number, amount));
                }
            }
        }
        let mut omitted: Vec<Omission> = Vec::new();
        for group in groups {
            let numbers = numbers.remove(&group).unwrap_or_default();
            omitted.extend(coverage::ranges_of(group.0, numbers, group.1));
        }
        omitted.append(&mut named);
        if omitted.len() > NAMED_MAX * 2 {
            let more: u64 = omitted.drain(NAMED_MAX * 2..).map(|omission| omission.amount).sum();
            omitted.push(Omission::new("other places", more, OmissionReason::Budget));
        }
        (Coverage::of_lines(self.units.len() as u64, &omitted), omitted)
    }
}
