//! The resolved template as JSON, and the check of the functions' binaries.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use local_template::{Context, check_code, to_json};
use serde_json::{Value, json};
use tempfile::TempDir;

fn resolve_in(folder: &Path, text: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
    let context = Context {
        aws_endpoint_url: String::new(),
        api_url: String::new(),
        stack_name: "local".to_owned(),
        region: "us-east-1".to_owned(),
        account: "000000000000".to_owned(),
    };
    let file = folder.join("template.yaml");
    fs::write(&file, text).unwrap();
    let pairs = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    to_json(&file, &BTreeMap::from_iter(pairs), &context).map_err(|error| error.message)
}

fn resolve(text: &str, parameters: &[(&str, &str)]) -> Value {
    let folder = TempDir::new().unwrap();
    resolve_in(folder.path(), text, parameters).unwrap()
}

/// A value beside the resource `Queue`.
fn value(expression: &str) -> Value {
    let text = format!(
        "Parameters: {{Size: {{Type: Number, Default: 5}}, Names: {{Type: CommaDelimitedList, Default: 'a,b'}}}}\n\
         Resources:\n  Queue: {{Type: AWS::SQS::Queue}}\n  X: {{Type: T, Properties: {{v: {expression}}}}}"
    );
    resolve(&text, &[])["Resources"]["X"]["Properties"]["v"].take()
}

#[test]
fn every_resource_that_exists_is_there_with_the_properties_of_globals() {
    let text = "
Globals: {Function: {Runtime: provided.al2023, MemorySize: !Ref Size}}
Parameters: {Size: {Type: Number, Default: 128}, Stage: {Type: String, Default: dev}}
Conditions: {IsProd: !Equals [!Ref Stage, prod]}
Mappings: {Slo: {Latency: {P99: '100'}}}
Resources:
  F: {Type: AWS::Serverless::Function, DependsOn: A, Properties: {VpcConfig: {SubnetIds: [s]}}}
  A: {Type: AWS::CloudWatch::Alarm, Condition: IsProd, Properties: {Threshold: 0.5, TreatMissingData: 'yes'}}
Outputs:
  Size: {Value: !Ref Size}
  Prod: {Condition: IsProd, Value: x}
";
    let function = json!({
        "Type": "AWS::Serverless::Function",
        "DependsOn": "A",
        "Properties": {
            "VpcConfig": {"SubnetIds": ["s"]}, "Runtime": "provided.al2023", "MemorySize": 128
        },
    });
    assert_eq!(
        resolve(text, &[]),
        json!({
            "Parameters": {"Size": 128, "Stage": "dev"},
            "Mappings": {"Slo": {"Latency": {"P99": "100"}}},
            "Conditions": {"IsProd": false},
            "Resources": {"F": function},
            "Outputs": {"Size": {"Value": 128}},
        })
    );
    let sections = json!({
        "Parameters": {}, "Mappings": {}, "Conditions": {}, "Resources": {}, "Outputs": {}
    });
    assert_eq!(resolve("Resources: {}", &[]), sections);
    let prod = resolve(text, &[("Stage", "prod"), ("Size", "256")]);
    assert_eq!(prod["Conditions"]["IsProd"], true);
    assert_eq!(prod["Resources"]["F"]["Properties"]["MemorySize"], 256);
    let alarm = json!({"Type": "AWS::CloudWatch::Alarm",
                       "Properties": {"Threshold": 0.5, "TreatMissingData": "yes"}});
    assert_eq!(prod["Resources"]["A"], alarm);
    assert_eq!(prod["Outputs"]["Prod"]["Value"], "x");
}

#[test]
fn references_to_resources_stay_and_the_rest_is_resolved() {
    for (expression, expected) in [
        ("!Ref Size", json!(5)),
        ("!Ref Names", json!(["a", "b"])),
        (
            "!Sub '${Size} of ${AWS::Region} ${!Queue}'",
            json!("5 of us-east-1 ${Queue}"),
        ),
        ("!Ref Queue", json!({"Ref": "Queue"})),
        ("!Ref F.Version", json!({"Ref": "F.Version"})),
        (
            "!Join ['', [a, !Ref F.Version]]",
            json!({"Fn::Join": ["", ["a", {"Ref": "F.Version"}]]}),
        ),
        ("!GetAtt Queue.Arn", json!({"Fn::GetAtt": ["Queue", "Arn"]})),
        (
            "{'Fn::GetAtt': [Queue, Arn]}",
            json!({"Fn::GetAtt": ["Queue", "Arn"]}),
        ),
        (
            "!Sub '${Size} ${Queue} ${Queue.Arn} ${!x}'",
            json!({"Fn::Sub": "5 ${Queue} ${Queue.Arn} ${!x}"}),
        ),
        (
            "!Sub ['${q}/${Size}', {q: !GetAtt Queue.Arn}]",
            json!({"Fn::Sub": "${Queue.Arn}/5"}),
        ),
        (
            "!Sub ['${q}', {q: !Join [':', [a, !Ref Queue, !Sub '${Queue.Arn}']]}]",
            json!({"Fn::Sub": "a:${Queue}:${Queue.Arn}"}),
        ),
        (
            "!Join ['-', [!Ref Size, !Ref Queue]]",
            json!({"Fn::Sub": "5-${Queue}"}),
        ),
        (
            "!Select [1, !Split [':', !Ref Queue]]",
            json!({"Fn::Select": [1, {"Fn::Split": [":", {"Ref": "Queue"}]}]}),
        ),
        ("!ImportValue x", json!({"Fn::ImportValue": "x"})),
        (
            "!Sub ['${q} ${Queue}', {q: !ImportValue x}]",
            json!({"Fn::Sub": ["${q} ${Queue}", {"q": {"Fn::ImportValue": "x"}}]}),
        ),
        (
            "{'Fn::Base64': !Sub 'a ${Queue} ${!b}'}",
            json!({"Fn::Base64": {"Fn::Sub": "a ${Queue} ${!b}"}}),
        ),
        ("[a, !Ref AWS::NoValue]", json!(["a"])),
        (
            "[true, 'true', 1.5, '1.5', 000000000000]",
            json!([true, "true", 1.5, "1.5", "000000000000"]),
        ),
    ] {
        assert_eq!(value(expression), expected, "{expression}");
    }
}

#[test]
fn a_function_that_gives_no_value_is_an_error_with_its_place() {
    let folder = TempDir::new().unwrap();
    let text = "Resources: {X: {Type: T, Properties: {list: [{v: !Select [3, [a]]}]}}}";
    let error = resolve_in(folder.path(), text, &[]).unwrap_err();
    assert_eq!(
        error,
        "X.list.0.v.Fn::Select: there is no item 3 in 1 items"
    );
}

#[test]
fn patterns_and_lengths_of_parameters_are_held() {
    let folder = TempDir::new().unwrap();
    let with = |rules: &str, value: &str| {
        let text = format!("Parameters: {{P: {{Type: String, {rules}}}}}\nResources: {{}}");
        resolve_in(folder.path(), &text, &[("P", value)])
    };
    let mail = "AllowedPattern: '^$|^[^@]+@[^@]+$'";
    for (rules, value) in [
        (mail, ""),
        (mail, "a@b"),
        ("MinLength: 2, MaxLength: 3", "äöü"),
        ("AllowedPattern: '(?=a)a'", "b"), // Java's, and not Rust's
    ] {
        assert!(with(rules, value).is_ok(), "{rules}: {value}");
    }
    for (rules, value, message) in [
        (mail, "a", "it must match ^$|^[^@]+@[^@]+$"),
        ("AllowedPattern: 'a'", "ab", "it must match a"),
        (
            "AllowedPattern: 'a', ConstraintDescription: must be an a",
            "b",
            "it must be an a",
        ),
        ("MinLength: 2", "a", "it must have a length of at least 2"),
        ("MaxLength: 1", "ab", "it must have a length of at most 1"),
    ] {
        let error = with(rules, value).expect_err(rules);
        assert_eq!(
            error,
            format!("Parameters.P: the value {value:?} is refused: {message}")
        );
    }
}

/// The header of a 64-bit little-endian ELF file for a machine.
fn elf(machine: u8) -> Vec<u8> {
    [b"\x7fELF\x02\x01".as_slice(), &[0; 12], &[machine, 0]].concat()
}

#[test]
fn binaries_that_lambda_cannot_run_are_refused() {
    let (arm64, x86_64) = (0xb7, 0x3e);
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("one")).unwrap();
    let check = |code: Option<&[u8]>, architectures: &str| {
        let file = folder.path().join("one/bootstrap");
        let _ = fs::remove_file(&file);
        if let Some(code) = code {
            fs::write(file, code).unwrap();
        }
        let text = format!(
            "Resources:\n  F: {{Type: AWS::Serverless::Function, Properties: {{CodeUri: one/{architectures}}}}}\n  \
             Elsewhere: {{Type: AWS::Serverless::Function, Properties: {{CodeUri: 's3://bucket/key'}}}}\n  \
             Inline: {{Type: AWS::Serverless::Function, Properties: {{InlineCode: x}}}}"
        );
        let template = resolve_in(folder.path(), &text, &[]).unwrap();
        check_code(&template, folder.path())
    };
    let on_arm64 = ", Architectures: [arm64]";
    assert_eq!(check(Some(&elf(arm64)), on_arm64), Ok(()));
    assert_eq!(check(Some(&elf(x86_64)), ""), Ok(()));
    let needs = |versions: &str| [&elf(x86_64), versions.as_bytes()].concat();
    assert_eq!(check(Some(&needs("GLIBC_2.2.5 GLIBC_2.34")), ""), Ok(()));
    let bits_of_32 = [b"\x7fELF\x01\x01".as_slice(), &[0; 12], &[x86_64, 0]].concat();
    for (code, architectures, message) in [
        (None, "", "is missing"),
        (
            Some(elf(arm64)),
            "",
            "is built for arm64, and the function is to run on x86_64",
        ),
        (
            Some(elf(x86_64)),
            on_arm64,
            "is built for x86_64, and the function is to run on arm64",
        ),
        (
            Some(needs("GLIBC_2.4 GLIBC_2.39")),
            "",
            "needs glibc 2.39 of this machine, and Lambda has 2.34",
        ),
        (Some(elf(0x28)), "", "is no 64-bit Linux executable"),
        (Some(bits_of_32), "", "is no 64-bit Linux executable"),
        (
            Some(b"\xcf\xfa\xed\xfe\x0c\0\0\x01".to_vec()),
            "",
            "is no 64-bit Linux executable",
        ),
        (
            Some(b"#!/bin/sh\necho a script\n".to_vec()),
            "",
            "is no 64-bit Linux executable",
        ),
        (Some(Vec::new()), "", "is no 64-bit Linux executable"),
    ] {
        let checked = check(code.as_deref(), architectures);
        assert_eq!(checked, Err(format!("one/bootstrap {message}")));
    }
}
