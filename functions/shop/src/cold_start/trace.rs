//! Reads the trace of a request, which is the same in every service that it reaches.
//!
//! The libraries of X-Ray and OpenTelemetry would do that and much more, which the shop does not need.

/// The root of a
/// [trace header](https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader),
/// such as `1-5759e988-bd862e3fe1be46a994272793`: the trace's id. `None` if the header has none.
pub fn trace_id(header: &str) -> Option<&str> {
    let root = header
        .split(';')
        .find_map(|part| part.trim().strip_prefix("Root="))?;
    let mut parts = root.split('-');
    let mut hex = |length| {
        let part = parts.next().unwrap_or_default();
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    // A version, the time in seconds and 96 random bits.
    let is_root = root.starts_with("1-") && hex(1) && hex(8) && hex(24) && parts.next().is_none();
    is_root.then_some(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

    #[test]
    fn only_a_well_formed_root_is_a_trace() {
        let found = |header: &'static str| trace_id(header);

        assert_eq!(
            found("Root=1-5759e988-bd862e3fe1be46a994272793"),
            Some(ROOT)
        );
        assert_eq!(
            found("Self=1-x; Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"),
            Some(ROOT)
        );
        for header in [
            "",
            ROOT,
            "Root=",
            "Root=1-5759e988-bd862e3fe1be46a99427279",
            "Root=1-5759e988-bd862e3fe1be46a9942727933",
            "Root=2-5759e988-bd862e3fe1be46a994272793",
            "Root=1-5759e98-8bd862e3fe1be46a994272793",
            "Root=1-5759e988-bd862e3fe1be46a99427279g",
            "Root=1-5759e988-bd862e3fe1be46a9942727\u{e9}",
            "Root=1-5759e9\u{e9}-bd862e3fe1be46a994272793",
            "root=1-5759e988-bd862e3fe1be46a994272793",
        ] {
            assert_eq!(trace_id(header), None, "{header:?}");
        }
    }
}
