//! Business metrics, in CloudWatch's
//! [embedded metric format](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html):
//! a line of the log that says which of its members are metrics. CloudWatch reads them from the
//! log, so a metric costs an invocation no call.
//!
//! A module, not a crate, because the format is one JSON object. This shop does not need what
//! crates add to it (dimensions, sampling, aggregation over time), and each KB of them would be
//! loaded at a cold start.
//!
//! There are no dimensions: each value of one is billed as one more metric, and each stack already
//! has its own namespace.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::cold_start::write_line;

/// The most values that one metric may have in a document.
const MOST_VALUES: usize = 100;

/// A quantity that is counted or measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// New orders, counted by the request that stored them, even if it could not queue them.
    OrdersPlaced,
    /// Requests that found the order of an earlier request with the same key.
    OrdersReplayed,
    /// Orders whose stock was taken, counted by the delivery that took it or, if that was cut
    /// short, by the next delivery of the same message.
    OrdersFulfilled,
    /// Orders that could not be fulfilled, counted in the same way.
    OrdersRejected,
    /// Messages that went back to the queue.
    BatchItemFailures,
    /// Milliseconds from the moment that SQS took an order's message until the order was settled.
    PlacedToFinal,
}

impl Metric {
    /// Its name in CloudWatch.
    pub fn name(self) -> &'static str {
        match self {
            Self::OrdersPlaced => "OrdersPlaced",
            Self::OrdersReplayed => "OrdersReplayed",
            Self::OrdersFulfilled => "OrdersFulfilled",
            Self::OrdersRejected => "OrdersRejected",
            Self::BatchItemFailures => "BatchItemFailures",
            Self::PlacedToFinal => "PlacedToFinal",
        }
    }

    /// One of the
    /// [units](https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html)
    /// that CloudWatch knows.
    pub fn unit(self) -> &'static str {
        match self {
            Self::PlacedToFinal => "Milliseconds",
            _ => "Count",
        }
    }
}

/// Writes a function's metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    namespace: String,
}

impl Metrics {
    /// Metrics of this CloudWatch namespace, 1 to 255 characters.
    pub fn new(namespace: String) -> Self {
        Self { namespace }
    }

    /// Logs one line with these metrics and properties, and the members of every line. A property
    /// costs no metric; it helps to find the line. Log once an invocation.
    ///
    /// A metric without a value is left out, because CloudWatch bills a metric for the hours in
    /// which it has one. Without any metric there is no line. For more than 100 values of one
    /// metric there are as many more lines as the format needs.
    pub fn log(&self, message: &str, properties: &[(&str, &str)], metrics: &[(Metric, &[u64])]) {
        let most = metrics.iter().map(|(_, values)| values.len()).max();
        for from in (0..most.unwrap_or_default()).step_by(MOST_VALUES) {
            let metrics = metrics.iter().filter_map(|(metric, values)| {
                let values = values.get(from..)?.chunks(MOST_VALUES).next()?;
                Some((*metric, values))
            });
            write_line(module_path!(), &self.document(message, properties, metrics));
        }
    }

    fn document<'a>(
        &self,
        message: &str,
        properties: &[(&str, &str)],
        metrics: impl Iterator<Item = (Metric, &'a [u64])>,
    ) -> Map<String, Value> {
        let mut document = Map::new();
        let mut insert = |name: &str, value: Value| {
            document.insert(name.to_owned(), value);
        };
        insert("message", message.into());
        for (name, value) in properties {
            insert(name, (*value).into());
        }
        let mut definitions = Vec::new();
        for (metric, values) in metrics {
            definitions.push(json!({"Name": metric.name(), "Unit": metric.unit()}));
            insert(
                metric.name(),
                match values {
                    [value] => (*value).into(),
                    values => values.into(),
                },
            );
        }
        insert(
            "_aws",
            json!({
                "Timestamp": epoch_ms(),
                "CloudWatchMetrics": [{
                    "Namespace": self.namespace,
                    "Dimensions": [[]], // one set, without a name in it
                    "Metrics": definitions,
                }],
            }),
        );
        document
    }
}

/// The current time, in milliseconds since 1970.
fn epoch_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch
        .unwrap_or_default()
        .as_millis()
        .try_into()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cold_start::lines;

    const ALL: [Metric; 6] = [
        Metric::OrdersPlaced,
        Metric::OrdersReplayed,
        Metric::OrdersFulfilled,
        Metric::OrdersRejected,
        Metric::BatchItemFailures,
        Metric::PlacedToFinal,
    ];

    /// The documents that one call logs.
    fn logged(metrics: &[(Metric, &[u64])]) -> Vec<Value> {
        let namespace = Metrics::new("shop".to_owned());
        lines(|| namespace.log("done", &[("order_id", "o-1")], metrics))
    }

    /// The requirements of the specification and its JSON schema.
    fn assert_is_emf(document: &Value) {
        let metadata = &document["_aws"];
        let timestamp = metadata["Timestamp"].as_u64().unwrap();
        // CloudWatch accepts up to two weeks old and two hours ahead; a time in seconds is neither.
        assert!(epoch_ms().abs_diff(timestamp) < 60_000, "{document}");
        let [directive] = &metadata["CloudWatchMetrics"].as_array().unwrap()[..] else {
            panic!("{document}");
        };
        let namespace = directive["Namespace"].as_str().unwrap();
        assert!((1..=255).contains(&namespace.len()), "{document}");
        assert_eq!(directive["Dimensions"], json!([[]]), "{document}");
        let definitions = directive["Metrics"].as_array().unwrap();
        assert!((1..=100).contains(&definitions.len()), "{document}");
        for definition in definitions {
            let unit = definition["Unit"].as_str().unwrap();
            assert!(["Count", "Milliseconds"].contains(&unit), "{document}");
            // The name is a member of the document, whose value is a number or up to 100 numbers.
            match &document[definition["Name"].as_str().unwrap()] {
                Value::Number(_) => {}
                Value::Array(values) => {
                    assert!((1..=100).contains(&values.len()), "{document}");
                    assert!(values.iter().all(Value::is_number), "{document}");
                }
                other => panic!("{other} in {document}"),
            }
        }
    }

    fn names(document: &Value) -> Vec<&str> {
        let definitions = document["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array();
        let definitions = definitions.unwrap().iter();
        definitions
            .map(|definition| definition["Name"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn a_line_of_metrics_is_in_the_embedded_metric_format() {
        let each = ALL.map(|metric| (metric, &[1, 2][..]));

        let documents = logged(&each);

        assert_eq!(documents.len(), 1);
        assert_is_emf(&documents[0]);
        assert_eq!(names(&documents[0]), ALL.map(Metric::name));
        assert_eq!(
            documents[0]["_aws"]["CloudWatchMetrics"][0]["Namespace"],
            "shop"
        );
    }

    #[test]
    fn a_line_of_metrics_is_a_line_of_the_log() {
        let documents = logged(&[(Metric::OrdersPlaced, &[1])]);

        let [line] = &documents[..] else {
            panic!("{documents:?}");
        };
        assert_eq!(line["function"], "place-order");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "done");
        assert_eq!(line["order_id"], "o-1");
        assert_eq!(line["coldStart"], true);
        assert_eq!(line["OrdersPlaced"], 1);
    }

    #[test]
    fn a_metric_without_a_value_is_left_out() {
        let documents = logged(&[
            (Metric::OrdersFulfilled, &[3]),
            (Metric::OrdersRejected, &[]),
        ]);

        assert_eq!(documents.len(), 1);
        assert_eq!(names(&documents[0]), ["OrdersFulfilled"]);
        assert!(documents[0].get("OrdersRejected").is_none());
        assert!(logged(&[(Metric::OrdersRejected, &[])]).is_empty());
    }

    #[test]
    fn no_document_has_more_than_a_hundred_values_and_none_is_lost() {
        let took: Vec<u64> = (0..250).collect();

        let documents = logged(&[
            (Metric::OrdersFulfilled, &[250]),
            (Metric::PlacedToFinal, &took),
        ]);

        assert_eq!(documents.len(), 3);
        documents.iter().for_each(assert_is_emf);
        let values = documents.iter().flat_map(|document| {
            let values = document["PlacedToFinal"].as_array().unwrap().iter();
            values.map(|value| value.as_u64().unwrap())
        });
        assert_eq!(values.collect::<Vec<_>>(), took);
        assert_eq!(names(&documents[0]), ["OrdersFulfilled", "PlacedToFinal"]);
        assert_eq!(names(&documents[1]), ["PlacedToFinal"]);
    }
}
