//! The path of one call to AWS, with the faults that strike it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use nix::sys::signal::Signal;
use serde_json::Value;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::answers::{self, PartialRead};
use crate::aws_json::{Refusal, Reply};
use crate::faults::{Faults, Kind, Strike};
use crate::sandboxes::Sandbox;
use crate::serve::HungUp;

const SIGNED_AT: HeaderName = HeaderName::from_static("x-amz-date");

/// The most that a signature's time may differ from AWS's.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-elements.html>
const SIGNATURE_LIMIT: time::Duration = time::Duration::minutes(5);

/// `20260131T093000Z`.
const SIGNATURE_TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// The longest time from an answer to the kill of the environment that receives it: about as long
/// as a function works on after its last call.
const LAST_WORDS: Duration = Duration::from_millis(5);

/// A call that has arrived.
pub(super) struct Struck<'a> {
    faults: &'a Faults,
    operation: &'a str,
    /// The calling environment, if it belongs to this stack.
    sandbox: Option<Arc<Sandbox>>,
    signed_at: Option<OffsetDateTime>,
    strikes: Vec<Strike>,
}

impl<'a> Struck<'a> {
    /// Decides which faults strike the call. `caller` is its access key id.
    pub(super) fn new(
        faults: &'a Faults,
        caller: &str,
        operation: &'a str,
        sandbox: Option<Arc<Sandbox>>,
        headers: &HeaderMap,
    ) -> Struck<'a> {
        let signed_at = headers.get(SIGNED_AT).filter(|_| faults.are_on());
        Struck {
            faults,
            operation,
            sandbox,
            signed_at: signed_at.and_then(|at| parse_time(at.to_str().ok()?)),
            strikes: faults.strikes(caller, operation),
        }
    }

    /// Makes the call with `make`, unless a fault prevents or changes it.
    pub(super) async fn answer<F>(
        mut self,
        mut body: Bytes,
        make: impl FnOnce(Bytes) -> F,
    ) -> Result<Reply, HungUp>
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let sandbox = self.sandbox.as_ref();
        let for_life = sandbox.map(|it| self.faults.strikes_for_life(it));
        let for_life = for_life.unwrap_or_default();
        let for_life = |kind| for_life.iter().find(|strike| strike.kind == kind);
        let clock_ahead = for_life(Kind::ClockSkew).map(|strike| strike.seconds);
        let expired = for_life(Kind::CredentialsExpired).is_some();
        let aws_now =
            OffsetDateTime::now_utc() - time::Duration::seconds(clock_ahead.unwrap_or_default());
        self.delay(&mut body).await;
        let refused = match clock_ahead {
            _ if expired => {
                self.faults.log(Kind::CredentialsExpired);
                let kind = "com.amazon.coral.service#ExpiredTokenException";
                let message = "The security token included in the request is expired";
                Some(answers::error(self.operation, 400, kind, message))
            }
            Some(_) => self.refuse_signature(aws_now),
            None => None,
        };
        let mut reply = match refused {
            Some(refusal) => refusal.into(),
            None => self.strike(body, make).await?,
        };
        reply.date = clock_ahead.map(|_| SystemTime::from(aws_now));
        Ok(reply)
    }

    /// Faults that only take time: in the network, or in the queue.
    async fn delay(&mut self, body: &mut Bytes) {
        for strike in &self.strikes {
            match strike.kind {
                Kind::Latency => {
                    self.faults.log(Kind::Latency);
                    tokio::time::sleep(Duration::from_millis(strike.ms.into())).await;
                }
                Kind::DelayedDelivery => {
                    if let Ok(Value::Object(mut members)) = serde_json::from_slice(body) {
                        members.insert("DelaySeconds".to_owned(), strike.seconds.into());
                        *body = Value::from(members).to_string().into();
                        self.faults.log(Kind::DelayedDelivery);
                    }
                }
                _ => {}
            }
        }
    }

    /// AWS checks the signature before anything else.
    fn refuse_signature(&self, aws_now: OffsetDateTime) -> Option<Refusal> {
        let signed_at = self.signed_at?;
        let message = if signed_at < aws_now - SIGNATURE_LIMIT {
            format!(
                "Signature expired: {} is now earlier than {} ({} - 5 min.)",
                compact(signed_at),
                compact(aws_now - SIGNATURE_LIMIT),
                compact(aws_now)
            )
        } else if signed_at > aws_now + SIGNATURE_LIMIT {
            format!(
                "Signature not yet current: {} is still later than {} ({} + 5 min.)",
                compact(signed_at),
                compact(aws_now + SIGNATURE_LIMIT),
                compact(aws_now)
            )
        } else {
            return None;
        };
        self.faults.log(Kind::ClockSkew);
        let kind = "com.amazon.coral.service#InvalidSignatureException";
        Some(answers::error(self.operation, 400, kind, &message))
    }

    async fn strike<F>(self, body: Bytes, make: impl FnOnce(Bytes) -> F) -> Result<Reply, HungUp>
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let Struck {
            faults,
            operation,
            sandbox,
            strikes,
            ..
        } = self;
        for mut strike in strikes {
            let kind = strike.kind;
            match (kind, &sandbox) {
                (Kind::ConnectionDropped, _) => {
                    faults.log(kind);
                    return Err(HungUp);
                }
                (Kind::AnswerLost, _) => {
                    faults.log(kind);
                    make(body).await;
                    return Err(HungUp);
                }
                (Kind::HalfOpen, _) => {
                    faults.log(kind);
                    return std::future::pending().await;
                }
                (Kind::UnprocessedKeys, _) => {
                    if let Some(partial) = PartialRead::of(&mut strike, &body) {
                        faults.log(kind);
                        let mut reply = make(partial.request.clone()).await;
                        if let Ok(body) = &mut reply.result {
                            partial.complete(body);
                        }
                        return Ok(reply);
                    }
                }
                (Kind::Kill, Some(sandbox)) => {
                    faults.log(kind);
                    return kill(Arc::clone(sandbox), strike, make(body)).await;
                }
                (Kind::Freeze, Some(sandbox)) => {
                    faults.log(kind);
                    sandbox.signal(Signal::SIGSTOP);
                    if strike.random.bool() {
                        return Ok(make(body).await);
                    }
                    return std::future::pending().await;
                }
                _ => {
                    if let Some(refusal) = answers::answer(&mut strike, operation, &body) {
                        faults.log(kind);
                        let mut reply = Reply::from(refusal);
                        if kind == Kind::InternalError && strike.random.bool() {
                            reply.units = make(body).await.units;
                        }
                        return Ok(reply);
                    }
                }
            }
        }
        Ok(make(body).await)
    }
}

/// Kills the calling environment at one of three moments.
async fn kill<F>(sandbox: Arc<Sandbox>, mut strike: Strike, call: F) -> Result<Reply, HungUp>
where
    F: Future<Output = Reply> + Send + 'static,
{
    match strike.random.u8(..3) {
        0 => {
            sandbox.signal(Signal::SIGKILL);
            Err(HungUp)
        }
        1 => {
            // On its own task, because this one ends with the killed process's connection, and AWS
            // completes a call that it has begun.
            let call = tokio::spawn(call);
            sandbox.signal(Signal::SIGKILL);
            let _ = call.await;
            Err(HungUp)
        }
        _ => {
            let reply = call.await;
            let after = LAST_WORDS.mul_f64(strike.random.f64());
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                sandbox.signal(Signal::SIGKILL);
            });
            Ok(reply)
        }
    }
}

fn parse_time(text: &str) -> Option<OffsetDateTime> {
    let time = PrimitiveDateTime::parse(text, SIGNATURE_TIME).ok()?;
    Some(time.assume_utc())
}

fn compact(at: OffsetDateTime) -> String {
    at.format(SIGNATURE_TIME).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_signature_is_read_as_it_is_written() {
        for text in ["20260131T093000Z", "20000101T000000Z", "20240229T235959Z"] {
            assert_eq!(parse_time(text).map(compact).as_deref(), Some(text));
        }
        for text in ["", "now", "20260231T093000Z", "2026013", "20260131T250000Z"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
