//! The lessons of `labs/`: each variant ends as its `lab.toml` says, and nothing in a README has rotted.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The program that is tested: the one that students have, if WORKSHOP names it.
fn program() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_workshop");
    std::env::var_os("WORKSHOP").map_or_else(|| built.into(), PathBuf::from)
}

/// `local` beside it, which `make test-labs` has built.
fn local() -> PathBuf {
    program().with_file_name("local")
}

fn workshop(arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap()
}

/// Runs a verb beside others, because most of a check waits for what AWS would take, and no verdict is by time alone; but load
/// tests one after another.
fn in_turn<T>(loads: bool, verb: impl FnOnce() -> T) -> T {
    static LOAD: Mutex<()> = Mutex::new(());
    let _load = loads.then(|| LOAD.lock().unwrap_or_else(PoisonError::into_inner));
    verb()
}

/// The last lesson of the path of 90 minutes.
const CORE: &str = "04";

/// Lessons that are judged at the same time.
const SIDE_BY_SIDE: usize = 3;

/// The folders of the lessons.
fn lessons() -> Vec<PathBuf> {
    let folders = fs::read_dir(root().join("labs")).unwrap();
    let folders = folders.map(|it| it.unwrap().path());
    let mut found: Vec<_> = folders.filter(|it| it.join("lab.toml").exists()).collect();
    found.sort();
    assert!(found.len() >= 2, "{found:?}");
    found
}

fn name(lesson: &Path) -> String {
    lesson.file_name().unwrap().to_string_lossy().into_owned()
}

fn lab(lesson: &Path) -> toml::Table {
    fs::read_to_string(lesson.join("lab.toml"))
        .unwrap()
        .parse()
        .unwrap()
}

/// Whether it is judged by a load test.
fn loads(lesson: &Path) -> bool {
    lab(lesson).contains_key("load_test")
}

/// The first one whose code is edited.
fn first_of_code() -> PathBuf {
    let mut lessons = lessons().into_iter();
    let edits = |it: &PathBuf| text(&lab(it), "edits") == "exercise.rs";
    lessons.find(edits).unwrap()
}

fn text<'a>(table: &'a toml::Table, key: &str) -> &'a str {
    table[key].as_str().unwrap()
}

/// None if there is no such key.
fn tables<'a>(table: &'a toml::Table, key: &str) -> Vec<&'a toml::Table> {
    let list = table.get(key).and_then(|it| it.as_array());
    let list = list.into_iter().flatten();
    list.map(|it| it.as_table().unwrap()).collect()
}

#[test]
#[ignore = "builds and runs every variant: `make test-labs`"]
fn before_and_exercise_fail_as_expected_the_solution_passes_and_each_cheat_is_found_out() {
    let waiting = Mutex::new(lessons().into_iter());
    let next = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.next()
    };
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(lesson) = next() {
                    in_turn(loads(&lesson), || every_variant_ends_as_it_says(&lesson));
                }
            });
        }
    });
}

fn every_variant_ends_as_it_says(lesson: &Path) {
    let (name, lab) = (name(lesson), lab(lesson));
    let local = local().display().to_string();
    let arguments = [
        "check",
        "--lab",
        &name,
        "--variant",
        "all",
        "--json",
        "--local",
        &local,
    ];
    let done = workshop(&arguments);
    let said = String::from_utf8_lossy(&done.stderr);
    let all: Vec<Value> =
        serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{name}: {said}"));
    let of = |variant: &str| {
        let found = all.iter().find(|it| it["variant"] == variant);
        let found = found.unwrap_or_else(|| panic!("{name} has no {variant}"));
        (
            found["passed"].as_bool().unwrap(),
            found["says"].as_str().unwrap().to_owned(),
        )
    };
    let fails = |variant: &str, with: &str| {
        let (passed, says) = of(variant);
        assert!(!passed && says.contains(with), "{name}, {variant}: {says}");
    };
    fails("before", text(&lab, "before_fails"));
    fails("exercise", text(&lab, "before_fails"));
    assert!(of("solution").0, "{name}: {}", of("solution").1);
    let cheats = tables(&lab, "cheat");
    assert!(cheats.len() >= 2, "{name}");
    for cheat in &cheats {
        fails(
            &format!("cheats/{}", text(cheat, "name")),
            text(cheat, "fails"),
        );
    }
    let own = all
        .iter()
        .filter(|it| it["variant"] != "solution" && it["variant"] != "exercise");
    for one in own {
        let parts = cheats.iter().map(|it| text(it, "fails"));
        let parts = parts.chain([text(&lab, "before_fails")]);
        let said = one["says"].as_str().unwrap();
        assert_eq!(
            parts.filter(|part| said.contains(part)).count(),
            1,
            "{name}: {said}"
        );
    }
    assert_eq!(done.status.code(), Some(0), "{name}: {said}");
}

/// A copy of the lessons and a folder of progress, so that those of whoever runs the tests stay as they are. What is built
/// of the dependencies is the same files.
struct Student(PathBuf);

impl Student {
    fn new() -> Self {
        let folder = root().join(format!("target/labs-student-{}", uuid::Uuid::new_v4()));
        let _ = fs::remove_dir_all(&folder);
        let labs = folder.join("labs");
        copy(&root().join("labs"), &labs);
        let (built, own) = (root().join("target/labs/lab"), folder.join("target/lab"));
        for part in [".fingerprint", "build"] {
            copy(&built.join(part), &own.join(part));
        }
        fs::create_dir_all(own.join("deps")).unwrap();
        for file in fs::read_dir(built.join("deps"))
            .unwrap()
            .map(Result::unwrap)
        {
            // Those of the lessons themselves are written again, and nobody else's may be.
            let is_lesson = file.file_name().to_string_lossy().contains("lab_");
            if !is_lesson && file.file_type().unwrap().is_file() {
                let link = own.join("deps").join(file.file_name());
                fs::hard_link(file.path(), link).unwrap();
            }
        }
        Self(folder)
    }

    fn labs(&self) -> PathBuf {
        self.0.join("labs")
    }

    /// Runs a verb; its exit code and its words.
    fn does(&self, verb: &str, more: &[&str]) -> (i32, String) {
        let place = [self.labs(), self.0.join("target"), local()];
        let place = place.map(|path| path.display().to_string());
        let mut arguments = vec![
            verb, "--labs", &place[0], "--target", &place[1], "--local", &place[2],
        ];
        arguments.extend(more);
        let named = more.iter().skip_while(|it| **it != "--lab").nth(1);
        let named = named.map(|name| root().join("labs").join(name));
        let loads = named.map_or(verb.starts_with("hand-in"), |it| loads(&it));
        let done = in_turn(loads, || workshop(&arguments));
        let said = [done.stdout, done.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        (done.status.code().unwrap(), said.concat())
    }
}

impl Drop for Student {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// With the times of the files, by which cargo knows what is still good.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
            let time = entry.metadata().unwrap().modified().unwrap();
            let copied = fs::File::options().append(true).open(to).unwrap();
            copied.set_modified(time).unwrap();
        }
    }
}

#[test]
#[ignore = "builds and runs the exercises: `make test-labs`"]
fn a_student_goes_through_the_core_and_hands_in() {
    let student = Student::new();
    let core: Vec<_> = lessons()
        .into_iter()
        .filter(|it| &name(it)[..2] <= CORE)
        .collect();
    for lesson in &core {
        let (name, lab) = (name(lesson), lab(lesson));
        let lab_is = ["--lab", &*name];
        let (code, said) = student.does("check", &lab_is);
        assert!(
            code == 1 && said.contains(text(&lab, "before_fails")),
            "{name}: {said}"
        );
        let (code, said) = student.does("hint", &lab_is);
        assert!(
            code == 0 && said.starts_with("Hint 1 of "),
            "{name}: {said}"
        );
        assert_eq!(
            student.does("solution", &lab_is).0,
            2,
            "{name}: not before a pass"
        );
        let (code, said) =
            student.does("solution", &[&lab_is[..], &["--force", "--copy"]].concat());
        assert!(
            code == 0 && said.contains("What you had is in"),
            "{name}: {said}"
        );
        let (code, said) = student.does("check", &lab_is);
        assert!(code == 0 && said.starts_with("Passed: "), "{name}: {said}");
    }
    let first = name(&first_of_code());
    let predicts = [
        "--lab",
        &first,
        "--rounds",
        "5",
        "--json",
        "--predict",
        "calls=1 ms=7 usd=2",
    ];
    let (code, said) = student.does("lab", &predicts);
    let shown: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!((code, &shown["prediction"]["ms"]), (0, &Value::from(7.0)));
    let variants = shown["variants"].as_array().unwrap().iter();
    let variants: Vec<_> = variants.map(|it| it["variant"].as_str().unwrap()).collect();
    assert_eq!(variants, ["before", "exercise", "solution"]);
    let page = fs::read_to_string(student.0.join("target/report.html")).unwrap();
    assert!(page.contains(text(&lab(&first_of_code()), "title")));
    let (_, said) = student.does("labs", &[]);
    assert!(said.contains("0 of "), "{said}");

    let file = student.0.join("hand-in.json").display().to_string();
    let (code, said) = student.does("hand-in", &["--file", &file]);
    let (core, all) = (core.len(), lessons().len());
    assert!(
        code == 0 && said.contains(&format!("{core} of {all} lessons pass")),
        "{said}"
    );
    assert_eq!(said.matches(": not begun").count(), all - core, "{said}");
    let mut handed: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let all = handed["lessons"].clone();
    let honest = all.as_array().unwrap().iter();
    let honest = honest.filter(|it| it["lesson"] == *first);
    handed["lessons"] = honest.cloned().collect();
    fs::write(&file, handed.to_string()).unwrap();
    let (code, said) = student.does("hand-in-check", &["--file", &file]);
    assert!(code == 0 && !said.contains("DIFFERS"), "{said}");

    // A verdict that the code does not earn is found out, and those of the others are confirmed.
    handed["lessons"] = all;
    let work = handed["lessons"].as_array_mut().unwrap().iter_mut();
    let work = work.into_iter().find(|it| it["lesson"] == *first).unwrap();
    assert_eq!(work["prediction"]["ms"], 7.0);
    let before = first_of_code().join("before.rs");
    work["exercise"]["exercise.rs"] = fs::read_to_string(before).unwrap().into();
    fs::write(&file, handed.to_string()).unwrap();
    let (code, said) = student.does("hand-in-check", &["--file", &file]);
    assert!(code == 1 && said.matches("DIFFERS").count() == 1, "{said}");

    // The student's own exercise is still the one that is judged here.
    let (code, said) = student.does("check", &["--lab", &first]);
    assert_eq!(code, 0, "{said}");

    let (code, said) = student.does("reset", &["--lab", &first]);
    assert!(code == 0 && said.contains("What you had is in"), "{said}");
    assert_eq!(student.does("check", &["--lab", &first]).0, 1);
    let (_, said) = student.does("labs", &[]);
    assert!(said.contains("passed, and changed since"), "{said}");
}

#[test]
#[ignore = "builds and runs an exercise: `make test-labs`"]
fn the_memory_of_an_exercise_is_chosen_by_its_curve() {
    let student = Student::new();
    let lab = ["--lab", "09-cpu"];
    let (code, said) = student.does("solution", &[&lab[..], &["--force", "--copy"]].concat());
    assert_eq!(code, 0, "{said}");
    let (code, said) = student.does("sizes", &[&lab[..], &["--rounds", "5", "--json"]].concat());
    let curve: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    let sizes = curve["sizes"].as_array().unwrap();
    // A seventh of the share and more cannot be noise.
    let gated = |index: usize| sizes[index]["gated_ms"].as_f64().unwrap();
    assert!(gated(0) > 4.0 * gated(4), "{said}");
    let chosen = curve["choice"].as_u64();
    assert!((code, chosen >= Some(128)) == (0, true), "{said}");
    let chosen = sizes.iter().find(|it| it["memory_mb"].as_u64() == chosen);
    assert_eq!(chosen.unwrap()["keeps"], true, "{said}");
    let smaller = sizes.iter().filter(|it| it["keeps"] == false);
    assert!(smaller.count() >= 1 && sizes[0]["keeps"] == false, "{said}");

    let (code, said) = student.does("sizes", &["--lab", "02-clients"]);
    assert!(code == 2 && said.contains("it is in LAB=09"), "{said}");
    let folder = student.labs().join("09-cpu");
    fs::copy(folder.join("cheats/capped.rs"), folder.join("exercise.rs")).unwrap();
    let (code, said) = student.does("sizes", &lab);
    assert!(
        code == 2 && said.contains("make the answers right first"),
        "{said}"
    );
}

#[test]
#[ignore = "builds and runs exercises that do not work: `make test-labs`"]
fn an_exercise_that_does_not_work_is_told_why() {
    let student = Student::new();
    let first = name(&first_of_code());
    let exercise = student.labs().join(&first).join("exercise.rs");
    let text = fs::read_to_string(&exercise).unwrap();
    let handler = "-> Result<Response<Body>, Error> {\n";
    assert!(text.contains(handler));
    for (change, code, said) in [
        ("fn", 2, "cannot be built; what the compiler says is above"),
        (
            "    if true { panic!(\"oh no\") }\n",
            1,
            "panicked at 02-clients/exercise.rs:",
        ),
        (
            "    if true { loop { std::thread::sleep(std::time::Duration::from_secs(9)) } }\n",
            1,
            "did not answer within its timeout",
        ),
        (
            "    if true { return Err(\"no\".into()) }\n",
            1,
            "returned an error; `eprintln!` writes it to its log",
        ),
        (
            "    if true { std::process::exit(3) }\n",
            1,
            "GetProduct failed with Runtime.ExitError",
        ),
        (
            "    if true { return Ok(Response::new(\"<p>\".into())) }\n",
            1,
            "no JSON: <p>",
        ),
    ] {
        fs::write(
            &exercise,
            text.replace(handler, &format!("{handler}{change}")),
        )
        .unwrap();
        let (ended, words) = student.does("check", &["--lab", &first]);
        assert!(
            ended == code && words.contains(said),
            "{change}: {ended}: {words}"
        );
        if code == 2 {
            assert!(
                words.contains("error: ") && words.contains("exercise.rs:"),
                "{words}"
            );
        }
    }
}

#[test]
fn an_exercise_is_before_with_its_todo() {
    for lesson in lessons() {
        let lab = lab(&lesson);
        let edits = text(&lab, "edits");
        let extension = Path::new(edits).extension().unwrap();
        let exercise = fs::read_to_string(lesson.join(edits)).unwrap();
        let before = fs::read_to_string(lesson.join("before").with_extension(extension)).unwrap();
        let todo = lab["todo"].as_table().unwrap();
        assert!(
            text(todo, "text").trim().starts_with("TODO"),
            "{}",
            name(&lesson)
        );
        // The lines of the comment, and nothing else, are more.
        let (mut rest, mut more) = (before.lines().peekable(), Vec::new());
        for line in exercise.lines() {
            if rest.next_if_eq(&line).is_none() {
                more.push(line.trim().trim_start_matches(['/', '#']).trim());
            }
        }
        let name = name(&lesson);
        assert_eq!(
            rest.next(),
            None,
            "{name}: `make reset LAB={name}` sets it back"
        );
        let todo: Vec<_> = text(todo, "text").trim().lines().collect();
        assert_eq!(more, todo, "{name}: `make reset LAB={name}` sets it back");
        if lab.contains_key("edits_manifest") {
            let [own, before] = ["Cargo.toml", "before/Cargo.toml"]
                .map(|it| fs::read_to_string(lesson.join(it)).unwrap());
            let before = before.replace("../before.rs", "exercise.rs");
            let before = before.replace("-before\"", "-exercise\"");
            assert_eq!(own, before, "{name}: `make reset LAB={name}` sets it back");
        }
    }
}

#[test]
fn every_file_of_a_cheat_is_named_and_every_name_has_a_file() {
    for lesson in lessons() {
        let files = fs::read_dir(lesson.join("cheats")).unwrap();
        let files: BTreeSet<_> = files
            .map(|it| it.unwrap().path())
            .filter(|it| it.file_name().unwrap() != "Cargo.toml")
            .map(|it| it.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        let lab = lab(&lesson);
        let named: BTreeSet<_> = tables(&lab, "cheat")
            .iter()
            .map(|it| text(it, "name").to_owned())
            .collect();
        assert_eq!(files, named, "{}", name(&lesson));
    }
}

#[test]
fn every_failure_of_a_check_says_what_was_measured_and_what_is_wanted() {
    for lesson in lessons() {
        let lab = lab(&lesson);
        // Lessons of queries, templates and load tests have their own in the place of checks.
        let own = |judge: &str, list: &str| {
            let judge = lab.get(judge).and_then(toml::Value::as_table);
            judge.map(|it| tables(it, list)).unwrap_or_default()
        };
        let all = [tables(&lab, "check"), own("query", "answer")].concat();
        let others = [own("template", "rule"), own("load_test", "broken")].concat();
        assert!(!all.is_empty() || others.len() >= 6, "{}", name(&lesson));
        for check in all {
            let says = text(check, "says");
            assert!(
                says.contains("{measured}") && says.contains("{wanted}"),
                "{}: {says}",
                name(&lesson)
            );
        }
        assert!(
            lab["hints"].as_array().unwrap().len() >= 2,
            "{}",
            name(&lesson)
        );
    }
}

/// The READMEs of the lessons, and the one above them.
fn readmes() -> Vec<(PathBuf, String)> {
    let labs = root().join("labs");
    let own = ["README.md", "CONTRIBUTING.md"].map(|it| labs.join(it));
    let files = lessons()
        .into_iter()
        .map(|it| it.join("README.md"))
        .chain(own);
    files
        .map(|file| {
            (
                file.clone(),
                fs::read_to_string(&file).unwrap_or_else(|_| panic!("{}", file.display())),
            )
        })
        .collect()
}

#[test]
fn links_and_commands_of_the_readmes_resolve() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let numbers: Vec<_> = lessons()
        .iter()
        .map(|it| name(it)[..2].to_owned())
        .collect();
    for (file, readme) in readmes() {
        let shown = file.display();
        for link in readme
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap())
        {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                file.clone()
            } else {
                file.parent().unwrap().join(path)
            };
            assert!(target.exists(), "{shown}: {link}");
            if !anchor.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                assert!(
                    text.lines().any(|line| anchor_of(line) == anchor),
                    "{shown}: {link}"
                );
            }
        }
        for command in readme.split("make ").skip(1) {
            let is_verb = |c: char| c.is_ascii_lowercase() || c == '-';
            let verb: String = command.chars().take_while(|it| is_verb(*it)).collect();
            let before = readme
                .split(&format!("make {command}"))
                .next()
                .unwrap_or_default();
            // Only what is written as code.
            if !before.ends_with('`') && !before.ends_with('\n') {
                continue;
            }
            assert!(
                makefile.contains(&format!("\n{verb}:")),
                "{shown}: there is no `make {verb}`"
            );
            if let Some((_, number)) = command
                .lines()
                .next()
                .unwrap_or_default()
                .split_once("LAB=")
            {
                let number: String = number.chars().take_while(char::is_ascii_digit).collect();
                assert!(
                    number.is_empty() || numbers.contains(&number),
                    "{shown}: LAB={number}"
                );
            }
        }
    }
}

/// As GitHub makes it.
fn anchor_of(heading: &str) -> String {
    let Some(text) = heading
        .trim_start_matches('#')
        .strip_prefix(' ')
        .filter(|_| heading.starts_with('#'))
    else {
        return String::new();
    };
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// A block of code that follows `<!-- from: FILE -->` stands in that file, line by line.
#[test]
fn code_in_the_readmes_is_that_of_the_files() {
    let mut blocks = 0;
    for (file, readme) in readmes() {
        let mut rust = 0;
        for rest in readme.split("<!-- from: ").skip(1) {
            let (source, rest) = rest.split_once(" -->").unwrap();
            let block = rest.split("```").nth(1).unwrap();
            let (language, code) = block.split_once('\n').unwrap();
            let whole = fs::read_to_string(file.parent().unwrap().join(source)).unwrap();
            assert!(
                plain(&whole).contains(&plain(code)),
                "{}: not in {source}:\n{code}",
                file.display()
            );
            blocks += 1;
            rust += usize::from(language == "rust");
        }
        assert_eq!(
            readme.matches("```rust").count(),
            rust,
            "{}: Rust comes from a file",
            file.display()
        );
    }
    assert!(blocks >= 2);
}

/// Without indents.
fn plain(code: &str) -> String {
    code.lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join("\n")
        .trim()
        .to_owned()
}

/// The rows of the table in labs/README.md, and the sums of the paths below it.
#[test]
fn the_minutes_of_the_readmes_are_those_of_the_lessons() {
    let all = fs::read_to_string(root().join("labs/README.md")).unwrap();
    for lesson in lessons() {
        let (name, lab) = (name(&lesson), lab(&lesson));
        let minutes = lab["minutes"].as_integer().unwrap();
        let row = format!(
            "| [{}]({name}/README.md) | {minutes} | {} |",
            text(&lab, "title"),
            text(&lab, "level")
        );
        assert!(all.contains(&row), "labs/README.md has no row\n{row}");
        let readme = fs::read_to_string(lesson.join("README.md")).unwrap();
        let head = format!("{minutes} minutes, {}.", text(&lab, "level"));
        assert!(readme.contains(&head), "{name}: {head}");
        assert!(
            readme.starts_with(&format!(
                "# {}. {}\n",
                name[..2].trim_start_matches('0'),
                text(&lab, "title")
            )),
            "{name}"
        );
    }
    for line in all
        .lines()
        .filter(|line| line.starts_with("- ") && line.contains(" minutes: "))
    {
        let (sum, numbers) = line[2..].split_once(" minutes: ").unwrap();
        let sum: i64 = sum.split(' ').next_back().unwrap().parse().unwrap();
        let numbers: Vec<_> = numbers.split('.').next().unwrap().split(", ").collect();
        let number = |it: &Path| name(it)[..2].trim_start_matches('0').to_owned();
        let all = lessons().into_iter();
        let of: Vec<_> = all.filter(|it| numbers.contains(&&*number(it))).collect();
        assert_eq!(of.len(), numbers.len(), "{line}");
        let minutes = of.iter().map(|it| lab(it)["minutes"].as_integer().unwrap());
        let total: i64 = minutes.sum();
        assert_eq!(sum, total, "{line}");
    }
}

/// Each table of docs/instructor.md with `| from | what | minutes |`: a row begins when the one before ends, and a lesson
/// takes the minutes that it has.
#[test]
fn the_schedules_of_the_instructor_are_computed_from_the_lessons() {
    let page = fs::read_to_string(root().join("docs/instructor.md")).unwrap();
    let lessons: Vec<_> = lessons().iter().map(|it| (name(it), lab(it))).collect();
    let mut taught = BTreeSet::new();
    for table in page.split("| from | what | minutes |\n").skip(1) {
        let mut now = 0;
        for row in table.lines().skip(1).take_while(|it| it.starts_with('|')) {
            let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
            let [from, what, minutes] = cells[..] else {
                panic!("{row}");
            };
            assert_eq!(from, format!("{}:{:02}", now / 60, now % 60), "{row}");
            let minutes: i64 = minutes.parse().unwrap();
            let number = what
                .split_once(". ")
                .and_then(|(it, _)| it.parse::<u32>().ok());
            if let Some(number) = number {
                let is_it =
                    |it: &&(String, toml::Table)| it.0.starts_with(&format!("{number:02}-"));
                let (name, lab) = lessons
                    .iter()
                    .find(is_it)
                    .unwrap_or_else(|| panic!("{row}"));
                assert_eq!(what, format!("{number}. {}", text(lab, "title")), "{row}");
                assert_eq!(minutes, lab["minutes"].as_integer().unwrap(), "{row}");
                taught.insert(name.clone());
            }
            now += minutes;
        }
    }
    let all: BTreeSet<_> = lessons.into_iter().map(|(name, _)| name).collect();
    assert_eq!(taught, all, "a lesson is in no schedule");
}

/// The first column of docs/instructor.md's table of messages: a part of what a check or a verb says.
#[test]
fn the_messages_that_the_instructor_looks_up_are_those_of_the_checks() {
    let page = fs::read_to_string(root().join("docs/instructor.md")).unwrap();
    let (_, table) = page
        .split_once("| message | what it means, and what helps |\n")
        .unwrap();
    let rows = table.lines().skip(1).take_while(|it| it.starts_with('|'));
    let first = |row: &'_ str| {
        row.split(" | ")
            .next()
            .map(|it| it.trim_matches(['|', ' ', '`']).to_owned())
    };
    let keys: Vec<String> = rows.filter_map(first).collect();
    assert!(keys.len() >= 10, "{keys:?}");
    let sources = ["workshop/src/labs", "labs"].map(|it| root().join(it));
    let said: String = sources.iter().flat_map(|it| texts(it)).collect();
    for key in keys {
        assert!(
            !key.is_empty() && said.contains(&key),
            "nothing says {key:?}"
        );
    }
}

/// Sources and lab.toml files, with strings that go on in the next line in one.
fn texts(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let texts = entries.flat_map(|path| {
        let is_text = path
            .extension()
            .is_some_and(|it| it == "rs" || it == "toml");
        match path.is_dir() {
            true if !path.ends_with("cheats") => texts(&path),
            false if is_text => vec![fs::read_to_string(path).unwrap()],
            _ => Vec::new(),
        }
    });
    texts.collect()
}

#[test]
fn bad_input_is_answered_with_one_line_that_says_what_to_do() {
    for (arguments, said) in [
        (
            &["check", "--lab", "99"][..],
            "LAB=99 is no lesson; there are: ",
        ),
        (&["check", "--lab", ""], "LAB names a lesson"),
        (
            &["check", "--lab", "2", "--variant", "cheats/none"],
            "VARIANT=cheats/none is no variant of lesson 02; there are: before, exercise, solution, cheats/",
        ),
        (&["hint", "--lab", "x"], "LAB=x is no lesson; there are: "),
        (
            &["lab", "--lab", "02", "--predict", "1 2 3"],
            "PREDICT=1 2 3 is no prediction; write PREDICT=",
        ),
        (
            &["solution", "--lab", "02", "--target", "target/labs/nobody"],
            "has not passed yet",
        ),
        (
            &["check", "--lab", "02", "--target", "target/labs/nothing"],
            "run `make labs-setup` once",
        ),
        (&["hand-in-check"], "FILE names what was handed in"),
        (&["hand-in-check", "--file", "none.json"], "none.json"),
    ] {
        let done = workshop(arguments);
        let error = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(
            error.contains(said) && error.trim().lines().count() == 1,
            "{arguments:?}: {error}"
        );
    }
}
