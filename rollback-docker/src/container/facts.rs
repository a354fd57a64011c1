//! What the engine says of one container, read once: unknown words stay unknown words.

use rollback_core::model::{ReleaseId, Timestamp};
use serde_json::Value;

use super::carried;

/// A container as the engine told of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) release: ReleaseId,
    /// Its place among those of its release.
    pub(crate) index: Option<u32>,
    /// Made by this adapter; else adopted.
    pub(crate) ours: bool,
    pub(crate) status: Status,
    /// The word of its health check, if it has one.
    pub(crate) health: Option<String>,
    pub(crate) exit_code: i64,
    pub(crate) out_of_memory: bool,
    /// Why it could not be started.
    pub(crate) error: String,
    pub(crate) created_at: Timestamp,
    /// None: never.
    pub(crate) started_at: Option<Timestamp>,
    /// How often the engine started it again.
    pub(crate) restarts: u32,
    /// Where its serving port answers.
    pub(crate) address: Option<String>,
    /// Seconds between the friendly signal and the other.
    pub(crate) grace: u64,
}

/// The engine's word for what a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Created,
    Running,
    Paused,
    /// Ended, and the engine will start it again.
    Restarting,
    Removing,
    /// Ended.
    Exited,
    /// A word of a later engine.
    Other,
}

impl Facts {
    /// Reads an inspection. `port` is the one that serves, if the definition says so.
    pub(crate) fn read(
        container: &Value,
        release: ReleaseId,
        index: Option<u32>,
        ours: bool,
        port: Option<u16>,
    ) -> Self {
        let text = |path: &str| container.pointer(path).and_then(Value::as_str);
        let number = |path: &str| container.pointer(path).and_then(Value::as_i64);
        let status = match text("/State/Status").unwrap_or_default() {
            "created" => Status::Created,
            "running" => Status::Running,
            "paused" => Status::Paused,
            "restarting" => Status::Restarting,
            "removing" => Status::Removing,
            "exited" | "dead" => Status::Exited,
            _ => Status::Other,
        };
        let health = text("/State/Health/Status").filter(|word| !matches!(*word, "" | "none"));
        let address = match status {
            Status::Running => address(container, port),
            _ => None,
        };
        Self {
            id: text("/Id").unwrap_or_default().to_owned(),
            name: carried::name(container).to_owned(),
            release,
            index,
            ours,
            status,
            health: health.map(str::to_owned),
            exit_code: number("/State/ExitCode").unwrap_or(0),
            out_of_memory: container.pointer("/State/OOMKilled") == Some(&Value::Bool(true)),
            error: text("/State/Error").unwrap_or_default().to_owned(),
            created_at: text("/Created")
                .and_then(time)
                .unwrap_or(Timestamp::from_millis(0)),
            started_at: text("/State/StartedAt").and_then(time),
            restarts: number("/RestartCount")
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or(0),
            address,
            grace: number("/Config/StopTimeout")
                .and_then(|grace| u64::try_from(grace).ok())
                .unwrap_or(10),
        }
    }

    /// Whether a process of it runs, or will again without anybody's doing.
    pub(crate) const fn is_up(&self) -> bool {
        matches!(
            self.status,
            Status::Running | Status::Paused | Status::Restarting
        )
    }

    /// Whether it stands still until somebody starts it.
    pub(crate) const fn is_down(&self) -> bool {
        matches!(self.status, Status::Created | Status::Exited)
    }

    /// How it ended: `exit status 1`, `signal 9 (OOM)`.
    pub(crate) fn how(&self) -> String {
        if self.status == Status::Created && !self.error.is_empty() {
            return format!("cannot be started: {}", self.error);
        }
        match self.exit_code {
            137 if self.out_of_memory => "signal 9 (OOM)".to_owned(),
            code @ 129..=192 => format!("exit status {code} (signal {})", code - 128),
            code if self.out_of_memory => format!("exit status {code} (OOM)"),
            code => format!("exit status {code}"),
        }
    }
}

/// Where the serving port answers: on the host if it is published or the host's network is used,
/// else on the container's own address.
fn address(container: &Value, port: Option<u16>) -> Option<String> {
    let port = port.or_else(|| only_port(container))?;
    let mode = container.pointer("/HostConfig/NetworkMode");
    if mode.and_then(Value::as_str) == Some("host") {
        return Some(format!("127.0.0.1:{port}"));
    }
    let published = container.pointer("/NetworkSettings/Ports")?;
    let places = published
        .get(format!("{port}/tcp"))
        .and_then(Value::as_array);
    if let Some(place) = places.and_then(|places| places.first()) {
        let text = |key: &str| place.get(key).and_then(Value::as_str);
        let host = match text("HostIp")? {
            "" | "0.0.0.0" | "::" => "127.0.0.1",
            other => other,
        };
        return Some(joined(host, text("HostPort")?));
    }
    let networks = container
        .pointer("/NetworkSettings/Networks")?
        .as_object()?;
    let mut networks: Vec<_> = networks.iter().collect();
    networks.sort_by_key(|(name, _)| *name);
    let own = networks.iter().find_map(|(_, endpoint)| {
        let address = endpoint.get("IPAddress").and_then(Value::as_str);
        address.filter(|address| !address.is_empty())
    })?;
    Some(joined(own, &port.to_string()))
}

fn joined(host: &str, port: &str) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The TCP port that a container exposes, if it is one.
fn only_port(container: &Value) -> Option<u16> {
    let exposed = container.pointer("/Config/ExposedPorts")?.as_object()?;
    let mut ports = exposed
        .keys()
        .filter_map(|port| port.strip_suffix("/tcp")?.parse().ok());
    match (ports.next(), ports.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// The engine's time, such as `2026-11-21T18:09:17.997098643Z`; its zero is none.
pub(crate) fn time(text: &str) -> Option<Timestamp> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if year < 1970 {
        return None;
    }
    let rest = text.get(19..)?;
    let digits: String = rest
        .strip_prefix('.')
        .unwrap_or_default()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let millis: i64 = format!("{digits:0<3}").get(..3)?.parse().ok()?;
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let ahead = match zone.get(..1) {
        Some(sign @ ("+" | "-")) => {
            let hours: i64 = zone.get(1..3)?.parse().ok()?;
            let minutes: i64 = zone.get(4..6)?.parse().ok()?;
            let ahead = hours * 60 + minutes;
            if sign == "-" { -ahead } else { ahead }
        }
        _ => 0,
    };
    // Days since 1970 of a date of the Gregorian calendar; the year begins in March.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let minutes = (days * 24 + hour) * 60 + minute - ahead;
    Some(Timestamp::from_millis(
        (minutes * 60 + second) * 1000 + millis,
    ))
}

#[cfg(test)]
impl Facts {
    /// `RELEASE STATUS after N [foreign]`: started at the second N.
    pub(crate) fn sample(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        let [release, status, _, second, ..] = words.as_slice() else {
            panic!("{text}")
        };
        let second: i64 = second.parse().unwrap();
        let state = serde_json::json!({
            "Id": text.replace(' ', "-"), "Name": format!("/{}", text.replace(' ', "-")), "State": { "Status": status },
        });
        let release = ReleaseId::new(release).unwrap();
        let mut facts = Self::read(&state, release, Some(0), !text.ends_with("foreign"), None);
        facts.started_at = Some(Timestamp::from_millis(second * 1000));
        facts
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(container: &Value, port: Option<u16>) -> Facts {
        let release = ReleaseId::new("v1").unwrap();
        Facts::read(container, release, None, true, port)
    }

    #[test]
    fn the_engines_times_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-21T18:09:17.997098643Z", Some(1_795_284_557_997)),
            ("2024-02-29T23:59:59.5+01:00", Some(1_709_247_599_500)),
            ("2000-03-01T00:00:00.01-00:30", Some(951_870_600_010)),
            ("0001-01-01T00:00:00Z", None),
            ("yesterday", None),
        ] {
            let expected = expected.map(Timestamp::from_millis);
            assert_eq!(time(text), expected, "{text}");
        }
    }

    #[test]
    fn it_answers_where_its_port_is_reached() {
        let network = json!({ "b": { "IPAddress": "" }, "c": { "IPAddress": "172.17.0.2" } });
        let with = |mode: &str, ports: Value, exposed: Value| {
            json!({
                "State": { "Status": "running" }, "HostConfig": { "NetworkMode": mode },
                "NetworkSettings": { "Ports": ports, "Networks": network },
                "Config": { "ExposedPorts": exposed },
            })
        };
        let one = json!({ "8080/tcp": {}, "53/udp": {} });
        let two = json!({ "8080/tcp": {}, "9090/tcp": {} });
        let on = |ip: &str| json!({ "8080/tcp": [{ "HostIp": ip, "HostPort": "32768" }] });
        for (container, port, expected) in [
            (
                with("default", json!({}), one.clone()),
                None,
                Some("172.17.0.2:8080"),
            ),
            (with("default", json!({}), two.clone()), None, None),
            (
                with("default", json!({}), two),
                Some(9090),
                Some("172.17.0.2:9090"),
            ),
            (
                with("default", on("0.0.0.0"), one.clone()),
                None,
                Some("127.0.0.1:32768"),
            ),
            (
                with("default", on("10.1.1.1"), one.clone()),
                None,
                Some("10.1.1.1:32768"),
            ),
            (with("host", json!({}), one), None, Some("127.0.0.1:8080")),
            (with("host", json!({}), Value::Null), None, None),
        ] {
            let address = read(&container, port).address;
            assert_eq!(address.as_deref(), expected, "{container}");
        }
    }

    #[test]
    fn the_end_is_told_and_an_unknown_word_is_no_error() {
        for (state, status, how) in [
            (
                json!({ "Status": "exited", "ExitCode": 3 }),
                Status::Exited,
                "exit status 3",
            ),
            (
                json!({ "Status": "restarting", "ExitCode": 137, "OOMKilled": true }),
                Status::Restarting,
                "signal 9 (OOM)",
            ),
            (
                json!({ "Status": "dead", "ExitCode": 139 }),
                Status::Exited,
                "exit status 139 (signal 11)",
            ),
            (
                json!({ "Status": "created", "ExitCode": 127, "Error": "no such program" }),
                Status::Created,
                "cannot be started: no such program",
            ),
            (
                json!({ "Status": "hibernating" }),
                Status::Other,
                "exit status 0",
            ),
            (json!(null), Status::Other, "exit status 0"),
        ] {
            let facts = read(&json!({ "State": state }), None);
            assert_eq!(
                (facts.status, facts.how().as_str()),
                (status, how),
                "{state}"
            );
        }
    }
}
