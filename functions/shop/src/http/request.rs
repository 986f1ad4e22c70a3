//! The parts of a request that handlers read.

use lambda_http::http::header::CONTENT_TYPE;
use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt};

use crate::domain::{Customer, Invalid, Problem, ProductId};

/// The largest body that is read, in bytes.
///
/// The largest valid one is a product whose 4,264 characters are all written as 12-byte escapes
/// (`\ud83d\ude00`): 52 KB. Lambda itself would accept 6 MB.
pub const MAX_BODY: usize = 64 * 1024;

/// A parameter of the path, as API Gateway passes it: percent-decoded, once. An encoded slash has
/// become a slash, which no id may contain.
///
/// # Errors
/// 500 if the route has no such parameter: template and function do not match.
pub fn path_parameter<'a>(request: &'a Request, name: &str) -> Result<&'a str, Problem> {
    request
        .extensions()
        .path_parameters_ref()
        .and_then(|parameters| parameters.first(name))
        .ok_or_else(|| Problem::internal(format!("the route has no path parameter {name}")))
}

/// The product id in the path.
///
/// # Errors
/// 400 for a malformed id; 500 as [`path_parameter`].
pub fn product_id(request: &Request) -> Result<ProductId, Problem> {
    ProductId::parse(path_parameter(request, "id")?)
        .map_err(|reason| Problem::bad_value("id", &reason))
}

/// The query parameters `names`, in that order.
///
/// # Errors
/// 400 for a parameter that is not one of `names`, so that a misspelt filter is not ignored, and
/// for a repeated one.
pub fn query_parameters<'a, const N: usize>(
    request: &'a Request,
    names: [&str; N],
) -> Result<[Option<&'a str>; N], Problem> {
    let mut values = [None; N];
    let Some(query) = request.query_string_parameters_ref() else {
        return Ok(values);
    };
    for (name, value) in query.iter() {
        let Some(index) = names.iter().position(|known| *known == name) else {
            let known = if N == 0 {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            let detail =
                format!("The query parameter {name:?} is not known; the route takes {known}.");
            return Err(Problem::Unreadable(detail.into()));
        };
        if values[index].replace(value).is_some() {
            let reason = Invalid::new("must be given once");
            return Err(Problem::bad_value(name, &reason));
        }
    }
    Ok(values)
}

/// A parameter or header, parsed; `None` if it is absent.
///
/// # Errors
/// 400 that names the value and its rule.
pub fn parsed<T>(
    name: &str,
    value: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, Invalid>,
) -> Result<Option<T>, Problem> {
    let parsed = value.map(parse).transpose();
    parsed.map_err(|reason| Problem::bad_value(name, &reason))
}

/// The customer whose token the request carries, if the route requires one. API Gateway has checked
/// it.
///
/// # Errors
/// 400 for a token without the claims `iss` and `sub`, which would belong to nobody.
pub fn customer(request: &Request) -> Result<Option<Customer>, Problem> {
    let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() else {
        return Ok(None);
    };
    let authorizer = context.authorizer.as_ref();
    let Some(token) = authorizer.and_then(|authorizer| authorizer.jwt.as_ref()) else {
        return Ok(None);
    };
    let claim = |name: &str| {
        let claim = token.claims.get(name).filter(|claim| !claim.is_empty());
        claim.cloned().ok_or_else(|| {
            let reason = Invalid::new("must hold a token with the claims iss and sub");
            Problem::bad_value("authorization", &reason)
        })
    };
    Ok(Some(Customer {
        issuer: claim("iss")?,
        subject: claim("sub")?,
    }))
}

/// A header of the request.
///
/// # Errors
/// 400 if it holds anything but visible ASCII and spaces.
pub fn header<'a>(request: &'a Request, name: &str) -> Result<Option<&'a str>, Problem> {
    let Some(value) = request.headers().get(name) else {
        return Ok(None);
    };
    value
        .to_str()
        .map(Some)
        .map_err(|_| Problem::bad_value(name, &Invalid::new("must be visible ASCII characters")))
}

/// The bytes of a body that must be JSON. API Gateway passes it as text, or as base64-encoded
/// bytes, which `lambda_http` has decoded.
///
/// # Errors
/// 415 if the content type is not JSON in UTF-8; 413 above [`MAX_BODY`].
pub fn json_bytes(request: &Request) -> Result<&[u8], Problem> {
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(is_json) {
        return Err(Problem::BodyNotJson);
    }
    let body: &[u8] = request.body();
    if body.len() > MAX_BODY {
        return Err(Problem::BodyTooLarge { limit: MAX_BODY });
    }
    Ok(body)
}

/// `application/json`, alone or with `charset=utf-8`.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.all(|parameter| {
            parameter.is_empty()
                || parameter.eq_ignore_ascii_case("charset=utf-8")
                || parameter.eq_ignore_ascii_case("charset=\"utf-8\"")
        })
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::http::status;

    /// A sample event as `lambda_http` reads it, with `changes`.
    pub(crate) fn request(sample: &str, changes: &[(&str, Value)]) -> Request {
        let mut event: Value = serde_json::from_str(sample).unwrap();
        for (pointer, value) in changes {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            event.pointer_mut(parent).unwrap()[key] = value.clone();
        }
        lambda_http::request::from_str(&event.to_string()).unwrap()
    }

    pub(crate) const GET: &str = include_str!("../../../../events/get-product.json");
    const LIST: &str = include_str!("../../../../events/list-products.json");
    const PUT: &str = include_str!("../../../../events/put-product.json");

    #[test]
    fn an_id_comes_from_the_path() {
        assert_eq!(path_parameter(&request(GET, &[]), "id").unwrap(), "mug-350");
        assert_eq!(
            path_parameter(&request(LIST, &[]), "id").map_err(|problem| status(&problem)),
            Err(500)
        );
    }

    #[test]
    fn an_encoded_slash_is_no_part_of_an_id() {
        for id in ["a/b", "a%2Fb"] {
            let request = request(GET, &[("/pathParameters/id", json!(id))]);
            assert!(ProductId::parse(path_parameter(&request, "id").unwrap()).is_err());
        }
    }

    #[test]
    fn query_parameters_are_read_by_name() {
        let plain = request(LIST, &[]);
        let read = query_parameters(&plain, ["cursor", "category", "limit"]).unwrap();
        assert_eq!(read, [None, Some("kitchen"), Some("10")]);

        let encoded = request(
            LIST,
            &[("/rawQueryString", json!("category=caf%C3%A9+%26%20more"))],
        );
        let [category] = query_parameters(&encoded, ["category"]).unwrap();
        assert_eq!(category, Some("café & more"));
    }

    #[test]
    fn a_query_parameter_that_is_unknown_or_repeated_is_refused() {
        for query in [
            "categroy=mugs",
            "limit=1&limit=2",
            "limit=1&limit=1",
            "x",
            "LIMIT=1",
        ] {
            let request = request(LIST, &[("/rawQueryString", json!(query))]);
            let problem = query_parameters(&request, ["category", "limit"]).unwrap_err();
            assert_eq!(status(&problem), 400, "{query}");
        }
    }

    #[test]
    fn a_body_is_read_as_text_and_as_base64() {
        let text = request(PUT, &[("/body", json!("{\"a\": 1}"))]);
        let encoded = request(
            PUT,
            &[
                ("/body", json!("eyJhIjogMX0=")),
                ("/isBase64Encoded", json!(true)),
            ],
        );

        assert_eq!(json_bytes(&text).unwrap(), b"{\"a\": 1}");
        assert_eq!(json_bytes(&encoded).unwrap(), b"{\"a\": 1}");
    }

    #[test]
    fn a_missing_body_is_an_empty_one() {
        let request = request(PUT, &[("/body", json!(null))]);

        assert_eq!(json_bytes(&request).unwrap(), b"");
    }

    #[test]
    fn only_json_in_utf_8_is_taken_for_json() {
        let read = |kind: Value| {
            let request = request(PUT, &[("/headers/content-type", kind)]);
            json_bytes(&request)
                .map(<[u8]>::len)
                .map_err(|problem| status(&problem))
        };

        for kind in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;charset=\"UTF-8\"",
            "application/json;",
        ] {
            assert!(read(json!(kind)).is_ok(), "{kind}");
        }
        for kind in [
            "",
            "text/plain",
            "application/jsonp",
            "application/problem+json",
            "application/x-www-form-urlencoded",
            "application/json; charset=iso-8859-1",
            "application/json, text/plain",
        ] {
            assert_eq!(read(json!(kind)), Err(415), "{kind}");
        }
    }

    #[test]
    fn a_body_without_a_content_type_is_not_guessed_at() {
        let mut request = request(PUT, &[]);
        request.headers_mut().remove(CONTENT_TYPE);

        assert_eq!(
            json_bytes(&request).map_err(|problem| status(&problem)),
            Err(415)
        );
    }

    #[test]
    fn a_body_may_be_64_kilobytes_long_and_no_longer() {
        let read = |length: usize| {
            json_bytes(&request(PUT, &[("/body", json!("x".repeat(length)))]))
                .map(<[u8]>::len)
                .map_err(|problem| status(&problem))
        };

        assert_eq!(read(65_536), Ok(65_536));
        assert_eq!(read(65_537), Err(413));
    }

    #[test]
    fn a_header_that_is_not_ascii_is_refused() {
        let request = request(PUT, &[("/headers/if-match", json!("\"é\""))]);

        assert_eq!(
            header(&request, "if-match").map_err(|problem| status(&problem)),
            Err(400)
        );
    }

    const ORDER: &str = include_str!("../../../../events/place-order.json");

    #[test]
    fn a_request_with_a_token_is_its_subject_s() {
        let customer_of = |changes: &[(&str, Value)]| {
            let customer = customer(&request(ORDER, changes));
            let customer = customer.map_err(|problem| status(&problem))?;
            Ok(customer.map(|it| (it.issuer, it.subject)))
        };
        let claims = "/requestContext/authorizer/jwt/claims";

        assert_eq!(
            customer_of(&[]),
            Ok(Some((
                "https://login.example.com/".to_owned(),
                "7f3a9c52-1d84-4e0b-9b6e-2c5d8f1a0e47".to_owned()
            )))
        );
        assert_eq!(
            customer_of(&[("/requestContext/authorizer", json!(null))]),
            Ok(None)
        );
        let iam = json!({"iam": {"accountId": "123456789012"}});
        assert_eq!(
            customer_of(&[("/requestContext/authorizer", iam)]),
            Ok(None)
        );
        for nobody in [
            json!({"iss": "https://a"}),
            json!({"sub": "1"}),
            json!({"iss": "a", "sub": ""}),
        ] {
            assert_eq!(
                customer_of(&[(claims, nobody.clone())]),
                Err(400),
                "{nobody}"
            );
        }
    }
}
