//! What the host needs beyond functions, tables and queues: the API's limits and headers, and the logs.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::collections::BTreeMap;
use std::path::Path;

use local_template::{Context, Cors, Function, LogFormat, LogLevel, Template, Throttle};

fn parse(text: &str) -> Result<Template, String> {
    let context = Context {
        aws_endpoint_url: String::new(),
        api_url: String::new(),
        stack_name: "local".to_owned(),
        region: "us-east-1".to_owned(),
        account: "000000000000".to_owned(),
    };
    let template = local_template::parse(text, Path::new("t.yaml"), &BTreeMap::new(), &context);
    template.map_err(|error| error.to_string())
}

fn api(properties: &str) -> Result<Template, String> {
    parse(&format!(
        "Parameters: {{Origin: {{Type: String, Default: https://a.example}}}}\nResources:\n  \
         Api: {{Type: AWS::Serverless::HttpApi, Properties: {{{properties}}}}}"
    ))
}

fn cors(configuration: &str) -> Result<Option<Cors>, String> {
    api(&format!("CorsConfiguration: {configuration}")).map(|template| template.api.cors)
}

#[test]
fn cors_is_read_as_a_map() {
    let read = cors(
        "{AllowOrigins: [!Ref Origin, https://b.example], AllowMethods: [GET, PUT], AllowHeaders: [etag], \
         ExposeHeaders: [location], MaxAge: 3600, AllowCredentials: true}",
    );
    let texts = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect();
    assert_eq!(
        read.unwrap(),
        Some(Cors {
            allow_origins: texts(&["https://a.example", "https://b.example"]),
            allow_methods: texts(&["GET", "PUT"]),
            allow_headers: texts(&["etag"]),
            expose_headers: texts(&["location"]),
            max_age: Some(3600),
            allow_credentials: true,
        })
    );
}

#[test]
fn cors_is_read_in_its_short_forms() {
    let origins = |configuration| cors(configuration).unwrap().map(|cors| cors.allow_origins);
    assert_eq!(origins("true"), Some(vec!["*".to_owned()]));
    assert_eq!(
        origins("!Ref Origin"),
        Some(vec!["https://a.example".to_owned()])
    );
    assert_eq!(origins("false"), None);
    assert_eq!(origins("!Ref AWS::NoValue"), None);
    assert_eq!(api("").unwrap().api.cors, None);
    assert_eq!(cors("{MaxAge: -1}").unwrap().unwrap().max_age, Some(-1));
}

#[test]
fn cors_that_aws_refuses_is_refused() {
    for (configuration, message) in [
        (
            "{AllowOrigin: ['*']}",
            "Api.CorsConfiguration.AllowOrigin: unknown property; is AllowOrigins meant?",
        ),
        (
            "{MaxAge: 86401}",
            "Api.CorsConfiguration.MaxAge: must be -1 to 86400, not \"86401\"",
        ),
        (
            "{AllowMethods: GET}",
            "Api.CorsConfiguration.AllowMethods: invalid type: string \"GET\", expected a sequence",
        ),
        (
            "{AllowOrigins: ['*'], AllowCredentials: true}",
            "AllowCredentials needs AllowOrigins without *",
        ),
        (
            "[GET]",
            "Api.CorsConfiguration: must be a map, not [\"GET\"]",
        ),
    ] {
        let error = cors(configuration).expect_err(configuration);
        assert!(
            error.starts_with("t.yaml:3: ") && error.contains(message),
            "{error}"
        );
    }
}

#[test]
fn throttling_is_read_for_the_api_and_by_route() {
    let template = api(
        "DefaultRouteSettings: {ThrottlingRateLimit: 99.5, ThrottlingBurstLimit: '200'}, \
         RouteSettings: {POST /orders: {ThrottlingRateLimit: 5}, $default: {ThrottlingBurstLimit: 1}}",
    );
    let api = template.unwrap().api;
    let throttle = |rate, burst| Throttle { rate, burst };
    assert_eq!(api.throttle, throttle(Some(99.5), Some(200)));
    assert_eq!(
        api.route_throttles["POST /orders"],
        throttle(Some(5.0), None)
    );
    assert_eq!(api.route_throttles["$default"], throttle(None, Some(1)));
    assert_eq!(self::api("").unwrap().api.throttle, Throttle::default());
}

#[test]
fn throttling_that_aws_refuses_is_refused() {
    for (settings, message) in [
        (
            "{ThrottlingRateLimit: -1}",
            "ThrottlingRateLimit: must be 0 to inf, not",
        ),
        (
            "{ThrottlingBurstLimit: 1.5}",
            "ThrottlingBurstLimit: must be 0 to",
        ),
        ("{ThrottlingRateLimits: 1}", "is ThrottlingRateLimit meant?"),
    ] {
        let error = api(&format!("DefaultRouteSettings: {settings}")).expect_err(settings);
        assert!(error.contains("Api.DefaultRouteSettings."), "{error}");
        assert!(error.contains(message), "{error}");
    }
}

fn function(logging: &str) -> Result<Function, String> {
    let template = parse(&format!(
        "Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties: {{Runtime: provided.al2023, \
         Handler: h, CodeUri: c, LoggingConfig: {logging}}}\n  Logs: {{Type: AWS::Logs::LogGroup}}\n  \
         Named: {{Type: AWS::Logs::LogGroup, Properties: {{LogGroupName: /mine}}}}"
    ));
    template.map(|mut template| template.functions.remove(0))
}

#[test]
fn a_function_logs_text_to_its_own_group_unless_told_otherwise() {
    let plain = function("!Ref AWS::NoValue").unwrap();
    assert_eq!(
        (plain.log_format, plain.log_group.as_str()),
        (LogFormat::Text, "/aws/lambda/local-F")
    );
    assert_eq!(
        (plain.application_log_level, plain.system_log_level),
        (None, None)
    );

    let json = function(
        "{LogFormat: JSON, ApplicationLogLevel: ERROR, SystemLogLevel: WARN, LogGroup: !Ref Named}",
    );
    let json = json.unwrap();
    assert_eq!(
        (json.log_format, json.log_group.as_str()),
        (LogFormat::Json, "/mine")
    );
    assert_eq!(json.application_log_level, Some(LogLevel::Error));
    assert_eq!(json.system_log_level, Some(LogLevel::Warn));
    assert_eq!(
        function("{LogGroup: !Ref Logs}").unwrap().log_group,
        "local-Logs"
    );
}

#[test]
fn logging_that_aws_refuses_is_refused() {
    for (logging, message) in [
        (
            "{LogFormat: json}",
            "F.LoggingConfig.LogFormat: unknown variant `json`, expected `Text` or `JSON`",
        ),
        (
            "{LogFormat: JSON, ApplicationLogLevel: LOUD}",
            "F.LoggingConfig.ApplicationLogLevel: unknown variant `LOUD`, expected one of `TRACE`",
        ),
        (
            "{LogFormat: JSON, SystemLogLevel: ERROR}",
            "F.LoggingConfig.SystemLogLevel: must be DEBUG or INFO or WARN",
        ),
        (
            "{ApplicationLogLevel: INFO}",
            "F.LoggingConfig: log levels need LogFormat: JSON",
        ),
        (
            "{LogGroups: a}",
            "F.LoggingConfig.LogGroups: unknown property; is LogGroup meant?",
        ),
        ("text", "F.LoggingConfig: must be a map, not \"text\""),
    ] {
        let error = function(logging).expect_err(logging);
        assert!(error.contains(message), "{logging}: {error}");
    }
}

#[test]
fn a_batching_window_on_a_fifo_queue_is_refused() {
    let with = |properties: &str| {
        parse(&format!(
            "Resources:\n  Q: {{Type: AWS::SQS::Queue, Properties: {{FifoQueue: true}}}}\n  F:\n    \
             Type: AWS::Serverless::Function\n    Properties:\n      Runtime: provided.al2023\n      \
             Handler: h\n      CodeUri: c\n      Events: {{E: {{Type: SQS, Properties: {{Queue: !GetAtt Q.Arn, \
             {properties}}}}}}}"
        ))
    };
    let trigger = |properties| with(properties).unwrap().functions[0].queue_triggers[0].batch_size;
    assert_eq!(
        trigger("BatchSize: 10, MaximumBatchingWindowInSeconds: 0"),
        10
    );
    for (properties, message) in [
        (
            "MaximumBatchingWindowInSeconds: 1",
            "MaximumBatchingWindowInSeconds: a FIFO queue has no batching window",
        ),
        (
            "BatchSize: 11",
            "BatchSize: must be 1 to 10 of a FIFO queue",
        ),
    ] {
        let error = with(properties).expect_err(properties);
        assert!(
            error.contains(&format!("t.yaml:9: F.Events.E.{message}")),
            "{error}"
        );
    }
}
