//! A page of Markdown: headings, paragraphs, tables, and the names by which its headings are linked to.

/// A page that is being written.
#[derive(Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    pub fn heading(&mut self, level: usize, text: &str) {
        self.paragraph(&format!("{} {text}", "#".repeat(level)));
    }

    pub fn paragraph(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text += text;
        self.text.push('\n');
    }

    /// A table, left out where it has no rows.
    pub fn table<const N: usize>(&mut self, header: [&str; N], rows: &[[String; N]]) {
        if rows.is_empty() {
            return;
        }
        let line = |cells: &[String]| format!("|{}|", cells.iter().map(|c| cell(c)).collect::<Vec<_>>().join("|"));
        let mut lines = vec![line(&header.map(str::to_owned)), format!("|{}", "---|".repeat(N))];
        lines.extend(rows.iter().map(|row| line(row)));
        self.paragraph(&lines.join("\n"));
    }

    pub fn into_text(self) -> String {
        self.text
    }
}

/// A cell's text: one line, in which a bar is no border.
fn cell(text: &str) -> String {
    let text = one_line(text).replace('|', "\\|");
    if text.is_empty() { " ".to_owned() } else { format!(" {text} ") }
}

/// Lines of a comment as one.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The fragment under which renderers of Markdown make a heading known.
pub(super) fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A link to a heading of the same page.
pub(super) fn link(text: &str, heading: &str) -> String {
    format!("[{text}](#{})", anchor(heading))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_table_does_not() {
        let mut page = Page::default();
        page.heading(2, "Keys");
        page.table(
            ["key", "meaning"],
            &[["`a`".into(), "this | that,\nor else".into()], ["`b`".into(), String::new()]],
        );
        page.table(["key"], &[]);
        assert_eq!(
            page.into_text(),
            "## Keys\n\n| key | meaning |\n|---|---|\n| `a` | this \\| that, or else |\n| `b` | |\n"
        );
    }

    #[test]
    fn headings_are_linked_as_they_are_rendered() {
        assert_eq!(
            link("read", "`[dataset.NAME.read]` with `format = \"json\"`"),
            "[read](#datasetnameread-with-format--json)"
        );
    }
}
