//! The file: the published one, with each section that was measured in the place of its published numbers.

use std::collections::BTreeMap;

use super::Samples;
use crate::percentile::percentile;

const PUBLISHED: &str = include_str!("../../../local/conditions.toml");

/// The percentiles of a section, and how many samples each takes.
const PERCENTILES: [(&str, f64, usize); 7] = [
    ("p10", 10.0, 1),
    ("p50", 50.0, 1),
    ("p75", 75.0, 1),
    ("p90", 90.0, 1),
    ("p95", 95.0, 1),
    ("p99", 99.0, 1),
    ("p999", 99.9, 1000),
];
/// Of fewer, the 99th percentile would be the worst.
const LEAST: usize = 100;
/// In ms: a time of zero has no logarithm, and whole ms have zeros.
const SHORTEST: f64 = 0.01;

/// The whole file. `skipped` says why something was not measured, `origin` where and when the rest was.
pub fn text(samples: &Samples, skipped: &BTreeMap<String, String>, origin: &str) -> String {
    let mut blocks = PUBLISHED.split("\n[");
    let seed = blocks
        .next()
        .unwrap_or_default()
        .lines()
        .find(|line| line.starts_with("seed"));
    let mut text = format!(
        "# Conditions of Lambda by `make conditions`: {origin}. Read it with '--conditions FILE'. docs/conditions.md says what\n\
         # each section is. A source that begins with \"not measured\" goes with a published number.\n\n{}\n",
        seed.unwrap_or("seed = 1")
    );
    for block in blocks {
        let (heading, body) = block.split_once("]\n").unwrap_or((block, ""));
        // `platform`, or `DynamoDB.GetItem` of `calls."DynamoDB.GetItem"`.
        let name = heading.trim_start_matches("calls.").trim_matches('"');
        let values = samples.get(name).map(Vec::as_slice).unwrap_or_default();
        let fixed_work = samples.get("fixed_work").and_then(|ms| percentile(ms, 0.0));
        let body = match fixed_work {
            Some(best) if name == "cpu" => cpu(body, best, origin),
            _ if name == "cpu" || values.len() < LEAST => {
                let few = format!("{} samples are too few", values.len());
                published(body, skipped.get(name).unwrap_or(&few))
            }
            _ => measured(values, &source(name, values, origin)),
        };
        text += &format!("\n[{heading}]\n{body}");
    }
    text
}

fn measured(values: &[f64], source: &str) -> String {
    let known = PERCENTILES
        .iter()
        .filter(|(_, _, least)| values.len() >= *least);
    let lines = known.filter_map(|(name, percent, _)| {
        let value = percentile(values, *percent)?.max(SHORTEST);
        Some(format!("{name} = \"{value:.2} ms\"\n"))
    });
    lines.collect::<String>() + &assigned(source)
}

fn published(body: &str, why: &str) -> String {
    with_source(body, |source| {
        format!("not measured ({why}), so as published: {source}")
    })
}

/// The memory of a vCPU and the period are AWS's and others' findings.
fn cpu(body: &str, best: f64, origin: &str) -> String {
    let body = with_source(body, |source| {
        let rest = source.split(" fixed_work:").next().unwrap_or_default();
        format!(
            "{rest} fixed_work: measured, {origin}: the best of several runs of a function with 1,769 MB. The others are as \
             published."
        )
    });
    let lines = body.lines().map(|line| match line.split_once(" # ") {
        Some((value, comment)) if value.starts_with("fixed_work") => {
            format!("fixed_work = \"{best:.2} ms\" # {comment}\n")
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// The body with another source.
fn with_source(body: &str, change: impl Fn(&str) -> String) -> String {
    let lines = body.trim_end().lines().map(|line| {
        let source = line
            .strip_prefix("source = \"")
            .and_then(|it| it.strip_suffix('"'));
        source.map_or_else(|| format!("{line}\n"), |source| assigned(&change(source)))
    });
    lines.collect()
}

fn assigned(source: &str) -> String {
    // None has a quote or a backslash that TOML would take for an escape.
    format!("source = \"{}\"\n", source.replace(['"', '\\', '\n'], "'"))
}

/// Where a section's numbers are from.
fn source(name: &str, values: &[f64], origin: &str) -> String {
    let how = match name {
        "platform" => {
            "cold starts, each after an UpdateFunctionConfiguration: the caller's wait in the region, minus Init Duration and \
             Duration of the REPORT line, minus the p50 of [invoke] here. Function of 1,769 MB, zip on provided.al2023"
        }
        "front_door" => {
            "requests in the stack's access log: responseLatency minus integrationLatency of each line, and then the \
             percentiles of these differences. The log has whole ms, so less than one is written as 0.01"
        }
        "invoke" => {
            "warm invocations on a kept connection: the caller's wait in the region, minus Duration of the REPORT line. With \
             the round trip to Lambda's API. Caller and function of 1,769 MB"
        }
        "trigger" => {
            "messages, each after the one before had arrived: from SentTimestamp of SQS to the first word of a warm function of \
             1,769 MB, by its clock. Two clocks, the first in whole ms. Standard queue"
        }
        "connection" => {
            "new connections to DynamoDB and SQS by turns: TCP and TLS without resumption, without DNS and without the \
             process's own CPU time. Function of 1,769 MB"
        }
        "DynamoDB.Scan" => {
            "calls on a kept connection, a page of 64 KB, eventually consistent; to the answer's last byte. Function of 1,769 MB"
        }
        "DynamoDB.Query" => {
            "calls on a kept connection, 5 items of 200 bytes, eventually consistent. Function of 1,769 MB"
        }
        "DynamoDB.GetItem" => {
            "calls on a kept connection, an item of 200 bytes, eventually consistent. Function of 1,769 MB"
        }
        "SQS.ReceiveMessage" => {
            "calls on a kept connection that found messages; with a long poll of 1 s, so some may have waited. Standard queue, \
             messages of 200 bytes. Function of 1,769 MB"
        }
        _ if name.starts_with("SQS.") => {
            "calls on a kept connection, messages of 200 bytes, up to 5 in a batch to send and 9 in one to delete. Standard \
             queue. Function of 1,769 MB"
        }
        _ => {
            "calls on a kept connection, items of 200 bytes, 5 in a batch or transaction. Function of 1,769 MB"
        }
    };
    format!("measured, {origin}: {} {how}.", values.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section<'a>(text: &'a str, heading: &str) -> &'a str {
        let (_, rest) = text.split_once(&format!("\n[{heading}]\n")).unwrap();
        rest.split("\n[").next().unwrap()
    }

    #[test]
    fn a_section_with_enough_samples_has_its_percentiles_and_the_99_9th_of_a_thousand() {
        let ms = |count: u32| (1..=count).map(f64::from).collect::<Vec<_>>();
        let samples = Samples::from([
            ("trigger".to_owned(), ms(100)),
            ("DynamoDB.GetItem".to_owned(), ms(1000)),
            ("platform".to_owned(), ms(99)),
            ("front_door".to_owned(), vec![0.0; 100]),
            ("fixed_work".to_owned(), vec![161.0, 158.25, 170.0]),
        ]);
        let skipped = BTreeMap::from([("invoke".to_owned(), "no \"time\"".to_owned())]);
        let text = text(&samples, &skipped, "eu-west-1, 2026-11-28, arm64");
        let told = "p10 = \"10.00 ms\"\np50 = \"50.00 ms\"\np75 = \"75.00 ms\"\np90 = \"90.00 ms\"\np95 = \"95.00 ms\"\n\
            p99 = \"99.00 ms\"\nsource = \"measured, eu-west-1, 2026-11-28, arm64: 100 messages, ";
        assert!(section(&text, "trigger").starts_with(told), "{text}");
        let calls = section(&text, "calls.\"DynamoDB.GetItem\"");
        assert!(
            calls.contains("p99 = \"990.00 ms\"\np999 = \"999.00 ms\"\n"),
            "{calls}"
        );
        let platform = section(&text, "platform");
        assert!(platform.starts_with("p10 = \"79 ms\"\n"), "{platform}");
        let why = "source = \"not measured (99 samples are too few), so as published: https://";
        assert!(platform.contains(why), "{platform}");
        assert!(
            section(&text, "invoke").contains("not measured (no 'time'), "),
            "{text}"
        );
        assert!(
            section(&text, "front_door").contains("p50 = \"0.01 ms\"\n"),
            "{text}"
        );
        let cpu = section(&text, "cpu");
        assert!(
            cpu.contains("\nfixed_work = \"158.25 ms\" # 500,000 chained"),
            "{cpu}"
        );
        assert!(
            cpu.contains("of each to a function of 128 MB. fixed_work: measured, eu-west-1"),
            "{cpu}"
        );
    }
}
