//! Throttling of a route: a bucket of tokens, as API Gateway has it.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html>

use std::time::Instant;

use parking_lot::Mutex;

use crate::template;

/// The limits of an account that has not asked for more: requests a second, and at once.
const ACCOUNT: (f64, u32) = (10_000.0, 5_000);

/// How fast requests may come, and how many have come lately.
#[derive(Debug)]
pub(super) struct Throttle {
    rate: f64,
    burst: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Requests that may come at this moment.
    tokens: f64,
    /// When `tokens` was right.
    at: Instant,
}

impl Throttle {
    /// With the limits of the template, or else of the account.
    pub(super) fn new(limits: template::Throttle) -> Throttle {
        let burst = f64::from(limits.burst.unwrap_or(ACCOUNT.1));
        Throttle {
            rate: limits.rate.unwrap_or(ACCOUNT.0),
            burst,
            bucket: Mutex::new(Bucket {
                tokens: burst,
                at: Instant::now(),
            }),
        }
    }

    /// Takes a token for a request that comes now. False if there is none.
    pub(super) fn lets_through(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock();
        let new = now.saturating_duration_since(bucket.at).as_secs_f64() * self.rate;
        bucket.tokens = (bucket.tokens + new).min(self.burst);
        bucket.at = bucket.at.max(now);
        let lets_through = bucket.tokens >= 1.0;
        if lets_through {
            bucket.tokens -= 1.0;
        }
        lets_through
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_as_many_as_the_rate_allows() {
        let throttle = Throttle::new(template::Throttle {
            rate: Some(10.0),
            burst: Some(3),
        });
        let start = Instant::now();
        let passed = |ms: u64| {
            let now = start + Duration::from_millis(ms);
            (0..100).filter(|_| throttle.lets_through(now)).count()
        };
        assert_eq!(passed(0), 3);
        assert_eq!(passed(50), 0);
        assert_eq!(passed(100), 1);
        assert_eq!(passed(300), 2);
        // A bucket holds no more than a burst, however long nobody came.
        assert_eq!(passed(60_000), 3);
    }
}
