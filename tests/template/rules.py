"""This project's own rules for a stack, each a function that says what it objects to.

A linter knows what AWS accepts. These know what this shop promises: that a message is never lost, that a function may
do what it does and nothing else, that nobody who finds the address can change the catalogue. test_rules.py holds
template.yaml against them, and them against templates that are broken on purpose.
"""

import json
import re

from combinations import references
from intrinsics import as_text, default_values
from metrics import dimensions_of_metric, metrics_looked_at
from stack import as_list

RULES = []


def rule(function):
    RULES.append(function)
    return function


# ── Messages ──────────────────────────────────────────────────────────────────────────────────────────


@rule
def a_queue_hides_a_message_for_six_timeouts_of_its_function(stack):
    """Or a batch that was throttled is delivered again while it is still being tried.
    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""
    for _, mapping, queue, function in stack.queues_that_trigger():
        visibility = stack.of("SQS::Queue")[queue].get("VisibilityTimeout", 30)
        timeout = stack.functions()[function].get("Timeout", 3)
        needed = 6 * timeout + mapping.get("MaximumBatchingWindowInSeconds", 0)
        if visibility < needed:
            yield f"{queue} hides a message for {visibility} s; {function} needs {needed} s"


@rule
def a_failed_message_is_reported_by_itself(stack):
    """Both sides have to say so: without the mapping's word the response is ignored.
    What the function reports is tested in functions/process-orders/src/batch.rs."""
    for name, mapping, _, function in stack.queues_that_trigger():
        if "ReportBatchItemFailures" not in mapping.get("FunctionResponseTypes", []):
            yield f"{name} has no ReportBatchItemFailures"
        if not re.search(r"-> Result<SqsBatchResponse, \w+>", stack.code[stack.crate(function)]):
            yield f"{function} returns no SqsBatchResponse"


@rule
def what_fails_again_and_again_ends_in_a_dead_letter_queue(stack):
    queues = stack.of("SQS::Queue")
    for _, _, queue, _ in stack.queues_that_trigger():
        redrive = queues[queue].get("RedrivePolicy", {})
        dead = stack.target(redrive.get("deadLetterTargetArn"))
        if dead not in queues:
            yield f"{queue} has no dead-letter queue in this stack"
            continue
        # At least 5, or a message dies of throttling alone: the same page as for the visibility timeout.
        if redrive.get("maxReceiveCount", 0) < 5:
            yield f"{queue} gives a message up after fewer than 5 deliveries"
        # A message keeps the age that it has when it is moved, so it would be deleted before anyone looks.
        kept, kept_dead = (queues[it].get("MessageRetentionPeriod", 345_600) for it in (queue, dead))
        if kept_dead <= kept:
            yield f"{dead} keeps a message no longer than {queue}"
    for name, mapping in stack.of("Lambda::EventSourceMapping").items():
        is_queue = name in [mapping for mapping, *_ in stack.queues_that_trigger()]
        if not is_queue and "OnFailure" not in mapping.get("DestinationConfig", {}):
            yield f"{name} has no destination for what fails"
    for function, trigger in asynchronous_invocations(stack):
        configurations = stack.of("Lambda::EventInvokeConfig").values()
        on_failure = [
            it
            for it in configurations
            if stack.target(it["FunctionName"]) == function and "OnFailure" in it.get("DestinationConfig", {})
        ]
        if "DeadLetterConfig" not in stack.functions()[function] and not on_failure:
            yield f"{trigger} invokes {function} asynchronously, which has no dead-letter queue"


def asynchronous_invocations(stack):
    """Each function that something invokes without waiting for its answer, and that something."""
    endpoints = [(name, it.get("Endpoint")) for name, it in stack.of("SNS::Subscription").items()]
    endpoints += [
        (name, target["Arn"]) for name, it in stack.of("Events::Rule").items() for target in it.get("Targets", [])
    ]
    endpoints += [(name, it["Target"]["Arn"]) for name, it in stack.of("Scheduler::Schedule").items()]
    for name, endpoint in endpoints:
        if stack.target(endpoint) in stack.functions():
            yield stack.target(endpoint), name


# ── Permissions ───────────────────────────────────────────────────────────────────────────────────────

# All streams of one log group: what may be done to streams is granted by the group, in this form only.
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatchlogs.html
STREAMS_OF_A_LOG_GROUP = re.compile(r"arn:[^*]+:log-group:[^*]+:\*")

# AWS's own policies, which SAM attaches where a function's properties ask for it. Their resource is "*", and SAM has no
# narrower form of them.
MANAGED_POLICIES = {
    "AWSLambdaBasicExecutionRole": "every function: writes logs",
    "AWSLambdaSQSQueueExecutionRole": "ProcessOrders: receives and deletes the messages of its queue, and writes logs",
    "AWSXrayWriteOnlyAccess": "every function with Tracing=Active: writes traces, which belong to no resource",
    "AWSCodeDeployRoleForLambda": "CodeDeploy in prod: shifts an alias from one version to the next, and reads alarms",
}


@rule
def no_statement_allows_more_than_is_named(stack):
    for name, statement in stack.statements():
        for key in ("NotAction", "NotResource", "NotPrincipal"):
            if key in statement:
                yield f"{name}: {key} allows all but what it names"
        if statement["Effect"] != "Allow":
            continue
        actions = as_list(statement.get("Action", []))
        for action in actions:
            if "*" in action:
                yield f"{name}: the action {action} has a wildcard"
        for resource in as_list(statement.get("Resource", [])):
            text = as_text(resource) or json.dumps(resource)
            if "*" in text and not STREAMS_OF_A_LOG_GROUP.fullmatch(text):
                yield f"{name}: {', '.join(actions)} on {text} has a wildcard"
        principal = statement.get("Principal")
        if principal == "*" or isinstance(principal, dict) and "*" in as_list(principal.get("AWS")):
            yield f"{name}: allows everyone"


@rule
def no_role_has_a_managed_policy_that_is_not_listed_here(stack):
    for name, role in stack.of("IAM::Role").items():
        for policy in role.get("ManagedPolicyArns", []):
            short = json.dumps(policy).rsplit("/", 1)[-1].strip('"}]')
            if short not in MANAGED_POLICIES:
                yield f"{name} has {short}"


@rule
def a_service_may_invoke_a_function_for_one_source(stack):
    """Or anyone's API Gateway, in any account, could."""
    for name, permission in stack.of("Lambda::Permission").items():
        if "SourceArn" not in permission:
            yield f"{name} has no SourceArn"


# ── The API ───────────────────────────────────────────────────────────────────────────────────────────


@rule
def nobody_writes_to_the_catalogue_without_iam_unless_it_is_asked_for(stack):
    if default_values(stack.source)["CatalogueWrites"] != "iam":
        yield "iam is not the default of CatalogueWrites"
    is_open = stack.parameters["CatalogueWrites"] == "open"
    if is_open and stack.parameters["Stage"] == "prod":
        yield "production may be open"
    expected = "NONE" if is_open else "AWS_IAM"
    writes = {route: it for route, it in stack.routes().items() if re.match(r"(PUT|DELETE|PATCH) /products", route)}
    if not writes:
        yield "there is no route that writes to the catalogue"
    for route, authorizer in writes.items():
        if authorizer != expected:
            yield f"{route} is authorised by {authorizer}, not {expected}"


@rule
def the_api_is_throttled(stack):
    for name, stage in stack.of("ApiGatewayV2::Stage").items():
        settings = stage.get("DefaultRouteSettings", {})
        for limit in ("ThrottlingRateLimit", "ThrottlingBurstLimit"):
            if not settings.get(limit, 0) > 0:
                yield f"{name} has no {limit}"


@rule
def every_request_is_logged_as_json(stack):
    for name, stage in stack.of("ApiGatewayV2::Stage").items():
        settings = stage.get("AccessLogSettings", {})
        if stack.target(settings.get("DestinationArn")) not in stack.of("Logs::LogGroup"):
            yield f"{name} writes no access log to a log group of this stack"
            continue
        try:
            # A value of $context is put between the quotes.
            entry = json.loads(settings["Format"])
        except ValueError as error:
            yield f"{name}: a line of its access log is no JSON: {error}"
            continue
        if "$context.requestId" not in entry.values():
            yield f"{name}: a line of its access log has no $context.requestId"


@rule
def no_function_outlives_the_api(stack):
    """An HTTP API waits for 30 s: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html"""
    for permission in stack.of("Lambda::Permission").values():
        function = stack.target(permission["FunctionName"])
        timeout = stack.functions()[function].get("Timeout", 3)
        if permission["Principal"] == "apigateway.amazonaws.com" and timeout >= 30:
            yield f"{function} may take {timeout} s"


# ── Functions ─────────────────────────────────────────────────────────────────────────────────────────


# A variable that Rust code reads, and one that is read by way of `aws::required`, which a function's main.rs calls.
READ = re.compile(r'\b(?:var|environment|lookup|require|endpoint)\((?:lookup, |&environment, )?\s*"([A-Z_][A-Z0-9_]*)"')
REQUIRED = re.compile(r'\brequired\("([A-Z_][A-Z0-9_]*)"\)')

# What Lambda, X-Ray and the SDKs define; a template would not set it.
DEFINED_ELSEWHERE = re.compile(r"AWS_.*|_X_AMZN_.*|SSL_CERT_FILE")


@rule
def a_function_has_the_variables_that_its_code_reads_and_no_other(stack):
    for name, function in stack.functions().items():
        code = stack.code[stack.crate(name)]
        read = {it for it in REQUIRED.findall(code) + READ.findall(code) if not DEFINED_ELSEWHERE.fullmatch(it)}
        set_ = set(function.get("Environment", {}).get("Variables", {}))
        yield from (f"{name} reads {it}, which is not set" for it in sorted(read - set_))
        yield from (f"{name} does not read {it}" for it in sorted(set_ - read))
    for name in READ.findall(stack.code["shop"]):
        if not DEFINED_ELSEWHERE.fullmatch(name):
            yield f"functions/shop reads {name}, and no main.rs says so"


@rule
def the_functions_run_on_arm64_unless_asked(stack):
    expected = stack.parameters.get("Architecture", "arm64")
    if default_values(stack.source).get("Architecture", "arm64") != "arm64":
        yield "arm64 is not the default of Architecture"
    for name, function in stack.functions().items():
        if function.get("Architectures") != [expected]:
            yield f"{name} runs on {function.get('Architectures')}"


@rule
def logs_do_not_grow_for_ever(stack):
    """Lambda makes a log group without retention for a function that has none."""
    groups = stack.of("Logs::LogGroup")
    for name, group in groups.items():
        if not group.get("RetentionInDays"):
            yield f"{name} has no RetentionInDays"
    for function, properties in stack.functions().items():
        chosen = stack.target(properties.get("LoggingConfig", {}).get("LogGroup"))
        own = [f"/aws/lambda/${{{function}}}", f"/aws/lambda/{properties.get('FunctionName')}"]
        named = [name for name, it in groups.items() if it.get("LogGroupName") in own + [{"Fn::Sub": it} for it in own]]
        if chosen not in groups and not named:
            yield f"{function} has no log group in this stack"


# ── Data ──────────────────────────────────────────────────────────────────────────────────────────────


@rule
def everything_at_rest_is_encrypted(stack):
    """Tables and log groups always are, with a key of AWS's. The topic of alarms is not: they may not use that key."""
    for name, queue in stack.of("SQS::Queue").items():
        if queue.get("SqsManagedSseEnabled") is not True and "KmsMasterKeyId" not in queue:
            yield f"{name} is not encrypted"
    for name, bucket in stack.of("S3::Bucket").items():
        if "BucketEncryption" not in bucket:
            yield f"{name} is not encrypted"


@rule
def production_data_survives_a_mistake(stack):
    if stack.parameters["Stage"] != "prod":
        return
    for name, table in stack.of("DynamoDB::Table").items():
        if table.get("DeletionProtectionEnabled") is not True:
            yield f"{name} has no DeletionProtectionEnabled"
        if table.get("SSESpecification", {}).get("SSEEnabled") is not True:
            yield f"{name} is not encrypted with a key whose use is logged"
        if table.get("PointInTimeRecoverySpecification", {}).get("PointInTimeRecoveryEnabled") is not True:
            yield f"{name} has no point-in-time recovery"


@rule
def orders_expire(stack):
    """By an attribute that the code writes."""
    table = stack.of("DynamoDB::Table")["OrdersTable"]
    ttl = table.get("TimeToLiveSpecification", {})
    if not ttl.get("Enabled"):
        yield "OrdersTable has no TimeToLiveSpecification"
    elif f'"{ttl["AttributeName"]}"' not in stack.code["shop"]:
        yield f"OrdersTable expires by {ttl['AttributeName']}, which functions/shop does not write"


# ── Watching ──────────────────────────────────────────────────────────────────────────────────────────


@rule
def every_metric_that_is_looked_at_exists(stack):
    """CloudWatch takes any name: an alarm on a metric that nobody writes is silent for ever."""
    of_code = re.search(r"impl Metric \{.*?\n}", stack.code["shop"], re.DOTALL)[0]
    own = set(re.findall(r'Self::\w+ => "(\w+)"', of_code.partition("fn unit")[0]))
    of_filters = [it["MetricTransformations"] for it in stack.of("Logs::MetricFilter").values()]
    own |= {it["MetricName"] for transformations in of_filters for it in transformations}
    variables = [it.get("Environment", {}).get("Variables", {}) for it in stack.functions().values()]
    namespaces = {it.get("METRICS_NAMESPACE") for it in variables}
    for place, namespace, name, dimensions in metrics_looked_at(stack):
        if namespace in namespaces - {None}:
            known = [set()] if name in own else None
        else:
            known = dimensions_of_metric(namespace, name)
        if known is None:
            yield f"{place}: there is no metric {name} in {namespace}"
        elif set(dimensions) not in known:
            yield f"{place}: {namespace} {name} has no dimensions {', '.join(sorted(dimensions)) or 'at all'}"
        for value in dimensions.values():
            if isinstance(value, dict) and stack.target(value) not in stack.resources:
                yield f"{place}: {namespace} {name} of {json.dumps(value)}, which is not in this stack"


@rule
def every_alarm_says_what_silence_means(stack):
    """An idle shop has no data points, and that is neither an alarm nor unknown."""
    for name, alarm in stack.of("CloudWatch::Alarm").items():
        if "TreatMissingData" not in alarm:
            yield f"{name} has no TreatMissingData"


@rule
def the_numbers_of_the_slo_stand_once(stack):
    """In `Mappings: Slo`, where alarms and dashboard look them up; tests/tests/drift.rs holds the load test to them."""
    numbers = stack.source.get("Mappings", {}).get("Slo", {})
    leaves = {(first, second): value for first, row in numbers.items() for second, value in row.items()}
    times = {leaf for leaf in leaves if leaf[1].endswith("Milliseconds")}
    for type_, needed in (("Alarm", set(leaves)), ("Dashboard", times)):
        everything = stack.source["Resources"].items()
        resources = {name: it["Properties"] for name, it in everything if it["Type"] == f"AWS::CloudWatch::{type_}"}
        looked_up = {(it[1], it[2]) for it in lookups(list(resources.values())) if it[0] == "Slo"}
        for leaf in sorted(needed - looked_up):
            yield f"no {type_} looks up {', '.join(leaf)} in the mapping Slo"
        for name, properties in resources.items():
            for value in written_numbers(properties):
                if value in map(float, leaves.values()):
                    yield f"{name}: {value:g} is a number of the mapping Slo"


def written_numbers(properties):
    """The limits that an alarm or a dashboard has as numbers: thresholds, and the values of annotations."""
    limits = [it for it in as_list(properties.get("Threshold", [])) if not isinstance(it, dict)]
    limits += re.findall(r'"value": *"?([\d.]+)', json.dumps(properties).replace('\\"', '"'))
    return [float(it) for it in limits]


def lookups(node):
    """The arguments of each Fn::FindInMap below `node`."""
    if isinstance(node, dict):
        if "Fn::FindInMap" in node:
            yield node["Fn::FindInMap"]
        for it in node.values():
            yield from lookups(it)
    elif isinstance(node, list):
        for it in node:
            yield from lookups(it)


@rule
def a_gradual_deployment_is_rolled_back_by_an_alarm(stack):
    for name, group in stack.of("CodeDeploy::DeploymentGroup").items():
        configuration = group.get("AlarmConfiguration", {})
        alarms = [stack.target(it["Name"]) for it in configuration.get("Alarms", [])]
        if configuration.get("Enabled") is False or not alarms:
            yield f"{name} has no alarm"
        for alarm in alarms:
            if alarm not in stack.of("CloudWatch::Alarm", "CloudWatch::CompositeAlarm"):
                yield f"{name}: {alarm} is no alarm of this stack"
        if "DEPLOYMENT_STOP_ON_ALARM" not in group.get("AutoRollbackConfiguration", {}).get("Events", []):
            yield f"{name} does not roll back on an alarm"


# ── The template itself ───────────────────────────────────────────────────────────────────────────────


@rule
def nothing_is_declared_that_nothing_reads(stack):
    """cfn-lint does not look for it in a template that SAM has still to translate, and in what SAM makes of it some are
    gone, because it has read them."""
    rest = {key: it for key, it in stack.source.items() if key not in ("Parameters", "Metadata")}
    read = references(rest)
    maps = {it[0] for it in lookups(rest)}
    yield from (f"nothing reads the parameter {it}" for it in stack.source["Parameters"] if it not in read)
    yield from (f"nothing reads the mapping {it}" for it in stack.source.get("Mappings", {}) if it not in maps)


@rule
def a_name_stands_for_one_thing(stack):
    """A parameter's name is "unique among all logical names within the template".
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html"""
    sections = ("Parameters", "Mappings", "Conditions", "Resources")
    names = [name for section in sections for name in stack.source.get(section, {})]
    yield from (f"{it} is the name of two things" for it in sorted({it for it in names if names.count(it) > 1}))
