//! The drivers there are.

use crate::acp::Acp;
use crate::claude::Claude;
use crate::codex::Codex;
use crate::command::Command;
use crate::driver::{Driver, DriverError};
use crate::gemini::Gemini;
use crate::opencode::OpenCode;
use crate::scripted::Scripted;

/// One line a driver; a name is found in this list alone.
static DRIVERS: &[&dyn Driver] = &[&Claude, &Codex, &OpenCode, &Gemini, &Acp, &Command, &Scripted];

/// All drivers, in the order in which they are shown.
#[must_use]
pub fn all() -> &'static [&'static dyn Driver] {
    DRIVERS
}

/// The driver of that name.
///
/// # Errors
/// [`DriverError::Unknown`], which says what there is.
pub fn driver(name: &str) -> Result<&'static dyn Driver, DriverError> {
    DRIVERS.iter().copied().find(|driver| driver.name() == name).ok_or_else(|| DriverError::Unknown {
        given: name.to_owned(),
        known: DRIVERS.iter().map(|driver| driver.name()).collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_found_by_its_own_name_only() {
        for expected in all() {
            assert_eq!(driver(expected.name()).unwrap().name(), expected.name());
        }
        let error = driver("clade").err().unwrap().to_string();
        assert!(error.starts_with("there is no driver `clade`; there are claude, "), "{error}");
    }
}
