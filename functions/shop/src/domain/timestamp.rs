//! Points in time.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::checked_value::text;

text! {
    /// A point in time, to the millisecond, in UTC, in the format of RFC 3339.
    Timestamp,
    |text| read(text).is_some(),
    "must be a time such as 2026-01-31T09:30:00Z"
}

impl Timestamp {
    /// Whole seconds since 1970.
    pub fn epoch_seconds(&self) -> Option<i64> {
        read(self.as_str()).map(OffsetDateTime::unix_timestamp)
    }

    /// Milliseconds since 1970.
    pub fn epoch_ms(&self) -> Option<u64> {
        let nanos = read(self.as_str())?.unix_timestamp_nanos();
        u64::try_from(nanos / 1_000_000).ok()
    }

    /// The current time.
    pub fn now() -> Self {
        Self::at(SystemTime::now())
    }

    /// Always with three digits of milliseconds, so that texts sort like the times.
    fn at(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = since_epoch.subsec_millis();
        let time = OffsetDateTime::from(UNIX_EPOCH + since_epoch);
        let (date, hour, minute, second) = (time.date(), time.hour(), time.minute(), time.second());
        // A date of `time` is written as ISO 8601 has it.
        Self(format!(
            "{date}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        ))
    }
}

fn read(text: &str) -> Option<OffsetDateTime> {
    // RFC 3339 knows other zones, and a space before the time of day.
    let is_utc = text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T');
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .filter(|_| is_utc)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_present_is_a_time_that_can_be_read() {
        let before = Timestamp::at(SystemTime::now());
        let now = Timestamp::now();
        let after = Timestamp::at(SystemTime::now());

        assert!(before <= now && now <= after, "{before} {now} {after}");
        assert_eq!(Timestamp::parse(now.as_str()), Ok(now));
    }

    #[test]
    fn only_a_time_in_utc_is_one() {
        let time = Timestamp::parse("2026-01-31T09:30:00.250Z").unwrap();
        assert_eq!(time.epoch_seconds(), Some(1_769_851_800));
        assert_eq!(time.epoch_ms(), Some(1_769_851_800_250));
        for wrong in [
            "",
            "2026-01-31",
            "2026-02-31T09:30:00Z",
            "2026-01-31 09:30:00Z",
            "2026-01-31T09:30:00",
            "2026-01-31T09:30:00+00:00",
            "2026-01-31T09:30:00z",
        ] {
            assert!(Timestamp::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_sort_as_their_texts_do() {
        let texts: Vec<_> = [0, 999, 1_000, 1_001, 1_010, 1_100, 2_000]
            .map(|millis| Timestamp::at(UNIX_EPOCH + Duration::from_millis(millis)))
            .to_vec();

        assert_eq!(texts[0].as_str(), "1970-01-01T00:00:00.000Z");
        assert_eq!(texts[4].as_str(), "1970-01-01T00:00:01.010Z");
        assert!(texts.is_sorted_by_key(|time| time.as_str().to_owned()));
    }
}
