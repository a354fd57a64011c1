//! Where a question is asked: a path of each instance in scope, or a whole URL with placeholders.

use rollback_core::model::{Instance, ReadError, ReadRequest, Scope};

use crate::subject::{Names, tells_apart};

/// The URLs that a request asks, one per instance in scope, or one for all.
pub(crate) fn addresses(place: &str, request: &ReadRequest) -> Result<Vec<String>, ReadError> {
    let fill_in = |names: Names<'_>| {
        let filled = names.fill_in(place, str::to_owned);
        filled.map_err(|why| bad_query(format!("`{place}`: {why}")))
    };
    let instances = &request.subject.instances;
    if place.starts_with('/') {
        if request.scope == Scope::Service && instances.is_empty() {
            return Err(bad_query(format!(
                "`{place}` is asked of instances, and this metric is of the service as a whole; write a whole URL, or `per: instance`"
            )));
        }
        if instances.is_empty() {
            return Err(ReadError::NoData);
        }
        let url = |instance: &Instance| {
            let names = Names::of(request, Some(instance));
            let Some(address) = names.address else {
                return Err(ReadError::Unreachable {
                    why: format!(
                        "the platform tells no address of the instance {}",
                        instance.id
                    ),
                    retry_after_ms: None,
                });
            };
            Ok(format!("http://{address}{}", fill_in(names)?))
        };
        return instances.iter().map(url).collect();
    }
    if !place.starts_with("http://") && !place.starts_with("https://") {
        return Err(bad_query(format!(
            "`{place}` is neither a path (/health) nor a URL"
        )));
    }
    let of_each = ["instance", "address"]
        .iter()
        .any(|name| place.contains(name) && place.contains("{{"));
    if of_each && !instances.is_empty() {
        return instances
            .iter()
            .map(|one| fill_in(Names::of(request, Some(one))))
            .collect();
    }
    if !tells_apart(place, &request.scope) {
        return Err(bad_query(format!(
            "`{place}` is the same for all; use {{{{address}}}} or {{{{release}}}} in it, or write `per: service`"
        )));
    }
    Ok(vec![fill_in(Names::of(request, None))?])
}

pub(crate) const fn bad_query(why: String) -> ReadError {
    ReadError::BadQuery { why }
}
