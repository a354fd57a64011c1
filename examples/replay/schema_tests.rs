//! The published schema: everything that comes out fits it, and what does not come out does not.

use std::fs;

use rollback_core::backtest::CourseEnd;
use serde_json::{Value, json};

use crate::tests::{POLICY, THRESHOLDS, journal_of, replay};

fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string("replay/schema.json").unwrap()).unwrap()
}

/// The part of JSON Schema (draft-07) that the schema uses; any other word of it is a mistake of this test.
fn fits(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let inside = |schema: &Value, value: &Value| fits(root, schema, value);
    for (rule, wanted) in schema.as_object().unwrap() {
        let good = match rule.as_str() {
            "$schema" | "title" | "description" | "definitions" => true,
            "$ref" => {
                let place = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                inside(root.pointer(place).unwrap(), value)?;
                true
            }
            "oneOf" => {
                let all = wanted.as_array().unwrap().iter();
                let misfits: Vec<_> = all.map(|one| inside(one, value).err()).collect();
                if misfits.iter().all(Option::is_some) {
                    return Err(misfits.into_iter().flatten().collect::<Vec<_>>().join("; "));
                }
                misfits.iter().filter(|misfit| misfit.is_none()).count() == 1
            }
            "type" => {
                let one = |name: &Value| match name.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "number" => value.is_number(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "null" => value.is_null(),
                    other => panic!("the schema has the type `{other}`"),
                };
                wanted
                    .as_array()
                    .map_or_else(|| one(wanted), |names| names.iter().any(one))
            }
            "required" => {
                let mut names = wanted.as_array().unwrap().iter();
                names.all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (name, schema) in wanted.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        inside(schema, value).map_err(|why| format!("{name}: {why}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(wanted, &json!(false));
                let known = schema["properties"].as_object().unwrap();
                let mut names = value.as_object().into_iter().flat_map(|map| map.keys());
                names.all(|name| known.contains_key(name))
            }
            "items" => {
                for value in value.as_array().into_iter().flatten() {
                    inside(wanted, value)?;
                }
                true
            }
            "enum" => wanted.as_array().unwrap().contains(value),
            "const" => value == wanted,
            other => panic!("the schema uses `{other}`"),
        };
        if !good {
            return Err(format!("`{rule}` of {wanted} against {value}"));
        }
    }
    Ok(())
}

fn check(lines: &[Value]) {
    let schema = schema();
    for line in lines {
        if let Err(why) = fits(&schema, &schema, line) {
            panic!("{why}\nin {line}");
        }
    }
}

#[test]
fn lines_of_readings_fit() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read_to_string("replay/data/good.csv").unwrap();
    let unread = good.replace("p95", "other");
    fs::write(folder.path().join("missing.csv"), unread).unwrap();
    fs::write(folder.path().join("wrong.csv"), "time,metric\n").unwrap();
    let folder = folder.path().to_str().unwrap();
    for two in [&[][..], &["--policy", THRESHOLDS]] {
        let lines = replay(&[&["--policy", POLICY], two, &["replay/data", folder]].concat()).1;
        assert_eq!(lines.len(), 8);
        check(&lines);
        assert_eq!(lines[6]["outcome"], "not_comparable");
        assert_eq!(lines[7]["outcome"], "error");
    }
}

#[tokio::test]
async fn lines_of_a_journal_fit() {
    for readings in ["errors", "slow", "blind"] {
        let folder = tempfile::tempdir().unwrap();
        let file = journal_of(folder.path(), readings).await;
        std::thread::spawn(move || {
            let two = ["--policy", POLICY, "--policy", THRESHOLDS];
            let lines = replay(&[&["--journal", &file], &two[..]].concat()).1;
            assert_eq!(lines.len(), 1);
            check(&lines);
        })
        .join()
        .unwrap();
    }
}

#[test]
fn what_does_not_come_out_does_not_fit() {
    let schema = schema();
    let lines = replay(&["--policy", POLICY, "replay/data/errors.csv"]).1;
    let line = |change: fn(&mut Value)| {
        let mut line = lines[0].clone();
        change(&mut line);
        fits(&schema, &schema, &line)
    };
    assert_eq!(line(|_| ()), Ok(()));
    for change in [
        (|line| line["outcome"] = json!("rolled back")) as fn(&mut Value),
        |line| line["outcome"] = json!("error"),
        |line| line["decided_after_s"] = json!("140"),
        |line| line["unknown"] = json!(1),
        |line| line["evidence"] = json!({ "rule": "a rule without a sentence" }),
        |line| line["evidence"]["counts"][0]["bad"] = json!(0.5),
        |line| drop(line.as_object_mut().unwrap().remove("trigger")),
    ] {
        assert!(line(change).is_err());
    }
}

/// Whatever the library can answer has a word in the schema.
#[test]
fn every_end_has_its_word() {
    let words = &schema()["definitions"]["outcome"]["enum"];
    for end in [
        CourseEnd::Promoted,
        CourseEnd::RolledBack,
        CourseEnd::Held,
        CourseEnd::Refused,
        CourseEnd::NotComparable,
        CourseEnd::Undecided,
    ] {
        assert!(words.as_array().unwrap().contains(&json!(end.word())));
    }
}
