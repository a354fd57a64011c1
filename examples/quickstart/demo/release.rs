//! A release of the shop on disk: a price list, its modules, and which versions of them it requires.
//!
//! The folders are checked in under `releases/`: `good`, and beside it what each scenario's version 2 changes in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::prices::{Mistake, Place, Program, Statement};

/// A file of a release: its path in the folder, and its text.
type File = (&'static str, &'static str);

/// A release that works.
const GOOD: &[File] = &[
    ("prices.shop", include_str!("../releases/good/prices.shop")),
    (
        "modules/discounts.shop",
        include_str!("../releases/good/modules/discounts.shop"),
    ),
    (
        "requirements.txt",
        include_str!("../releases/good/requirements.txt"),
    ),
];

/// What a release of the shop consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The release that works.
    Good,
    /// It imports a module that is not there.
    ImportError,
    /// A parenthesis is not closed.
    SyntaxError,
    /// It divides by zero.
    RuntimeError,
    /// It requires versions that do not exist.
    DependencyError,
    /// It needs a variable of the environment.
    NeedsSecret,
}

/// Why a release cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    #[error(transparent)]
    Mistake(#[from] Mistake),
    #[error("ImportError: {place}: no module named `{name}`: {}: {source}", path.display())]
    Import {
        place: Place,
        name: String,
        path: PathBuf,
        source: io::Error,
    },
    #[error("DependencyError: {required}: {why}")]
    Dependency { required: String, why: String },
    #[error(
        "EnvironmentError: {place}: `{name}` is not set; the release needs it in its environment"
    )]
    Environment { place: Place, name: String },
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
}

impl Content {
    /// What differs from the release that works.
    fn changes(self) -> &'static [File] {
        match self {
            Self::Good => &[],
            Self::ImportError => &[(
                "prices.shop",
                include_str!("../releases/import-error/prices.shop"),
            )],
            Self::SyntaxError => &[(
                "prices.shop",
                include_str!("../releases/syntax-error/prices.shop"),
            )],
            Self::RuntimeError => &[(
                "prices.shop",
                include_str!("../releases/runtime-error/prices.shop"),
            )],
            Self::DependencyError => &[(
                "requirements.txt",
                include_str!("../releases/dependency-error/requirements.txt"),
            )],
            Self::NeedsSecret => &[(
                "prices.shop",
                include_str!("../releases/missing-env/prices.shop"),
            )],
        }
    }

    /// Puts the release into a folder, as an unpacked archive would be.
    pub(crate) fn unpack(self, folder: &Path) -> io::Result<()> {
        for (path, text) in GOOD.iter().chain(self.changes()) {
            let path = folder.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, text)?;
        }
        Ok(())
    }
}

/// Reads a release and tries it once: requirements, modules, environment, the first price.
pub(crate) fn load(folder: &Path, env: impl Fn(&str) -> Option<String>) -> Result<Program, Unfit> {
    let required = read(folder, "requirements.txt")?;
    for line in required.lines().map(str::trim) {
        if !line.is_empty() && !line.starts_with('#') {
            resolve(folder, line)?;
        }
    }
    let program = Program::parse("prices.shop", &read(folder, "prices.shop")?)?;
    let mut whole = program.clone();
    for (place, statement) in program.statements() {
        match statement {
            Statement::Import(name) => whole = whole.after(import(folder, place, name)?),
            Statement::Secret(name) if env(name).is_none_or(|value| value.is_empty()) => {
                return Err(Unfit::Environment {
                    place: place.clone(),
                    name: name.clone(),
                });
            }
            _ => {}
        }
    }
    whole.price(0)?;
    Ok(whole)
}

fn read(folder: &Path, file: &str) -> Result<String, Unfit> {
    let path = folder.join(file);
    fs::read_to_string(&path).map_err(|source| Unfit::Unreadable { path, source })
}

fn module_path(name: &str) -> String {
    format!("modules/{name}.shop")
}

fn import(folder: &Path, place: &Place, name: &str) -> Result<Program, Unfit> {
    let file = module_path(name);
    let path = folder.join(&file);
    let text = fs::read_to_string(&path).map_err(|source| Unfit::Import {
        place: place.clone(),
        name: name.to_owned(),
        path,
        source,
    })?;
    Ok(Program::parse(&file, &text)?)
}

/// `discounts>=2.0,<3.0`: the module is there, in a version that all bounds allow.
fn resolve(folder: &Path, required: &str) -> Result<(), Unfit> {
    let unmet = |why: String| Unfit::Dependency {
        required: required.to_owned(),
        why,
    };
    let bounds_at = required.find(['<', '>', '=']).unwrap_or(required.len());
    let (name, bounds) = required.split_at(bounds_at);
    let file = module_path(name);
    let Ok(text) = fs::read_to_string(folder.join(&file)) else {
        return Err(unmet("there is no such module".to_owned()));
    };
    let module = Program::parse(&file, &text)?;
    let there = module
        .statements()
        .find_map(|(_, statement)| match statement {
            Statement::Version(version) => Some(version.clone()),
            _ => None,
        })
        .ok_or_else(|| unmet("the module has no version".to_owned()))?;
    for bound in bounds.split(',').filter(|bound| !bound.is_empty()) {
        match allows(bound, &there) {
            Some(true) => {}
            Some(false) => return Err(unmet(format!("there is only version {there}"))),
            None => return Err(unmet(format!("`{bound}` is no bound; write >=1.0 or <2.0"))),
        }
    }
    Ok(())
}

fn allows(bound: &str, version: &str) -> Option<bool> {
    let number = |text: &str| -> Option<Vec<u32>> {
        text.trim()
            .split('.')
            .map(|part| part.parse().ok())
            .collect()
    };
    let there = number(version)?;
    if let Some(least) = bound.strip_prefix(">=") {
        Some(there >= number(least)?)
    } else {
        Some(there < number(bound.strip_prefix('<')?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(content: Content, env: Option<&str>) -> Result<Program, String> {
        let folder = tempfile::tempdir().unwrap();
        content.unpack(folder.path()).unwrap();
        load(folder.path(), |_| env.map(str::to_owned)).map_err(|unfit| unfit.to_string())
    }

    #[test]
    fn the_good_release_has_a_price_for_every_order() {
        let program = loaded(Content::Good, None).unwrap();
        for order in 0..1000 {
            let price = program.price(order).unwrap();
            assert!((8..=85).contains(&price), "order {order} costs {price}");
        }
    }

    #[test]
    fn each_bad_release_fails_for_its_own_reason() {
        for (content, parts) in [
            (
                Content::ImportError,
                [
                    "ImportError: prices.shop, line 3",
                    "no module named `vouchers`",
                ],
            ),
            (
                Content::SyntaxError,
                ["SyntaxError: prices.shop, line 5", "was never closed"],
            ),
            (
                Content::RuntimeError,
                [
                    "RuntimeError: prices.shop, line 5",
                    "division by zero in `basket / order`",
                ],
            ),
            (
                Content::DependencyError,
                ["DependencyError: discounts>=999.0", "only version 2.1"],
            ),
            (
                Content::NeedsSecret,
                [
                    "EnvironmentError: prices.shop, line 3",
                    "`ORDER_SIGNING_KEY` is not set",
                ],
            ),
        ] {
            let why = loaded(content, None).unwrap_err();
            assert!(parts.iter().all(|part| why.contains(part)), "{why}");
        }
        assert!(loaded(Content::NeedsSecret, Some("k")).is_ok());
        assert!(loaded(Content::NeedsSecret, Some("")).is_err());
    }

    #[test]
    fn bounds_are_compared_number_by_number() {
        for (bound, version, allowed) in [
            (">=2.0", "2.1", Some(true)),
            (">=2.0", "10.0", Some(true)),
            (">=2.2", "2.1", Some(false)),
            ("<3", "2.9", Some(true)),
            ("<0.5", "2.1", Some(false)),
            ("~2", "2.1", None),
        ] {
            assert_eq!(allows(bound, version), allowed, "{bound} {version}");
        }
    }
}
