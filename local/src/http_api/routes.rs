//! Finds the route of a request, and keeps to its throttling.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::throttle::Throttle;
use crate::lambda::Function;
use crate::template::{Api, Route};

/// The routes of an API, the most specific first.
#[derive(Debug)]
pub(super) struct Routes<F = Function>(Vec<Entry<F>>);

#[derive(Debug)]
pub(super) struct Entry<F> {
    route: Route,
    /// `GET /products/{id}`, `ANY /files/{proxy+}` or `$default`.
    pub(super) key: String,
    pattern: Vec<Segment>,
    pub(super) throttle: Throttle,
    pub(super) function: F,
}

/// A part of a route's path, and its text or name.
#[derive(Debug)]
struct Segment(Kind, String);

/// In order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Literal,
    Parameter,
    Greedy,
}

/// The parts of a path that a route leaves open, by name.
type Parameters<'a> = BTreeMap<&'a str, String>;

impl<F> Routes<F> {
    /// If a route is there twice, the first counts.
    pub(super) fn new(routes: impl IntoIterator<Item = (Route, F)>, api: &Api) -> Self {
        let mut entries: Vec<Entry<F>> = routes
            .into_iter()
            .map(|(route, function)| Entry::new(route, function, api))
            .collect();
        entries.sort_by_cached_key(Entry::rank);
        Routes(entries)
    }

    /// The most specific route for a decoded path.
    pub(super) fn find(&self, method: &str, path: &str) -> Option<(&Entry<F>, Parameters<'_>)> {
        self.0.iter().find_map(|entry| {
            let wanted = entry.route.method.as_deref();
            if wanted.is_some_and(|wanted| wanted != method) {
                return None;
            }
            Some((entry, entry.parameters(path)?))
        })
    }
}

impl<F> Entry<F> {
    fn new(route: Route, function: F, api: &Api) -> Self {
        let pattern = segments(&route.path).map(Segment::parse).collect();
        let key = match (route.path.as_str(), &route.method) {
            ("$default", _) => "$default".to_owned(),
            (path, Some(method)) => format!("{method} {path}"),
            (path, None) => format!("ANY {path}"),
        };
        Entry {
            throttle: Throttle::new(*api.route_throttles.get(&key).unwrap_or(&api.throttle)),
            route,
            key,
            pattern,
            function,
        }
    }

    fn is_default(&self) -> bool {
        self.route.path == "$default"
    }

    /// [API Gateway's order](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html):
    /// whole paths before greedy ones before `$default`. Among them, the earliest literal wins,
    /// then the longer path. On the same path, a method comes before `ANY`.
    fn rank(&self) -> impl Ord + use<F> {
        let kinds: Vec<Kind> = self.pattern.iter().map(|it| it.0).collect();
        let greedy = kinds.contains(&Kind::Greedy);
        let length = Reverse(kinds.len());
        (
            self.is_default(),
            greedy,
            kinds,
            length,
            self.route.method.is_none(),
            self.key.clone(),
        )
    }

    /// The path parameters, if the path matches.
    fn parameters(&self, path: &str) -> Option<Parameters<'_>> {
        if self.is_default() {
            return Some(BTreeMap::new());
        }
        let mut parameters = BTreeMap::new();
        let mut rest = segments(path);
        for Segment(kind, text) in &self.pattern {
            let actual = rest.next()?;
            match kind {
                Kind::Literal if text == actual => {}
                Kind::Parameter if !actual.is_empty() => {
                    parameters.insert(text.as_str(), actual.to_owned());
                }
                Kind::Greedy if !actual.is_empty() => {
                    let all = Vec::from_iter(std::iter::once(actual).chain(rest)).join("/");
                    parameters.insert(text.as_str(), all);
                    return Some(parameters);
                }
                _ => return None,
            }
        }
        rest.next().is_none().then_some(parameters)
    }
}

impl Segment {
    fn parse(text: &str) -> Segment {
        let inside = text.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
        let (kind, text) = match inside.map(|name| (name, name.strip_suffix('+'))) {
            Some((_, Some(name))) => (Kind::Greedy, name),
            Some((name, None)) => (Kind::Parameter, name),
            None => (Kind::Literal, text),
        };
        Segment(kind, text.to_owned())
    }
}

fn segments(path: &str) -> std::str::Split<'_, char> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(keys: &[&'static str]) -> Routes<&'static str> {
        let routes = keys.iter().map(|key| {
            let (method, path) = key.split_once(' ').unwrap_or(("ANY", key));
            let method = Some(method.to_owned()).filter(|method| method != "ANY");
            (
                Route {
                    method,
                    path: path.to_owned(),
                },
                *key,
            )
        });
        Routes::new(routes, &Api::default())
    }

    fn found(routes: &Routes<&'static str>, method: &str, path: &str) -> Option<&'static str> {
        routes.find(method, path).map(|(found, _)| {
            assert_eq!(found.key, found.function);
            found.function
        })
    }

    #[test]
    fn the_most_specific_route_wins_whatever_the_order() {
        let mut keys = [
            "GET /pets/dog/1",
            "GET /pets/dog/{id}",
            "GET /pets/{proxy+}",
            "ANY /pets/{proxy+}",
            "ANY /{proxy+}",
            "$default",
        ];
        for _ in 0..keys.len() {
            keys.rotate_left(1);
            let routes = routes(&keys);
            for (method, path, expected) in [
                ("GET", "/pets/dog/1", "GET /pets/dog/1"),
                ("GET", "/pets/dog/2", "GET /pets/dog/{id}"),
                ("GET", "/pets/cat/1", "GET /pets/{proxy+}"),
                ("POST", "/pets/dog/1", "ANY /pets/{proxy+}"),
                ("POST", "/test/5", "ANY /{proxy+}"),
                ("GET", "/", "$default"),
            ] {
                assert_eq!(
                    found(&routes, method, path),
                    Some(expected),
                    "{method} {path}"
                );
            }
        }
    }

    #[test]
    fn a_method_wins_over_any_on_the_same_path() {
        let routes = routes(&["ANY /a", "GET /a"]);
        assert_eq!(found(&routes, "GET", "/a"), Some("GET /a"));
        assert_eq!(found(&routes, "PUT", "/a"), Some("ANY /a"));
    }

    #[test]
    fn a_whole_path_wins_over_a_greedy_one() {
        let routes = routes(&["GET /a/{proxy+}", "GET /{x}/b"]);
        assert_eq!(found(&routes, "GET", "/a/b"), Some("GET /{x}/b"));
        assert_eq!(found(&routes, "GET", "/a/c"), Some("GET /a/{proxy+}"));
    }

    #[test]
    fn parameters_take_one_segment_and_greedy_ones_the_rest() {
        let routes = routes(&["GET /items/{id}/parts/{part}", "GET /files/{path+}"]);
        let (_, parameters) = routes.find("GET", "/items/7/parts/left").expect("a route");
        assert_eq!(parameters["id"], "7");
        assert_eq!(parameters["part"], "left");
        let (_, parameters) = routes.find("GET", "/files/a/b//c/").expect("a route");
        assert_eq!(parameters["path"], "a/b//c/");
    }

    #[test]
    fn empty_segments_and_other_lengths_do_not_match() {
        let routes = routes(&["GET /items/{id}", "GET /files/{path+}"]);
        for path in [
            "/items",
            "/items/",
            "/items/1/",
            "/items/1/2",
            "/files",
            "/files/",
            "//",
            "",
        ] {
            assert_eq!(found(&routes, "GET", path), None, "{path}");
        }
        assert_eq!(found(&routes, "POST", "/items/1"), None);
    }
}
