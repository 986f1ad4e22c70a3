//! One target's figures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::percentile::percentile;
use local::events::OperationCounts;

/// The 10th, 50th and 90th percentile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub p10: f64,
    pub p50: f64,
    pub p90: f64,
}

impl Spread {
    /// Of these values; zeros if there are none.
    pub fn of(values: &[f64]) -> Self {
        let [p10, p50, p90] =
            [10.0, 50.0, 90.0].map(|percent| percentile(values, percent).unwrap_or_default());
        Self { p10, p50, p90 }
    }
}

/// What was measured of one target.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub note: String,
    pub cold_starts: usize,
    pub warm_invocations: usize,
    /// Of init and first invocation.
    pub cold_cpu_ms: Spread,
    pub init_cpu_ms: Spread,
    pub first_cpu_ms: Spread,
    pub warm_cpu_ms: Spread,
    pub init_ms: Spread,
    pub first_ms: Spread,
    pub warm_ms: Spread,
    pub peak_memory_mb: f64,
    /// CPU time by round, from which the noise of a ratio is computed: of the cold start, of its first invocation, and the
    /// median of the warm ones.
    pub cold_rounds_ms: Vec<f64>,
    pub first_rounds_ms: Vec<f64>,
    pub warm_rounds_ms: Vec<f64>,
    /// Connections that a cold invocation opened.
    pub connections: u64,
    /// Of a cold invocation.
    pub tls_handshakes: u64,
    pub cold_calls: BTreeMap<String, OperationCounts>,
    pub warm_calls: BTreeMap<String, OperationCounts>,
    /// Size of the program; `None` if it is not a native one.
    pub binary_bytes: Option<u64>,
    /// Size of the upload.
    pub zip_bytes: usize,
    /// Crates that are linked into it.
    pub crates: Option<usize>,
}
