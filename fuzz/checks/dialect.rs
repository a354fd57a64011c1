//! Whatever stands in another system's configuration: a translation whose YAML is read as the same
//! policy, or an error that can be shown. The first byte says which dialect.

use rollback_core::{
    dialect::{Dialect, TranslateOptions},
    policy::Policy,
};

pub fn check(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let (Ok(text), Some(dialect)) = (
        std::str::from_utf8(rest),
        Dialect::ALL.get(usize::from(*first) % Dialect::ALL.len()),
    ) else {
        return;
    };
    match dialect.translate(text, &TranslateOptions::default()) {
        Ok(translation) => {
            let again = Policy::from_yaml(&translation.yaml).expect("its own text");
            assert_eq!(again, translation.policy);
            assert!(translation.report().lines().count() >= translation.lines.len());
        }
        Err(error) => assert!(
            !error.to_string().is_empty() && !error.fix().is_empty(),
            "{error}"
        ),
    }
}
