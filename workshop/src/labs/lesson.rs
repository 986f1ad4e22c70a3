//! A lesson: its folder in `labs/`, its variants and their files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;

use super::lab::{Lab, Todo};
use crate::session::BadInput;

/// The SAM application of a lesson, in its folder.
pub const TEMPLATE: &str = "template.yaml";

const MANIFEST: &str = "Cargo.toml";

/// A lesson that was found.
#[derive(Debug)]
pub struct Lesson {
    /// Such as `04`.
    pub number: String,
    /// Such as `labs/04-one-call`.
    pub folder: PathBuf,
    pub lab: Lab,
}

/// One of the ways in which a lesson's code is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variant {
    Before,
    Exercise,
    Solution,
    Cheat(String),
}

impl Lesson {
    /// All lessons, in their order.
    pub fn all(labs: &Path) -> Result<Vec<Self>> {
        let mut folders: Vec<PathBuf> = fs::read_dir(labs)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()?;
        folders.sort();
        let with_lab = folders
            .into_iter()
            .filter(|it| it.join("lab.toml").exists());
        with_lab.map(Self::read).collect()
    }

    /// `LAB=04`, `LAB=4` and `LAB=04-one-call` are the same.
    pub fn find(labs: &Path, given: &str) -> Result<Self> {
        let all = Self::all(labs)?;
        let names: Vec<_> = all.iter().map(Self::name).collect();
        let list = names.join(", ");
        let plain = |text: &str| text.trim_start_matches('0').to_owned();
        let is_it = |it: &Self| it.name() == given || plain(&it.number) == plain(given);
        let found = all
            .into_iter()
            .find(|it| !given.is_empty() && is_it(it))
            .ok_or_else(|| match given {
                "" => BadInput(format!(
                    "LAB names a lesson, such as LAB=02; there are: {list}"
                )),
                _ => BadInput(format!("LAB={given} is no lesson; there are: {list}")),
            });
        Ok(found?)
    }

    fn read(folder: PathBuf) -> Result<Self> {
        let file = folder.join("lab.toml");
        let lab: Lab = toml::from_str(&fs::read_to_string(&file)?)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let name = file_name(&folder);
        let number = name.split('-').next().unwrap_or_default().to_owned();
        Ok(Self {
            number,
            folder,
            lab,
        })
    }

    /// The folder's name.
    pub fn name(&self) -> String {
        file_name(&self.folder)
    }

    /// The variant of a name such as `exercise` or `cheats/memo`.
    pub fn variant(&self, given: &str) -> Result<Variant> {
        let cheat = given.strip_prefix("cheats/");
        let known = |name: &&str| self.lab.cheat.iter().any(|it| it.name == *name);
        Ok(match (given, cheat.filter(known)) {
            ("before", _) => Variant::Before,
            ("" | "exercise", _) => Variant::Exercise,
            ("solution", _) => Variant::Solution,
            (_, Some(cheat)) => Variant::Cheat(cheat.to_owned()),
            _ => {
                let all: Vec<_> = self.variants().iter().map(Variant::name).collect();
                let all = all.join(", ");
                return Err(BadInput(format!(
                    "VARIANT={given} is no variant of lesson {}; there are: {all}",
                    self.number
                ))
                .into());
            }
        })
    }

    /// All of them.
    pub fn variants(&self) -> Vec<Variant> {
        let cheats = self.lab.cheat.iter();
        let cheats = cheats.map(|cheat| Variant::Cheat(cheat.name.clone()));
        [Variant::Before, Variant::Exercise, Variant::Solution]
            .into_iter()
            .chain(cheats)
            .collect()
    }

    /// The names of the files that the student edits: the one with the TODO, and template and manifest if they are edited
    /// too.
    pub fn edited(&self) -> Vec<&str> {
        let template = self.lab.edits_template.then_some(TEMPLATE);
        let manifest = self.lab.edits_manifest.then_some(MANIFEST);
        [self.lab.edits.as_str()]
            .into_iter()
            .chain(template)
            .chain(manifest)
            .collect()
    }

    /// A file that the student edits, as another variant has it.
    pub fn source(&self, edited: &str, variant: &Variant) -> PathBuf {
        let extension = Path::new(edited).extension().unwrap_or_default();
        match variant {
            Variant::Exercise => self.folder.join(edited),
            other if edited == MANIFEST => self.folder.join(other.name()).join(edited),
            other => self.folder.join(other.name()).with_extension(extension),
        }
    }

    /// A file of another variant as the exercise's.
    pub fn as_exercise(&self, edited: &str, variant: &Variant) -> Result<String> {
        let text = fs::read_to_string(self.source(edited, variant))?;
        if edited != MANIFEST {
            return Ok(text);
        }
        // The exercise's crate is the lesson's folder, and another variant's is a folder in it.
        let name = variant.name();
        let text = text.replace(&format!("../{name}."), "exercise.");
        Ok(text.replace(&format!("-{name}\""), "-exercise\""))
    }

    /// A file as a student finds it: that of `before`, with the TODO if it is the one that has it.
    pub fn untouched(&self, edited: &str) -> Result<String> {
        let file = self.source(edited, &Variant::Before);
        let before = self.as_exercise(edited, &Variant::Before)?;
        if edited != self.lab.edits {
            return Ok(before);
        }
        let Todo { above, text } = &self.lab.todo;
        let line = before.lines().find(|line| line.trim() == above);
        let line =
            line.with_context(|| format!("{} has no line {above:?} for the TODO", file.display()))?;
        let indent = &line[..line.len() - line.trim_start().len()];
        let sign = if self.lab.edits.ends_with(".rs") {
            "//"
        } else {
            "#"
        };
        let comment: String = text
            .trim()
            .lines()
            .map(|text| format!("{indent}{sign} {text}\n"))
            .collect();
        Ok(before.replacen(&format!("{line}\n"), &format!("{comment}{line}\n"), 1))
    }

    /// The template that a variant runs: the lesson's own, unless the template is edited. A cheat without a template then has
    /// the solution's.
    pub fn template(&self, variant: &Variant) -> PathBuf {
        let shared = self.folder.join(TEMPLATE);
        if !self.edited().contains(&TEMPLATE) {
            return shared;
        }
        let own = self.source(TEMPLATE, variant);
        if own.exists() {
            own
        } else {
            self.source(TEMPLATE, &Variant::Solution)
        }
    }
}

impl Variant {
    /// As in `VARIANT=`.
    pub fn name(&self) -> String {
        match self {
            Self::Before => "before".to_owned(),
            Self::Exercise => "exercise".to_owned(),
            Self::Solution => "solution".to_owned(),
            Self::Cheat(name) => format!("cheats/{name}"),
        }
    }

    /// The end of its binary's name.
    pub fn binary(&self) -> String {
        self.name().replace("cheats/", "cheat-")
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAB: &str = r#"
        title = "T"
        minutes = 5
        level = "beginner"
        edits = "exercise.rs"
        hints = []
        before_fails = "each"
        [todo]
        above = "second();"
        text = "TODO: one\ntwo"
        [run]
        rounds = 3
        [[run.step]]
        do = "send"
        path = "/"
        [[check]]
        measure = "calls"
        at_most = 2
        says = "each"
        [[cheat]]
        name = "memo"
        fails = "old"
    "#;

    fn lesson(folder: &Path, lab: &str) -> Result<Lesson> {
        let folder = folder.join("07-name");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("lab.toml"), lab)?;
        fs::write(
            folder.join("before.rs"),
            "first();\n    second();\nsecond();\n",
        )?;
        Lesson::read(folder)
    }

    #[test]
    fn a_lesson_is_found_by_its_number_and_its_name() {
        let labs = tempfile::tempdir().unwrap();
        lesson(labs.path(), LAB).unwrap();
        for given in ["7", "07", "07-name"] {
            assert_eq!(Lesson::find(labs.path(), given).unwrap().number, "07");
        }
        for given in ["", "8", "name", "0"] {
            let refused = Lesson::find(labs.path(), given).unwrap_err();
            assert!(refused.is::<BadInput>(), "{given}");
            assert!(refused.to_string().contains("07-name"), "{refused}");
        }
    }

    #[test]
    fn the_todo_stands_above_its_line_with_its_indent() {
        let labs = tempfile::tempdir().unwrap();
        let untouched = lesson(labs.path(), LAB).unwrap();
        let untouched = untouched.untouched("exercise.rs").unwrap();
        let expected = "first();\n    // TODO: one\n    // two\n    second();\nsecond();\n";
        assert_eq!(untouched, expected);
    }

    #[test]
    fn a_template_has_variants_if_it_is_edited() {
        let labs = tempfile::tempdir().unwrap();
        let plain = lesson(labs.path(), LAB).unwrap();
        let edited = LAB.replace("hints = []", "hints = []\nedits_template = true");
        let edited = lesson(labs.path(), &edited).unwrap();
        for file in ["before.yaml", "solution.yaml", "template.yaml"] {
            fs::write(edited.folder.join(file), "Resources: {}\n").unwrap();
        }
        assert_eq!(plain.edited(), ["exercise.rs"]);
        assert_eq!(edited.edited(), ["exercise.rs", "template.yaml"]);
        for (variant, expected) in [
            (Variant::Before, "before.yaml"),
            (Variant::Exercise, "template.yaml"),
            (Variant::Solution, "solution.yaml"),
            (Variant::Cheat("memo".to_owned()), "solution.yaml"),
        ] {
            assert_eq!(edited.template(&variant), edited.folder.join(expected));
            let same = plain.template(&variant);
            assert_eq!(same, plain.folder.join("template.yaml"));
        }
        let untouched = edited.untouched("template.yaml").unwrap();
        assert_eq!(untouched, "Resources: {}\n");
    }

    #[test]
    fn a_manifest_that_is_edited_is_that_of_the_folder_and_other_variants_have_one_each() {
        let labs = tempfile::tempdir().unwrap();
        let edited = LAB.replace("hints = []", "hints = []\nedits_manifest = true");
        let edited = lesson(labs.path(), &edited).unwrap();
        assert_eq!(edited.edited(), ["exercise.rs", "Cargo.toml"]);
        for (variant, expected) in [
            (Variant::Before, "before/Cargo.toml"),
            (Variant::Exercise, "Cargo.toml"),
            (Variant::Solution, "solution/Cargo.toml"),
        ] {
            let file = edited.source("Cargo.toml", &variant);
            assert_eq!(file, edited.folder.join(expected));
        }
        fs::create_dir(edited.folder.join("before")).unwrap();
        let before = "name = \"lab-07-before\"\npath = \"../before.rs\"\n# as before\n";
        fs::write(edited.folder.join("before/Cargo.toml"), before).unwrap();
        let expected = "name = \"lab-07-exercise\"\npath = \"exercise.rs\"\n# as before\n";
        assert_eq!(edited.untouched("Cargo.toml").unwrap(), expected);
    }

    #[test]
    fn a_key_that_does_not_exist_is_refused_wherever_it_stands() {
        let labs = tempfile::tempdir().unwrap();
        for (old, new) in [
            ("minutes = 5", "minutes = 5\nhours = 1"),
            ("rounds = 3", "rounds = 3\npause = 1"),
            ("path = \"/\"", "path = \"/\"\npaths = 1"),
            ("measure = \"calls\"", "measure = \"calls\"\npre = \"item\""),
            ("measure = \"calls\"", "measure = \"cals\""),
            ("at_most = 2", "at_most = 2\nat_least = 1"),
            ("at_most = 2", ""),
            ("name = \"memo\"", "name = \"memo\"\nsays = \"\""),
            ("name = \"memo\"", "name = \"memo\"\nadvice = \"n+1\""),
            ("minutes = 5", "minutes = 5\nadvice = \"n+1\""),
            ("do = \"send\"", "do = \"sent\""),
        ] {
            let broken = LAB.replace(old, new);
            assert!(lesson(labs.path(), &broken).is_err(), "{new}");
        }
    }
}
