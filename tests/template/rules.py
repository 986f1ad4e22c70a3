"""This project's own rules for a stack, each a function that says what it objects to.

A linter knows what AWS accepts. These know what this shop promises: that a message is never lost, that a function may
do what it does and nothing else, that nobody who finds the address can change the catalogue. test_rules.py holds
template.yaml against them, and them against templates that are broken on purpose.
"""

import functools
import json
import re

from policy_sentry.querying.actions import get_action_data

from combinations import references
from metrics import dimensions_of_metric, metrics_looked_at
from resolved import as_text, default_values, refusal
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

# A permission for the parts of a resource names the resource, with * for the part.
PARTS_OF_ONE_RESOURCE = [
    # Streams of a log group: the only form that AWS knows.
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatchlogs.html
    re.compile(r"arn:[^*]+:log-group:[^*]+:\*"),
    # Versions of a function.
    re.compile(r"\$\{\w+\.Arn\}:\*"),
]

# One look at every alarm: CodeDeploy's, and why is said in the template.
EVERY_ALARM = ("cloudwatch:DescribeAlarms", "arn:aws:cloudwatch:us-east-1:000000000000:alarm:*")


@functools.cache
def takes_no_resource(action):
    """Whether AWS can grant an action for everything only, by its own list, which policy_sentry brings:
    https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html"""
    service, name = action.split(":")
    rows = get_action_data(service, name)
    return bool(rows) and {it["resource_arn_format"] for it in rows[service]} == {"*"}


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
            is_part = any(it.fullmatch(text) for it in PARTS_OF_ONE_RESOURCE)
            is_narrowest = text == "*" and all(map(takes_no_resource, actions))
            if "*" in text and not is_part and not is_narrowest and (*actions, text) != EVERY_ALARM:
                yield f"{name}: {', '.join(actions)} on {text} has a wildcard"
        principal = statement.get("Principal")
        if principal == "*" or (isinstance(principal, dict) and "*" in as_list(principal.get("AWS"))):
            yield f"{name}: allows everyone"


@rule
def no_role_has_a_policy_that_aws_wrote(stack):
    """AWSLambdaBasicExecutionRole writes to every log group of the account, AWSLambdaSQSQueueExecutionRole empties every
    queue. SAM attaches them to a function that has no `Role`."""
    for name, role in stack.of("IAM::Role").items():
        for policy in role.get("ManagedPolicyArns", []):
            if stack.target(policy) not in stack.of("IAM::ManagedPolicy"):
                yield f"{name} has {json.dumps(policy)}"


@rule
def a_role_is_whole_before_its_function_is_made(stack):
    """Lambda asks when it makes a function with tracing, and CloudFormation makes a policy that names its roles beside the
    functions that wait for those roles."""
    for name, policy in stack.of("IAM::ManagedPolicy", "IAM::Policy", "IAM::RolePolicy").items():
        if "Roles" in policy or "RoleName" in policy:
            yield f"{name} may come after the functions whose roles it is for"
    tracing = {it for it, statement in stack.statements() if "xray:PutTraceSegments" in as_list(statement["Action"])}
    for name, function in stack.functions().items():
        policies = stack.of("IAM::Role").get(stack.target(function["Role"]), {}).get("ManagedPolicyArns", [])
        is_traced = function.get("TracingConfig", {}).get("Mode") == "Active"
        if is_traced != any(stack.target(it) in tracing for it in policies):
            yield f"{name} {'may not trace' if is_traced else 'may trace and does not'}"


@rule
def each_function_has_a_role_of_its_own(stack):
    """Or a function could do what another may. It writes to its own log group, and may make none: a group that it made
    would have no retention, and stay when the stack goes."""
    users = {}
    for name, function in stack.all_functions().items():
        role = stack.target(function["Role"])
        users.setdefault(role, []).append(name)
        statements = [it for owner, it in stack.statements() if owner == role and "Action" in it]
        logs = [it for it in statements if any(action.startswith("logs:") for action in as_list(it["Action"]))]
        group = function.get("LoggingConfig", {}).get("LogGroup", {}).get("Ref")
        expected = {"Fn::GetAtt": [group, "Arn"]}
        for statement in logs:
            if as_list(statement["Resource"]) != [expected]:
                yield f"{name} may write to {json.dumps(statement['Resource'])}"
        actions = {action for it in logs for action in as_list(it["Action"])}
        if actions != {"logs:CreateLogStream", "logs:PutLogEvents"}:
            yield f"{name} may do to its log group: {', '.join(sorted(actions)) or 'nothing'}"
    for role, names in users.items():
        if role not in stack.of("IAM::Role"):
            yield f"{', '.join(names)}: the role is not in this stack"
        if len(names) > 1:
            yield f"{', '.join(names)} share {role}"


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
def nobody_orders_in_production_unless_it_was_decided_who_may(stack):
    refused = refusal(stack.source, default_values(stack.source) | {"Stage": "prod"})
    if "OrderAccess=open" not in (refused or ""):
        yield "production may be deployed without a word on who may order"
    expected = "JWT" if stack.parameters["JwtIssuer"] else "NONE"
    for route in ("POST /orders", "GET /orders/{id}"):
        if stack.routes().get(route) != expected:
            yield f"{route} is authorised by {stack.routes().get(route)}, not {expected}"


@rule
def orders_have_a_throttle_of_their_own(stack):
    """An order costs three times the mean request, and at worst twenty-five times: docs/cost.md."""
    for name, stage in stack.of("ApiGatewayV2::Stage").items():
        every, order = stage.get("DefaultRouteSettings", {}), stage.get("RouteSettings", {}).get("POST /orders", {})
        for limit in ("ThrottlingRateLimit", "ThrottlingBurstLimit"):
            if not 0 < order.get(limit, 0) < every.get(limit, 0):
                yield f"{name}: {limit} of POST /orders is not below that of every route"


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
        format_ = settings["Format"]
        variables = set(re.findall(r"\$context((?:\.\w+)+)", format_))
        # API Gateway puts values in as they are, a quote included.
        line = re.sub(r"\$context((?:\.\w+)+)", lambda it: PLAIN_VALUES.get(it[1], 'a "quoted" \\ word'), format_)
        try:
            json.loads(line)
        except ValueError as error:
            yield f"{name}: a line of its access log may be no JSON: {error}: {line}"
        if ".requestId" not in variables:
            yield f"{name}: a line of its access log has no $context.requestId"


# Variables of an HTTP API's access log that are numbers, ids or words from a list, with a value of each, or `-` for none:
# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging-variables.html
PLAIN_VALUES = {
    ".error.responseType": "INTEGRATION_FAILURE",
    ".integration.requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
    ".integrationLatency": "12",
    ".integrationStatus": "-",
    ".requestId": "JKJaXmPLvHcESHA=",
    ".requestTimeEpoch": "1764000000000",
    ".responseLatency": "14",
    ".responseLength": "107",
    ".routeKey": "GET /products/{id}",
    ".status": "200",
}


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

# Variables that Lambda, X-Ray and the SDKs define; a template would not set them.
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
    for function, properties in stack.all_functions().items():
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
def no_percentile_of_a_few_values_raises_an_alarm(stack):
    """It is the slowest of them: a cold start at night."""
    for name, alarm in stack.of("CloudWatch::Alarm").items():
        if "ExtendedStatistic" in alarm:
            yield f"{name} looks at a percentile of however few values"
        metrics = alarm.get("Metrics", [])
        percentiles = [it for it in metrics if re.match(r"p\d|t[mc]", it.get("MetricStat", {}).get("Stat", ""))]
        counts = [it for it in metrics if it.get("MetricStat", {}).get("Stat") == "SampleCount"]
        for percentile in percentiles:
            metric, period = percentile["MetricStat"]["Metric"], percentile["MetricStat"]["Period"]
            of_same = [
                it["Id"]
                for it in counts
                if (it["MetricStat"]["Metric"], it["MetricStat"]["Period"]) == (metric, period)
            ]
            guards = [f"IF({it} >= " for it in of_same]
            judged = [it["Expression"] for it in metrics if it.get("ReturnData", True) and "Expression" in it]
            if len(judged) != 1 or not judged[0].startswith(tuple(guards) or "-") or percentile.get("ReturnData", True):
                yield f"{name} judges {percentile['Id']} without a look at how many values it is of"


@rule
def a_burning_error_budget_is_seen_fast_and_slow(stack):
    """Two pairs of windows, of which each has to be above its rate at both: https://sre.google/workbook/alerting-on-slos/"""
    slo = stack.source["Mappings"]["Slo"]
    parts = set()
    for pair in ("FastBurn", "SlowBurn"):
        rate, long, short = (float(slo[pair][it]) for it in ("Rate", "LongWindowSeconds", "ShortWindowSeconds"))
        for size, seconds in (("Long", long), ("Short", short)):
            alarm = stack.of("CloudWatch::Alarm").get(pair + size, {})
            periods = {float(it["MetricStat"]["Period"]) for it in alarm.get("Metrics", []) if "MetricStat" in it}
            if periods != {seconds} or float(alarm.get("Threshold", 0)) != rate:
                yield f"{pair}{size} does not look at {seconds:g} s for a rate of {rate:g}"
        parts.add(f'(ALARM("${{{pair}Long}}") AND ALARM("${{{pair}Short}}"))')
        # A twelfth, so that an alarm ends soon after its cause: the same page.
        if long != 12 * short:
            yield f"the short window of {pair} is no twelfth of the long one"
    rules_ = [as_text(it["AlarmRule"]) for it in stack.of("CloudWatch::CompositeAlarm").values()]
    if not any(set(it.split(" OR ")) == parts for it in rules_):
        yield "no composite alarm is of both pairs"


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
        if stack.target(group.get("ServiceRoleArn")) not in stack.of("IAM::Role"):
            yield f"{name} has no role of this stack"
        if "DEPLOYMENT_STOP_ON_ALARM" not in group.get("AutoRollbackConfiguration", {}).get("Events", []):
            yield f"{name} does not roll back on an alarm"


@rule
def a_new_version_is_tried_before_it_gets_requests(stack):
    """A tenth of no requests raises no alarm. test_hook.py tries the function that does it."""
    is_gradual = bool(stack.of("CodeDeploy::DeploymentGroup"))
    for name, alias in stack.resources.items():
        if not is_gradual or alias["Type"] != "AWS::Lambda::Alias":
            continue
        hook = stack.target(alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"].get("BeforeAllowTrafficHook"))
        if hook not in stack.all_functions():
            yield f"{name} moves to a version that nobody has tried"
            continue
        tried = stack.all_functions()[hook].get("Environment", {}).get("Variables", {})
        [version, _] = alias["Properties"]["FunctionVersion"]["Fn::GetAtt"]
        if tried.get(stack.target(alias["Properties"]["FunctionName"])) != {"Ref": version}:
            yield f"{name}: {hook} is not told of the version that it moves to"


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
def the_rules_of_the_template_look_at_parameters_only(stack):
    """CloudFormation takes nothing else in them, the region of the stack included, and its linters let it pass:
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/rules-section-structure.html"""
    for name in sorted(references(stack.source.get("Rules", {})) - set(stack.source["Parameters"])):
        yield f"a rule looks at {name}, which is no parameter"


@rule
def a_name_stands_for_one_thing(stack):
    """A parameter's name is "unique among all logical names within the template".
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html"""
    sections = ("Parameters", "Mappings", "Conditions", "Resources")
    names = [name for section in sections for name in stack.source.get(section, {})]
    yield from (f"{it} is the name of two things" for it in sorted({it for it in names if names.count(it) > 1}))
