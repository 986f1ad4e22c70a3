// The arithmetic of the bill: the price of runs, and of a stack that nobody uses. USD, list prices of prices.json.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { functionsOf } from './template.mjs';

export const PRICES = JSON.parse(readFileSync(path.join(import.meta.dirname, 'prices.json'), 'utf8'));

/** Hours of a month, as AWS's own examples count. */
export const MONTH_HOURS = 730;

/** USD of one unit of an entry of prices.json. */
export const price = (name) => PRICES.prices[name].usd / PRICES.prices[name].for;

/** The pollers that an idle trigger of SQS keeps, and the seconds that each of their calls waits.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html */
const IDLE_POLLERS = 5;
const LONG_POLL_SECONDS = 20;

/** Metrics that Lambda Insights writes for a function, by its name alone.
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Lambda-Insights-metrics.html */
const INSIGHTS_METRICS = 8;

/** What some use of AWS costs, by service. All quantities are optional: runs of a function, its GB-seconds, requests to
 * the API, capacity units, SQS calls, bytes of logs. */
export function costOf({
  architecture,
  api = 0,
  runs = 0,
  gbSeconds = 0,
  reads = 0,
  writes = 0,
  sqs = 0,
  logBytes = 0,
}) {
  const parts = {
    api: api * price('http_api_request'),
    requests: runs * price('lambda_request'),
    compute: gbSeconds * price(`gb_second_${architecture}`),
    dynamodb: reads * price('dynamodb_read_unit') + writes * price('dynamodb_write_unit'),
    sqs: sqs * price('sqs_request'),
    logs: (logBytes / 1e9) * price('log_gb'),
  };
  return { ...parts, total: Object.values(parts).reduce((sum, part) => sum + part, 0) };
}

/** Rows `{what, count, usd}` a month of a stack that serves nobody, of a resolved template. */
export function standing(template, { customMetrics = 0 } = {}) {
  const ofType = (type) => Object.values(template.Resources).filter(({ Type }) => Type === type);
  const functions = functionsOf(template);
  const triggers = functions.flatMap(({ Events = {} }) => Object.values(Events)).filter(({ Type }) => Type === 'SQS');
  const provisioned = functions.reduce(
    (total, { MemorySize, ProvisionedConcurrencyConfig: config }) =>
      total + Number(config?.ProvisionedConcurrentExecutions ?? 0) * (MemorySize / 1024) * MONTH_HOURS * 3600,
    0,
  );
  const watched = ofType('AWS::CloudWatch::Alarm').reduce((total, { Properties }) => total + metricsOf(Properties), 0);
  const insights = functions.filter(({ Layers }) => Layers).length * INSIGHTS_METRICS;
  const rows = [
    ['metrics that alarms watch', watched, 'alarm_month'],
    ['composite alarms', ofType('AWS::CloudWatch::CompositeAlarm').length, 'composite_alarm_month'],
    ['dashboards', ofType('AWS::CloudWatch::Dashboard').length, 'dashboard_month'],
    [
      "SQS calls of an idle worker's trigger",
      triggers.length * IDLE_POLLERS * ((MONTH_HOURS * 3600) / LONG_POLL_SECONDS),
      'sqs_request',
    ],
    ['custom metrics, with orders in every hour', customMetrics, 'custom_metric_month'],
    ['metrics of Lambda Insights', insights, 'custom_metric_month'],
    ['GB-seconds of provisioned concurrency', provisioned, `provisioned_gb_second_${template.Parameters.Architecture}`],
  ];
  return rows
    .filter(([, count]) => count > 0)
    .map(([what, count, unit]) => ({ what, count, usd: count * price(unit) }));
}

export const sum = (rows) => rows.reduce((total, { usd }) => total + usd, 0);

/** An alarm on an expression pays for each metric that the expression reads. */
const metricsOf = ({ Metrics }) => (Metrics ? Metrics.filter(({ MetricStat }) => MetricStat).length : 1);
