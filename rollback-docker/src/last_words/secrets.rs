//! Values that must not be shown, and what is shown in their place.

use rollback_core::model::Secret;
use serde_json::Value;

/// What is shorter cannot be told from ordinary text.
const SHORTEST: usize = 3;
/// A random text is at least so long.
const RANDOM: usize = 16;

/// Words in the name of a variable that make its value secret.
const SECRET_WORDS: [&str; 12] = [
    "PASS",
    "SECRET",
    "TOKEN",
    "KEY",
    "CREDENTIAL",
    "AUTH",
    "PRIVATE",
    "COOKIE",
    "SALT",
    "DSN",
    "SIGNATURE",
    "WEBHOOK",
];

/// Values and what is shown for them, longest first.
pub(super) struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// Of a container's environment what looks secret, and `more`.
    pub(super) fn of(inspected: &Value, more: &[Secret<String>]) -> Self {
        let mut all = Vec::new();
        for secret in more {
            add(&mut all, secret.expose(), "***");
        }
        let env = inspected.pointer("/Config/Env").and_then(Value::as_array);
        for variable in env.into_iter().flatten().filter_map(Value::as_str) {
            let Some((name, value)) = variable.split_once('=') else {
                continue;
            };
            let shown = format!("${{{name}}}");
            if says_secret(name) || looks_random(value) {
                add(&mut all, value, &shown);
            }
            if let Some(password) = password_in(value) {
                add(&mut all, password, &shown);
            }
        }
        // A secret within another one must not leave the rest of it.
        all.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        all.dedup_by(|(a, _), (b, _)| a == b);
        Self(all)
    }

    pub(super) fn hidden(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, shown) in &self.0 {
            if text.contains(value.as_str()) {
                text = text.replace(value.as_str(), shown);
            }
        }
        text
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// The value as a whole, and each of its lines: a log breaks keys of several lines apart.
fn add(all: &mut Vec<(String, String)>, value: &str, shown: &str) {
    let lines = value.lines().filter(|line| line.len() >= RANDOM);
    for text in std::iter::once(value.trim()).chain(lines) {
        if text.len() >= SHORTEST {
            all.push((text.to_owned(), shown.to_owned()));
        }
    }
}

fn says_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Long, without a break, of letters and digits: nobody would miss it in a log.
fn looks_random(value: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-');
    value.len() >= RANDOM
        && !value.starts_with('/')
        && value.chars().all(allowed)
        && value.chars().any(|c| c.is_ascii_digit())
        && value.chars().any(|c| c.is_ascii_alphabetic())
}

/// `pw` of `scheme://user:pw@host`.
fn password_in(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    let (_, password) = user.split_once(':')?;
    Some(password)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hidden(env: &[&str], text: &str) -> String {
        let more = [Secret::new("sealed".to_owned()), Secret::new(String::new())];
        Secrets::of(&json!({"Config": {"Env": env}}), &more).hidden(text)
    }

    #[test]
    fn what_looks_secret_is_not_shown() {
        for (variable, text, shown) in [
            ("DB_PASSWORD=hunter2", "pw hunter2.", "pw ${DB_PASSWORD}."),
            ("api_token=abc", "abcabc", "${api_token}${api_token}"),
            (
                "DATABASE_URL=postgres://shop:hunter2@db/shop?a=b",
                "cannot reach postgres://shop:hunter2@db",
                "cannot reach postgres://shop:${DATABASE_URL}@db",
            ),
            (
                "LICENCE=A1b2C3d4E5f6G7h8",
                "licence A1b2C3d4E5f6G7h8 is over",
                "licence ${LICENCE} is over",
            ),
            (
                "SAYS=the database is away",
                "the database is away",
                "the database is away",
            ),
            ("PATH=/usr/local/sbin:/usr/bin", "/usr/bin", "/usr/bin"),
            ("MODE=production", "production", "production"),
            (
                "URL=http://db:5432/shop",
                "http://db:5432/shop",
                "http://db:5432/shop",
            ),
            ("SECRET=x", "xerox", "xerox"),
            ("SECRET=", "text", "text"),
            ("SECRET", "text", "text"),
            ("A=1", "it was sealed", "it was ***"),
        ] {
            assert_eq!(hidden(&[variable], text), shown, "{variable}");
        }
    }

    #[test]
    fn the_longest_goes_first_and_lines_of_a_key_go_alone() {
        let env = ["A_KEY=abc", "B_KEY=abcdef"];
        assert_eq!(hidden(&env, "abcdef abc"), "${B_KEY} ${A_KEY}");
        let key = "TLS_KEY=-----BEGIN-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n";
        let text = "at MIIEvQIBADANBgkqhkiG9w0B\nthen AQEFAASCBKcwggSjAgEAAoIB";
        assert_eq!(hidden(&[key], text), "at ${TLS_KEY}\nthen ${TLS_KEY}");
    }

    #[test]
    fn nothing_of_it_is_shown_by_debug() {
        let secrets = Secrets::of(&json!({"Config": {"Env": ["KEY=hunter2"]}}), &[]);
        assert_eq!(format!("{secrets:?}"), "Secrets(1)");
    }
}
