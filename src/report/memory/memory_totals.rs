//! Totals of each row, and what fits.

use minijinja::{Value, context, value::Serde};

use super::memory_rows::MemoryRow;

pub fn total(parts: &[(&'static str, u64)]) -> u64 {
    parts.iter().map(|(_, bytes)| bytes).sum()
}

/// `12.34`, in GiB; of less than a hundredth as many digits as it takes.
pub fn gib(bytes: u64) -> String {
    let value = bytes as f64 / (1u64 << 30) as f64;
    let digits = (2..12).find(|digits| bytes == 0 || value >= 0.1f64.powi(*digits)).unwrap_or(12);
    format!("{value:.prec$}", prec = digits as usize)
}

/// A row with its totals, and whether its worse moment fits into `budget` bytes.
pub fn totals(row: &MemoryRow, budget: u64) -> Value {
    let training = row.training.as_deref().map(total);
    let evaluation = total(&row.evaluation);
    context! {
        task => Serde(&row.task),
        method => Serde(&row.method),
        longest_prompt => row.longest_prompt,
        shared => row.shared,
        cut => row.cut,
        training_row => row.training_row,
        training => training.map(gib),
        evaluation => gib(evaluation),
        fits => training.unwrap_or(0).max(evaluation) <= budget,
    }
}

/// The row whose training holds most, with its parts.
pub fn largest(rows: &[MemoryRow]) -> Option<Value> {
    let worst = rows.iter().filter(|r| r.training.is_some()).max_by_key(|r| r.training.as_deref().map(total))?;
    let parts = worst.training.iter().flatten().map(|(what, bytes)| format!("{what} {}", gib(*bytes)));
    let parts: Vec<String> = parts.collect();
    Some(context! { task => &worst.task.title, method => &worst.method.title, parts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_size_is_shown_as_nothing() {
        for (bytes, text) in
            [(0, "0.00"), (12 << 30, "12.00"), (40 << 20, "0.04"), (5 << 20, "0.005"), (1, "0.0000000009")]
        {
            assert_eq!(gib(bytes), text);
        }
    }
}
