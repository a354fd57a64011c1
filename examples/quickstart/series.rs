//! Several stories one after another, and the table that they come to.

use std::fmt::{self, Display};
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use crate::cli::StoryArgs;
use crate::ending::time;
use crate::figures::Figures;
use crate::scenario::Scenario;
use crate::screen::Screen;
use crate::story;
use crate::trouble::Trouble;

/// Tells what was asked for: one story, or several and their table.
pub(crate) async fn tell(args: StoryArgs) -> Result<ExitCode, Trouble> {
    let scenarios = args.scenarios();
    if let [] | [_] = scenarios.as_slice() {
        let story = story::tell(&args, scenarios.first().copied()).await?;
        return Ok(ExitCode::from(story.code));
    }
    if args.journal.is_some() {
        return Err(Trouble::asked(
            "a journal keeps one story: name one --scenario, or leave --journal out",
        ));
    }
    let mut table = Table::default();
    for (number, scenario) in scenarios.iter().enumerate() {
        let title = format!("Story {} of {}: {scenario}", number + 1, scenarios.len());
        Screen::of_this_process(args.json, args.auto).title(&title);
        let story = match story::tell(&args, Some(*scenario)).await {
            Ok(story) => story,
            Err(trouble) => {
                // What was told before is not lost for it.
                Screen::of_this_process(args.json, args.auto).table(&table);
                return Err(trouble);
            }
        };
        table.rows.push(Row {
            scenario: *scenario,
            as_it_should: story.code == 0,
            code: story.code,
            figures: story.figures,
        });
    }
    Screen::of_this_process(args.json, args.auto).table(&table);
    Ok(ExitCode::from(table.code()))
}

/// The scenarios that there are, for people to choose from.
pub(crate) fn list(scenarios: &[Scenario]) -> String {
    let name = |scenario: &Scenario| scenario.to_string();
    let names = scenarios.iter().map(|scenario| name(scenario).len());
    let width = names.max().unwrap_or(0);
    let mut lines = vec![
        "What can be wrong with version 2 (--scenario NAME, several with commas, or all):"
            .to_owned(),
    ];
    for scenario in scenarios {
        lines.push(format!(
            "  {:<width$}  {}",
            name(scenario),
            scenario.about()
        ));
        let end = scenario.setting().end;
        lines.push(format!("  {:<width$}    must end: {end}", ""));
    }
    lines.join("\n")
}

/// The same for programs, one event a line.
pub(crate) fn list_as_events(scenarios: &[Scenario]) -> String {
    let event = |scenario: &Scenario| {
        json!({
            "event": "scenario",
            "name": scenario,
            "about": scenario.about(),
            "must_end": scenario.setting().end.to_string(),
        })
        .to_string()
    };
    scenarios.iter().map(event).collect::<Vec<_>>().join("\n")
}

/// What several stories came to.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Table {
    /// One for each story, in the order in which they were told.
    pub(crate) rows: Vec<Row>,
}

/// One story.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    scenario: Scenario,
    as_it_should: bool,
    #[serde(skip)]
    code: u8,
    figures: Figures,
}

impl Table {
    /// 0 if every story ended as it should, else what the first that did not would have answered.
    fn code(&self) -> u8 {
        self.rows
            .iter()
            .map(|row| row.code)
            .find(|code| *code != 0)
            .unwrap_or(0)
    }
}

const HEAD: [&str; 7] = [
    "scenario",
    "version 2",
    "noticed by",
    "noticed after",
    "restored after",
    "requests failed",
    "as it should",
];

impl Row {
    fn cells(&self) -> [String; 7] {
        let figures = &self.figures;
        let after = |millis: Option<i64>| millis.map_or_else(|| "-".to_owned(), time);
        let noticed_by = figures.decided_by.as_ref().or(figures.held_by.as_ref());
        [
            self.scenario.to_string(),
            figures.outcome.replace('_', " "),
            noticed_by.cloned().unwrap_or_else(|| "-".to_owned()),
            after(figures.noticed_after_ms.or(figures.held_after_ms)),
            // What was not called back restored nothing, whenever its last bad answer was.
            after(
                figures
                    .restored_after_ms
                    .filter(|_| figures.decided_by.is_some()),
            ),
            format!("{} of {}", figures.failed, figures.requests),
            if self.as_it_should { "yes" } else { "NO" }.to_owned(),
        ]
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![HEAD.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        for line in &lines {
            let mut text = String::new();
            for (column, cell) in line.iter().enumerate() {
                text.push_str(&format!("  {cell:<width$}", width = width(column)));
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figures;
    use clap::ValueEnum;
    use std::collections::BTreeMap;

    fn row(scenario: Scenario, code: u8, by: Option<&str>) -> Row {
        Row {
            scenario,
            as_it_should: code == 0,
            code,
            figures: Figures {
                outcome: if by.is_some() {
                    "rolled_back"
                } else {
                    "promoted"
                },
                decided_by: by.map(str::to_owned),
                held_by: None,
                held_after_ms: None,
                waited_for: Vec::new(),
                noticed_after_ms: by.map(|_| 1900),
                users_saw_it_first: true,
                restored_after_ms: by.map(|_| 1950),
                verified_after_ms: None,
                requests: 2000,
                failed: by.map_or(0, |_| 48),
                failed_after_decision: 0,
                last_failure_after_decision_ms: 0,
                by_release: BTreeMap::new(),
            },
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_story_and_the_first_bad_code() {
        let mut table = Table {
            rows: vec![
                row(Scenario::Healthy, 0, None),
                row(Scenario::ErrorRate, 0, Some("errors_against_stable")),
            ],
        };
        assert_eq!(
            table.to_string(),
            "\
\x20 scenario    version 2    noticed by             noticed after  restored after  requests failed  as it should
\x20 healthy     promoted     -                      -              -               0 of 2000        yes
\x20 error-rate  rolled back  errors_against_stable  1.9 s          1.9 s           48 of 2000       yes
"
        );
        assert_eq!(table.code(), 0);
        table.rows.push(row(Scenario::Hang, 11, None));
        table.rows.push(row(Scenario::Slow, 10, None));
        assert_eq!(table.code(), 11);
        assert!(table.to_string().contains("  NO\n"));
    }

    #[test]
    fn the_list_names_every_scenario_once() {
        let list = list(Scenario::value_variants());
        for scenario in Scenario::value_variants() {
            let line = format!("\n  {scenario} ");
            assert_eq!(list.matches(&line).count(), 1, "{scenario} in\n{list}");
        }
        let events = list_as_events(Scenario::value_variants());
        let first: serde_json::Value =
            serde_json::from_str(events.lines().next().unwrap()).unwrap();
        assert_eq!(first["name"], "healthy");
        assert_eq!(events.lines().count(), Scenario::value_variants().len());
    }
}
