//! Text tables of at most 100 columns. The heading of each names the origin of its numbers.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;

/// Columns of the terminal. A longer cell goes on in the next line.
const WIDTH: u16 = 100;

/// Cells with their headers: numbers, texts, and null for what is not known.
pub type Row<H = &'static str> = Vec<(H, Value)>;

/// A row: `row! { "route": route.name, "requests": 7 }`.
macro_rules! row {
    ($($header:literal: $cell:expr),* $(,)?) => { vec![$(($header, serde_json::Value::from($cell))),*] };
}
pub(crate) use row;

/// A titled table. Numbers align right, text left. Without a row it says "nothing".
pub fn table<H: AsRef<str>>(
    title: &str,
    origin: &str,
    rows: impl IntoIterator<Item = Row<H>>,
) -> String {
    let heading = format!("{title} [{origin}]");
    let rows: Vec<Row<H>> = rows.into_iter().collect();
    let Some(first) = rows.first() else {
        return format!("{heading}\n  nothing");
    };
    let column = |index: usize| rows.iter().filter_map(move |row| Some(&row.get(index)?.1));
    let is_whole =
        |index| column(index).all(|cell| cell.as_f64().is_none_or(|it| it.fract() == 0.0));
    let whole: Vec<bool> = (0..first.len()).map(is_whole).collect();

    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_width(WIDTH);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(first.iter().map(|(header, _)| header.as_ref()));
    for row in &rows {
        let cells = row.iter().zip(&whole);
        table.add_row(cells.map(|((_, cell), whole)| match cell {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            number => three_digits(number.as_f64().unwrap_or_default(), *whole),
        }));
    }
    for (index, shown) in table.column_iter_mut().enumerate() {
        shown.set_padding((if index == 0 { 2 } else { 1 }, 1));
        if !column(index).any(Value::is_string) {
            shown.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    let lines: Vec<_> = lines.collect();
    format!("{heading}\n{}", lines.join("\n"))
}

/// These measurements are worth three digits; a column of counts is printed in full.
pub fn three_digits(value: f64, whole: bool) -> String {
    let decimals = match value.abs() {
        size if whole || size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_with_three_digits_and_text_left() {
        let rows = [
            row! { "name": "one", "ms": 1.234, "runs": 7, "share": None::<f64> },
            row! { "name": "another", "ms": 123.4, "runs": 12_345, "share": 0.5 },
        ];
        assert_eq!(
            table("Title", "measured here", rows),
            "Title [measured here]\n  name       ms   runs  share\n  one      1.23      7      -\n  another   123  12345   0.50"
        );
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let long = "ERR_SOCKET_TIMEOUT: 12345, ".repeat(8);
        let text = table(
            "T",
            "o",
            [row! { "route": "GET /products/{id}", "statuses": long }],
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
        assert_eq!(text.matches("ERR_SOCKET_TIMEOUT").count(), 8, "{text}");
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(table("T", "o", [] as [Row; 0]), "T [o]\n  nothing");
    }
}
