//! A small service on a free port of this machine that keeps its promise, or breaks it in one way: what a load test of a
//! lesson is tried on. What goes wrong is chosen by counting requests, so it is the same in every run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::serve::ListenerExt;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// What a service answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    #[serde(default = "ok")]
    pub status: u16,
    pub json: Value,
}

fn ok() -> u16 {
    200
}

/// Some answers that are not as the others.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Only of requests that begin so, such as `POST /orders`; they are then counted by themselves.
    pub route: Option<String>,
    /// The number of the first request of them.
    #[serde(default = "one")]
    pub from: u64,
    /// The number of the last.
    #[serde(default = "any")]
    pub to: u64,
    /// Of these, the ones whose number it divides.
    #[serde(default = "one")]
    pub every: u64,
    pub ms: Option<u64>,
    pub status: Option<u16>,
    pub json: Option<Value>,
}

fn one() -> u64 {
    1
}

fn any() -> u64 {
    u64::MAX
}

impl Change {
    fn strikes(&self, number: u64) -> bool {
        (self.from..=self.to).contains(&number) && number.is_multiple_of(self.every)
    }
}

/// How a service behaves.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// By the start of method and path.
    pub answers: BTreeMap<String, Answer>,
    /// What an answer takes.
    pub ms: u64,
    /// In their order; each one that strikes replaces what it names.
    pub changes: Vec<Change>,
    /// It takes up so many requests in a second, one after another, and the others wait.
    pub a_second: Option<u64>,
    /// More requests than this are not wanted.
    pub at_most: u64,
}

/// What it has done.
#[derive(Debug, Default)]
struct Done {
    requests: u64,
    /// How often each change could have struck.
    counts: Vec<u64>,
    /// When it takes up the next request.
    free_at: Option<Instant>,
    /// What each answer took, in ms.
    given: Vec<u64>,
}

#[derive(Debug)]
struct Shared {
    behaviour: Behaviour,
    done: Mutex<Done>,
    too_many: Notify,
}

/// A service that runs. It ends when dropped.
#[derive(Debug)]
pub struct StandIn {
    pub url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl StandIn {
    /// Starts it.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn start(behaviour: Behaviour) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| {
            // Without it an answer may wait for 40 ms.
            let _ = stream.set_nodelay(true);
        });
        let shared = Arc::new(Shared {
            done: Mutex::new(Done {
                counts: vec![0; behaviour.changes.len()],
                ..Done::default()
            }),
            behaviour,
            too_many: Notify::new(),
        });
        let asked = Arc::clone(&shared);
        let app = Router::new().fallback(move |method: Method, uri: Uri| {
            let shared = Arc::clone(&asked);
            async move { shared.answer(&format!("{method} {}", uri.path())).await }
        });
        let server = tokio::spawn(async move {
            // It never ends by itself.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self {
            url,
            shared,
            server,
        })
    }

    /// Resolves when it was asked more often than is wanted.
    pub async fn too_many(&self) {
        self.shared.too_many.notified().await;
    }

    /// How often it was asked.
    pub fn requests(&self) -> u64 {
        self.shared.done().requests
    }

    /// What its answers took, in ms, in ascending order.
    pub fn given(&self) -> Vec<u64> {
        let mut given = self.shared.done().given.clone();
        given.sort_unstable();
        given
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn done(&self) -> std::sync::MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, asked: &str) -> impl IntoResponse + use<> {
        let (at, answer) = self.decide(asked, Instant::now());
        sleep_until(at).await;
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::NOT_FOUND);
        let kind = [(header::CONTENT_TYPE, "application/json")];
        (status, kind, answer.json.to_string())
    }

    /// What is answered to the next request, and when.
    fn decide(&self, asked: &str, now: Instant) -> (Instant, Answer) {
        let Behaviour {
            answers,
            ms,
            changes,
            a_second,
            at_most,
        } = &self.behaviour;
        let mut done = self.done();
        done.requests += 1;
        if done.requests > *at_most {
            self.too_many.notify_one();
        }
        // The longest start is the one that is meant.
        let known = answers
            .iter()
            .filter(|(start, _)| asked.starts_with(*start));
        let known = known.max_by_key(|(start, _)| start.len());
        let unknown = || Answer {
            status: 404,
            json: Value::Null,
        };
        let mut answer = known.map_or_else(unknown, |(_, answer)| answer.clone());
        let mut ms = *ms;
        for (change, count) in changes.iter().zip(&mut done.counts) {
            if change
                .route
                .as_ref()
                .is_some_and(|it| !asked.starts_with(it))
            {
                continue;
            }
            *count += 1;
            if change.strikes(*count) {
                ms = change.ms.unwrap_or(ms);
                answer.status = change.status.unwrap_or(answer.status);
                answer.json = change.json.clone().unwrap_or(answer.json);
            }
        }
        let mut begins = now;
        if let Some(a_second) = a_second {
            begins = done.free_at.unwrap_or(now).max(now);
            done.free_at = Some(begins + Duration::from_secs(1) / (*a_second).max(1) as u32);
        }
        let at = begins + Duration::from_millis(ms);
        done.given.push((at - now).as_millis() as u64);
        (at, answer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(changes: Value, a_second: Option<u64>) -> Shared {
        let changes: Vec<Change> = serde_json::from_value(changes).unwrap();
        let answers = json!({"GET /": {"json": "any"}, "GET /products/": {"json": "one"}, "POST /": {"status": 202, "json": 1}});
        Shared {
            done: Mutex::new(Done {
                counts: vec![0; changes.len()],
                ..Done::default()
            }),
            behaviour: Behaviour {
                answers: serde_json::from_value(answers).unwrap(),
                ms: 5,
                changes,
                a_second,
                at_most: 9,
            },
            too_many: Notify::new(),
        }
    }

    #[test]
    fn what_goes_wrong_is_counted_by_itself_for_a_route() {
        let changes = json!([
            {"from": 2, "to": 3, "ms": 7},
            {"route": "POST /orders", "every": 2, "status": 503, "json": {}},
        ]);
        let service = service(changes, None);
        let now = Instant::now();
        let asked = [
            "GET /products/a",
            "POST /orders",
            "GET /other",
            "POST /orders",
            "PUT /",
        ];
        let answered = asked.map(|asked| {
            let (at, answer) = service.decide(asked, now);
            ((at - now).as_millis(), answer.status, answer.json)
        });
        let expected = [
            (5, 200, json!("one")),
            (7, 202, json!(1)),
            (7, 200, json!("any")),
            (5, 503, json!({})),
            (5, 404, Value::Null),
        ];
        assert_eq!(answered, expected);
    }

    #[test]
    fn what_it_cannot_take_up_waits() {
        let service = service(json!([]), Some(100));
        let now = Instant::now();
        let waits = [(); 3].map(|()| (service.decide("GET /", now).0 - now).as_millis());
        assert_eq!(waits, [5, 15, 25]);
        let later = now + Duration::from_secs(1);
        assert_eq!((service.decide("GET /", later).0 - later).as_millis(), 5);
        assert_eq!(service.done().given, [5, 15, 25, 5]);
    }

    #[tokio::test]
    async fn it_answers_over_http_and_says_when_it_is_asked_too_often() {
        let behaviour = service(json!([]), None).behaviour;
        let stand_in = StandIn::start(Behaviour {
            at_most: 1,
            ..behaviour
        });
        let stand_in = stand_in.await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        for _ in 0..2 {
            let answer = client.post(format!("{}/orders", stand_in.url)).send();
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), 202);
            assert_eq!(answer.text().await.unwrap(), "1");
        }
        stand_in.too_many().await;
        assert_eq!((stand_in.requests(), stand_in.given()), (2, vec![5, 5]));
    }
}
