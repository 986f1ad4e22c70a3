//! Judges a template by rules: it is resolved as the host resolves it, and each rule says what it objects to, with a number.
//! Nothing is started, and nothing is asked of AWS.

use std::fmt::Display;

use anyhow::Result;
use serde_json::{Map, Value};

use super::Place;
use super::judge::{Checked, Verdict};
use super::lab::{Keep, Kind, TemplateRules};
use super::lesson::{Lesson, Variant};
use crate::files::read_yaml;
use crate::host::resolved;
use crate::session::{BadInput, Session};

/// What a rule objects to.
#[derive(Debug, PartialEq)]
struct Objection {
    who: String,
    measured: String,
    wanted: String,
}

fn objection(who: &str, measured: impl Display, wanted: impl Display) -> Objection {
    Objection {
        who: who.to_owned(),
        measured: measured.to_string(),
        wanted: wanted.to_string(),
    }
}

/// Judges the template of a variant.
///
/// # Errors
/// [`BadInput`] if it cannot be read.
pub async fn judged(
    session: &Session,
    place: &Place,
    lesson: &Lesson,
    variant: &Variant,
    rules: &TemplateRules,
) -> Result<Verdict> {
    let file = lesson.template(variant);
    let local = place.local(session);
    let template = resolved(&session.root, &local, &file, &lesson.lab.parameters);
    let template = session.or_interrupted(template).await;
    let refused = |error: anyhow::Error| match session.interrupted_by() {
        Some(_) => error,
        None => BadInput(format!("the template cannot be read: {error:#}")).into(),
    };
    let looked_at = Looked {
        resolved: template.map_err(refused)?,
        written: read_yaml(&file)?,
        rules,
    };
    Ok(looked_at.verdict())
}

/// A template under the rules.
struct Looked<'a> {
    resolved: Value,
    /// As it is in the file: resolved, a region is a region, whoever wrote it.
    written: Value,
    rules: &'a TemplateRules,
}

type Resource<'a> = (&'a String, &'a Value);

impl Looked<'_> {
    fn verdict(&self) -> Verdict {
        let mut checks = Vec::new();
        let mut failure = None;
        let mut others = Vec::new();
        for rule in &self.rules.rule {
            let found = self.objection(rule.rule);
            let name = format!("{:?}", rule.rule);
            checks.push(Checked {
                what: words(&name),
                measured: Some(f64::from(u8::from(found.is_some()))),
                wanted: "0".to_owned(),
                passed: found.is_none(),
            });
            let Some(found) = found else {
                continue;
            };
            if failure.is_none() {
                let text = rule.says.replace("{who}", &found.who);
                let text = text.replace("{measured}", &found.measured);
                failure = Some(text.replace("{wanted}", &found.wanted));
            } else {
                others.push(words(&name));
            }
        }
        let all = checks.len();
        Verdict {
            passed: failure.is_none(),
            says: match (failure, others.len()) {
                (None, _) => format!("Passed: all {all} rules hold."),
                (Some(says), 0) => format!("{says} It is the last rule that is broken."),
                (Some(says), more) => format!(
                    "{says} {} of {all} rules are broken; the others: {}.",
                    more + 1,
                    others.join(", ")
                ),
            },
            checks,
        }
    }

    fn objection(&self, kind: Kind) -> Option<Objection> {
        match kind {
            Kind::Kept => self.kept(),
            Kind::Allowed => self.allowed(),
            Kind::ApiTimeout => self.api_timeout(),
            Kind::Visibility => self.visibility(),
            Kind::DeadLetters => self.dead_letters(),
            Kind::PartialFailures => self.partial_failures(),
            Kind::Alarm => self.alarm(),
            Kind::LeastPrivilege => self.least_privilege(),
            Kind::Retention => self.retention(),
            Kind::Portable => self.portable(),
            Kind::Names => self.names(),
            Kind::OnDemand => self.on_demand(),
        }
    }

    fn resources(&self) -> impl Iterator<Item = Resource<'_>> {
        let resources = self.resolved["Resources"].as_object();
        resources.into_iter().flatten()
    }

    fn of(&self, kind: &'static str) -> impl Iterator<Item = Resource<'_>> {
        let of_kind = self.resources().filter(move |(_, it)| it["Type"] == kind);
        of_kind.map(|(id, it)| (id, &it["Properties"]))
    }

    fn properties(&self, id: &str) -> &Value {
        &self.resolved["Resources"][id]["Properties"]
    }

    fn functions(&self) -> impl Iterator<Item = Resource<'_>> {
        self.of("AWS::Serverless::Function")
    }

    /// Each function with a queue that triggers it, and the properties of the trigger.
    fn triggers(&self) -> impl Iterator<Item = (Resource<'_>, String, &Value)> {
        self.functions().flat_map(|function| {
            let of_queue = events(function.1, "SQS");
            of_queue.filter_map(move |event| Some((function, target(&event["Queue"])?, event)))
        })
    }

    fn kept(&self) -> Option<Objection> {
        self.rules.keep.iter().find_map(|Keep { at, is }| {
            let found = self.resolved.pointer(at);
            let shown = || found.map_or("missing".to_owned(), Value::to_string);
            (found != Some(is)).then(|| objection(at, shown(), is))
        })
    }

    fn allowed(&self) -> Option<Objection> {
        self.rules.calls.iter().find_map(|(function, calls)| {
            let statements = self.statements(function);
            let mut allowed = statements.iter().filter(|it| it["Effect"] == "Allow");
            let granted: Vec<_> = allowed
                .by_ref()
                .flat_map(|it| texts(&it["Action"]))
                .collect();
            let templates = list(&self.properties(function)["Policies"]);
            let templates: Vec<_> = templates.into_iter().filter_map(granted_by_sam).collect();
            let may = |call: &&String| {
                let mut granted = granted.iter().map(String::as_str);
                granted.any(|it| matches(it, call))
                    || templates.iter().any(|it| it.contains(&call.as_str()))
                    || self.has_broad_policy(function)
            };
            let missing = calls.iter().find(|it| !may(it))?;
            Some(objection(function, "nothing", missing))
        })
    }

    fn has_broad_policy(&self, function: &str) -> bool {
        let policies = list(&self.properties(function)["Policies"]);
        policies.into_iter().any(|it| broad(it).is_some())
    }

    fn api_timeout(&self) -> Option<Objection> {
        self.functions().find_map(|(id, function)| {
            events(function, "HttpApi").next()?;
            let timeout = number(&function["Timeout"], 3);
            (timeout > 30).then(|| objection(id, timeout, 30))
        })
    }

    fn visibility(&self) -> Option<Objection> {
        self.triggers().find_map(|((_, function), queue, event)| {
            let hides = number(&self.properties(&queue)["VisibilityTimeout"], 30);
            let window = number(&event["MaximumBatchingWindowInSeconds"], 0);
            let wanted = 6 * number(&function["Timeout"], 3) + window;
            (hides < wanted).then(|| objection(&queue, hides, wanted))
        })
    }

    /// The dead-letter queue of a queue, and after how many deliveries a message goes there.
    fn redrive(&self, queue: &str) -> Option<(String, u64)> {
        let redrive = &self.properties(queue)["RedrivePolicy"];
        let dead = target(&redrive["deadLetterTargetArn"])?;
        let exists = self.resolved["Resources"][&dead]["Type"] == "AWS::SQS::Queue";
        exists.then(|| (dead, number(&redrive["maxReceiveCount"], 0)))
    }

    fn dead_letters(&self) -> Option<Objection> {
        self.triggers()
            .find_map(|(_, queue, _)| match self.redrive(&queue) {
                None => Some(objection(&queue, "for no message", 5)),
                Some((_, count)) if count < 5 => {
                    Some(objection(&queue, format!("after delivery {count}"), 5))
                }
                Some(_) => None,
            })
    }

    fn partial_failures(&self) -> Option<Objection> {
        self.triggers().find_map(|((id, _), _, event)| {
            let types = texts(&event["FunctionResponseTypes"]);
            let batch = number(&event["BatchSize"], 10);
            let reported = types.iter().any(|it| it == "ReportBatchItemFailures");
            (!reported && batch > 1).then(|| objection(id, batch, 1))
        })
    }

    fn alarm(&self) -> Option<Objection> {
        self.triggers().find_map(|(_, queue, _)| {
            let Some((dead, _)) = self.redrive(&queue) else {
                let dead = format!("the dead-letter queue of {queue}");
                return Some(objection(&dead, 0, 1));
            };
            let watches = |alarm: &Value| {
                let dimensions = list(&alarm["Dimensions"]);
                let mut queues = dimensions.iter().filter(|it| it["Name"] == "QueueName");
                alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
                    && number(&alarm["Threshold"], 0) <= 1
                    && queues.any(|it| target(&it["Value"]).as_ref() == Some(&dead))
            };
            let alarms = self.of("AWS::CloudWatch::Alarm");
            let count = alarms.filter(|(_, it)| watches(it)).count();
            (count == 0).then(|| objection(&dead, count, 1))
        })
    }

    /// Of a function's own policies and of its role's.
    fn statements(&self, function: &str) -> Vec<Value> {
        let function = self.properties(function);
        let mut documents = list(&function["Policies"]);
        if let Some(role) = target(&function["Role"]) {
            let policies = list(&self.properties(&role)["Policies"]);
            documents.extend(policies.into_iter().map(|it| &it["PolicyDocument"]));
        }
        let statements = documents.into_iter().flat_map(|it| list(&it["Statement"]));
        statements.cloned().collect()
    }

    fn least_privilege(&self) -> Option<Objection> {
        let own = self.functions().find_map(|(id, function)| {
            let policies = list(&function["Policies"]);
            let roles = target(&function["Role"]);
            let managed = roles.map(|it| list(&self.properties(&it)["ManagedPolicyArns"]));
            let mut all = policies.into_iter().chain(managed.into_iter().flatten());
            let broad = all.find_map(broad);
            Some(objection(id, broad?, "the calls that it makes"))
        });
        own.or_else(|| {
            self.functions().find_map(|(id, _)| {
                let statements = self.statements(id);
                let mut allowed = statements.iter().filter(|it| it["Effect"] == "Allow");
                allowed.find_map(|it| {
                    let mut actions = texts(&it["Action"]).into_iter();
                    let wild = actions.find(|it| it.contains('*'));
                    let mut resources = list(&it["Resource"]).into_iter();
                    let any = resources.find(|it| *it == "*").map(|_| {
                        let actions = texts(&it["Action"]).join(", ");
                        format!("{actions} on every resource")
                    });
                    Some(objection(id, wild.or(any)?, "the calls that it makes"))
                })
            })
        })
    }

    fn retention(&self) -> Option<Objection> {
        self.functions().find_map(|(id, function)| {
            let named = target(&function["LoggingConfig"]["LogGroup"]);
            let by_default = |group: &Value| {
                let name = group["LogGroupName"].to_string();
                name.contains("/aws/lambda/") && name.contains(id.as_str())
            };
            let mut groups = self.of("AWS::Logs::LogGroup");
            let group = groups.find(|(group, it)| match &named {
                Some(named) => *group == named,
                None => by_default(it),
            });
            let days = group.and_then(|(_, it)| it["RetentionInDays"].as_u64());
            days.is_none()
                .then(|| objection(id, "for ever", "so many days"))
        })
    }

    fn portable(&self) -> Option<Objection> {
        for section in ["Resources", "Outputs"] {
            for (id, it) in self.written[section].as_object().into_iter().flatten() {
                if let Some(written) = place_in(it) {
                    return Some(objection(id, written, "AWS::Region"));
                }
            }
        }
        None
    }

    fn names(&self) -> Option<Objection> {
        const NAMES: [&str; 4] = ["TableName", "QueueName", "FunctionName", "LogGroupName"];
        self.resources().find_map(|(id, it)| {
            let given = NAMES
                .iter()
                .find_map(|name| it["Properties"][*name].as_str());
            Some(objection(id, given?, "no name"))
        })
    }

    fn on_demand(&self) -> Option<Objection> {
        let table = self.of("AWS::DynamoDB::Table").find_map(|(id, table)| {
            if table["BillingMode"] == "PAY_PER_REQUEST" {
                return None;
            }
            let units = &table["ProvisionedThroughput"];
            let of = |name: &str| number(&units[name], 0);
            let (reads, writes) = (of("ReadCapacityUnits"), of("WriteCapacityUnits"));
            let measured = format!("{reads} read and {writes} write units each hour");
            Some(objection(id, measured, "BillingMode: PAY_PER_REQUEST"))
        });
        table.or_else(|| {
            self.functions().find_map(|(id, it)| {
                let config = &it["ProvisionedConcurrencyConfig"];
                let count = number(&config["ProvisionedConcurrentExecutions"], 0);
                (count > 0).then(|| {
                    let measured = format!("{count} environments each hour");
                    objection(id, measured, "none, until a measurement asks for them")
                })
            })
        })
    }
}

/// `DeadLetters` is `dead letters`.
fn words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// The properties of a function's events of one type.
fn events<'a>(function: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    let events = function["Events"].as_object().into_iter();
    let events = events.flat_map(Map::values);
    let of_kind = events.filter(move |it| it["Type"] == kind);
    of_kind.map(|it| &it["Properties"])
}

/// The resource that a value refers to.
fn target(value: &Value) -> Option<String> {
    let id = value.get("Ref").or_else(|| {
        let attribute = value.get("Fn::GetAtt")?;
        attribute.get(0)
    });
    Some(id?.as_str()?.to_owned())
}

/// A number that may be written as a text.
fn number(value: &Value, default: u64) -> u64 {
    let text = value.as_str().and_then(|it| it.parse().ok());
    value.as_u64().or(text).unwrap_or(default)
}

/// The items of a list, or the one in its place.
fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    }
}

fn texts(value: &Value) -> Vec<String> {
    let items = list(value).into_iter();
    items
        .filter_map(|it| it.as_str().map(str::to_owned))
        .collect()
}

/// Whether an action of a policy, such as `sqs:Send*`, is one that allows a call.
fn matches(action: &str, call: &str) -> bool {
    match action.split_once('*') {
        Some((start, _)) => call.starts_with(start),
        None => action == call,
    }
}

/// A policy of AWS's that allows everything of a service, or of all.
fn broad(policy: &Value) -> Option<String> {
    let name = policy.as_str()?.rsplit('/').next()?;
    let is_broad = name.ends_with("FullAccess")
        || name.ends_with("UserAccess")
        || name == "AdministratorAccess";
    is_broad.then(|| name.to_owned())
}

/// What SAM's own policy templates allow, of what lessons call.
/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/serverless-policy-template-list.html>
fn granted_by_sam(policy: &Value) -> Option<&'static [&'static str]> {
    let (name, _) = policy.as_object()?.iter().next()?;
    Some(match name.as_str() {
        "SQSSendMessagePolicy" => &["sqs:SendMessage"],
        "DynamoDBReadPolicy" => &[
            "dynamodb:GetItem",
            "dynamodb:BatchGetItem",
            "dynamodb:Query",
        ],
        "DynamoDBWritePolicy" => &["dynamodb:PutItem", "dynamodb:UpdateItem"],
        "DynamoDBCrudPolicy" => &[
            "dynamodb:GetItem",
            "dynamodb:BatchGetItem",
            "dynamodb:Query",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
            "dynamodb:DeleteItem",
        ],
        _ => return None,
    })
}

/// The first account or region that is written down.
fn place_in(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            let found = words.into_iter().find(|it| is_account(it) || is_region(it));
            found.map(str::to_owned)
        }
        // An account that is written as a number.
        Value::Number(number) => Some(number.to_string()).filter(|it| is_account(it)),
        Value::Array(items) => items.iter().find_map(place_in),
        Value::Object(members) => members.values().find_map(place_in),
        _ => None,
    }
}

fn is_account(word: &str) -> bool {
    word.len() == 12 && word.bytes().all(|it| it.is_ascii_digit())
}

/// Such as `eu-central-1`.
fn is_region(word: &str) -> bool {
    let parts: Vec<_> = word.split('-').collect();
    let [area, side, number] = parts[..] else {
        return false;
    };
    let sides = ["north", "south", "east", "west", "central"];
    area.len() == 2 && number.len() == 1 && sides.iter().any(|it| side.contains(it))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The solution of lesson 13 in short, changed at one place.
    fn objection_of(kind: Kind, at: &str, value: Value) -> Option<Objection> {
        let mut resources = json!({
            "Accept": {"Type": "AWS::Serverless::Function", "Properties": {
                "Timeout": 10, "LoggingConfig": {"LogGroup": {"Ref": "Logs"}},
                "Policies": [{"Statement": [{"Effect": "Allow", "Action": ["sqs:SendMessage"], "Resource": {"Fn::GetAtt": ["Queue", "Arn"]}}]}],
                "Events": {"Http": {"Type": "HttpApi", "Properties": {}}}}},
            "Work": {"Type": "AWS::Serverless::Function", "Properties": {
                "LoggingConfig": {"LogGroup": {"Ref": "Logs"}},
                "Events": {"Orders": {"Type": "SQS", "Properties": {
                    "Queue": {"Fn::GetAtt": ["Queue", "Arn"]}, "FunctionResponseTypes": ["ReportBatchItemFailures"]}}}}},
            "Queue": {"Type": "AWS::SQS::Queue", "Properties": {"RedrivePolicy": {
                "deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]}, "maxReceiveCount": "5"}}},
            "Dead": {"Type": "AWS::SQS::Queue", "Properties": {}},
            "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": 14}},
            "Table": {"Type": "AWS::DynamoDB::Table", "Properties": {"BillingMode": "PAY_PER_REQUEST"}},
            "Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": {
                "MetricName": "ApproximateNumberOfMessagesVisible", "Threshold": 0,
                "Dimensions": [{"Name": "QueueName", "Value": {"Fn::GetAtt": ["Dead", "QueueName"]}}]}},
        });
        if !at.is_empty() {
            let (parent, key) = at.rsplit_once('/').unwrap();
            resources.pointer_mut(parent).unwrap()[key] = value;
        }
        let rules = TemplateRules {
            keep: vec![Keep {
                at: "/Resources/Table/Type".to_owned(),
                is: json!("AWS::DynamoDB::Table"),
            }],
            calls: [("Accept".to_owned(), vec!["sqs:SendMessage".to_owned()])].into(),
            rule: Vec::new(),
        };
        let template = json!({"Resources": resources});
        let looked_at = Looked {
            resolved: template.clone(),
            written: template,
            rules: &rules,
        };
        looked_at.objection(kind)
    }

    #[test]
    fn each_rule_objects_to_what_breaks_it_and_to_nothing_else() {
        let accept = "/Accept/Properties";
        let policies = &format!("{accept}/Policies");
        let statement = &format!("{policies}/0/Statement/0");
        for (kind, at, value, who, measured) in [
            (
                Kind::Kept,
                "/Table/Type",
                json!("Other"),
                "/Resources/Table/Type",
                "\"Other\"",
            ),
            (Kind::Allowed, policies, json!([]), "Accept", "nothing"),
            (
                Kind::ApiTimeout,
                &format!("{accept}/Timeout"),
                json!("31"),
                "Accept",
                "31",
            ),
            (
                Kind::Visibility,
                "/Work/Properties/Timeout",
                json!(6),
                "Queue",
                "30",
            ),
            (
                Kind::Visibility,
                "/Queue/Properties/VisibilityTimeout",
                json!(17),
                "Queue",
                "17",
            ),
            (
                Kind::DeadLetters,
                "/Queue/Properties/RedrivePolicy",
                Value::Null,
                "Queue",
                "for no message",
            ),
            (
                Kind::DeadLetters,
                "/Queue/Properties/RedrivePolicy/maxReceiveCount",
                json!(4),
                "Queue",
                "after delivery 4",
            ),
            (
                Kind::DeadLetters,
                "/Dead/Type",
                json!("Other"),
                "Queue",
                "for no message",
            ),
            (
                Kind::PartialFailures,
                "/Work/Properties/Events/Orders/Properties/FunctionResponseTypes",
                Value::Null,
                "Work",
                "10",
            ),
            (
                Kind::Alarm,
                "/Alarm/Properties/MetricName",
                json!("NumberOfMessagesSent"),
                "Dead",
                "0",
            ),
            (
                Kind::Alarm,
                "/Alarm/Properties/Threshold",
                json!(1000),
                "Dead",
                "0",
            ),
            (
                Kind::Alarm,
                "/Alarm/Properties/Dimensions/0/Value",
                json!({"Ref": "Queue"}),
                "Dead",
                "0",
            ),
            (
                Kind::LeastPrivilege,
                policies,
                json!("AmazonSQSFullAccess"),
                "Accept",
                "AmazonSQSFullAccess",
            ),
            (
                Kind::LeastPrivilege,
                &format!("{statement}/Action"),
                json!("sqs:*"),
                "Accept",
                "sqs:*",
            ),
            (
                Kind::LeastPrivilege,
                &format!("{statement}/Resource"),
                json!(["*"]),
                "Accept",
                "sqs:SendMessage on every resource",
            ),
            (
                Kind::Retention,
                "/Logs/Properties/RetentionInDays",
                Value::Null,
                "Accept",
                "for ever",
            ),
            (
                Kind::Retention,
                "/Work/Properties/LoggingConfig",
                Value::Null,
                "Work",
                "for ever",
            ),
            (
                Kind::Portable,
                &format!("{statement}/Resource"),
                json!("arn:aws:sqs:eu-central-1:x:y"),
                "Accept",
                "eu-central-1",
            ),
            (
                Kind::Portable,
                "/Queue/Properties/x",
                json!([123_456_789_012_u64]),
                "Queue",
                "123456789012",
            ),
            (
                Kind::Names,
                "/Table/Properties/TableName",
                json!("orders"),
                "Table",
                "orders",
            ),
            (
                Kind::OnDemand,
                "/Table/Properties/BillingMode",
                Value::Null,
                "Table",
                "0 read and 0 write units each hour",
            ),
            (
                Kind::OnDemand,
                &format!("{accept}/ProvisionedConcurrencyConfig"),
                json!({"ProvisionedConcurrentExecutions": 3}),
                "Accept",
                "3 environments each hour",
            ),
        ] {
            assert_eq!(objection_of(kind, "", Value::Null), None, "{kind:?}");
            let found = objection_of(kind, at, value);
            let found = found.map(|it| (it.who, it.measured));
            assert_eq!(
                found,
                Some((who.to_owned(), measured.to_owned())),
                "{kind:?} {at}"
            );
        }
    }

    #[test]
    fn what_a_policy_of_another_form_allows_is_allowed() {
        let policies = "/Accept/Properties/Policies";
        for policy in [
            json!([{"SQSSendMessagePolicy": {"QueueName": "q"}}]),
            json!({"Statement": {"Effect": "Allow", "Action": "sqs:Send*", "Resource": "*"}}),
            json!(["AmazonSQSFullAccess"]),
        ] {
            assert_eq!(
                objection_of(Kind::Allowed, policies, policy.clone()),
                None,
                "{policy}"
            );
        }
        let denied =
            json!({"Statement": {"Effect": "Deny", "Action": "sqs:SendMessage", "Resource": "*"}});
        assert!(objection_of(Kind::Allowed, policies, denied).is_some());
    }

    #[test]
    fn a_region_is_told_from_other_words() {
        for (word, is) in [
            ("us-east-1", true),
            ("ap-southeast-2", true),
            ("provided-al2023", false),
            ("a-b-1", false),
        ] {
            assert_eq!(is_region(word), is, "{word}");
        }
    }
}
