//! Markdown tables that also read well as plain text.

/// Pads the columns of a table to one width, the rule's dashes included.
///
/// Takes lines of cells between bars, such as `| a | b |`, with one blank at each side of a cell's text and bars of the text
/// escaped by a backslash; the second line is the rule, `|---|--:|`, in which a colon aligns a column to the right.
pub fn aligned(table: &str) -> String {
    let mut lines: Vec<Vec<&str>> = table.lines().map(cells).collect();
    if lines.len() < 2 {
        return table.to_owned();
    }
    let right: Vec<bool> = lines.remove(1).iter().map(|rule| rule.ends_with(':')).collect();
    let width = |column: usize| {
        let widths = lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count());
        widths.max().unwrap_or(0).max(3)
    };
    let columns: Vec<(usize, bool)> = right.iter().enumerate().map(|(i, right)| (width(i), *right)).collect();
    let line = |cells: &Vec<&str>| {
        let padded = cells.iter().zip(&columns).map(|(cell, (width, right))| {
            if *right { format!(" {cell:>width$} ") } else { format!(" {cell:<width$} ") }
        });
        format!("|{}|\n", padded.collect::<Vec<_>>().join("|"))
    };
    let dashes = columns.iter().map(
        |(width, right)| {
            if *right { format!("{}:", "-".repeat(width + 1)) } else { "-".repeat(width + 2) }
        },
    );
    let rule = format!("|{}|\n", dashes.collect::<Vec<_>>().join("|"));
    let mut out: Vec<String> = lines.iter().map(line).collect();
    out.insert(1, rule);
    out.concat()
}

/// What stands between the bars of a line, without the blank at each side.
fn cells(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in line.char_indices() {
        if c == '|' && !escaped {
            found.push(&line[start..at]);
            start = at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    let bare = |cell: &'_ str| -> usize { usize::from(cell.starts_with(' ')) };
    found
        .into_iter()
        .skip(1)
        .map(|cell| {
            let cell = &cell[bare(cell)..];
            cell.strip_suffix(' ').unwrap_or(cell)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_get_one_width_and_bars_of_the_text_end_none() {
        let table = "| a | b |\n|---|--:|\n| long \\| er | 1 |\n| x\\\\\\| |  |\n| c\\ | ü |\n";
        let shown = "| a          |   b |\n|------------|----:|\n| long \\| er |   1 |\n| x\\\\\\|      |     |\n| c\\         |   ü |\n";
        assert_eq!(aligned(table), shown);
    }
}
