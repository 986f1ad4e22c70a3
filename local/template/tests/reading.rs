//! How the reader of templates reads SAM and CloudFormation, and which templates it refuses.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use local_template::{Context, Route, Template, TemplateError};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

fn context() -> Context {
    Context {
        aws_endpoint_url: "https://127.0.0.1:4566".to_owned(),
        api_url: "http://127.0.0.1:3000".to_owned(),
        stack_name: "local".to_owned(),
        region: "us-east-1".to_owned(),
        account: "000000000000".to_owned(),
    }
}

fn parse_with(text: &str, parameters: &[(&str, &str)]) -> Result<Template, TemplateError> {
    let parameters: BTreeMap<String, String> = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    local_template::parse(
        text,
        Path::new("/app/template.yaml"),
        &parameters,
        &context(),
    )
}

fn parse(text: &str) -> Template {
    parse_with(text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refusal(text: &str) -> String {
    match parse_with(text, &[]) {
        Ok(template) => panic!("accepted: {template:?}\n{text}"),
        Err(error) => error.to_string(),
    }
}

/// A template of resources, one of which is the function `F` with the given further properties.
fn with_function(properties: &str, others: &str) -> String {
    let indent = |text: &str, by: &str| {
        text.lines()
            .map(|line| format!("{by}{line}\n"))
            .collect::<String>()
    };
    format!(
        "Transform: AWS::Serverless-2016-10-31\nResources:\n  F:\n    \
         Type: AWS::Serverless::Function\n    Properties:\n      Runtime: provided.al2023\n      \
         Handler: bootstrap\n      CodeUri: target/lambda/f/\n{}{}",
        indent(properties, "      "),
        indent(others, "  "),
    )
}

/// The environment variable `X` of a function, given as YAML, beside other sections.
fn evaluate(expression: &str, sections: &str) -> String {
    let template = parse(
        &(with_function(
            &format!("Environment: {{Variables: {{XX: {expression}}}}}"),
            RESOURCES,
        ) + sections),
    );
    template.functions[0].environment["XX"].clone()
}

const RESOURCES: &str = "\
Queue:
  Type: AWS::SQS::Queue
Named:
  Type: AWS::SQS::Queue
  Properties: {QueueName: orders}
Table:
  Type: AWS::Serverless::SimpleTable
Api:
  Type: AWS::Serverless::HttpApi
Role:
  Type: AWS::IAM::Role
Topic:
  Type: AWS::SNS::Topic
";

const SECTIONS: &str = "
Parameters:
  Stage: {Type: String, Default: dev}
  Count: {Type: Number, Default: 3}
  Zones: {Type: CommaDelimitedList, Default: 'a, b,c'}
Mappings:
  Sizes:
    dev: {memory: 256, hosts: [x, y]}
    us-east-1: {memory: 512}
Conditions:
  IsDev: !Equals [!Ref Stage, dev]
  IsThree: !Equals [!Ref Count, 3]
  Both: !And [!Condition IsDev, Condition: IsThree]
  Neither: !Not [!Or [!Condition Both, !Equals [a, b]]]
";

#[test]
fn a_whole_sam_template_is_read() {
    let template = parse(
        r#"
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Description: a shop
Globals:
  Function:
    Runtime: provided.al2023
    Handler: bootstrap
    Architectures: [arm64]
    MemorySize: 256
    Timeout: 5
    Environment: {Variables: {TABLE: !Ref Table}}
Parameters:
  Reserved: {Type: Number, Default: 0}
Conditions:
  IsReserved: !Not [!Equals [!Ref Reserved, 0]]
Resources:
  Api: {Type: AWS::Serverless::HttpApi}
  Read:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: target/lambda/read/
      ReservedConcurrentExecutions: !If [IsReserved, !Ref Reserved, !Ref AWS::NoValue]
      Policies:
        - DynamoDBReadPolicy: {TableName: !Ref Table}
      Events:
        One: {Type: HttpApi, Properties: {ApiId: !Ref Api, Method: get, Path: "/items/{id}"}}
        Any: {Type: HttpApi, Properties: {ApiId: !Ref Api, Method: ANY, Path: "/files/{proxy+}"}}
        Rest: {Type: HttpApi, Properties: {ApiId: !Ref Api}}
  Work:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: target/lambda/work
      Timeout: 30
      Environment: {Variables: {QUEUE: !Ref Queue, COUNT: 3, FLAG: true}}
      Events:
        Messages:
          Type: SQS
          Properties:
            Queue: !GetAtt Queue.Arn
            BatchSize: 20
            MaximumBatchingWindowInSeconds: 1
            ScalingConfig: {MaximumConcurrency: 4}
            FunctionResponseTypes: [ReportBatchItemFailures]
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      KeySchema: [{AttributeName: id, KeyType: HASH}]
      AttributeDefinitions:
        - {AttributeName: id, AttributeType: S}
        - {AttributeName: n, AttributeType: N}
      GlobalSecondaryIndexes:
        - IndexName: by-n
          KeySchema: [{AttributeName: n, KeyType: HASH}]
          Projection: {ProjectionType: ALL}
      TimeToLiveSpecification: {AttributeName: expires, Enabled: true}
  Queue:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 180
      RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 3}
  Dead: {Type: AWS::SQS::Queue, Properties: {MessageRetentionPeriod: 1209600}}
  Alarm:
    Type: AWS::CloudWatch::Alarm
    Properties: {Dimensions: [{Name: QueueName, Value: !GetAtt Nowhere.QueueName}]}
Outputs:
  Url: {Value: !Sub "https://${Api}.execute-api.${AWS::Region}.amazonaws.com"}
"#,
    );
    let ids: Vec<&str> = template
        .functions
        .iter()
        .map(|it| it.logical_id.as_str())
        .collect();
    assert_eq!(ids, ["Read", "Work"]);
    let [read, work] = &template.functions[..] else {
        panic!("two functions")
    };
    assert_eq!(read.name, "local-Read");
    assert_eq!(read.code_dir, Path::new("/app/target/lambda/read/"));
    assert_eq!(
        (read.memory_mb, read.timeout),
        (256, Duration::from_secs(5))
    );
    assert_eq!(read.reserved_concurrency, None);
    assert_eq!(
        read.environment,
        BTreeMap::from([("TABLE".to_owned(), "local-Table".to_owned())])
    );
    let route = |method: Option<&str>, path: &str| Route {
        method: method.map(str::to_owned),
        path: path.to_owned(),
    };
    assert_eq!(
        read.routes,
        [
            route(Some("GET"), "/items/{id}"),
            route(None, "/files/{proxy+}"),
            route(None, "$default")
        ]
    );
    assert_eq!(
        work.environment["QUEUE"],
        "https://127.0.0.1:4566/000000000000/local-Queue"
    );
    assert_eq!(work.environment["COUNT"], "3");
    assert_eq!(work.environment["FLAG"], "true");
    assert_eq!(work.environment["TABLE"], "local-Table");
    let [trigger] = &work.queue_triggers[..] else {
        panic!("one trigger")
    };
    assert_eq!(trigger.queue, "Queue");
    assert_eq!(
        (trigger.batch_size, trigger.batching_window),
        (20, Duration::from_secs(1))
    );
    assert_eq!(trigger.maximum_concurrency, Some(4));
    assert!(trigger.report_batch_item_failures);

    let [table] = &template.tables[..] else {
        panic!("one table")
    };
    assert_eq!(table.ttl_attribute.as_deref(), Some("expires"));
    assert_eq!(table.create["TableName"], "local-Table");
    assert_eq!(
        table.create["GlobalSecondaryIndexes"][0]["IndexName"],
        "by-n"
    );
    let [queue, dead] = &template.queues[..] else {
        panic!("two queues")
    };
    assert_eq!(queue.attributes["VisibilityTimeout"], "180");
    assert_eq!(queue.attributes["MaximumMessageSize"], "1048576");
    assert_eq!(
        queue.redrive_policy.as_deref(),
        Some(
            r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:local-Dead","maxReceiveCount":3}"#
        )
    );
    assert_eq!(dead.redrive_policy, None);
    assert_eq!(template.notices, ["not hosted: AWS::CloudWatch::Alarm"]);
}

#[test]
fn intrinsic_functions_give_what_they_give_on_aws() {
    for (expression, value) in [
        ("!Ref Stage", "dev"),
        ("!Ref AWS::Region", "us-east-1"),
        ("!Ref AWS::AccountId", "000000000000"),
        ("!Ref AWS::StackName", "local"),
        ("!Ref AWS::Partition", "aws"),
        ("!Ref AWS::URLSuffix", "amazonaws.com"),
        (
            "!Ref Queue",
            "https://127.0.0.1:4566/000000000000/local-Queue",
        ),
        ("!Ref Named", "https://127.0.0.1:4566/000000000000/orders"),
        ("!Ref Table", "local-Table"),
        ("!Ref Api", "api"),
        ("!Ref Topic", "local-Topic"),
        (
            "!GetAtt Queue.Arn",
            "arn:aws:sqs:us-east-1:000000000000:local-Queue",
        ),
        ("!GetAtt Named.QueueName", "orders"),
        (
            "!GetAtt Table.Arn",
            "arn:aws:dynamodb:us-east-1:000000000000:table/local-Table",
        ),
        ("!GetAtt Api.ApiEndpoint", "http://127.0.0.1:3000"),
        (
            "!GetAtt Role.Arn",
            "arn:aws:iam:us-east-1:000000000000:local-Role",
        ),
        ("{'Fn::GetAtt': [Queue, QueueName]}", "local-Queue"),
        (
            "!Sub 'a-${Stage}-${Named.QueueName}-${!Not}'",
            "a-dev-orders-${Not}",
        ),
        (
            "!Sub ['${x}/${AWS::Region}', {x: !Ref Stage}]",
            "dev/us-east-1",
        ),
        ("!Join ['-', [a, !Ref Stage, 1]]", "a-dev-1"),
        ("!Join ['', !Ref Zones]", "abc"),
        ("!Select [1, !Ref Zones]", "b"),
        ("!Select ['2', !Split ['.', a.b.c]]", "c"),
        ("!FindInMap [Sizes, !Ref Stage, memory]", "256"),
        ("!FindInMap [Sizes, !Ref AWS::Region, memory]", "512"),
        (
            "!FindInMap [Sizes, other, memory, {DefaultValue: none}]",
            "none",
        ),
        ("!Select [1, !FindInMap [Sizes, dev, hosts]]", "y"),
        ("!If [Both, yes-both, no]", "yes-both"),
        ("!If [Neither, !GetAtt Nowhere.Arn, fine]", "fine"),
        ("!Base64 abc", "YWJj"),
        ("!Select [0, !GetAZs '']", "us-east-1a"),
    ] {
        assert_eq!(evaluate(expression, SECTIONS), value, "{expression}");
    }
}

#[test]
fn intrinsic_functions_that_are_wrong_are_refused() {
    for (expression, message) in [
        ("!Ref Nowhere", "refers to \"Nowhere\""),
        ("!GetAtt Nowhere.Arn", "refers to \"Nowhere\""),
        (
            "!GetAtt Queue.Nothing",
            "Queue (AWS::SQS::Queue) has no attribute",
        ),
        ("!GetAtt Queue", "needs Resource.Attribute"),
        ("!Sub '${Stage'", "`${` without `}`"),
        (
            "!Sub '${Zones}'",
            "invalid type: sequence, expected a string",
        ),
        (
            "!Join [a]",
            "Fn::Join: invalid length 1, expected a tuple of size 2",
        ),
        ("!Select [9, !Ref Zones]", "there is no item 9"),
        (
            "!Select [0, text]",
            "Fn::Select.[1]: invalid type: string \"text\", expected a sequence",
        ),
        ("!Split ['', a]", "the delimiter is empty"),
        (
            "!FindInMap [Sizes, dev, nothing]",
            "[\"Sizes\", \"dev\", \"nothing\"] is not in Mappings",
        ),
        ("!If [Unknown, a, b]", "there is no condition \"Unknown\""),
        (
            "!If [Both, a]",
            "needs the name of a condition and two values",
        ),
        (
            "!ImportValue x",
            "Fn::ImportValue: is not evaluated by this host",
        ),
        ("{a: b}", "invalid type: map, expected a string"),
        ("!Nothing a", "Fn::Nothing: is not evaluated by this host"),
        ("!If [!Ref Stage, a, b]", "needs the name of a condition"),
    ] {
        let variables = format!("Environment: {{Variables: {{XX: {expression}}}}}");
        let error = refusal(&(with_function(&variables, RESOURCES) + SECTIONS));
        assert!(error.contains(message), "{expression}: {error}");
        assert!(
            error.starts_with("/app/template.yaml:9: F.Environment.Variables.XX"),
            "{error}"
        );
    }
}

#[test]
fn a_resource_whose_condition_is_false_is_left_out() {
    let text = with_function(
        "",
        "Off:\n  Type: AWS::SQS::Queue\n  Condition: Never\nOn:\n  Type: AWS::SQS::Queue",
    ) + "Conditions: {Never: !Equals [a, b]}\n";
    let queues: Vec<String> = parse(&text)
        .queues
        .into_iter()
        .map(|it| it.logical_id)
        .collect();
    assert_eq!(queues, ["On"]);
    let error = refusal(&text.replace("Handler: bootstrap", "Handler: !Ref Off"));
    assert!(
        error.contains("F.Handler.Ref: refers to \"Off\""),
        "{error}"
    );
    let error = refusal(&text.replace("Condition: Never", "Condition: Nowhere"));
    assert!(
        error.contains("there is no condition \"Nowhere\""),
        "{error}"
    );
}

#[test]
fn parameters_are_checked_against_their_rules() {
    let with = |declaration: &str, given: &[(&str, &str)]| {
        let variables = "Environment: {Variables: {XX: !Ref P}}";
        let text = with_function(variables, "") + &format!("Parameters: {{P: {declaration}}}\n");
        parse_with(&text, given)
            .map(|template| template.functions[0].environment["XX"].clone())
            .map_err(|error| error.message)
    };
    assert_eq!(with("{Type: String, Default: a}", &[]), Ok("a".to_owned()));
    assert_eq!(
        with("{Type: String, Default: a}", &[("P", "b=c")]),
        Ok("b=c".to_owned())
    );
    assert_eq!(with("{Type: Number, Default: 7}", &[]), Ok("7".to_owned()));
    for (declaration, given, message) in [
        (
            "{Type: String}",
            vec![],
            "Parameters.P: it has no Default: pass --parameter",
        ),
        (
            "{Type: String, Default: a}",
            vec![("Q", "1")],
            "there is no parameter \"Q\"",
        ),
        (
            "{Type: String, AllowedValues: [a, b]}",
            vec![("P", "c")],
            "must be one of a, b",
        ),
        ("{Type: Number}", vec![("P", "x")], "must be a number"),
        (
            "{Type: Number, MinValue: 2}",
            vec![("P", "x")],
            "must be a number",
        ),
        (
            "{Type: Number, MinValue: 2}",
            vec![("P", "1")],
            "must be at least 2",
        ),
        (
            "{Type: Number, MaxValue: 2}",
            vec![("P", "2.5")],
            "must be at most 2",
        ),
        (
            "{Type: String, Defualt: a}",
            vec![],
            "Parameters.P: it has no Default",
        ),
        (
            "{Type: String, Default: a, AllowedValus: [a]}",
            vec![],
            "Parameters.P.AllowedValus: unknown property; is AllowedValues meant?",
        ),
        (
            "{Type: 'AWS::SSM::Parameter::Value<String>', Default: /a}",
            vec![],
            "it has no Default",
        ),
    ] {
        let error = with(declaration, &given).expect_err(declaration);
        assert!(error.contains(message), "{declaration}: {error}");
    }
}

#[test]
fn function_properties_that_aws_or_this_host_refuses_are_refused() {
    for (property, message) in [
        (
            "MemorySize: 64",
            "F.MemorySize: must be 128 to 10240, not \"64\"",
        ),
        (
            "MemorySize: lots",
            "F.MemorySize: must be 128 to 10240, not \"lots\"",
        ),
        ("Timeout: 901", "F.Timeout: must be 1 to 900, not \"901\""),
        ("Timeout: 0", "F.Timeout: must be 1 to 900, not \"0\""),
        (
            "MemmorySize: 128",
            "F.MemmorySize: unknown property; is MemorySize meant?",
        ),
        ("VpcConfig: {SubnetIds: [a]}", "F.VpcConfig: not hosted"),
        (
            "FileSystemConfigs: []",
            "F.FileSystemConfigs: file systems are not mounted",
        ),
        ("InlineCode: x", "F.InlineCode"),
        (
            "PackageType: Image",
            "F.PackageType: must be Zip, not \"Image\"",
        ),
        ("Environment: {Variable: {}}", "is Variables meant?"),
        (
            "Environment: [a]",
            "F.Environment: must be a map, not [\"a\"]",
        ),
        (
            "ReservedConcurrentExecutions: 1\nAutoPublishAlias: live\nProvisionedConcurrencyConfig: \
             {ProvisionedConcurrentExecutions: 2}",
            "must not be above ReservedConcurrentExecutions, 1",
        ),
        (
            "Events: {E: {Type: Api}}",
            "F.Events.E: REST APIs are not hosted: use HttpApi",
        ),
        (
            "Events: {E: {Properties: {}}}",
            "F.Events.E: the property Type is missing",
        ),
        ("Events: [E]", "F.Events: must be a map"),
    ] {
        let error = refusal(&with_function(property, ""));
        assert!(error.contains(message), "{property}: {error}");
    }
    let long = format!("Environment: {{Variables: {{AA: {}}}}}", "x".repeat(4096));
    assert!(refusal(&with_function(&long, "")).contains("4098 bytes"));
    for (replaced, message) in [
        (
            "Runtime: python3.13",
            "F.Runtime: must be provided.al2023 or provided.al2",
        ),
        (
            "Runtime: nodejs22.x",
            "F.Runtime: must be provided.al2023 or provided.al2",
        ),
    ] {
        let text = with_function("", "").replace("Runtime: provided.al2023", replaced);
        let error = refusal(&text);
        assert!(error.contains(message) && error.contains(":6: "), "{error}");
    }
    for (uri, message) in [
        ("s3://bucket/key", "F.CodeUri: must be a folder"),
        ("function.zip", "F.CodeUri: must be a folder"),
        (
            "{Bucket: a, Key: b}",
            "F.CodeUri: invalid type: map, expected a string",
        ),
    ] {
        let text = with_function("", "").replace("target/lambda/f/", uri);
        assert!(refusal(&text).contains(message), "{uri}");
    }
}

#[test]
fn http_api_events_that_aws_or_this_host_refuses_are_refused() {
    for (properties, message) in [
        ("{Path: /a}", "needs Method and Path, or neither"),
        ("{Method: GET}", "needs Method and Path, or neither"),
        ("{Path: a, Method: GET}", "Path: must start with /"),
        (
            "{Path: '/{a', Method: GET}",
            "Path: must start with / and hold {name}",
        ),
        ("{Path: '/{a+}/b', Method: GET}", "not \"/{a+}/b\""),
        ("{Path: '/x{a}', Method: GET}", "not \"/x{a}\""),
        (
            "{Path: /a, Method: GET, Auth: {Authorizer: Mine}}",
            "Auth: authorizers are",
        ),
        (
            "{Path: /a, Method: GET, PayloadFormatVersion: '1.0'}",
            "must be 2.0, not",
        ),
        (
            "{Path: /a, Method: GET, Apild: a}",
            "Apild: unknown property; is ApiId meant?",
        ),
        (
            "{Path: /a, Method: GET, ApiId: !Ref Queue}",
            "ApiId: must be !Ref of",
        ),
    ] {
        let events = format!("Events: {{E: {{Type: HttpApi, Properties: {properties}}}}}");
        let error = refusal(&with_function(&events, RESOURCES));
        assert!(
            error.contains("F.Events.E") && error.contains(message),
            "{properties}: {error}"
        );
    }
    let two_apis = "Events:\n  A: {Type: HttpApi, Properties: {Path: /a, Method: GET}}\n  \
                    B: {Type: HttpApi, Properties: {Path: /b, Method: GET, ApiId: !Ref Api}}";
    assert!(refusal(&with_function(two_apis, RESOURCES)).contains("serves one API"));
}

#[test]
fn sqs_events_that_aws_or_this_host_refuses_are_refused() {
    for (properties, message) in [
        ("", "the property Queue is missing"),
        (", Queue: !Ref Queue", "Queue: must be !GetAtt Queue.Arn"),
        (
            ", Queue: !GetAtt Queue.Arn, BatchSize: 0",
            "BatchSize: must be 1 to 10000, not \"0\"",
        ),
        (
            ", Queue: !GetAtt Queue.Arn, BatchSize: 10001",
            "BatchSize: must be 1 to 10000",
        ),
        (
            ", Queue: !GetAtt Queue.Arn, BatchSize: 11",
            "MaximumBatchingWindowInSeconds of at least 1",
        ),
        (
            ", Queue: !GetAtt Queue.Arn, MaximumBatchingWindowInSeconds: 301",
            "must be 0 to 300, not \"301\"",
        ),
        (
            ", Queue: !GetAtt Queue.Arn, ScalingConfig: {MaximumConcurrency: 1}",
            "MaximumConcurrency: must be 2 to 1000",
        ),
        (
            ", Queue: !GetAtt Queue.Arn, ScalingConfig: {MaximumConcurrency: 6}",
            "MaximumConcurrency is above ReservedConcurrentExecutions, 5",
        ),
        (
            ", Queue: !GetAtt Queue.Arn, FunctionResponseTypes: [All]",
            "ReportBatchItemFailures",
        ),
        (
            ", Queue: !GetAtt Queue.Arn, Batchsize: 5",
            "Batchsize: unknown property; is BatchSize meant?",
        ),
        (
            ", Queue: !GetAtt Queue.Arn, FilterCriteria: {Filters: []}",
            "FilterCriteria: event filters",
        ),
    ] {
        let events = format!(
            "ReservedConcurrentExecutions: 5\nEvents: {{E: {{Type: SQS, Properties: {{Enabled: \
             true{properties}}}}}}}"
        );
        let error = refusal(&with_function(&events, RESOURCES));
        assert!(
            error.contains("F.Events.E") && error.contains(message),
            "{properties}: {error}"
        );
    }
    let slow = "Timeout: 31\nEvents: {E: {Type: SQS, Properties: {Queue: !GetAtt Queue.Arn}}}";
    let error = refusal(&with_function(slow, RESOURCES));
    assert!(
        error.contains("31 s, above the VisibilityTimeout of Queue, 30 s"),
        "{error}"
    );
    assert!(error.contains("at least 186 s"), "{error}");
    let disabled =
        "Events: {E: {Type: SQS, Properties: {Queue: !GetAtt Queue.Arn, Enabled: false}}}";
    assert!(
        parse(&with_function(disabled, RESOURCES)).functions[0]
            .queue_triggers
            .is_empty()
    );
}

#[test]
fn an_event_source_mapping_is_a_trigger() {
    let mapping = "\
M:
  Type: AWS::Lambda::EventSourceMapping
  Properties: {EventSourceArn: !GetAtt Q.Arn, FunctionName: !GetAtt F.Arn, BatchSize: 3}
Q: {Type: AWS::SQS::Queue}";
    let template = parse(&with_function("", mapping));
    assert_eq!(template.functions[0].queue_triggers[0].batch_size, 3);
    let error = refusal(&with_function("", &mapping.replace("Q.Arn", "Q.QueueName")));
    assert!(
        error.contains("M.EventSourceArn: must be !GetAtt Queue.Arn"),
        "{error}"
    );
}

#[test]
fn what_is_left_out_is_noticed_by_resource_and_property() {
    let notices =
        |properties: &str, others: &str| parse(&with_function(properties, others)).notices;
    assert_eq!(
        notices(
            "Layers: [!Ref Elsewhere]\nTags: {a: b}\nSnapStart: !Ref AWS::NoValue",
            ""
        ),
        ["F: Layers is not hosted"]
    );
    // One that is refused may be switched off.
    assert!(notices("VpcConfig: !Ref AWS::NoValue", "").is_empty());
    assert_eq!(
        notices(
            "Events: {E: {Type: Schedule, Properties: {Schedule: rate(1 day)}}}",
            ""
        ),
        ["F.Events.E: Schedule is not hosted"]
    );
    assert_eq!(
        notices(
            "Events: {E: {Type: SQS, Properties: {Queue: !GetAtt Queue.Arn, StartingPosition: X}}}",
            RESOURCES
        ),
        [
            "not hosted: AWS::IAM::Role, AWS::SNS::Topic",
            "F.Events.E: StartingPosition is not hosted"
        ]
    );
    assert_eq!(
        notices(
            "",
            "A: {Type: AWS::Serverless::HttpApi, Properties: {StageName: v1}}"
        ),
        ["A: StageName is not hosted"]
    );
    let stream = "\
T: {Type: AWS::Serverless::SimpleTable}
M:
  Type: AWS::Lambda::EventSourceMapping
  Properties: {EventSourceArn: !GetAtt T.StreamArn, FunctionName: !Ref F}";
    let [notice] = &notices("", stream)[..] else {
        panic!("one notice")
    };
    assert!(notice.starts_with("M: arn:aws:dynamodb:"), "{notice}");
}

#[test]
fn what_is_left_out_many_times_is_noticed_once() {
    let resource = |name: &str, kind: &str| format!("{name}: {{Type: {kind}}}\n");
    let alarms = ["A", "B", "C"].map(|name| resource(name, "AWS::CloudWatch::Alarm"));
    let others = alarms.concat() + &resource("D", "AWS::CloudWatch::Dashboard");
    let functions = ["G", "H", "I", "J"].map(|name| {
        format!(
            "{name}: {{Type: AWS::Serverless::Function, Properties: {{Runtime: provided.al2023, \
             Handler: h, CodeUri: c, Layers: [l]}}}}\n"
        )
    });

    let template = parse(&with_function(
        "Layers: [l]",
        &(others + &functions.concat()),
    ));

    assert_eq!(
        template.notices,
        [
            "not hosted: AWS::CloudWatch::Alarm (3), AWS::CloudWatch::Dashboard",
            "F, G, H and 2 more: Layers is not hosted"
        ]
    );
}

/// An API on which `GET /a` is a route, with further paths of its definition.
fn with_definition(paths: &str, sections: &str) -> String {
    let events =
        "Events: {E: {Type: HttpApi, Properties: {ApiId: !Ref Api, Path: /a, Method: GET}}}";
    let api = format!(
        "Api:\n  Type: AWS::Serverless::HttpApi\n  Properties:\n    DefinitionBody: \
         {{openapi: 3.0.1, paths: {{{paths}}}}}"
    );
    with_function(events, &api) + sections
}

#[test]
fn a_definition_may_open_routes_and_no_more() {
    const SECTIONS: &str = "
Parameters: {Access: {Type: String, Default: closed}, Token: {Type: String, Default: ''}}
Conditions:
  Opened: !Equals [!Ref Access, open]
  Both: !And [Condition: Opened, !Equals [!Ref Token, '']]
";
    for open in [
        "",
        "/a: {get: {}}",
        "/a: {get: {security: []}}",
        "/a: {get: {security: !Ref AWS::NoValue}}",
        "/a: {get: {security: !If [Opened, [{iam: []}], []]}}",
    ] {
        assert_eq!(
            parse(&with_definition(open, SECTIONS)).functions[0].routes[0].path,
            "/a",
            "{open}"
        );
    }
    for (closed, message) in [
        (
            "/a: {get: {security: [{iam: []}]}}",
            "paths./a.get: authorizers are not hosted: leave `security` away by a condition",
        ),
        (
            "/a: {get: {security: !If [Opened, [], [{iam: []}]]}}",
            "authorizers are not hosted: open the route with --parameter Access=...",
        ),
        (
            "/a: {get: {security: !If [Both, [], [{iam: []}]]}}",
            "open the route with --parameter Access or Token=...",
        ),
        ("/a: {post: {}}", "paths./a.post: declare the route as"),
        ("/b: {get: {}}", "paths./b.get: declare the route as"),
        (
            "'Fn::Transform': {Name: AWS::Include}",
            "Fn::Transform: is not evaluated",
        ),
    ] {
        let error = refusal(&with_definition(closed, SECTIONS));
        assert!(error.contains("Api.DefinitionBody."), "{closed}: {error}");
        assert!(error.contains(message), "{closed}: {error}");
    }
    let opened = with_definition(
        "/a: {get: {security: !If [Opened, [], [{iam: []}]]}}",
        SECTIONS,
    );
    assert!(parse_with(&opened, &[("Access", "open")]).is_ok());
}

#[test]
fn parameters_that_rules_refuse_together_are_refused_in_the_words_of_the_rule() {
    let text = with_function("", "")
        + "
Parameters:
  Stage: {Type: String, Default: dev}
  Size: {Type: Number, Default: 5}
Rules:
  Small:
    RuleCondition: !Equals [!Ref Stage, prod]
    Assertions:
      - Assert: {'Fn::Contains': [['10', '20'], !Ref Size]}
        AssertDescription: prod needs a Size of 10 or 20
  Odd:
    Assertions:
      - Assert: !Not [!Equals [!Ref Size, 7]]
";
    for accepted in [
        vec![],
        vec![("Size", "9")],
        vec![("Stage", "prod"), ("Size", "10")],
    ] {
        assert!(parse_with(&text, &accepted).is_ok(), "{accepted:?}");
    }
    for (refused, message) in [
        (
            vec![("Stage", "prod")],
            "Rules.Small: prod needs a Size of 10 or 20",
        ),
        (
            vec![("Size", "7")],
            "Rules.Odd: the parameters do not go together",
        ),
    ] {
        let error = parse_with(&text, &refused).expect_err("a rule refuses it");
        assert!(error.to_string().contains(message), "{error}");
    }
    let error = refusal(&text.replace("Assert: !Not", "Asert: !Not"));
    assert!(
        error.contains("Rules.Odd: needs a condition function"),
        "{error}"
    );
}

#[test]
fn globals_are_merged_as_sam_merges_them() {
    let template = parse(
        r"
Transform: AWS::Serverless-2016-10-31
Globals:
  Function:
    Runtime: provided.al2023
    Handler: bootstrap
    CodeUri: code/
    Timeout: 10
    MemorySize: 512
    Architectures: [arm64]
    Environment: {Variables: {AA: global, BB: global}}
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      Timeout: 20
      Environment: {Variables: {BB: own, CC: own}}
  G: {Type: AWS::Serverless::Function}
  H: {Type: AWS::Serverless::Function, IgnoreGlobals: [Timeout, Environment]}
",
    );
    let [f, g, h] = &template.functions[..] else {
        panic!("three functions")
    };
    let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    assert_eq!((f.timeout.as_secs(), f.memory_mb), (20, 512));
    assert_eq!(
        f.environment,
        pairs(&[("AA", "global"), ("BB", "own"), ("CC", "own")])
    );
    assert_eq!((g.timeout.as_secs(), g.memory_mb), (10, 512));
    assert_eq!(g.environment, pairs(&[("AA", "global"), ("BB", "global")]));
    assert_eq!((h.timeout.as_secs(), h.memory_mb), (3, 512));
    assert_eq!(h.environment, pairs(&[]));
}

#[test]
fn queues_and_tables_that_aws_refuses_are_refused() {
    for (resource, message) in [
        (
            "{Type: AWS::SQS::Queue, Properties: {VisibilityTimeout: 43201}}",
            "VisibilityTimeout: must be 0 to 43200, not \"43201\"",
        ),
        (
            "{Type: AWS::SQS::Queue, Properties: {VisibiltyTimeout: 3}}",
            "is VisibilityTimeout meant?",
        ),
        (
            "{Type: AWS::SQS::Queue, Properties: {RedrivePolicy: {deadLetterTargetArn: x, \
             maxReceiveCount: 1}}}",
            "must be !GetAtt Queue.Arn",
        ),
        (
            "{Type: AWS::SQS::Queue, Properties: {RedrivePolicy: {deadLetterTargetArn: !GetAtt \
             Queue.Arn, maxReceiveCount: 0}}}",
            "maxReceiveCount: must be 1 to 1000",
        ),
        (
            "{Type: AWS::Serverless::SimpleTable, Properties: {PrimaryKey: {Type: Text}}}",
            "PrimaryKey.Type: must be String or Number or Binary",
        ),
        (
            "{Type: AWS::Serverless::HttpApi, Properties: {DefinitionBody: {}}}",
            "DefinitionBody.paths: declare routes as HttpApi events",
        ),
        (
            "{Type: AWS::Serverless::HttpApi, Properties: {Auth: {DefaultAuthorizer: A}}}",
            "Auth: authorizers are not hosted",
        ),
        (
            "{Type: AWS::SQS::Queue, Properties: {RedrivePolicy: {maxReceiveCount: 1}}}",
            "X.RedrivePolicy: the property deadLetterTargetArn is missing",
        ),
        (
            "{Type: AWS::SQS::Queue, Properties: {RedrivePolicy: {deadLetterTargetArn: !GetAtt \
             Queue.Arn}}}",
            "X.RedrivePolicy: the property maxReceiveCount is missing",
        ),
        (
            "{Type: AWS::Serverless::Api}",
            "X: REST APIs are not hosted: use HttpApi",
        ),
        ("{Type: [a]}", "X: needs a Type, which is text"),
        ("{Properties: {}}", "X: needs a Type, which is text"),
        ("text", "X: needs a Type, which is text"),
    ] {
        let error = refusal(&with_function("", &format!("{RESOURCES}X: {resource}")));
        assert!(error.contains(message), "{resource}: {error}");
        assert!(
            error.starts_with("/app/template.yaml:") && error.contains(" X"),
            "{error}"
        );
    }
}

#[test]
fn a_fifo_queue_is_read() {
    let template = parse(
        "Resources: {Q: {Type: AWS::SQS::Queue, Properties: {FifoQueue: true, \
         ContentBasedDeduplication: true}}}",
    );
    assert_eq!(template.queues[0].name, "local-Q.fifo");
    assert_eq!(template.queues[0].attributes["FifoQueue"], "true");
    assert_eq!(
        template.queues[0].attributes["ContentBasedDeduplication"],
        "true"
    );
}

#[test]
fn provisioned_throughput_may_be_text() {
    let template = parse(
        "Resources: {T: {Type: AWS::Serverless::SimpleTable, Properties: {PrimaryKey: {Name: k, \
         Type: Number}, ProvisionedThroughput: {ReadCapacityUnits: '5', WriteCapacityUnits: 6}}}}\n\
         Transform: AWS::Serverless-2016-10-31",
    );
    let create = &template.tables[0].create;
    assert_eq!(create["ProvisionedThroughput"]["ReadCapacityUnits"], 5);
    assert_eq!(create["AttributeDefinitions"][0]["AttributeType"], "N");
    assert_eq!(create["BillingMode"], "PROVISIONED");
}

#[test]
fn templates_that_are_no_templates_are_refused() {
    for (text, message) in [
        ("", "/app/template.yaml:1: the file is empty"),
        ("[]", "the template needs Resources"),
        ("{}", "the template needs Resources"),
        ("Resources: []", "needs Resources, which is a map"),
        (
            "Resources: {a-b: {Type: X}}",
            "a logical id is 1 to 255 letters and digits",
        ),
        (
            "Transform: Mine\nResources: {}",
            "the macro \"Mine\" cannot run",
        ),
        (
            "Transform: [{Name: Mine, Parameters: {}}]\nResources: {}",
            "the macro {\"Name\":\"Mine\",\"Parameters\":{}} cannot run",
        ),
        ("Resources:\n\tA: 1", "not YAML"),
    ] {
        let error = refusal(text);
        assert!(error.contains(message), "{text:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn circles_are_refused() {
    let names = "Resources:\n  A: {Type: AWS::SQS::Queue, Properties: {QueueName: !GetAtt B.QueueName}}\n  \
                 B: {Type: AWS::SQS::Queue, Properties: {QueueName: !GetAtt A.QueueName}}";
    assert!(refusal(names).contains("depends on itself"));
    let conditions = "Conditions: {A: !Condition B, B: !Not [!Condition A]}\nResources:\n  \
                      Q: {Type: AWS::SQS::Queue, Condition: A}";
    assert!(refusal(conditions).contains("depends on itself"));
}

/// The shop's template with `CatalogueWrites=open` and these parameters.
fn shop(parameters: &[(&str, &str)]) -> Result<Template, TemplateError> {
    let text = include_str!("../../../template.yaml");
    let open = [("CatalogueWrites", "open")];
    parse_with(text, &[&open[..], parameters].concat())
}

#[test]
fn the_shop_is_hosted_where_its_catalogue_is_open() {
    let closed = parse_with(include_str!("../../../template.yaml"), &[]);
    let closed = closed
        .expect_err("signatures are not checked here")
        .to_string();
    assert!(
        closed.contains("/products/{id}.put: authorizers are not hosted: open the route with")
            && closed.contains("--parameter CatalogueWrites="),
        "{closed}"
    );

    let open = shop(&[]).expect("the shop is hosted");

    assert_eq!(open.functions.len(), 8);
    let [kinds] = &open.notices[..] else {
        panic!("one line: {:?}", open.notices)
    };
    assert!(kinds.starts_with("not hosted: AWS::CloudWatch::Alarm ("));
    assert!(kinds.contains("AWS::IAM::Role (8)"), "{kinds}");
}

#[test]
fn the_parameters_of_the_shop_reach_its_functions() {
    let template = shop(&[
        ("ApiMemorySize", "512"),
        ("WorkerMemorySize", "128"),
        ("ProvisionedConcurrency", "2"),
        ("ReservedConcurrency", "20"),
        ("MaximumConcurrency", "10"),
        ("OnDemandMaxReads", "100"),
        ("OnDemandMaxWrites", "50"),
        (
            "LambdaInsightsLayer",
            "arn:aws:lambda:us-east-1:580247275435:layer:LambdaInsightsExtension-Arm64:23",
        ),
    ]);
    let template = template.expect("the shop is hosted");

    let (workers, others): (Vec<_>, Vec<_>) = template
        .functions
        .iter()
        .partition(|it| it.logical_id == "ProcessOrders");
    let worker = workers.first().expect("the worker");
    let trigger = &worker.queue_triggers[0];
    assert_eq!(trigger.maximum_concurrency, Some(10));
    assert_eq!((worker.memory_mb, worker.provisioned_concurrency), (128, 0));
    assert_eq!(worker.reserved_concurrency, Some(20));
    for function in others {
        let sizes = (function.memory_mb, function.provisioned_concurrency);
        assert_eq!(sizes, (512, 2), "{}", function.logical_id);
        assert_eq!(function.reserved_concurrency, Some(20));
    }
    let index = &template.tables[0].create["GlobalSecondaryIndexes"][0];
    assert_eq!(index["OnDemandThroughput"]["MaxReadRequestUnits"], 100);
}

#[test]
fn the_rules_of_the_shop_refuse_what_does_not_go_together() {
    let (issuer, audience) = (("JwtIssuer", "https://a.example"), ("JwtAudience", "shop"));
    for (parameters, message) in [
        (
            vec![("Stage", "prod")],
            "Rules.ProdIsClosed: Stage=prod needs",
        ),
        (vec![issuer], "JwtIssuer needs a JwtAudience"),
        (vec![audience], "JwtAudience needs a JwtIssuer"),
        (
            vec![issuer, audience],
            "open the route with --parameter JwtIssuer=",
        ),
        (
            vec![issuer, audience, ("OrderAccess", "open")],
            "OrderAccess=open and a JwtIssuer contradict each other",
        ),
        (
            vec![("MonthlyBudget", "50")],
            "MonthlyBudget needs an AlarmEmail",
        ),
        (
            vec![("OnDemandMaxReads", "1")],
            "needs an OnDemandMaxWrites",
        ),
        (
            vec![("OnDemandMaxWrites", "1")],
            "needs an OnDemandMaxReads",
        ),
        (vec![("ApiMemorySize", "64")], "must be at least 128"),
        (vec![("ThrottleRate", "10001")], "must be at most 10000"),
    ] {
        let error = shop(&parameters).expect_err("it is refused").to_string();
        assert!(error.contains(message), "{parameters:?}: {error}");
    }
}

/// Values that tend to go wrong where a property expects another kind.
fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("~".to_owned()),
        Just("''".to_owned()),
        Just("true".to_owned()),
        Just("!Ref Queue".to_owned()),
        Just("!Ref AWS::NoValue".to_owned()),
        Just("!GetAtt Queue.Arn".to_owned()),
        Just("!Sub '${Queue}${!x}${Stage}'".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        "[a-zA-Z0-9 ]{0,8}".prop_map(|text| format!("'{text}'")),
        Just("\"two\\nlines\\x1b\"".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            (any_key(), inner.clone()).prop_map(|(key, value)| format!("{{{key}: {value}}}")),
            (inner.clone(), inner.clone())
                .prop_map(|(one, other)| format!("{{'Fn::If': [Both, {one}, {other}]}}")),
            inner
                .clone()
                .prop_map(|value| format!("{{'Fn::Join': {value}}}")),
            inner
                .clone()
                .prop_map(|value| format!("{{'Fn::Select': [0, {value}]}}")),
            inner.prop_map(|value| format!("{{'Fn::Sub': [x, {value}]}}")),
        ]
    })
}

fn any_key() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "Type",
        "Properties",
        "Events",
        "Environment",
        "Variables",
        "Timeout",
        "MemorySize",
        "CodeUri",
        "Queue",
        "BatchSize",
        "ScalingConfig",
        "RedrivePolicy",
        "KeySchema",
        "AttributeDefinitions",
        "BillingMode",
        "PrimaryKey",
        "ProvisionedThroughput",
        "Ref",
        "Fn::GetAtt",
        "Condition",
        "DependsOn",
        "DefinitionBody",
        "paths",
        "security",
    ])
}

/// Reads `texts`. Each refusal is one line that names the file. Some texts must be refused and some
/// read, or they test nothing.
fn each_is_read_or_refused_in_one_line(texts: impl Strategy<Value = String>) {
    let mut config = ProptestConfig::with_cases(500);
    config.failure_persistence = None; // it would be kept beside the source, which a runner cannot find
    let (read, refused) = (Cell::new(0), Cell::new(0));

    let outcome = TestRunner::new(config).run(&texts, |text| {
        let Err(error) = parse_with(&text, &[]) else {
            read.set(read.get() + 1);
            return Ok(());
        };
        refused.set(refused.get() + 1);
        let error = error.to_string();
        prop_assert!(error.starts_with("/app/template.yaml"), "{}", error);
        prop_assert_eq!(error.lines().count(), 1, "{}", error);
        Ok(())
    });

    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    let (read, refused) = (read.get(), refused.get());
    assert!(
        read >= 25 && refused >= 25,
        "{read} read, {refused} refused"
    );
}

#[test]
fn a_template_with_a_few_other_characters_is_read_or_refused_in_one_line() {
    let valid =
        with_function("Environment: {Variables: {XX: !Sub '${Stage}'}}", RESOURCES) + SECTIONS;
    let change = (
        any::<prop::sample::Index>(),
        0..4_usize,
        "\\PC{0,4}|[ \n\t:!&*{}\\[\\]'\"#|>-]{1,4}",
    );
    let changes = proptest::collection::vec(change, 1..4);
    each_is_read_or_refused_in_one_line(changes.prop_map(move |changes| {
        let mut text: Vec<char> = valid.chars().collect();
        for (at, cut, put) in changes {
            let at = at.index(text.len());
            let end = text.len().min(at + cut);
            text.splice(at..end, put.chars());
        }
        text.into_iter().collect()
    }));
}

#[test]
fn arbitrary_resources_are_read_or_refused_in_one_line() {
    let kinds = proptest::sample::select(vec![
        "AWS::Serverless::Function",
        "AWS::Serverless::HttpApi",
        "AWS::SQS::Queue",
        "AWS::DynamoDB::Table",
        "AWS::Serverless::SimpleTable",
        "AWS::Lambda::EventSourceMapping",
        "AWS::SNS::Topic",
    ]);
    let properties = proptest::collection::vec((any_key(), any_value()), 0..5);
    let attribute = proptest::option::of((any_key(), any_value()));
    let resources = (kinds, properties, attribute).prop_map(|(kind, properties, attribute)| {
        let properties: BTreeMap<_, _> = properties.into_iter().collect();
        let properties: Vec<String> = properties
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let mut resource = format!(
            "X: {{Type: {kind}, Properties: {{{}}}",
            properties.join(", ")
        );
        if let Some((name, value)) =
            attribute.filter(|(name, _)| !["Type", "Properties"].contains(name))
        {
            resource.push_str(&format!(", {name}: {value}"));
        }
        resource.push('}');
        with_function("", &format!("{RESOURCES}{resource}")) + SECTIONS
    });
    each_is_read_or_refused_in_one_line(resources);
}
