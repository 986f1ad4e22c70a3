//! The host's log of events, as far as it is read here. `local/src/events` writes it, and says what each field is.

use serde::Deserialize;

/// One line of the log.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Invocation(Invocation),
    #[serde(other)]
    Other,
}

/// An invocation that ended. Times are microseconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Invocation {
    pub function: String,
    pub cold: bool,
    pub platform_us: Option<u64>,
    pub queued_us: u64,
    pub duration_us: u64,
}

impl Invocation {
    pub fn platform_ms(&self) -> Option<f64> {
        self.platform_us.map(ms)
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
        let [Event::Other, Event::Invocation(it), Event::Other] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!((it.platform_ms(), it.wait_ms()), (Some(90.0), 94.5));
        assert!(parse("nonsense").is_err());
    }
}
