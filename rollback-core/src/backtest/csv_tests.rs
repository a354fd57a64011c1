use super::Recording;
use super::csv::*;
use crate::model::Timestamp;

fn mistake(text: &str) -> String {
    Recording::from_csv(text).unwrap_err().to_string()
}

#[test]
fn columns_stand_in_any_order_and_fields_may_be_quoted() {
    let plain =
        "time,metric,arm,instance,bad,total\n0,errors,stable,a,1,9\n10,errors,stable,a,2,9\n";
    let other = "\"total\",bad,instance, arm ,metric,time\r\n9,2,a,stable,\"errors\",1970-01-01T00:00:10Z\r\n\r\n\"9\",1,a,stable,errors,0.0\n";
    let other = Recording::from_csv(other).unwrap();
    assert_eq!(Recording::from_csv(plain).unwrap(), other);
}

#[test]
fn times_are_read_in_three_forms() {
    for text in ["2026-11-21T12:00:00.250Z", "1795262400.25", "1795262400250"] {
        let read = parse_time(text).unwrap();
        assert_eq!(read, Timestamp::from_millis(1_795_262_400_250), "{text}");
    }
    for text in ["", "noon", "2026-11-21", "inf", "1e300"] {
        assert!(
            parse_time(text).unwrap_err().contains("is no time"),
            "{text}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    const HEAD: &str = "time,metric,arm,bad,total,value\n";
    for (row, words) in [
        (
            "0,errors,stable,1",
            "line 2: 4 fields, and the header has 6",
        ),
        ("x,errors,stable,1,2,", "`x` is no time"),
        ("0,errors,canary,1,2,", "`canary` is no arm; write `stable`"),
        ("0,,stable,1,2,", "metric `` is empty"),
        ("0,errors,stable,1.5,2,", "`1.5` in `bad` is no count"),
        ("0,errors,stable,-1,2,", "`-1` in `bad` is no count"),
        ("0,errors,stable,,2,", "`` in `bad` is no count"),
        ("0,errors,stable,3,2,", "3 bad events of 2 events"),
        ("0,errors,stable,,,", "nothing was read"),
        ("0,\"errors,stable,1,2,", "a quote that does not close"),
        (
            "0,errors,stable,1,2,\n0,errors,stable,1,2,",
            "line 3: the same time, metric, arm and instance as line 2",
        ),
    ] {
        let told = mistake(&format!("{HEAD}{row}\n"));
        assert!(told.contains(words), "{row}: {told}");
    }
    for (header, words) in [
        ("", "the file is empty"),
        ("time,metric,arm", "neither `bad` and `total` nor `value`"),
        ("time,metric,arm,bad", "`bad` stands without `total`"),
        ("time,metric,value", "column `arm` is missing"),
        ("time,metric,arm,value,value", "`value` stands there twice"),
        ("time,metric,arm,val", "unknown column `val`"),
        ("time,metric,arm,value", "there is no row"),
    ] {
        let told = mistake(header);
        assert!(told.contains(words), "{header}: {told}");
    }
}

#[test]
fn many_mistakes_are_counted() {
    let told = mistake(&format!("time,metric,arm,value\n{}", "?,m,,1\n".repeat(14)));
    assert_eq!(told.lines().count(), 11);
    assert!(told.ends_with("and 4 more"), "{told}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(time|metric|arm|bad|total|value|instance|[-,\"\n0-9a-z.: ]){0,60}") {
        let _ = Recording::from_csv(&text);
    }
}
