//! Whatever stands in a policy file: a policy that is written and read as the same, or an error that
//! can be shown. Never a panic.

use rollback_core::{
    inspect::{CheckOptions, check_policy},
    policy::Policy,
};

pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for read in [Policy::from_yaml(text), Policy::from_json(text)] {
        match read {
            Ok(policy) => {
                let written = serde_json::to_string(&policy).expect("a policy can be written");
                let again: Policy = serde_json::from_str(&written).expect("and read");
                assert_eq!(again, policy);
                assert_eq!(again.digest(), policy.digest());
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                assert_eq!(error.annotation("f").lines().count(), 1);
            }
        }
    }
    let report = check_policy(text, &CheckOptions::default());
    assert!(!report.text().is_empty() && report.json().is_object());
    assert!(
        report
            .annotations()
            .lines()
            .all(|line| line.starts_with("::"))
    );
}
