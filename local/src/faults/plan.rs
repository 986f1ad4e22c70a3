//! The fault plan: a document that a person writes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::chance;

/// The operation under which deliveries of a queue trigger are counted.
pub(super) const DELIVERY: &str = "SQS.ReceiveMessage";
/// The operation under which invocations are counted.
pub(super) const INVOCATION: &str = "Lambda.Invoke";

/// The longest delay in SQS, and the longest run of a function, in seconds.
const LONGEST: u32 = 900;
/// The same in milliseconds.
const LONGEST_MS: u32 = LONGEST * 1000;
/// A clock that is off by more than a day is another problem.
const MOST_SKEW: i64 = 86_400;

/// Which faults strike, and the seed of every decision. The default is no faults.
///
/// ```json
/// {
///   "seed": 7,
///   "faults": [
///     {"kind": "latency", "ms": 5, "probability": 1},
///     {"kind": "latency", "ms": 300, "probability": 0.01},
///     {"kind": "throttling", "probability": 0.02, "operations": ["DynamoDB.PutItem"]},
///     {"kind": "kill", "probability": 0.005, "functions": ["ProcessOrders"]}
///   ]
/// }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Another seed makes another run.
    #[serde(default)]
    pub seed: u64,
    /// If several strike one call, the first in this order decides; latencies add up.
    #[serde(default)]
    pub faults: Vec<Rule>,
}

/// One fault: what it strikes, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The kind of fault.
    pub kind: Kind,
    /// The share of the calls, deliveries, invocations or environments that it strikes, from 0 to
    /// 1.
    pub probability: f64,
    /// Only these operations, such as `DynamoDB.PutItem`; empty means all that the kind can strike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<String>,
    /// Only these callers: a function by its logical id, any other by its access key id; empty
    /// means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
    /// Milliseconds; for [`Kind::Latency`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u32>,
    /// Seconds; for [`Kind::DelayedDelivery`], and for [`Kind::ClockSkew`], where a negative number
    /// is a clock that is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
}

/// The kinds of faults. The names in JSON are those of the variants in `snake_case`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The call takes `ms` longer.
    Latency,
    /// `ProvisionedThroughputExceededException`.
    ProvisionedThroughputExceeded,
    /// `ThrottlingException` from DynamoDB, `RequestThrottled` from SQS.
    Throttling,
    /// HTTP 500. Half of the calls are made anyway, as on AWS, which does not say which.
    InternalError,
    /// HTTP 503.
    ServiceUnavailable,
    /// `TransactionCanceledException` with the reason `TransactionConflict` for one item, or
    /// `TransactionConflictException` for a write outside of a transaction.
    TransactionConflict,
    /// `TransactionInProgressException`.
    TransactionInProgress,
    /// The connection closes before the call is made.
    ConnectionDropped,
    /// The call is made, and the connection closes before its answer.
    AnswerLost,
    /// The call is not made, and the connection stays open without an answer.
    HalfOpen,
    /// A batch read leaves out some of its keys, chosen at random, and reads the rest.
    UnprocessedKeys,
    /// A queue's trigger receives a message twice: at once, or again after its visibility timeout
    /// because its deletion was lost.
    DuplicateDelivery,
    /// A message is sent with a delay of `seconds`.
    DelayedDelivery,
    /// The calling environment is killed (SIGKILL): before its call, during it, or within 5 ms of
    /// its answer.
    Kill,
    /// The calling environment stops (SIGSTOP) until it times out; half of the calls are made
    /// anyway.
    Freeze,
    /// An invocation is refused, as if no concurrency were left.
    ThrottledInvocation,
    /// AWS sees an environment's clock off by `seconds` for its whole life.
    ClockSkew,
    /// AWS refuses an environment's credentials with `ExpiredTokenException` for its whole life.
    CredentialsExpired,
}

impl Plan {
    /// Reads a plan from JSON.
    ///
    /// # Errors
    /// If it is not JSON of this form, or if a rule could never strike as it is meant to.
    pub fn parse(json: &[u8]) -> Result<Plan, String> {
        let plan = serde_json::from_slice(json);
        let plan: Plan = plan.map_err(|error| format!("not a fault plan: {error}"))?;
        for (index, rule) in plan.faults.iter().enumerate() {
            let checked = rule.check();
            checked.map_err(|reason| format!("faults[{index}]: {reason}"))?;
        }
        Ok(plan)
    }

    /// The rules that strike event number `number` of this caller and operation, in their order.
    ///
    /// A pure function: the same event has the same outcome in every run with the same plan,
    /// whatever happened to others before.
    pub(super) fn strikes(&self, caller: &str, operation: &str, number: u64) -> Vec<Strike> {
        let drawn = |(index, rule): (usize, &Rule)| {
            if !rule.applies(caller, operation) {
                return None;
            }
            let event = format!("{index}/{caller}/{operation}/{number}");
            let mut random = chance::of(self.seed, &event);
            (random.f64() < rule.probability).then(|| Strike {
                kind: rule.kind,
                ms: rule.ms.unwrap_or_default(),
                seconds: rule.seconds.unwrap_or_default(),
                random,
            })
        };
        self.faults.iter().enumerate().filter_map(drawn).collect()
    }
}

#[derive(Debug)]
pub(crate) struct Strike {
    pub(crate) kind: Kind,
    pub(crate) ms: u32,
    pub(crate) seconds: i64,
    /// Source of the fault's other random decisions.
    pub(crate) random: fastrand::Rng,
}

impl Rule {
    fn applies(&self, caller: &str, operation: &str) -> bool {
        let listed = |list: &[String], name| list.is_empty() || list.iter().any(|it| it == name);
        self.kind.can_strike(operation)
            && listed(&self.operations, operation)
            && listed(&self.functions, caller)
    }

    fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.probability) {
            return Err("probability is not between 0 and 1".to_owned());
        }
        let wants_ms = self.kind == Kind::Latency;
        match self.ms {
            None if wants_ms => return Err("ms is missing".to_owned()),
            Some(_) if !wants_ms => return Err("ms is for latency alone".to_owned()),
            Some(ms) if ms > LONGEST_MS => return Err(format!("ms is above {LONGEST_MS}")),
            _ => {}
        }
        let seconds = match self.kind {
            Kind::DelayedDelivery => Some(1..=i64::from(LONGEST)),
            Kind::ClockSkew => Some(-MOST_SKEW..=MOST_SKEW),
            _ => None,
        };
        match (self.seconds, seconds) {
            (None, Some(_)) => return Err("seconds is missing".to_owned()),
            (Some(_), None) => {
                return Err("seconds is for delayed_delivery and clock_skew alone".to_owned());
            }
            (Some(given), Some(range)) if !range.contains(&given) => {
                return Err(format!(
                    "seconds is not between {} and {}",
                    range.start(),
                    range.end()
                ));
            }
            _ => {}
        }
        match self
            .operations
            .iter()
            .find(|operation| self.kind.strikes_for_life() || !self.kind.can_strike(operation))
        {
            Some(operation) => Err(format!("{operation:?} cannot be struck by this kind")),
            None => Ok(()),
        }
    }
}

impl Kind {
    fn can_strike(self, operation: &str) -> bool {
        let dynamodb = operation.strip_prefix("DynamoDB.");
        match self {
            Kind::ProvisionedThroughputExceeded => dynamodb.is_some(),
            Kind::TransactionConflict => matches!(
                dynamodb,
                Some(
                    "TransactWriteItems"
                        | "TransactGetItems"
                        | "PutItem"
                        | "UpdateItem"
                        | "DeleteItem"
                )
            ),
            Kind::TransactionInProgress => dynamodb == Some("TransactWriteItems"),
            Kind::UnprocessedKeys => dynamodb == Some("BatchGetItem"),
            Kind::DuplicateDelivery => operation == DELIVERY,
            Kind::DelayedDelivery => operation == "SQS.SendMessage",
            Kind::ThrottledInvocation => operation == INVOCATION,
            Kind::Latency
            | Kind::Throttling
            | Kind::InternalError
            | Kind::ServiceUnavailable
            | Kind::ConnectionDropped
            | Kind::AnswerLost
            | Kind::HalfOpen
            | Kind::Kill
            | Kind::Freeze
            | Kind::ClockSkew
            | Kind::CredentialsExpired => operation != INVOCATION,
        }
    }

    /// Whether it strikes an environment for its whole life, rather than single calls.
    fn strikes_for_life(self) -> bool {
        matches!(self, Kind::ClockSkew | Kind::CredentialsExpired)
    }
}

/// As in JSON.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn plan(faults: &Value) -> Result<Plan, String> {
        let plan = json!({"seed": 1, "faults": faults});
        Plan::parse(plan.to_string().as_bytes())
    }

    fn struck(plan: &Plan, caller: &str, operation: &str) -> usize {
        (0..10_000)
            .map(|number| plan.strikes(caller, operation, number).len())
            .sum()
    }

    #[test]
    fn a_fault_strikes_as_often_as_its_probability_says() {
        for probability in [0.0_f64, 0.01, 0.5, 1.0] {
            let plan = plan(&json!([{"kind": "half_open", "probability": probability}])).unwrap();
            let times = struck(&plan, "GetProduct", "DynamoDB.GetItem");
            let expected = probability * 10_000.0;
            // Four standard deviations of a binomial distribution.
            let off = 4.0 * (expected * (1.0 - probability)).sqrt();
            let times = f64::from(u32::try_from(times).unwrap());
            assert!((times - expected).abs() <= off, "{probability}: {times}");
        }
    }

    #[test]
    fn the_same_seed_decides_the_same_and_another_seed_otherwise() {
        let faults = json!([{"kind": "kill", "probability": 0.5}]);
        let fates = |seed: u64| -> Vec<usize> {
            let plan = Plan {
                seed,
                ..plan(&faults).unwrap()
            };
            let fate = |number| plan.strikes("PlaceOrder", "SQS.SendMessage", number).len();
            (0..100).map(fate).collect()
        };
        assert_eq!(fates(1), fates(1));
        assert_ne!(fates(1), fates(2));
    }

    #[test]
    fn a_fault_keeps_to_its_functions_and_operations() {
        let plan = plan(&json!([
            {"kind": "throttling", "probability": 1, "operations": ["DynamoDB.PutItem"], "functions": ["PlaceOrder"]},
        ]))
        .unwrap();
        assert_eq!(struck(&plan, "PlaceOrder", "DynamoDB.PutItem"), 10_000);
        assert_eq!(struck(&plan, "PlaceOrder", "DynamoDB.GetItem"), 0);
        assert_eq!(struck(&plan, "PutProduct", "DynamoDB.PutItem"), 0);
    }

    #[test]
    fn a_plan_that_makes_no_sense_is_refused_with_the_reason() {
        for (fault, reason) in [
            (
                json!({"kind": "flood", "probability": 1}),
                "unknown variant",
            ),
            (
                json!({"kind": "kill", "probability": 1, "ops": []}),
                "unknown field",
            ),
            (json!({"kind": "kill"}), "missing field `probability`"),
            (
                json!({"kind": "kill", "probability": 1.1}),
                "faults[0]: probability is not between 0 and 1",
            ),
            (
                json!({"kind": "latency", "probability": 1}),
                "faults[0]: ms is missing",
            ),
            (
                json!({"kind": "kill", "probability": 1, "ms": 1}),
                "faults[0]: ms is for latency alone",
            ),
            (
                json!({"kind": "clock_skew", "probability": 1}),
                "faults[0]: seconds is missing",
            ),
            (
                json!({"kind": "delayed_delivery", "probability": 1, "seconds": 0}),
                "faults[0]: seconds is not between 1 and 900",
            ),
            (
                json!({"kind": "unprocessed_keys", "probability": 1, "operations": ["DynamoDB.GetItem"]}),
                "faults[0]: \"DynamoDB.GetItem\" cannot be struck by this kind",
            ),
        ] {
            let error = plan(&json!([fault])).unwrap_err();
            assert!(error.contains(reason), "{fault}: {error}");
        }
    }

    #[test]
    fn a_plan_is_written_as_it_is_read() {
        let faults = json!([{"kind": "clock_skew", "probability": 0.5, "seconds": -310}]);
        let plan = plan(&faults).unwrap();
        assert_eq!(
            serde_json::to_value(&plan).unwrap(),
            json!({"seed": 1, "faults": faults})
        );
    }
}
