//! The environment that a program is started with.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Variables with their values. Cheap to clone. `Debug` shows no value, because values may be keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(Arc<[(OsString, OsString)]>);

impl Environment {
    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The value of a variable, where it is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name)?.to_str().map(str::to_owned)
    }

    /// The value of a variable. U+FFFD stands for bytes that are not UTF-8. It is for callers that must refuse such a value and not
    /// treat the variable as unset.
    #[must_use]
    pub fn lossy_text(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| value.to_string_lossy().into_owned())
    }

    /// The same with one variable set.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let others = self.0.iter().filter(|(known, _)| known != name).cloned();
        others.chain([(name.into(), value.into())]).collect()
    }

    /// All variables, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// The variables whose names and values are text.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)))
    }

    /// The program of this name on the PATH. A relative entry counts for nothing: it would mean another folder later, perhaps
    /// one that an agent writes.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let mut folders = std::env::split_paths(self.get("PATH")?).filter(|folder| folder.is_absolute());
        folders.find_map(|folder| Some(folder.join(name)).filter(|path| is_program(path)))
    }

    /// The folder for temporary files of a program with this environment.
    #[must_use]
    pub fn temp_dir(&self) -> PathBuf {
        self.get("TMPDIR").map(PathBuf::from).filter(|folder| folder.is_absolute()).unwrap_or_else(|| "/tmp".into())
    }
}

/// Whether this is a file that can be started.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<T: IntoIterator<Item = (OsString, OsString)>>(variables: T) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// A name or a value as JSON: a string where it is UTF-8, else its bytes.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum TextOrBytes {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&OsStr> for TextOrBytes {
    fn from(value: &OsStr) -> Self {
        value.to_str().map_or_else(|| Self::Bytes(value.as_bytes().to_vec()), |text| Self::Text(text.to_owned()))
    }
}

impl From<TextOrBytes> for OsString {
    fn from(value: TextOrBytes) -> Self {
        match value {
            TextOrBytes::Text(text) => text.into(),
            TextOrBytes::Bytes(bytes) => OsString::from_vec(bytes),
        }
    }
}

impl Serialize for Environment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|(name, value)| (TextOrBytes::from(name), TextOrBytes::from(value))))
    }
}

impl<'de> Deserialize<'de> for Environment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(TextOrBytes, TextOrBytes)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_an_executable_file_of_an_absolute_folder_of_the_path() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        for (folder, mode) in [("data", 0o644), ("first", 0o755), ("second", 0o755)] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
            let tool = dir.path().join(folder).join("tool");
            std::fs::write(&tool, "").unwrap();
            std::fs::set_permissions(&tool, PermissionsExt::from_mode(mode)).unwrap();
        }
        let folders = ["src", "data", "first", "second"].map(|folder| dir.path().join(folder));
        let path =
            std::env::join_paths([Path::new("."), Path::new("")].into_iter().chain(folders.iter().map(AsRef::as_ref)));
        let environment = Environment::default().with("PATH", path.unwrap().to_str().unwrap());
        assert_eq!(environment.program("tool"), Some(dir.path().join("first/tool")));
        assert_eq!(environment.program("Cargo.toml"), None);
        assert_eq!(Environment::default().program("tool"), None);
    }

    #[test]
    fn it_travels_as_json_and_shows_no_value() {
        let odd = OsString::from_vec(vec![0xff, b'x']);
        let variables = [("NAME".into(), "välue".into()), ("ODD".into(), odd)];
        let environment = Environment::from_iter(variables);
        let json = serde_json::to_string(&environment).unwrap();
        assert_eq!(serde_json::from_str::<Environment>(&json).unwrap(), environment);
        assert!(json.contains(r#"["NAME","välue"]"#), "{json}");
        assert_eq!(format!("{environment:?}"), r#"["NAME", "ODD"]"#);
    }
}
