//! A report on one page of Markdown, for a pull request or to hand in.

use std::fmt::Write;

use super::model::{ChartKind, Report, Table};
use super::page::{shown, word};

/// A text that Markdown takes as it is: no markup, no link, no cell's end.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                plain.push('\\');
                plain.push(character);
            }
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            '&' => plain.push_str("&amp;"),
            // Not a mention, nor a link of its own.
            '@' => plain.push_str("&#64;"),
            ':' => plain.push_str("&#58;"),
            character if character.is_control() => plain.push(' '),
            character => plain.push(character),
        }
    }
    plain
}

/// The whole page: the answer, the gates that failed, the tables, and the waterfalls' steps.
pub fn markdown(report: &Report) -> String {
    let mut page = format!(
        "# {}\n\n**{}.** {}\n",
        plain(&report.title),
        word(report.outcome),
        plain(&report.verdict)
    );
    let failed: Vec<_> = report.gates.iter().filter(|gate| !gate.pass).collect();
    if !failed.is_empty() {
        page += "\n| gate that failed | limit | value | |\n|---|---|---|---|\n";
        for gate in failed {
            let value = gate.value.map_or("-".to_owned(), super::model::short);
            let [name, limit, by] = [&gate.name, &gate.limit, &gate.by].map(|it| plain(it));
            let _ = writeln!(page, "| {name} | {limit} | {value} | {by} |");
        }
    }
    page += "\n";
    for fact in &report.facts {
        let _ = writeln!(page, "- {}: {}", plain(&fact.name), plain(&fact.value));
    }
    let _ = writeln!(page, "- started: {}", plain(&report.started_at));
    let _ = writeln!(page, "- gates: {}", plain(&report.gates_origin));
    for section in &report.sections {
        let _ = write!(page, "\n## {}\n", plain(&section.title));
        for note in &section.notes {
            let _ = write!(page, "\n{}\n", plain(note));
        }
        for it in &section.tables {
            page += &table(it);
        }
        for chart in &section.charts {
            let _ = write!(
                page,
                "\n**{}.** {}\n",
                plain(&chart.title),
                plain(&chart.text)
            );
            // The others have more rows than anybody reads; the page draws them.
            if matches!(
                chart.kind,
                ChartKind::Waterfall | ChartKind::Bars | ChartKind::Ratios
            ) {
                for it in &chart.tables {
                    page += &table(it);
                }
            }
        }
    }
    page
}

fn table(table: &Table) -> String {
    let shown = shown(table);
    let mut text = format!(
        "\n{} \\[{}\\]\n\n",
        plain(&table.title),
        plain(&table.origin)
    );
    if table.rows.is_empty() {
        return text + "nothing\n";
    }
    let headers = table.columns.iter().map(|column| {
        let unit = match column.unit.as_str() {
            "" => String::new(),
            unit => format!(", {}", plain(unit)),
        };
        plain(&column.name) + &unit
    });
    let headers: Vec<_> = headers.collect();
    let _ = writeln!(text, "| {} |", headers.join(" | "));
    let rules = shown
        .numbers
        .iter()
        .map(|number| if *number { "---:" } else { "---" });
    let _ = writeln!(text, "|{}|", rules.collect::<Vec<_>>().join("|"));
    for row in &shown.rows {
        let cells: Vec<_> = row.iter().map(|cell| plain(cell)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::load_test::tests::of;
    use super::*;
    use crate::summary::tests::summary;

    #[test]
    fn a_page_says_what_failed_and_has_the_tables() {
        let page = markdown(&of(&summary(), &[]));
        assert!(
            page.starts_with("# Load test&#58; soak\n\n**failed.** 2 of 4 gates failed."),
            "{page}"
        );
        assert!(
            page.contains("| gate that failed | limit | value | |"),
            "{page}"
        );
        assert!(
            page.contains("| POST /products/batch-get | 123456 | 12.3 |"),
            "{page}"
        );
        assert!(page.contains("\\[measured here\\]"), "{page}");
    }

    #[test]
    fn no_text_leaves_its_cell_or_becomes_markup() {
        let mut summary = summary();
        summary.load.errors[0].error = "a | b\n\n# c <img src=x> [d](http://e) `f` @g".to_owned();
        let page = markdown(&of(&summary, &[]));
        let line = page.lines().find(|line| line.contains("a \\| b")).unwrap();
        assert_eq!(
            line,
            "| 4 | a \\| b  \\# c &lt;img src=x&gt; \\[d\\](http&#58;//e) \\`f\\` &#64;g |"
        );
    }
}
