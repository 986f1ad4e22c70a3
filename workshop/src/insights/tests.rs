//! The interpreter over a recorded log, with numbers that were worked out by hand.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::*;
use crate::files::read_yaml;

/// Two functions. `Fast` runs three times, once cold; `Slow` runs twice, and one of them fails.
const FAST: &str = r#"INIT_START Runtime Version: provided:al2023	Runtime Version ARN: arn
START RequestId: f-1 Version: $LATEST
{"timestamp":"2026-01-01T00:00:01.500Z","level":"INFO","function":"fast","message":"done","took":4,"user":{"id":"u-1"},"ids":[7,8],"cold":true}
END RequestId: f-1
REPORT RequestId: f-1	Duration: 10.00 ms	Billed Duration: 40 ms	Memory Size: 512 MB	Max Memory Used: 20 MB	Init Duration: 30.00 ms	
START RequestId: f-2 Version: $LATEST
{"timestamp":"2026-01-01T00:01:02.000Z","level":"INFO","function":"fast","message":"done","took":6}
END RequestId: f-2
REPORT RequestId: f-2	Duration: 2.00 ms	Billed Duration: 2 ms	Memory Size: 512 MB	Max Memory Used: 30 MB	
START RequestId: f-3 Version: $LATEST
2026-01-01 warn {"timestamp":"2026-01-01T00:01:59.000Z","level":"WARN","function":"fast","message":"it was late, by 7 ms"}
END RequestId: f-3
REPORT RequestId: f-3	Duration: 6.00 ms	Billed Duration: 6 ms	Memory Size: 512 MB	Max Memory Used: 40 MB	
"#;
const SLOW: &str = r#"START RequestId: s-1 Version: $LATEST
{"timestamp":"2026-01-01T00:00:03.000Z","level":"ERROR","function":"slow","message":"message failed","error":"first","message_id":"m-1","message_trace_id":"t-1"}
{"timestamp":"2026-01-01T00:00:04.000Z","level":"ERROR","function":"slow","message":"message failed","error":"second","message_id":"m-1","message_trace_id":"t-1"}
{"timestamp":"2026-01-01T00:00:05.000Z","level":"ERROR","function":"slow","message":"message failed","error":"other","message_id":"m-2","message_trace_id":"t-2","order_id":"o-9"}
END RequestId: s-1
REPORT RequestId: s-1	Duration: 100.00 ms	Billed Duration: 100 ms	Memory Size: 256 MB	Max Memory Used: 25 MB	
START RequestId: s-2 Version: $LATEST
RequestId: s-2 Error: Runtime exited with error: exit status 3
END RequestId: s-2
REPORT RequestId: s-2	Duration: 300.00 ms	Billed Duration: 300 ms	Memory Size: 256 MB	Max Memory Used: 35 MB	Status: error	Error Type: Runtime.ExitError	
"#;
/// The API's own log, whose numbers are texts.
const API: &str = r#"{"requestTime":"x","timestamp":"2026-01-01T00:00:01.000Z","route":"GET /a","status":"200","latency":"10","functionLatency":"7"}
{"timestamp":"2026-01-01T00:00:02.000Z","route":"GET /a","status":"200","latency":"30","functionLatency":"25"}
{"timestamp":"2026-01-01T00:00:03.000Z","route":"GET /b","status":"200","latency":"20","functionLatency":"12"}
{"timestamp":"2026-01-01T00:00:04.000Z","route":"GET /b","status":"503","latency":"90","functionLatency":"80","lambdaStatus":"429","error":"late"}
{"timestamp":"2026-01-01T00:00:05.000Z","route":"GET /b","status":"503","latency":"95","functionLatency":"85","lambdaStatus":"429","error":"later"}
{"timestamp":"2026-01-01T00:02:05.000Z","route":"GET /a","status":"429","latency":"1"}
"#;

fn functions() -> Vec<Record> {
    [read("Fast", FAST), read("Slow", SLOW)].concat()
}

fn one(text: &str) -> Query {
    let [named] = <[Named; 1]>::try_from(parse_all(text).unwrap()).unwrap();
    named.query
}

fn rows(query: &str, records: &[Record]) -> Json {
    one(query).run(records).json()
}

/// What `workshop insights` says of a query that it refuses.
fn refused(query: &str) -> String {
    parse_all(query).unwrap_err().to_string()
}

/// The queries of the template by logical id.
fn own(id: &str) -> String {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let template: Json = read_yaml(&template).unwrap();
    let resource = &template["Resources"][id];
    assert_eq!(resource["Type"], "AWS::Logs::QueryDefinition", "{id}");
    let text = &resource["Properties"]["QueryString"];
    text.as_str().unwrap().to_owned()
}

const FAST_LOG: &str = "000000000000:/aws/lambda/Fast";
const SLOW_LOG: &str = "000000000000:/aws/lambda/Slow";

#[test]
fn every_query_of_the_template_gives_the_rows_that_were_worked_out_by_hand() {
    let api = read("api", API);
    let functions = functions();
    let [at_3, at_4, at_5] = [3, 4, 5].map(|s| format!("2026-01-01 00:00:0{s}.000"));
    let all = [
        (
            "ColdStartsQuery",
            &functions,
            json!([
                {"@log": FAST_LOG, "invocations": 3.0, "cold_starts": 1.0, "percent": 1.0 / 3.0 * 100.0, "p50_ms": 30.0, "max_ms": 30.0},
                {"@log": SLOW_LOG, "invocations": 2.0, "cold_starts": 0.0, "percent": 0.0, "p50_ms": null, "max_ms": null},
            ]),
        ),
        (
            "LatencyQuery",
            &api,
            json!([
                {"route": "GET /a", "requests": 2.0, "p50_ms": 10.0, "p95_ms": 30.0, "p99_ms": 30.0, "max_ms": "30"},
                {"route": "GET /b", "requests": 1.0, "p50_ms": 20.0, "p95_ms": 20.0, "p99_ms": 20.0, "max_ms": "20"},
            ]),
        ),
        (
            "MemoryQuery",
            &functions,
            json!([
                {"@log": FAST_LOG, "size_mb": 512.0, "most_used_mb": 40.0, "average_mb": 30.0, "p99_ms": 10.0},
                {"@log": SLOW_LOG, "size_mb": 256.0, "most_used_mb": 35.0, "average_mb": 30.0, "p99_ms": 300.0},
            ]),
        ),
        (
            "ErrorsQuery",
            &functions,
            json!([
                {"@log": SLOW_LOG, "level": "ERROR", "what": "message failed", "lines": 3.0, "last": at_5},
                {"@log": FAST_LOG, "level": "WARN", "what": "it was late, by 7 ms", "lines": 1.0, "last": "2026-01-01 00:01:59.000"},
                {"@log": SLOW_LOG, "level": null, "what": "RequestId: s-2 Error: Runtime exited with error: exit status 3", "lines": 1.0, "last": at_5},
                {"@log": SLOW_LOG, "level": null, "lines": 1.0, "last": at_5,
                 "what": SLOW.lines().last().unwrap()},
            ]),
        ),
        (
            "BatchFailuresQuery",
            &functions,
            json!([
                {"message_id": "m-1", "message_trace_id": "t-1", "deliveries": 2.0, "last_error": "second", "last": at_4},
                {"message_id": "m-2", "message_trace_id": "t-2", "deliveries": 1.0, "last_error": "other", "last": at_5},
            ]),
        ),
        (
            "ThrottlesQuery",
            &api,
            json!([
                {"route": "GET /b", "status": "503", "lambdaStatus": "429", "bin(1m)": "2026-01-01 00:00:00.000", "answers": 2.0, "last_error": "later"},
                {"route": "GET /a", "status": "429", "lambdaStatus": null, "bin(1m)": "2026-01-01 00:02:00.000", "answers": 1.0, "last_error": null},
            ]),
        ),
    ];
    for (id, records, expected) in all {
        assert_eq!(rows(&own(id), records), expected, "{id}");
    }
    let slowest = rows(&own("SlowestQuery"), &api);
    let slowest = slowest.as_array().unwrap();
    let gateway: Vec<_> = slowest.iter().map(|it| it["gateway_ms"].as_f64()).collect();
    let expected = [
        Some(10.0),
        Some(10.0),
        Some(5.0),
        Some(8.0),
        Some(3.0),
        None,
    ];
    assert_eq!(gateway, expected);
    assert_eq!(slowest[0]["latency"], "95");
    let trail = own("TrailQuery").replace("PUT-AN-ORDER-TRACE-OR-REQUEST-ID-HERE", "t-1");
    let trail = rows(&trail, &functions);
    let of = |row: usize, name: &str| trail[row][name].clone();
    assert_eq!(trail.as_array().unwrap().len(), 2);
    assert_eq!(
        [
            of(0, "@timestamp"),
            of(0, "who"),
            of(0, "what"),
            of(0, "trace"),
            of(1, "@timestamp")
        ],
        [
            at_3.into(),
            json!("slow"),
            json!("message failed"),
            json!("t-1"),
            Json::from(at_4)
        ]
    );
}

#[test]
fn the_template_has_no_query_that_is_not_run_above() {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let template: Json = read_yaml(&template).unwrap();
    let resources = template["Resources"].as_object().unwrap().iter();
    let is_query = |it: &(&String, &Json)| it.1["Type"] == "AWS::Logs::QueryDefinition";
    let ids: Vec<_> = resources
        .filter(is_query)
        .map(|(id, _)| id.clone())
        .collect();
    let tests = include_str!("tests.rs");
    assert!(ids.len() >= 8, "{ids:?}");
    for id in ids {
        assert!(tests.contains(&format!("\"{id}\"")), "{id}");
    }
}

#[test]
fn fields_of_a_report_and_of_json_are_discovered() {
    let records = read("Fast", FAST);
    let text = |name: &str, record: usize| {
        let value = records[record].get(name);
        value.map(ToString::to_string).unwrap_or_default()
    };
    let report = [
        "@type",
        "@requestId",
        "@duration",
        "@billedDuration",
        "@initDuration",
        "@memorySize",
        "@maxMemoryUsed",
    ];
    assert_eq!(
        report.map(|name| text(name, 4)),
        ["REPORT", "f-1", "10", "40", "30", "512000000", "20000000"]
    );
    let json = [
        "user.id",
        "ids.1",
        "cold",
        "took",
        "@timestamp",
        "@log",
        "@type",
    ];
    assert_eq!(
        json.map(|name| text(name, 2)),
        [
            "u-1",
            "8",
            "1",
            "4",
            "2026-01-01 00:00:01.500",
            FAST_LOG,
            ""
        ]
    );
    // JSON behind other words, and a line without a time.
    assert_eq!(
        [text("level", 10), text("@timestamp", 4)],
        ["WARN", "2026-01-01 00:00:01.500"]
    );
}

#[test]
fn each_command_does_what_it_says() {
    let records = functions();
    for (query, expected) in [
        (
            "filter took > 1 | fields took * 2 + 1 as x, took ^ 2 % 5 as y | sort took desc | display x, y",
            json!([{"x": 13.0, "y": 1.0}, {"x": 9.0, "y": 1.0}]),
        ),
        (
            "filter ispresent(took) | fields took | sort took | limit 1",
            json!([{"took": 4.0}]),
        ),
        (
            "filter not isPresent(@type) and function = 'fast' | stats count() as n, sum(took > 4) as late",
            json!([{"n": 3.0, "late": 1.0}]),
        ),
        (
            "parse @message 'it was *, by * ms' as how, ms | filter ms > 0 | fields how, ms",
            json!([{"how": "late", "ms": "7"}]),
        ),
        (
            "parse @message /by (?<ms>\\d+) ms/ | filter ispresent(ms) | display ms",
            json!([{"ms": "7"}]),
        ),
        (
            "filter level in ['WARN', 'INFO'] | dedup level | sort level | display level",
            json!([{"level": "INFO"}, {"level": "WARN"}]),
        ),
        (
            "stats count_distinct(@requestId) as ids, max(@duration) - min(@duration) as span",
            json!([{"ids": 5.0, "span": 298.0}]),
        ),
        (
            "filter took > 0 # a comment | limit 0\n | stats avg(took), stddev(took), earliest(took), pct(took, 50) by bin(1m)",
            json!([{"bin(1m)": "2026-01-01 00:00:00.000", "avg(took)": 4.0, "stddev(took)": 0.0, "earliest(took)": 4.0, "pct(took, 50)": 4.0},
                {"bin(1m)": "2026-01-01 00:01:00.000", "avg(took)": 6.0, "stddev(took)": 0.0, "earliest(took)": 6.0, "pct(took, 50)": 6.0}]),
        ),
        (
            "filter @message =~ /^RequestId: s/ | stats sum(strlen(@message)) as bytes",
            json!([{"bytes": 62.0}]),
        ),
        (
            "filter strcontains(@message, 'exit status') | fields toupper('a') as a, concat('b', 1) as b, greatest(1, 3, 2) as c, -2 as d, abs(-2) as e | display a, b, c, d, e",
            json!([{"a": "A", "b": "b1", "c": 3.0, "d": -2.0, "e": 2.0}]),
        ),
        (
            "filter took > 0 | stats sum(took) as all by level | stats max(all) as most",
            json!([{"most": 10.0}]),
        ),
        (
            "filter `took` >= 4 and (took < 5 or took != 6) | fields took",
            json!([{"took": 4.0}]),
        ),
        (
            "filter took not in [4, 5] | fields took",
            json!([{"took": 6.0}]),
        ),
        (
            "filter took / 0 > 1 or took - function > 0 | fields took",
            json!([]),
        ),
    ] {
        assert_eq!(rows(query, &records), expected, "{query}");
    }
    let newest = one("fields took | filter took > 0").run(&records);
    assert_eq!(
        newest.value(0, "took"),
        Some(&Value::Number(6.0)),
        "the newest is first"
    );
}

#[test]
fn what_is_not_known_is_refused_with_its_line() {
    for (query, said) in [
        (
            "filter a = 1\n| filtr b",
            "line 2: there is no command `filtr` here; there are: fields, filter, stats",
        ),
        (
            "fields a\n\n| stats median(a)",
            "line 3: there is no function `median` here; there are: count, ",
        ),
        (
            "filter a = 1\n| sort",
            "line 2: it ends where something more has to follow",
        ),
        ("filter a = = 1", "line 1: cannot be understood from `= 1`"),
        ("filter a like", "line 1: it ends where"),
        ("fields a as", "line 1: it ends where"),
        (
            "stats pct(a)",
            "`pct` takes 2 in its parentheses, and here it has 1",
        ),
        (
            "filter count(*) > 1",
            "`count` is a function of stats alone",
        ),
        ("stats max(avg(a))", "`avg` is a function of stats alone"),
        ("stats a + 1 by b", "`a` has many values in stats"),
        (
            "parse @message 'a * b' as c, d",
            "line 1: cannot be understood from",
        ),
        (
            "## one: x\nfields a\n## two\nfieldz",
            "the query \"two\", line 4: there is no command `fieldz`",
        ),
    ] {
        let refused = refused(query);
        assert!(
            refused.contains(said) && refused.lines().count() == 1,
            "{query}: {refused}"
        );
    }
}

#[test]
fn a_file_has_a_query_below_each_heading() {
    let text = "# of all\n\n## one: the first\n# why\nfields a\n## two\nfields b\n| limit 1\n";
    let names: Vec<_> = parse_all(text)
        .unwrap()
        .into_iter()
        .map(|it| it.name)
        .collect();
    assert_eq!(names, ["one", "two"]);
}

#[test]
fn a_name_that_a_query_picks_out_is_found() {
    let names = ["Search", "Basket", "Offers"].map(str::to_owned);
    for (query, picked) in [
        ("filter function = 'Basket'", Some("Basket")),
        ("filter @log like /bask/", Some("Basket")),
        ("filter @message like 'offers/toys'", Some("Offers")),
        ("stats count(*) by function, 'search' as x", Some("Search")),
        ("filter function like /./ and level = 'INFO'", None),
        (
            "filter message = 'answered' | stats count(*) by function",
            None,
        ),
    ] {
        assert_eq!(
            one(query).picks(&names).map(String::as_str),
            picked,
            "{query}"
        );
    }
}

#[test]
fn the_solution_of_lesson_12_finds_what_was_worked_out_by_hand() {
    let line = |function: &str, (category, status, took, things): (&str, u16, u32, u32)| {
        let line = json!({"level": "INFO", "message": "answered", "function": function, "category": category,
            "status": status, "took_ms": took, "things": things});
        format!(
            "START RequestId: r Version: $LATEST\n{line}\nEND RequestId: r\nREPORT RequestId: r\tDuration: {took}.50 ms\t\
             Billed Duration: 1 ms\tMemory Size: 1024 MB\tMax Memory Used: 30 MB\t\n"
        )
    };
    let search = [
        ("books", 200, 150, 40),
        ("books", 200, 120, 40),
        ("toys", 200, 10, 1),
    ];
    let offers = [("maps", 500, 5, 0), ("toys", 200, 20, 1)];
    let search = search.map(|it| line("search", it)).concat();
    let offers = offers.map(|it| line("offers", it)).concat() + "{\"level\":\"DEBUG\"}\n";
    let bytes = |log: &str| log.lines().map(|it| it.len() as f64).sum::<f64>();
    let usd = [bytes(&search) / 3.0 * 0.0005, bytes(&offers) / 2.0 * 0.0005];
    let records = [read("Search", &search), read("Offers", &offers)].concat();
    let solution = Path::new(env!("CARGO_MANIFEST_DIR")).join("../labs/12-see/solution.query");
    let solution = parse_all(&fs::read_to_string(solution).unwrap()).unwrap();
    let of = |name: &str, rows: &[(usize, &str)]| -> Vec<String> {
        let named = solution.iter().find(|it| it.name == name).unwrap();
        let found = named.query.run(&records);
        let value = |(row, column): &(usize, &str)| found.value(*row, column).unwrap().to_string();
        rows.iter().map(value).collect()
    };
    let slow = [
        (0, "function"),
        (0, "category"),
        (0, "bad"),
        (0, "things"),
        (1, "category"),
        (1, "bad"),
    ];
    assert_eq!(
        of("slow", &slow),
        ["search", "books", "2", "40", "maps", "1"]
    );
    let budget = [(0, "requests"), (0, "good_percent"), (0, "spent_percent")];
    assert_eq!(of("budget", &budget), ["5", "40", "6000"]);
    assert_eq!(
        of("p99", &[(0, "p99_ms"), (1, "p99_ms")]),
        ["150.5", "20.5"]
    );
    assert_eq!(
        of("memory", &[(0, "size_mb"), (1, "most_used_mb")]),
        ["1024", "30"]
    );
    let usd = usd.map(|it| Value::Number(it).to_string());
    let log = of("log", &[(0, "usd_a_million"), (1, "usd_a_million")]);
    assert!(
        log[0] == usd[0] && log[1] == usd[1] || log[0] == usd[1] && log[1] == usd[0],
        "{log:?} {usd:?}"
    );
}
