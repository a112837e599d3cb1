//! What drivers share: their settings, and finding and asking a program.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::driver::DriverError;
use crate::environment::{Environment, is_program};
use crate::process::ProcessId;

/// Driver settings of an agent file.
pub(crate) type Settings = BTreeMap<String, String>;

/// How long a program may take to print its version.
const VERSION_TIME: Duration = Duration::from_secs(20);

/// A setting that does not fit.
pub(crate) fn refuse(key: &str, reason: impl Into<String>) -> DriverError {
    DriverError::Setting { key: key.to_owned(), reason: reason.into() }
}

/// Refuses keys that the driver does not know: a typing error must not become a default.
pub(crate) fn check_keys(settings: &Settings, known: &[&str]) -> Result<(), DriverError> {
    match settings.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) if known.is_empty() => Err(refuse(key, "this driver has no settings")),
        Some(key) => Err(refuse(key, format!("unknown; there are {}", known.join(", ")))),
        None => Ok(()),
    }
}

/// A whole number above zero.
pub(crate) fn number(settings: &Settings, key: &str) -> Result<Option<u64>, DriverError> {
    let parse =
        |text: &String| text.parse().ok().filter(|n| *n > 0).ok_or_else(|| refuse(key, "must be a whole number above 0"));
    settings.get(key).map(parse).transpose()
}

/// One of some words; the first is the default.
pub(crate) fn word<'a>(settings: &Settings, key: &str, words: &[&'a str]) -> Result<&'a str, DriverError> {
    let Some(given) = settings.get(key) else { return Ok(words.first().copied().unwrap_or_default()) };
    words
        .iter()
        .find(|word| *word == given)
        .copied()
        .ok_or_else(|| refuse(key, format!("must be one of {}", words.join(", "))))
}

/// A JSON array of strings; nothing given is an empty one.
pub(crate) fn string_list(settings: &Settings, key: &str) -> Result<Vec<String>, DriverError> {
    let Some(text) = settings.get(key) else { return Ok(Vec::new()) };
    serde_json::from_str(text).map_err(|error| refuse(key, format!("must be a JSON array of strings ({error})")))
}

/// Finds the program: the setting `program`, else `name` on the PATH of `env`.
pub(crate) fn find_program(settings: &Settings, env: &Environment, name: &str, hint: &str) -> Result<PathBuf, DriverError> {
    let wanted = settings.get("program").map_or(name, String::as_str);
    if wanted.contains('/') {
        let path = PathBuf::from(wanted);
        if path.is_relative() {
            return Err(refuse("program", "must be an absolute path, or a name to be looked up on the PATH"));
        }
        return if is_program(&path) { Ok(path) } else { Err(missing(wanted, hint)) };
    }
    env.program(wanted).ok_or_else(|| missing(wanted, hint))
}

fn missing(program: &str, hint: &str) -> DriverError {
    DriverError::Missing { program: program.to_owned(), hint: hint.to_owned() }
}

/// The first line of `program --version`.
#[expect(clippy::disallowed_methods, reason = "this is the crate that starts agent programs")]
pub(crate) fn ask_version(program: &Path, env: &Environment) -> Result<String, DriverError> {
    let broken = |reason: String| DriverError::Broken { program: program.to_owned(), reason };
    let mut command = Command::new(program);
    command.env_clear().envs(env.iter());
    command.arg("--version").current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| broken(error.to_string()))?;
    let process = i32::try_from(child.id()).ok().and_then(ProcessId::of);
    let in_time = process.is_none_or(|process| process.wait_end(VERSION_TIME));
    if !in_time {
        // It is killed and reaped in any case; that it ended meanwhile is no error.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| broken(error.to_string()))?;
    if !in_time {
        return Err(broken(format!("no answer to --version in {} s", VERSION_TIME.as_secs())));
    }
    let mut text = Vec::new();
    let stdout = child.stdout.take().map(|stdout| stdout.take(4096));
    stdout.map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut text)).map_err(|error| broken(error.to_string()))?;
    let line = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned();
    if !status.success() || line.is_empty() {
        return Err(broken(format!("--version ended with {status}")));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn own() -> Environment {
        std::env::vars_os().collect()
    }

    #[test]
    fn a_wrong_setting_says_what_is_allowed() {
        let error = check_keys(&settings(&[("promt", "x")]), &["prompt", "args"]).unwrap_err();
        assert_eq!(error.to_string(), "driver setting `promt`: unknown; there are prompt, args");
        let error = word(&settings(&[("prompt", "argv")]), "prompt", &["stdin", "file"]).unwrap_err();
        assert_eq!(error.to_string(), "driver setting `prompt`: must be one of stdin, file");
        assert!(number(&settings(&[("window", "0")]), "window").is_err());
    }

    #[test]
    fn a_program_is_found_on_the_path_or_said_to_be_missing() {
        let env = own();
        let found = find_program(&settings(&[]), &env, "sh", "").unwrap();
        assert!(found.is_absolute() && found.ends_with("sh"));
        let error = find_program(&settings(&[]), &env, "no-such-agent", "install it").unwrap_err();
        assert!(matches!(error, DriverError::Missing { hint, .. } if hint == "install it"));
        assert!(find_program(&settings(&[("program", "./here")]), &env, "x", "").is_err());
    }

    #[test]
    fn a_version_is_the_first_line() {
        assert!(ask_version(Path::new("/bin/false"), &own()).is_err());
        let version = ask_version(&find_program(&settings(&[]), &own(), "git", "").unwrap(), &own()).unwrap();
        assert!(version.starts_with("git version"), "{version}");
    }
}
