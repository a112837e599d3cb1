//! Commands that a person is told to type, and their arguments.

use std::path::Path;

/// The command that removes what is at this path. A link is removed and not followed.
#[must_use]
pub fn removal(path: &Path) -> String {
    let is_folder = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    let remove = if is_folder { "rm -r" } else { "rm" };
    format!("{remove} {}", shell_word(&path.to_string_lossy()))
}

/// An argument as a POSIX shell takes it: nothing in it is expanded or run, and it stays on one line. With control characters
/// it is a `$'…'` string, which POSIX has since 2024 and bash and zsh have always had.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    if !text.contains(char::is_control) {
        return format!("'{}'", text.replace('\'', "'\\''"));
    }
    let mut word = String::from("$'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => word.extend(['\\', c]),
            c if c.is_control() => c.to_string().bytes().for_each(|byte| word.push_str(&format!("\\{byte:03o}"))),
            c => word.push(c),
        }
    }
    word + "'"
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a shell has to read the word")]
    fn s4_a_shell_takes_every_word_as_it_is() {
        assert_eq!([shell_word("a/b.c"), shell_word("")], ["a/b.c", "''"]);
        let hostile = [
            "notes$(touch evil).txt",
            "`id`",
            "it's",
            "\"",
            "a\\nb\\",
            "!x",
            "~",
            "*",
            "-x",
            "#",
            "é\u{202e}x",
            "a b;c|d&e",
        ];
        let with_controls = ["a\nb", "a\n'$(touch evil)'\\", "\u{1b}[31m", "tab\t", "\u{85}1", "\r\n"];
        for text in hostile.into_iter().chain(with_controls) {
            let word = shell_word(text);
            assert!(!word.contains(char::is_control), "{word}");
            let out =
                Command::new("bash").args(["-c", &format!("printf %s {word}")]).env("LC_ALL", "C.UTF-8").output().unwrap();
            assert_eq!(String::from_utf8_lossy(&out.stdout), text, "{word}");
        }
        for text in hostile {
            let out = Command::new("sh").args(["-c", &format!("printf %s {}", shell_word(text))]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&out.stdout), text);
        }
    }
}
