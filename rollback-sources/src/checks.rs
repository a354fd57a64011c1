//! The six health checks of a web service, as a part of a policy.

use serde_json::{Value, json};

/// Metrics of [`HttpHealth`](crate::HttpHealth) for the six checks that any web service with a
/// health endpoint can be given, and the conditions under which each is bad, as
/// `{"metrics": {..}, "checks": [{"name", "when", "critical"}..]}`, to be joined to a policy.
///
/// | check | bad when | critical |
/// |---|---|---|
/// | connectivity | nobody answers `/` | yes |
/// | health endpoint | `/health` does not answer 200 to 299 with `healthy`, `ok` or `status` in it | yes |
/// | documentation | `/docs` does not answer 200 to 299 | no |
/// | response time | `/` takes 10 s or longer | no |
/// | status code | `/` answers other than 200 | no; from 500 on yes, as a check of its own |
/// | content | `/` answers nothing | no |
///
/// The status is two checks, since only a part of it is critical. That moves no service into another
/// class (80 % healthy, 60 % degraded): with one, two or three checks failing the shares are 86, 71
/// and 57 % of seven, and 83, 67 and 50 % of six.
///
/// Give the source [`Limits`](crate::Limits) of 30 s, and the policy polls of at least 15 s, so that
/// an answer may take that long.
#[must_use]
pub fn web_service_checks() -> Value {
    let metric = |unit: &str, query: &str| json!({"unit": unit, "per": "instance", "query": query});
    let check = |name: &str, when: &str, critical: bool| json!({"name": name, "when": when, "critical": critical});
    json!({
        "metrics": {
            "connectivity": metric("state", "answers /"),
            "health_endpoint": metric("state", "says healthy|ok|status /health"),
            "documentation": metric("state", "/docs"),
            "response_time": metric("ms", "response_time /"),
            "status_code": metric("count", "status /"),
            "content": metric("bytes", "content /"),
        },
        "checks": [
            check("connectivity", "connectivity == 'down'", true),
            check("health_endpoint", "health_endpoint == 'down'", true),
            check("documentation", "documentation == 'down'", false),
            check("response_time", "response_time >= 10s", false),
            check("status_code", "status_code != 200", false),
            check("server_error", "status_code >= 500", true),
            check("content", "content == 0", false),
        ],
    })
}
