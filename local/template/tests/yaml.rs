//! How the text of a template is read, before anything in it is resolved.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::collections::BTreeMap;
use std::path::Path;

use local_template::Context;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

fn context() -> Context {
    Context {
        aws_endpoint_url: String::new(),
        api_url: String::new(),
        stack_name: "local".to_owned(),
        region: "us-east-1".to_owned(),
        account: "000000000000".to_owned(),
    }
}

/// A YAML text as it is read: `Mappings` are not resolved.
fn parsed(text: &str) -> Value {
    let indented: String = text.lines().map(|line| format!("  {line}\n")).collect();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(&file, format!("Resources: {{}}\nMappings:\n{indented}")).unwrap();
    let template = local_template::to_json(file.path(), &BTreeMap::new(), &context());
    template.unwrap()["Mappings"].take()
}

fn refusal(text: &str) -> String {
    let read = local_template::parse(text, Path::new("t"), &BTreeMap::new(), &context());
    read.unwrap_err().to_string()
}

#[test]
fn short_tags_become_the_long_form() {
    assert_eq!(
        parsed(
            "a: !Ref X\nb: !GetAtt Y.Arn\nc: !Sub ['${z}', {z: !Ref W}]\nd: !If\n  - C\n  - e\n  - f\n\
             e: !Condition G"
        ),
        json!({
            "a": {"Ref": "X"},
            "b": {"Fn::GetAtt": "Y.Arn"},
            "c": {"Fn::Sub": ["${z}", {"z": {"Ref": "W"}}]},
            "d": {"Fn::If": ["C", "e", "f"]},
            "e": {"Condition": "G"},
        })
    );
}

#[test]
fn json_is_read_as_yaml() {
    assert_eq!(
        parsed("{\"a\": [\"1\", \"x\", {\"Ref\": \"Y\"}]}"),
        json!({"a": ["1", "x", {"Ref": "Y"}]})
    );
}

#[test]
fn scalars_have_their_type_unless_it_would_change_their_form() {
    assert_eq!(
        parsed(
            "[512, 2010-09-09, 000000000000, 1.10, 1.1, yes, Off, 'no', ~, !!str 7, !!str yes, '']"
        ),
        json!([
            512,
            "2010-09-09",
            "000000000000",
            "1.10",
            1.1,
            true,
            false,
            "no",
            null,
            "7",
            "yes",
            ""
        ])
    );
}

#[test]
fn an_error_has_the_line_of_the_innermost_key_or_item() {
    let function = "\
Globals:
  Function:
    Timeout: 901
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: provided.al2023
      Handler: h
      CodeUri: c
      MemorySize:
        !Select
          - 0
          - - 5
      Environment:
        Variables:
          A: !Join
            - ''
            - - a
              - !Ref Nowhere
";
    for (from, to, line) in [
        ("901", "900", "t:11: F.MemorySize: "),
        ("- - 5", "- - 512", "t:3: F.Timeout: "),
    ] {
        let error = refusal(&function.replace(from, to));
        assert!(error.starts_with(line), "{error}");
    }
    let error = refusal(&function.replace("901", "900").replace("- - 5", "- - 512"));
    assert!(
        error.starts_with("t:20: F.Environment.Variables.A.Fn::Join.1.1.Ref: refers to"),
        "{error}"
    );
}

#[test]
fn text_that_cloudformation_does_not_take_is_refused_with_its_line() {
    for (text, message) in [
        ("a: &x 1\nb: *x", "t:2: not YAML: an alias"),
        ("a: 1\na: 2", "t:2: not YAML: duplicated key in mapping"),
        ("a: 1\n---\nb: 2", "t:3: a second document"),
        ("? [a]\n: b", "t:1: a key that is not text"),
        ("? !Ref a\n: b", "t:1: a key that is not text"),
        ("", "t:1: the file is empty"),
        ("a: [", "not YAML"),
    ] {
        assert!(refusal(text).contains(message), "{}", refusal(text));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_is_refused_in_one_line(text in "\\PC{0,200}") {
        prop_assert_eq!(refusal(&text).lines().count(), 1);
    }

    #[test]
    fn arbitrary_text_of_yaml_letters_is_refused_in_one_line(
        text in "[-:?!&*{}\\[\\],#|>'\"%@` \n\tab1<]{0,80}"
    ) {
        prop_assert_eq!(refusal(&text).lines().count(), 1);
    }

    #[test]
    fn any_json_text_is_read_back(text in "[a-zA-Z0-9 _.:${}!/-]{0,40}") {
        let document = json!({"text": text, "list": [text]});
        prop_assert_eq!(parsed(&document.to_string()), document);
    }
}
