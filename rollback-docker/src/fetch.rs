//! An image out of its registry.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use crate::{Engine, EngineError, Image, client::Body, image::split};

/// So long a fetch may take.
const FETCH: Duration = Duration::from_secs(30 * 60);

impl Engine {
    /// Fetches the image that a name or a digest (`name@sha256:…`) stands for in its registry now,
    /// with the login that [`registries`](Self::registries) gave, and waits until it is here.
    ///
    /// # Errors
    /// As [`image`](Self::image), and the registry's own words: that there is no such image, or
    /// that it wants a login.
    pub async fn fetch(&self, reference: &str) -> Result<Image, EngineError> {
        let (name, version) = split(reference);
        // Without any version all tags would be fetched.
        let query = [("fromImage", name), ("tag", version.unwrap_or("latest"))];
        let patient = self.clone().timeout(FETCH);
        let login = self.login(reference).await?;
        let told = patient
            .send_for(Method::POST, "/images/create", &query, Body::Nothing, login)
            .await
            .map_err(|error| in_words(reference, error))?;
        match failed(&told.body) {
            Some(message) => {
                let error = EngineError::Answer {
                    status: 500,
                    message,
                };
                Err(in_words(reference, error))
            }
            None => self.image(reference).await,
        }
    }

    /// The image that a name, a digest or an id stands for on this engine, and if there is none,
    /// in its registry: as `docker run` does.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub async fn image_or_fetched(&self, reference: &str) -> Result<Image, EngineError> {
        match self.image(reference).await {
            Err(error) if error.is_not_found() && !reference.starts_with("sha256:") => {
                self.fetch(reference).await
            }
            found => found,
        }
    }
}

/// What the engine says at the end of a fetch that did not work: its answer itself says 200.
fn failed(told: &[u8]) -> Option<String> {
    let lines = serde_json::Deserializer::from_slice(told).into_iter::<Value>();
    let mut errors = lines
        .map_while(Result::ok)
        .filter_map(|line| line.get("error").and_then(Value::as_str).map(str::to_owned));
    errors.next()
}

/// What cannot come of another try is told as such: the registry has no such image, or does not
/// give it to us.
fn in_words(reference: &str, error: EngineError) -> EngineError {
    let EngineError::Answer { status, message } = error else {
        return error;
    };
    let said = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let wants_login = says(&[
        "unauthorized",
        "no basic auth",
        "denied",
        "authentication required",
    ]);
    let has_none = says(&[
        "manifest unknown",
        "not found",
        "does not exist",
        "name unknown",
    ]);
    let (status, hint) = match (wants_login, has_none) {
        (true, _) => (
            403,
            "; log in to its registry (`docker login`), and see its name",
        ),
        (false, true) => (404, "; push it, and see its name"),
        (false, false) => (
            status,
            "; see that its registry answers, or build or load the image",
        ),
    };
    EngineError::Answer {
        status,
        message: format!("{reference} cannot be fetched: {message}{hint}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_that_fails_says_so_in_its_last_line() {
        let good = br#"{"status":"Pulling"}{"status":"Done"}"#;
        assert_eq!(failed(good), None);
        let bad = br#"{"status":"Pulling"}{"errorDetail":{"message":"m"},"error":"m"}"#;
        assert_eq!(failed(bad).as_deref(), Some("m"));
    }

    #[test]
    fn what_another_try_cannot_mend_is_told_apart() {
        for (message, status) in [
            ("manifest for r/shop:9 not found: manifest unknown", 404),
            ("no basic auth credentials", 403),
            (
                "pull access denied for shop, repository does not exist",
                403,
            ),
            ("dial tcp: connection refused", 500),
        ] {
            let error = EngineError::Answer {
                status: 500,
                message: message.to_owned(),
            };
            let told = in_words("r/shop:9", error);
            assert_eq!(told.status(), Some(status), "{told}");
        }
    }
}
