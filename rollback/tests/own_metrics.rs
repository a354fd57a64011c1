//! The controller's own metrics, as a scrape shows them.

#![cfg(feature = "prometheus")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail loudly")]

mod stage;

use rollback::{memory::MemoryJournal, model::*};
use stage::*;

/// The value of a series; its labels in any order.
fn value(scrape: &str, name: &str, labels: &[&str]) -> Option<f64> {
    scrape.lines().find_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let rest = series.strip_prefix(name)?;
        let fits = (rest.is_empty() || rest.starts_with('{'))
            && labels.iter().all(|label| rest.contains(label));
        fits.then(|| value.parse().ok()).flatten()
    })
}

#[tokio::test(start_paused = true)]
async fn a_rollback_shows_in_a_scrape() {
    let world = World::new();
    let people = People::default();
    let mut registry = prometheus_client::registry::Registry::default();
    let controller = world
        .builder(POLICY)
        .journal(MemoryJournal::new())
        .notifier(people)
        .registry(&mut registry)
        .start()
        .await
        .unwrap();
    let scrape = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    };
    let idle = scrape();
    let phase = "rollback_deployment_phase";
    assert_eq!(
        value(&idle, phase, &[r#"phase="idle""#]),
        Some(1.0),
        "{idle}"
    );
    let deployment = controller.deploy(release("bad")).await.unwrap();
    let outcome = ended(&deployment).await;
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome}");
    let text = scrape();
    let service = r#"service="checkout""#;
    for (name, labels, least, most) in [
        ("rollback_build_info", vec![r#"version=""#], 1.0, 1.0),
        ("rollback_service_info", vec![r#"stable="v1""#], 1.0, 1.0),
        (
            "rollback_deployments_total",
            vec![
                service,
                r#"outcome="rolled_back""#,
                r#"strategy="blue_green""#,
            ],
            1.0,
            1.0,
        ),
        (
            "rollback_deployment_phase",
            vec![r#"phase="idle""#],
            1.0,
            1.0,
        ),
        (
            "rollback_deployment_phase",
            vec![r#"phase="bake""#],
            0.0,
            0.0,
        ),
        (
            "rollback_deployment_duration_seconds_sum",
            vec![r#"outcome="rolled_back""#],
            5.0,
            60.0,
        ),
        (
            "rollback_detection_duration_seconds_sum",
            vec![r#"trigger="too_many_errors""#],
            2.0,
            6.0,
        ),
        (
            "rollback_restore_duration_seconds_count",
            vec![service],
            1.0,
            1.0,
        ),
        (
            "rollback_restore_duration_seconds_sum",
            vec![service],
            0.0,
            2.0,
        ),
        (
            "rollback_trigger_verdict",
            vec![r#"verdict="fail""#],
            0.0,
            0.0,
        ),
        ("rollback_blind_seconds", vec![service], 0.0, 0.0),
        (
            "rollback_effects_total",
            vec![r#"effect="weights""#, r#"result="accepted""#],
            2.0,
            2.0,
        ),
        (
            "rollback_notices_total",
            vec![r#"channel="people""#],
            2.0,
            20.0,
        ),
        (
            "rollback_journal_append_duration_seconds_count",
            vec![],
            10.0,
            500.0,
        ),
        ("rollback_journal_errors_total", vec![], 0.0, 0.0),
    ] {
        let found = value(&text, name, &labels);
        assert!(
            found.is_some_and(|found| (least..=most).contains(&found)),
            "{name}{labels:?} is {found:?}, not {least} to {most}, in\n{text}"
        );
    }
}
