//! Lane tokens: who shows one may use that lane, as long as it is open, and nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use agentops_safe::Secret;
use subtle::ConstantTimeEq;

/// What every token begins with, so that people and redactors know one when they see it.
pub(crate) const PREFIX: &str = "agentops-lane-";

/// Whether an address is that of a lane behind a gateway.
#[must_use]
pub fn is_lane_address(url: &str) -> bool {
    url.contains(&format!("/lane/{PREFIX}"))
}

/// A path without the tokens of lanes in it.
pub(crate) fn without_tokens(path: &str) -> String {
    let segments = path.split('/').map(|segment| match segment.find(PREFIX) {
        Some(at) => format!("{}[token]", &segment[..at + PREFIX.len()]),
        None => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

/// So many closed lanes are remembered, to tell a late call why it is refused.
const CLOSED_MAX: usize = 4096;

/// A token of a lane. Its text is the lane's number, by which it is found, and 256 random bits, by which it is believed.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    number: u32,
    text: Secret,
}

impl Token {
    /// A token for lane `number`.
    ///
    /// # Errors
    ///
    /// When the operating system gives no random bytes.
    pub(crate) fn new(number: u32) -> Result<Self, getrandom::Error> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes)?;
        let mut text = format!("{PREFIX}{number:08x}-");
        for byte in bytes {
            text.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('0')));
        }
        Ok(Self { number, text: text.into() })
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.text
    }

    /// Whether `shown` is this token. Takes the same time wherever they differ.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        self.text.expose().as_bytes().ct_eq(shown).into()
    }
}

/// The lanes behind one gateway, by token.
pub(crate) struct Lanes<T>(RwLock<BTreeMap<u32, Place<T>>>);

/// `None`: the lane is closed.
type Place<T> = (Token, Option<Arc<T>>);

/// Why a token opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No lane has it.
    Unknown,
    /// Its lane is closed.
    Closed,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> Lanes<T> {
    pub(crate) fn open(&self, token: Token, lane: Arc<T>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(token.number, (token, Some(lane)));
    }

    /// Closes a lane. `None`: it was closed before.
    pub(crate) fn close(&self, token: &Token) -> Option<Arc<T>> {
        let mut lanes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.get_mut(&token.number).and_then(|(_, lane)| lane.take());
        let closed: Vec<_> = lanes.iter().filter(|(_, (_, lane))| lane.is_none()).map(|(number, _)| *number).collect();
        for number in closed.iter().take(closed.len().saturating_sub(CLOSED_MAX)) {
            lanes.remove(number);
        }
        lane
    }

    /// Closes all.
    pub(crate) fn close_all(&self) -> Vec<Arc<T>> {
        let mut lanes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        lanes.values_mut().filter_map(|(_, lane)| lane.take()).collect()
    }

    /// The lane that a token opens.
    pub(crate) fn enter(&self, shown: &str) -> Result<Arc<T>, Denied> {
        let number = shown.strip_prefix(PREFIX).and_then(|rest| rest.get(..8)).and_then(|n| u32::from_str_radix(n, 16).ok());
        let lanes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (token, lane) = number.and_then(|number| lanes.get(&number)).ok_or(Denied::Unknown)?;
        if !token.is(shown.as_bytes()) {
            return Err(Denied::Unknown);
        }
        lane.clone().ok_or(Denied::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s7_a_token_opens_its_own_lane_while_that_is_open() {
        let lanes = Lanes::default();
        let [a, b] = [1, 2].map(|number| Token::new(number).unwrap());
        lanes.open(a.clone(), Arc::new('a'));
        lanes.open(b.clone(), Arc::new('b'));
        assert_eq!(lanes.enter(a.secret().expose()).as_deref(), Ok(&'a'));
        assert_eq!(lanes.enter(b.secret().expose()).as_deref(), Ok(&'b'));
        let text = a.secret().expose();
        // A digit or a length that is wrong, anywhere, and the number of one lane with the secret of another.
        for at in 0..text.len() {
            let mut wrong = text.as_bytes().to_vec();
            wrong[at] ^= 1;
            assert_eq!(lanes.enter(&String::from_utf8(wrong).unwrap()), Err(Denied::Unknown), "{at}");
            assert_eq!(lanes.enter(&text[..at]), Err(Denied::Unknown), "{at}");
        }
        let end = PREFIX.len() + 8;
        let mixed = format!("{}{}", &text[..end], &b.secret().expose()[end..]);
        assert_eq!(lanes.enter(&mixed), Err(Denied::Unknown));
        assert_eq!(lanes.close(&a).as_deref(), Some(&'a'));
        assert_eq!(lanes.enter(text), Err(Denied::Closed));
        assert_eq!(lanes.enter(&mixed), Err(Denied::Unknown), "a closed lane is named to its own token only");
        assert_eq!(lanes.close(&a), None);
        assert_eq!(lanes.enter(b.secret().expose()).as_deref(), Ok(&'b'));
    }

    #[test]
    fn s7_tokens_have_256_random_bits_and_are_not_printed() {
        let texts: std::collections::BTreeSet<_> =
            (0..256).map(|_| Token::new(7).unwrap().secret().expose().to_owned()).collect();
        assert_eq!(texts.len(), 256);
        let digits = texts.iter().map(|text| text.len() - PREFIX.len() - "00000007-".len());
        assert!(digits.into_iter().all(|n| n * 4 == 256));
        // Each bit is set in some and clear in others: all 256 of them are random, not only the first few.
        let bits = |text: &String| u128::from_str_radix(&text[text.len() - 32..], 16).unwrap();
        let (or, and) = texts.iter().map(bits).fold((0, u128::MAX), |(or, and), bits| (or | bits, and & bits));
        assert_eq!((or, and), (u128::MAX, 0));
        let token = Token::new(7).unwrap();
        assert!(!format!("{token:?}").contains(&token.secret().expose()[PREFIX.len() + 9..]));
    }

    #[test]
    fn closed_lanes_are_forgotten_at_a_bound() {
        let lanes = Lanes::default();
        let tokens: Vec<_> = (0..CLOSED_MAX as u32 + 1).map(|number| Token::new(number).unwrap()).collect();
        for token in &tokens {
            lanes.open(token.clone(), Arc::new(()));
            lanes.close(token);
        }
        assert_eq!(lanes.enter(tokens[0].secret().expose()), Err(Denied::Unknown));
        assert_eq!(lanes.enter(tokens[CLOSED_MAX].secret().expose()), Err(Denied::Closed));
    }
}
