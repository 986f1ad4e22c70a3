//! All faults at once.

use serde_json::{Value, json};

const FUNCTIONS: [&str; 8] = [
    "GetProduct",
    "ListProducts",
    "BatchGetProducts",
    "PutProduct",
    "DeleteProduct",
    "PlaceOrder",
    "GetOrder",
    "ProcessOrders",
];

/// Every kind of fault, far more often than AWS has them in its worst hour.
///
/// A call fails in some way with a chance of about one in five, and a batch of ten orders loses its
/// environment with one of about one in ten. Only functions are struck: the test reads the tables
/// itself.
pub(crate) fn everything(seed: u64) -> Value {
    let mut faults = [
        json!({"kind": "latency", "probability": 0.5, "ms": 2}),
        json!({"kind": "latency", "probability": 0.01, "ms": 300}), // the tail
        json!({"kind": "kill", "probability": 0.006}),
        json!({"kind": "freeze", "probability": 0.002}),
        json!({"kind": "connection_dropped", "probability": 0.02}),
        json!({"kind": "answer_lost", "probability": 0.02}),
        json!({"kind": "half_open", "probability": 0.004}),
        json!({"kind": "provisioned_throughput_exceeded", "probability": 0.02}),
        json!({"kind": "throttling", "probability": 0.02}),
        json!({"kind": "internal_error", "probability": 0.02}),
        json!({"kind": "service_unavailable", "probability": 0.02}),
        json!({"kind": "transaction_conflict", "probability": 0.05}),
        json!({"kind": "transaction_in_progress", "probability": 0.02}),
        json!({"kind": "unprocessed_keys", "probability": 0.2}),
        json!({"kind": "duplicate_delivery", "probability": 0.05}),
        json!({"kind": "delayed_delivery", "probability": 0.05, "seconds": 1}),
        json!({"kind": "throttled_invocation", "probability": 0.03}),
        // AWS takes signatures that are up to five minutes off; these are a little further.
        json!({"kind": "clock_skew", "probability": 0.2, "seconds": 310}),
        json!({"kind": "clock_skew", "probability": 0.2, "seconds": -310}),
    ];
    for fault in &mut faults {
        fault["functions"] = json!(FUNCTIONS);
    }
    json!({"seed": seed, "faults": faults})
}

/// The names of the kinds in a plan.
pub(crate) fn kinds(plan: &Value) -> Vec<&str> {
    let faults = plan["faults"].as_array().into_iter().flatten();
    faults.filter_map(|fault| fault["kind"].as_str()).collect()
}
