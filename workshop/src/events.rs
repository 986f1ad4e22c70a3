//! The host's log of events, as far as it is read here. `local/src/events` writes it, and says what each field is.

use serde::Deserialize;

/// One line of the log.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Invocation(Invocation),
    Call(Call),
    Messages(Messages),
    /// The host keeps its last 200,000 events. So many were gone before they were read.
    Lost {
        count: u64,
    },
    #[serde(other)]
    Other,
}

/// An invocation that ended. Times are microseconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Invocation {
    /// When it was logged, since the start of the host.
    pub at_us: u64,
    pub function: String,
    pub request_id: String,
    pub source: String,
    pub cold: bool,
    pub init_us: Option<u64>,
    pub init_cpu_us: Option<u64>,
    pub platform_us: Option<u64>,
    pub queued_us: u64,
    pub duration_us: u64,
    pub cpu_us: Option<u64>,
    pub held_us: u64,
    pub outcome: String,
}

/// A call to AWS.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Call {
    pub function: String,
    pub request_id: Option<String>,
    pub operation: String,
    pub connection: Option<String>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub read_units: f64,
    pub write_units: f64,
    pub outcome: String,
}

/// A change of some messages.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Messages {
    pub queue: String,
    pub change: String,
    pub ids: Vec<String>,
    pub waited_us: Vec<u64>,
}

impl Invocation {
    pub fn init_ms(&self) -> Option<f64> {
        self.init_us.map(ms)
    }

    pub fn duration_ms(&self) -> f64 {
        ms(self.duration_us)
    }

    /// Init and first run: what the function's own code decides of a cold start.
    pub fn own_ms(&self) -> f64 {
        ms(self.init_us.unwrap_or(0) + self.duration_us)
    }

    /// From the call to the answer, without the HTTP API.
    pub fn wait_ms(&self) -> f64 {
        ms(self.queued_us + self.duration_us)
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

/// Reads the log's lines.
///
/// # Errors
/// If a line is no event.
pub fn parse(lines: &str) -> serde_json::Result<Vec<Event>> {
    lines.lines().map(serde_json::from_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_host_are_read_and_others_passed_over() {
        let lines = r#"{"at_us":1,"event":"environment","function":"F","environment":"F-1","change":"started","provisioned":false}
{"at_us":9,"event":"invocation","function":"F","environment":"F-1","request_id":"r","source":"GET /a","cold":true,"init_us":1500,"init_cpu_us":1000,"platform_us":90000,"queued_us":92000,"duration_us":2500,"held_us":0,"outcome":"success"}
{"event":"lost","count":3}"#;
        let events = parse(lines).unwrap();
        let [
            Event::Other,
            Event::Invocation(it),
            Event::Lost { count: 3 },
        ] = &events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!(
            (it.init_ms(), it.own_ms(), it.wait_ms()),
            (Some(1.5), 4.0, 94.5)
        );
        assert!(parse("nonsense").is_err());
    }
}
