"""The metrics that AWS publishes for what this shop uses, with the sets of dimensions that each is published under, and
those that the alarms and dashboards of a stack look at."""

import json

# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
LAMBDA = {
    "Invocations", "Errors", "DeadLetterErrors", "DestinationDeliveryFailures", "Throttles", "Duration",
    "PostRuntimeExtensionsDuration", "ConcurrentExecutions", "ProvisionedConcurrentExecutions",
    "ProvisionedConcurrencyInvocations", "ProvisionedConcurrencySpilloverInvocations",
    "ProvisionedConcurrencyUtilization", "UnreservedConcurrentExecutions", "ClaimedAccountConcurrency",
    "AsyncEventsReceived", "AsyncEventAge", "AsyncEventsDropped",
}  # fmt: skip

# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html
API_GATEWAY = {"4xx", "5xx", "Count", "IntegrationLatency", "Latency", "DataProcessed"}

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
SQS = {
    "ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesDelayed", "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesVisible", "NumberOfEmptyReceives", "NumberOfMessagesDeleted",
    "NumberOfMessagesReceived", "NumberOfMessagesSent", "SentMessageSize",
}  # fmt: skip

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
OF_TABLE = {
    "ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits", "OnDemandMaxReadRequestUnits",
    "OnDemandMaxWriteRequestUnits", "ProvisionedReadCapacityUnits", "ProvisionedWriteCapacityUnits",
    "ReadThrottleEvents", "WriteThrottleEvents", "ReadMaxOnDemandThroughputThrottleEvents",
    "WriteMaxOnDemandThroughputThrottleEvents", "ReadKeyRangeThroughputThrottleEvents",
    "WriteKeyRangeThroughputThrottleEvents", "ReadAccountLimitThrottleEvents", "WriteAccountLimitThrottleEvents",
}  # fmt: skip
OF_OPERATION = {
    "SuccessfulRequestLatency", "SystemErrors", "ThrottledRequests", "ReturnedItemCount", "ReturnedBytes",
}  # fmt: skip
ONLY_OF_TABLE = {"ConditionalCheckFailedRequests", "TransactionConflict", "TimeToLiveDeletedItemCount"}

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Lambda-Insights-metrics.html
INSIGHTS = {
    "cpu_total_time", "init_duration", "memory_utilization", "rx_bytes", "tx_bytes", "total_memory",
    "total_network", "used_memory_max",
}  # fmt: skip

# https://docs.aws.amazon.com/sns/latest/dg/sns-monitoring-using-cloudwatch.html
SNS = {"NumberOfMessagesPublished", "NumberOfNotificationsDelivered", "NumberOfNotificationsFailed"}

# The sets of dimensions by namespace: metrics, then the sets.
PUBLISHED = {
    "AWS/Lambda": [
        (
            LAMBDA,
            [{"FunctionName"}, {"FunctionName", "Resource"}, {"FunctionName", "Resource", "ExecutedVersion"}, set()],
        ),
    ],
    "AWS/ApiGateway": [
        # By route only where the stage has DetailedMetricsEnabled.
        (API_GATEWAY, [{"ApiId"}, {"ApiId", "Stage"}, {"ApiId", "Stage", "Method", "Resource"}]),
    ],
    "AWS/SQS": [(SQS, [{"QueueName"}])],
    "AWS/DynamoDB": [
        (OF_TABLE, [{"TableName"}, {"TableName", "GlobalSecondaryIndexName"}]),
        (OF_OPERATION, [{"TableName", "Operation"}]),
        (ONLY_OF_TABLE, [{"TableName"}]),
    ],
    "LambdaInsights": [(INSIGHTS, [{"function_name"}, {"function_name", "version"}])],
    "AWS/SNS": [(SNS, [{"TopicName"}])],
}


def dimensions_of_metric(namespace, name):
    """The sets of dimensions under which a metric is published, or None if there is no such metric."""
    for names, dimensions in PUBLISHED.get(namespace, []):
        if name in names:
            return dimensions
    return None


def metrics_looked_at(stack):
    """The place, namespace, name and dimensions of each metric in an alarm or a dashboard."""
    for alarm, properties in stack.of("CloudWatch::Alarm").items():
        metrics = [it["MetricStat"]["Metric"] for it in properties.get("Metrics", []) if "MetricStat" in it]
        if "MetricName" in properties:
            metrics.append(properties)
        for metric in metrics:
            dimensions = {it["Name"]: it["Value"] for it in metric.get("Dimensions", [])}
            yield alarm, metric["Namespace"], metric["MetricName"], dimensions
    for name in stack.of("CloudWatch::Dashboard"):
        for widget in dashboard(stack, name)["widgets"]:
            for place, *metric in metrics_of_widget(widget):
                yield f"{name}, {place}", *metric


def dashboard(stack, name):
    """The body of a dashboard, which is a text of JSON. Each `${Resource}` in it becomes that text."""
    body = stack.of("CloudWatch::Dashboard")[name]["DashboardBody"]
    body = body["Fn::Sub"] if isinstance(body, dict) else body
    return json.loads(body[0] if isinstance(body, list) else body)


def metrics_of_widget(widget):
    """Namespace, name and dimensions of each metric of a widget. `...` and `.` stand for what the line before has.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html"""
    properties = widget.get("properties", {})
    before = []
    for line in properties.get("metrics", []):
        words = [it for it in line if isinstance(it, str)]
        if not words:
            continue  # an expression
        if words[0] == "...":
            words = before[: len(before) - len(words) + 1] + words[1:]
        words = [before[index] if it == "." else it for index, it in enumerate(words)]
        before = words
        namespace, name, *dimensions = words
        references = [{"Fn::Sub": it} if it.startswith("${") else it for it in dimensions[1::2]]
        yield properties.get("title", "a widget"), namespace, name, dict(zip(dimensions[::2], references, strict=True))
