//! Whom a question is about: the names that fill in a query, and the addresses that are asked.

use std::borrow::Cow;

use rollback_core::model::{Instance, ReadRequest, Scope};

/// What the placeholders of a query stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) service: &'a str,
    pub(crate) release: Option<&'a str>,
    pub(crate) arm: Option<&'static str>,
    pub(crate) instance: Option<&'a str>,
    pub(crate) address: Option<&'a str>,
}

impl<'a> Names<'a> {
    /// The names of a request, as it is put to `instance`.
    pub(crate) fn of(request: &'a ReadRequest, instance: Option<&'a Instance>) -> Self {
        Self {
            service: request.service.as_str(),
            release: request
                .subject
                .release
                .as_ref()
                .map(|release| release.as_str()),
            arm: request.scope.arm().map(|arm| match arm {
                rollback_core::model::Arm::Stable => "stable",
                rollback_core::model::Arm::Candidate => "candidate",
            }),
            instance: instance.map(|one| one.id.as_str()),
            address: instance.and_then(|one| one.address.as_deref()),
        }
    }

    /// The text with its placeholders filled in, each value escaped for where it stands.
    pub(crate) fn fill_in(
        &self,
        text: &str,
        escape: impl Fn(&str) -> String,
    ) -> Result<String, Cow<'static, str>> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            filled.push_str(before);
            let (name, after) = after.split_once("}}").ok_or("{{ is not closed by }}")?;
            filled.push_str(&escape(self.value(name.trim())?));
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    pub(crate) fn value(&self, name: &str) -> Result<&'a str, Cow<'static, str>> {
        let value = match name {
            "service" => Some(self.service),
            "release" => self.release,
            "arm" => self.arm,
            "instance" => self.instance,
            "address" => self.address,
            _ => {
                let known = "{{service}}, {{release}}, {{arm}}, {{instance}} and {{address}}";
                return Err(format!("{{{{{name}}}}} is not known; there are {known}").into());
            }
        };
        value.ok_or_else(|| {
            format!("{{{{{name}}}}} means nothing for this metric; change its `per:`").into()
        })
    }
}

/// Whether a query tells the arms apart where one address answers for both.
pub(crate) fn tells_apart(query: &str, scope: &Scope) -> bool {
    let names = match scope {
        Scope::Service => return true,
        Scope::Arm(_) => &["release", "arm"][..],
        Scope::Instance { .. } => &["instance", "address"][..],
    };
    let compact: String = query.chars().filter(|c| !c.is_whitespace()).collect();
    names
        .iter()
        .any(|name| compact.contains(&format!("{{{{{name}}}}}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_or_refused() {
        let names = Names {
            service: "shop",
            release: Some("a\"b"),
            arm: None,
            instance: None,
            address: None,
        };
        let shout = |text: &str| text.to_uppercase();
        assert_eq!(
            names.fill_in("x {{service}} {{ release }}y", shout),
            Ok("x SHOP A\"By".to_owned())
        );
        for (text, says) in [
            ("{{service", "not closed"),
            ("{{port}}", "not known"),
            ("{{arm}}", "per:"),
        ] {
            let why = names.fill_in(text, str::to_owned).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }
}
