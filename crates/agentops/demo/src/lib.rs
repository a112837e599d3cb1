//! Notes, and how they leave the program.

/// A note.
pub struct Note {
    /// Its title.
    pub title: String,
    /// Whether it is done.
    pub done: bool,
}

/// All notes as CSV with a header.
pub fn export_csv(notes: &[Note]) -> String {
    let mut out = String::from("title,done\n");
    for note in notes {
        out.push_str(&format!("\"{}\",{}\n", note.title.replace('"', "\"\""), note.done));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_quotes_titles() {
        let notes = [Note { title: "say \"hi\"".into(), done: false }];
        assert_eq!(export_csv(&notes), "title,done\n\"say \"\"hi\"\"\",false\n");
    }
}
