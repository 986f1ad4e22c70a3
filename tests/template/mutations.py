"""Templates that are broken on purpose: what is changed, and the rule that has to object."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Mutation:
    name: str
    rule: str
    change: Callable
    """Takes the template and the code, which it changes."""
    parameters: dict = field(default_factory=dict)


MUTATIONS = []


def breaks(rule, **parameters):
    def register(change):
        MUTATIONS.append(Mutation(change.__name__.replace("_", " "), rule, change, parameters))
        return change

    return register


def properties(template, name):
    return template["Resources"][name]["Properties"]


def statements(template, function):
    """What a function's role allows; its log group comes last."""
    [policy] = properties(template, f"{function}Role")["Policies"]
    return policy["PolicyDocument"]["Statement"]


def statement(template, function):
    """The first of them."""
    return statements(template, function)[0]


@breaks("a_queue_hides_a_message_for_six_timeouts_of_its_function")
def a_visibility_timeout_one_second_too_short(template, code):
    properties(template, "OrdersQueue")["VisibilityTimeout"] -= 1


@breaks("a_queue_hides_a_message_for_six_timeouts_of_its_function")
def a_visibility_timeout_left_at_its_default(template, code):
    del properties(template, "OrdersQueue")["VisibilityTimeout"]


@breaks("a_queue_hides_a_message_for_six_timeouts_of_its_function")
def a_batching_window_that_the_visibility_timeout_leaves_out(template, code):
    properties(template, "ProcessOrders")["Events"]["Orders"]["Properties"]["MaximumBatchingWindowInSeconds"] = 1


@breaks("a_failed_message_is_reported_by_itself")
def a_mapping_without_ReportBatchItemFailures(template, code):
    del properties(template, "ProcessOrders")["Events"]["Orders"]["Properties"]["FunctionResponseTypes"]


@breaks("a_failed_message_is_reported_by_itself")
def a_worker_that_reports_nothing(template, code):
    code["process-orders"] = code["process-orders"].replace("Result<SqsBatchResponse, Error>", "Result<(), Error>")


DEAD_LETTERS = "what_fails_again_and_again_ends_in_a_dead_letter_queue"


@breaks(DEAD_LETTERS)
def a_queue_without_a_dead_letter_queue(template, code):
    del properties(template, "OrdersQueue")["RedrivePolicy"]


@breaks(DEAD_LETTERS)
def a_dead_letter_queue_in_another_stack(template, code):
    properties(template, "OrdersQueue")["RedrivePolicy"]["deadLetterTargetArn"] = (
        "arn:aws:sqs:us-east-1:123456789012:dead"
    )


@breaks(DEAD_LETTERS)
def a_message_given_up_after_four_deliveries(template, code):
    properties(template, "OrdersQueue")["RedrivePolicy"]["maxReceiveCount"] = 4


@breaks(DEAD_LETTERS)
def a_dead_letter_queue_that_forgets_as_soon_as_the_queue(template, code):
    properties(template, "OrdersDeadLetterQueue")["MessageRetentionPeriod"] = 345_600


@breaks(DEAD_LETTERS)
def a_function_invoked_asynchronously_without_a_dead_letter_queue(template, code):
    properties(template, "ListProducts")["Events"]["Nightly"] = {
        "Type": "Schedule",
        "Properties": {"Schedule": "rate(1 day)"},
    }


@breaks(DEAD_LETTERS)
def a_stream_that_stops_at_what_fails(template, code):
    properties(template, "ListProducts")["Events"]["Stream"] = {
        "Type": "DynamoDB",
        "Properties": {
            "Stream": "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/s",
            "StartingPosition": "LATEST",
        },
    }


WILDCARDS = "no_statement_allows_more_than_is_named"


@breaks(WILDCARDS)
def every_action_of_a_service(template, code):
    statement(template, "GetProduct")["Action"] = "dynamodb:*"


@breaks(WILDCARDS)
def every_action_that_begins_alike(template, code):
    statement(template, "GetProduct")["Action"] = ["dynamodb:GetItem", "dynamodb:Batch*"]


@breaks(WILDCARDS)
def every_resource(template, code):
    statement(template, "GetProduct")["Resource"] = "*"


@breaks(WILDCARDS, Tracing="Active")
def every_resource_for_more_than_traces(template, code):
    [allowed] = properties(template, "TracingPolicy")["PolicyDocument"]["Statement"]
    allowed["Action"].append("sqs:ReceiveMessage")


@breaks(WILDCARDS)
def every_resource_for_an_action_that_does_not_exist(template, code):
    statement(template, "GetProduct").update({"Action": "xray:PutTraces", "Resource": "*"})


@breaks(WILDCARDS)
def every_index_of_a_table(template, code):
    statement(template, "GetProduct")["Resource"] = {"Fn::Sub": "${ProductsTable.Arn}/index/*"}


@breaks(WILDCARDS)
def all_actions_but_one(template, code):
    allowed = statement(template, "GetProduct")
    allowed["NotAction"] = allowed.pop("Action")


@breaks(WILDCARDS)
def a_queue_that_everyone_may_send_to(template, code):
    anyone = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "sqs:SendMessage",
        "Resource": {"Fn::GetAtt": ["OrdersQueue", "Arn"]},
    }
    template["Resources"]["Open"] = {
        "Type": "AWS::SQS::QueuePolicy",
        "Properties": {"Queues": [{"Ref": "OrdersQueue"}], "PolicyDocument": {"Statement": [anyone]}},
    }


@breaks(WILDCARDS)
def every_alarm_for_more_than_a_look(template, code):
    properties(template, "CodeDeployRole")["Policies"][0]["PolicyDocument"]["Statement"][-1]["Action"] = [
        "cloudwatch:DescribeAlarms",
        "cloudwatch:DeleteAlarms",
    ]


# Mutations of what only production has need its parameters.
PROD = {"Stage": "prod", "OrderAccess": "open"}
MUTATIONS[-1].parameters = PROD

BY_AWS = "no_role_has_a_policy_that_aws_wrote"


@breaks(BY_AWS)
def a_managed_policy_for_everything(template, code):
    properties(template, "GetProductRole")["ManagedPolicyArns"] = ["arn:aws:iam::aws:policy/AdministratorAccess"]


@breaks(BY_AWS)
def a_function_whose_role_SAM_makes(template, code):
    other = copy.deepcopy(template["Resources"]["ProcessOrders"])
    del other["Properties"]["Role"]
    template["Resources"]["ProcessReturns"] = other


@breaks(BY_AWS, **PROD)
def a_gradual_deployment_whose_role_SAM_makes(template, code):
    del template["Globals"]["Function"]["DeploymentPreference"]["Role"]


WHOLE = "a_role_is_whole_before_its_function_is_made"


@breaks(WHOLE, Tracing="Active")
def a_policy_that_comes_when_it_comes(template, code):
    properties(template, "TracingPolicy")["Roles"] = [{"Ref": "GetProductRole"}]


@breaks(WHOLE, Tracing="Active")
def a_function_that_traces_and_may_not(template, code):
    properties(template, "GetProductRole")["ManagedPolicyArns"].pop(0)


@breaks(WHOLE)
def a_function_that_may_trace_and_does_not(template, code):
    del template["Resources"]["TracingPolicy"]["Condition"]
    properties(template, "GetProductRole")["ManagedPolicyArns"] = [{"Ref": "TracingPolicy"}]


ROLES = "each_function_has_a_role_of_its_own"


@breaks(ROLES)
def two_functions_with_one_role(template, code):
    properties(template, "GetProduct")["Role"] = {"Fn::GetAtt": ["GetOrderRole", "Arn"]}


@breaks(ROLES)
def a_role_of_elsewhere(template, code):
    properties(template, "GetProduct")["Role"] = "arn:aws:iam::123456789012:role/elsewhere"


@breaks(ROLES)
def a_role_that_writes_to_the_log_of_another_function(template, code):
    statements(template, "GetProduct")[-1]["Resource"] = {"Fn::GetAtt": ["GetOrderLogs", "Arn"]}


@breaks(ROLES)
def a_role_that_may_make_log_groups(template, code):
    statements(template, "GetProduct")[-1]["Action"].append("logs:CreateLogGroup")


@breaks(ROLES)
def a_role_that_may_not_write_to_its_log(template, code):
    statements(template, "GetProduct").pop()


@breaks("a_service_may_invoke_a_function_for_one_source")
def a_function_that_any_API_may_invoke(template, code):
    template["Resources"]["Open"] = {
        "Type": "AWS::Lambda::Permission",
        "Properties": {
            "Action": "lambda:InvokeFunction",
            "FunctionName": {"Ref": "GetProduct"},
            "Principal": "apigateway.amazonaws.com",
        },
    }


CATALOGUE = "nobody_writes_to_the_catalogue_without_iam_unless_it_is_asked_for"


def writes(template):
    return properties(template, "Api")["DefinitionBody"]["paths"]["/products/{id}"]


@breaks(CATALOGUE)
def a_PUT_that_anyone_may_send(template, code):
    del writes(template)["put"]


@breaks(CATALOGUE)
def a_DELETE_that_asks_for_a_key_that_nobody_checks(template, code):
    schemes = properties(template, "Api")["DefinitionBody"]["components"]["securitySchemes"]
    schemes["key"] = {"type": "apiKey", "name": "x-api-key", "in": "header"}
    writes(template)["delete"]["security"] = [{"key": []}]


@breaks(CATALOGUE)
def a_scheme_that_is_not_checked(template, code):
    schemes = properties(template, "Api")["DefinitionBody"]["components"]["securitySchemes"]
    del schemes["AWS_IAM"]["x-amazon-apigateway-authtype"]


@breaks(CATALOGUE)
def an_API_open_by_default(template, code):
    template["Parameters"]["CatalogueWrites"]["Default"] = "open"


@breaks(CATALOGUE, CatalogueWrites="open")
def an_API_that_stays_closed_when_asked_to_open(template, code):
    writes(template)["put"]["security"] = [{"AWS_IAM": []}]


@breaks(CATALOGUE)
def no_write_at_all(template, code):
    for name in ("PutProduct", "DeleteProduct"):
        del properties(template, name)["Events"]
    del properties(template, "Api")["DefinitionBody"]["paths"]["/products/{id}"]


@breaks("the_api_is_throttled")
def an_API_without_limits(template, code):
    del properties(template, "Api")["DefaultRouteSettings"]


@breaks("the_api_is_throttled")
def an_API_without_a_burst(template, code):
    del properties(template, "Api")["DefaultRouteSettings"]["ThrottlingBurstLimit"]


ORDERS = "nobody_orders_in_production_unless_it_was_decided_who_may"


@breaks(ORDERS)
def a_production_that_is_open_by_forgetting(template, code):
    template["Rules"]["ProdIsClosed"]["Assertions"].pop()


@breaks(ORDERS)
def an_order_access_that_is_open_by_default(template, code):
    template["Parameters"]["OrderAccess"]["Default"] = "open"


@breaks(ORDERS, JwtIssuer="https://example.com", JwtAudience="shop")
def a_POST_that_needs_no_token(template, code):
    del properties(template, "Api")["DefinitionBody"]["paths"]["/orders"]


ORDER_THROTTLE = "orders_have_a_throttle_of_their_own"


@breaks(ORDER_THROTTLE)
def orders_throttled_like_every_request(template, code):
    del properties(template, "Api")["RouteSettings"]


@breaks(ORDER_THROTTLE)
def a_throttle_of_orders_that_is_no_lower(template, code):
    template["Parameters"]["OrderThrottleRate"]["Default"] = template["Parameters"]["ThrottleRate"]["Default"]


@breaks(ORDER_THROTTLE)
def a_throttle_of_a_misspelt_route(template, code):
    settings = properties(template, "Api")["RouteSettings"]
    settings["POST /order"] = settings.pop("POST /orders")


ACCESS_LOG = "every_request_is_logged_as_json"


@breaks(ACCESS_LOG)
def an_access_log_that_a_quote_breaks(template, code):
    settings = properties(template, "Api")["AccessLogSettings"]
    settings["Format"] = settings["Format"].replace("$context.error.responseType", "$context.error.message")


@breaks(ACCESS_LOG)
def an_access_log_that_a_request_without_an_error_breaks(template, code):
    settings = properties(template, "Api")["AccessLogSettings"]
    settings["Format"] = settings["Format"].replace('"$context.integrationStatus"', "$context.integrationStatus")


@breaks(ACCESS_LOG)
def an_API_without_an_access_log(template, code):
    del properties(template, "Api")["AccessLogSettings"]


@breaks(ACCESS_LOG)
def an_access_log_that_is_no_JSON(template, code):
    properties(template, "Api")["AccessLogSettings"]["Format"] = "$context.requestId $context.status"


@breaks(ACCESS_LOG)
def an_access_log_without_a_request_id(template, code):
    properties(template, "Api")["AccessLogSettings"]["Format"] = '{"status": "$context.status"}'


@breaks("no_function_outlives_the_api")
def a_function_that_may_take_as_long_as_the_API_waits(template, code):
    properties(template, "GetProduct")["Timeout"] = 30


VARIABLES = "a_function_has_the_variables_that_its_code_reads_and_no_other"


@breaks(VARIABLES)
def a_variable_that_is_not_set(template, code):
    del properties(template, "PlaceOrder")["Environment"]["Variables"]["ORDERS_QUEUE_URL"]


@breaks(VARIABLES)
def a_variable_that_is_not_read(template, code):
    properties(template, "GetProduct")["Environment"]["Variables"]["ORDERS_TABLE"] = {"Ref": "OrdersTable"}


@breaks(VARIABLES)
def code_that_reads_one_variable_more(template, code):
    code["get-product"] += 'aws::required("CACHE_URL")?'


@breaks(VARIABLES)
def code_that_reads_one_by_another_way(template, code):
    code["get-product"] += 'std::env::var("CACHE_URL")'


@breaks(VARIABLES)
def code_of_all_functions_that_reads_a_variable(template, code):
    code["shop"] += 'std::env::var("LOG_STYLE")'


@breaks("the_functions_run_on_arm64_unless_asked")
def x86_64_by_default(template, code):
    template["Parameters"]["Architecture"]["Default"] = "x86_64"


@breaks("the_functions_run_on_arm64_unless_asked")
def a_function_without_an_architecture(template, code):
    del template["Globals"]["Function"]["Architectures"]


@breaks("logs_do_not_grow_for_ever")
def a_log_group_without_retention(template, code):
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Logs::LogGroup":
            del resource["Properties"]["RetentionInDays"]


@breaks("logs_do_not_grow_for_ever")
def a_function_without_a_log_group(template, code):
    properties(template, "GetProduct")["LoggingConfig"] = {"LogGroup": "elsewhere"}
    template["Resources"].pop("GetProductLogs")


@breaks("everything_at_rest_is_encrypted")
def a_queue_in_the_clear(template, code):
    properties(template, "OrdersDeadLetterQueue")["SqsManagedSseEnabled"] = False


@breaks("production_data_survives_a_mistake", Stage="prod")
def a_table_that_production_may_delete(template, code):
    del properties(template, "OrdersTable")["DeletionProtectionEnabled"]


@breaks("production_data_survives_a_mistake", Stage="prod")
def a_table_that_cannot_be_restored(template, code):
    del properties(template, "ProductsTable")["PointInTimeRecoverySpecification"]


@breaks("production_data_survives_a_mistake", Stage="prod")
def a_table_with_a_key_that_nobody_sees_used(template, code):
    properties(template, "ProductsTable")["SSESpecification"] = {"SSEEnabled": False}


@breaks("orders_expire")
def orders_that_stay_for_ever(template, code):
    del properties(template, "OrdersTable")["TimeToLiveSpecification"]


@breaks("orders_expire")
def orders_that_expire_by_an_attribute_that_nobody_writes(template, code):
    properties(template, "OrdersTable")["TimeToLiveSpecification"]["AttributeName"] = "ttl"


METRICS = "every_metric_that_is_looked_at_exists"


def alarm(namespace, metric, **dimensions):
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "Namespace": namespace,
            "MetricName": metric,
            "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 7,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
        },
    }


@breaks(METRICS)
def an_alarm_on_a_misspelt_metric(template, code):
    template["Resources"]["Deaf"] = alarm("AWS/Lambda", "Error", FunctionName={"Ref": "GetProduct"})


@breaks(METRICS)
def an_alarm_on_a_misspelt_dimension(template, code):
    template["Resources"]["Deaf"] = alarm("AWS/Lambda", "Errors", Function={"Ref": "GetProduct"})


@breaks(METRICS)
def an_alarm_on_a_metric_that_the_code_does_not_write(template, code):
    template["Resources"]["Deaf"] = alarm({"Ref": "AWS::StackName"}, "OrdersPlacedTwice")


@breaks(METRICS)
def an_alarm_on_a_resource_that_is_not_there(template, code):
    template["Resources"]["Deaf"] = alarm(
        "AWS/SQS", "NumberOfMessagesSent", QueueName={"Fn::GetAtt": ["Orders", "QueueName"]}
    )


@breaks(METRICS)
def a_misspelt_metric_in_the_dashboard(template, code):
    body = properties(template, "Dashboard")["DashboardBody"]["Fn::Sub"]
    assert '"Throttles"' in body[0]
    body[0] = body[0].replace('"Throttles"', '"Throttle"')


@breaks(METRICS)
def a_resource_in_the_dashboard_that_is_not_there(template, code):
    body = properties(template, "Dashboard")["DashboardBody"]["Fn::Sub"]
    assert '"${OrdersQueue.QueueName}"' in body[0]
    body[0] = body[0].replace('"${OrdersQueue.QueueName}"', '"${Orders.QueueName}"')


@breaks("every_alarm_says_what_silence_means")
def an_alarm_that_leaves_silence_open(template, code):
    template["Resources"]["Unclear"] = alarm("AWS/Lambda", "Errors", FunctionName={"Ref": "GetProduct"})
    del properties(template, "Unclear")["TreatMissingData"]


PERCENTILES = "no_percentile_of_a_few_values_raises_an_alarm"


@breaks(PERCENTILES)
def a_percentile_of_whatever_there_is(template, code):
    template["Resources"]["Nervous"] = alarm("AWS/Lambda", "Duration", FunctionName={"Ref": "GetProduct"})
    del properties(template, "Nervous")["Statistic"]
    properties(template, "Nervous")["ExtendedStatistic"] = "p99"


@breaks(PERCENTILES)
def a_percentile_without_its_guard(template, code):
    properties(template, "LatencyAlarm")["Metrics"][0]["Expression"] = "p99"


@breaks(PERCENTILES)
def a_percentile_guarded_by_the_count_of_another_metric(template, code):
    properties(template, "PlacedToFinalAlarm")["Metrics"][2]["MetricStat"]["Metric"]["MetricName"] = "OrdersPlaced"


BURN = "a_burning_error_budget_is_seen_fast_and_slow"


@breaks(BURN)
def a_fast_burn_alone(template, code):
    properties(template, "ErrorBudgetAlarm")["AlarmRule"] = {
        "Fn::Sub": '(ALARM("${FastBurnLong}") AND ALARM("${FastBurnShort}"))'
    }


@breaks(BURN)
def a_slow_burn_whose_short_window_is_forgotten(template, code):
    rule = properties(template, "ErrorBudgetAlarm")["AlarmRule"]
    rule["Fn::Sub"] = rule["Fn::Sub"].replace(' AND ALARM("${SlowBurnShort}")', "")


@breaks(BURN)
def a_window_of_the_wrong_size(template, code):
    lookup = {"Fn::FindInMap": ["Slo", "FastBurn", "LongWindowSeconds"]}
    properties(template, "SlowBurnLong")["Metrics"][1]["MetricStat"]["Period"] = lookup


@breaks(BURN)
def a_rate_of_the_other_pair(template, code):
    properties(template, "SlowBurnShort")["Threshold"] = {"Fn::FindInMap": ["Slo", "FastBurn", "Rate"]}


SLO = "the_numbers_of_the_slo_stand_once"


@breaks(SLO)
def a_window_that_is_written_by_hand(template, code):
    for metric in properties(template, "SlowBurnLong")["Metrics"][1:]:
        metric["MetricStat"]["Period"] = 21600


@breaks(SLO)
def a_number_of_the_SLO_that_nothing_looks_up(template, code):
    template["Mappings"]["Slo"]["Latency"]["P42Milliseconds"] = "42"


@breaks(SLO)
def a_threshold_that_repeats_a_number_of_the_SLO(template, code):
    [row, *_] = template["Mappings"]["Slo"].values()
    [value, *_] = row.values()
    template["Resources"]["Twice"] = alarm("AWS/Lambda", "Errors", FunctionName={"Ref": "GetProduct"})
    properties(template, "Twice")["Threshold"] = value


@breaks(SLO)
def a_line_in_the_dashboard_that_repeats_a_number_of_the_SLO(template, code):
    body = properties(template, "Dashboard")["DashboardBody"]["Fn::Sub"]
    assert '"value": ${LatencySlo}' in body[0]
    body[0] = body[0].replace('"value": ${LatencySlo}', '"value": 100')


GRADUAL = "a_gradual_deployment_is_rolled_back_by_an_alarm"


@breaks(GRADUAL, Stage="prod")
def a_gradual_deployment_that_no_alarm_stops(template, code):
    del template["Globals"]["Function"]["DeploymentPreference"]["Alarms"]


@breaks(GRADUAL, Stage="prod")
def a_gradual_deployment_that_an_alarm_of_elsewhere_stops(template, code):
    template["Globals"]["Function"]["DeploymentPreference"]["Alarms"] = [{"Ref": "OrdersQueue"}]


TRIED = "a_new_version_is_tried_before_it_gets_requests"


@breaks(TRIED, **PROD)
def a_gradual_deployment_without_a_hook(template, code):
    del template["Globals"]["Function"]["DeploymentPreference"]["Hooks"]


@breaks(TRIED, **PROD)
def a_hook_that_is_told_of_another_version(template, code):
    variables = properties(template, "CheckNewVersions")["Environment"]["Variables"]
    variables["GetOrder"] = variables["GetProduct"]


@breaks(TRIED, **PROD)
def a_hook_that_leaves_a_function_out(template, code):
    del properties(template, "CheckNewVersions")["Environment"]["Variables"]["ProcessOrders"]


UNREAD = "nothing_is_declared_that_nothing_reads"


@breaks(UNREAD)
def a_parameter_that_nothing_reads(template, code):
    template["Parameters"]["Idle"] = {"Type": "String", "Default": ""}


@breaks(UNREAD)
def a_mapping_that_nothing_reads(template, code):
    template["Mappings"]["Idle"] = {"first": {"second": "1"}}


@breaks("the_rules_of_the_template_look_at_parameters_only")
def a_rule_that_looks_at_the_region(template, code):
    assertion = template["Rules"]["CapsAreBoth"]["Assertions"][0]
    assertion["Assert"] = {"Fn::Contains": [["none", {"Ref": "AWS::Region"}], {"Ref": "LambdaInsightsLayer"}]}


@breaks("a_name_stands_for_one_thing")
def a_mapping_with_the_name_of_a_parameter(template, code):
    template["Mappings"]["Tracing"] = template["Mappings"]["Stages"]
