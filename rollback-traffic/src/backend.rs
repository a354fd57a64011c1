//! A backend as HAProxy tells it: `show servers state` (address, weight, state) and `show stat`
//! (requests that are open).

use std::collections::BTreeMap;

use rollback_core::model::{InstanceId, ReleaseId};

use crate::{mark::Mark, name};

/// Whether HAProxy sends new requests to a server, as it was told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admin {
    /// By its weight.
    Ready,
    /// Only of users that stick to it; its health is watched.
    Drain,
    /// None.
    Maintenance,
}

/// One server of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) name: String,
    /// `address:port`.
    pub(crate) address: String,
    pub(crate) admin: Admin,
    pub(crate) weight: u16,
    /// HAProxy's own health check failed; not known in maintenance.
    pub(crate) down: bool,
    /// Serves only when no other does.
    pub(crate) backup: bool,
    /// Requests that it is answering or that wait for it.
    pub(crate) open: u64,
}

/// A backend: our servers, everybody else's, and the newest note.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Backend {
    /// By release and instance, so in an order that does not change.
    pub(crate) ours: BTreeMap<(ReleaseId, InstanceId), Server>,
    /// From the configuration, or added by a person; without those that only stand in for others.
    pub(crate) strangers: Vec<Server>,
    pub(crate) mark: Option<Mark>,
    /// Notes that are out of date, and unreadable ones.
    pub(crate) old_marks: Vec<String>,
}

impl Backend {
    /// The commands whose answer [`Backend::read`] reads.
    pub(crate) fn question(backend: &str) -> String {
        format!("show servers state {backend};show stat {backend} 4 -1")
    }

    /// Reads the answer; the error is a sentence about it.
    pub(crate) fn read(answer: &str) -> Result<Self, String> {
        let told = answer.lines().map(str::trim).find(|line| !line.is_empty());
        let mut lines = answer.lines();
        let header = |line: &str| line.strip_prefix("# be_id").is_some();
        let Some(state_header) = lines.by_ref().find(|line| header(line)) else {
            return Err(told.unwrap_or("nothing at all").to_owned());
        };
        let states = Table::new(state_header, ' ');
        let mut servers = Vec::new();
        for line in lines.by_ref().take_while(|line| !line.is_empty()) {
            servers.push(server(&states.row(line)).ok_or_else(|| unreadable(line))?);
        }
        let Some(stat_header) = lines.by_ref().find(|line| line.starts_with("# pxname")) else {
            return Err("it does not say how many requests are open (`show stat`)".to_owned());
        };
        let statistics = Table::new(stat_header, ',');
        let mut open = BTreeMap::new();
        for line in lines.take_while(|line| !line.is_empty()) {
            let row = statistics.row(line);
            let name = row.text("svname").ok_or_else(|| unreadable(line))?;
            let sessions = row.number("scur").unwrap_or(0) + row.number("qcur").unwrap_or(0);
            open.insert(name.to_owned(), (sessions, row.number("bck") == Some(1)));
        }
        let mut seen = Self::default();
        for mut server in servers {
            if let Some((sessions, backup)) = open.get(&server.name) {
                (server.open, server.backup) = (*sessions, *backup);
            }
            seen.sort_in(server);
        }
        Ok(seen)
    }

    fn sort_in(&mut self, server: Server) {
        if let Some(whose) = name::server(&server.name) {
            self.ours.insert(whose, server);
        } else if let Some(mark) = Mark::of(&server.name) {
            let newest = self.mark.as_ref().map(|mark| mark.revision);
            if newest < Some(mark.revision) {
                let old = self.mark.replace(mark);
                self.old_marks.extend(old.map(|mark| mark.name()));
            } else {
                self.old_marks.push(server.name);
            }
        } else if Mark::is_one(&server.name) {
            self.old_marks.push(server.name);
        } else if !server.backup {
            self.strangers.push(server);
        }
    }

    /// The servers of one release, in the order of their instances.
    pub(crate) fn of<'a>(
        &'a self,
        release: &'a ReleaseId,
    ) -> impl Iterator<Item = (&'a InstanceId, &'a Server)> {
        let ours = self.ours.iter().filter(move |((r, _), _)| r == release);
        ours.map(|((_, instance), server)| (instance, server))
    }

    /// Each release that has a server here.
    pub(crate) fn releases(&self) -> Vec<&ReleaseId> {
        let mut releases: Vec<_> = self.ours.keys().map(|(release, _)| release).collect();
        releases.dedup();
        releases
    }
}

fn unreadable(line: &str) -> String {
    let begin: String = line.chars().take(120).collect();
    format!("`{begin}`, which cannot be read")
}

const FORCED_OR_INHERITED_MAINTENANCE: u64 = 0x01 | 0x02 | 0x04 | 0x20 | 0x40;
const FORCED_OR_INHERITED_DRAIN: u64 = 0x08 | 0x10;

fn server(row: &Row<'_>) -> Option<Server> {
    let host = row.text("srv_addr")?;
    let port = row.text("srv_port")?;
    let address = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let flags = row.number("srv_admin_state")?;
    let admin = if flags & FORCED_OR_INHERITED_MAINTENANCE != 0 {
        Admin::Maintenance
    } else if flags & FORCED_OR_INHERITED_DRAIN != 0 {
        Admin::Drain
    } else {
        Admin::Ready
    };
    Some(Server {
        name: row.text("srv_name")?.to_owned(),
        address,
        admin,
        weight: u16::try_from(row.number("srv_uweight")?).ok()?,
        down: admin != Admin::Maintenance && row.number("srv_op_state")? == 0,
        backup: false,
        open: 0,
    })
}

/// Columns by their names: versions of HAProxy add some.
struct Table<'a> {
    columns: Vec<&'a str>,
    separator: char,
}

struct Row<'a> {
    table: &'a Table<'a>,
    cells: Vec<&'a str>,
}

impl<'a> Table<'a> {
    fn new(header: &'a str, separator: char) -> Self {
        let header = header.trim_start_matches("# ");
        Self {
            columns: header.split(separator).collect(),
            separator,
        }
    }

    fn row(&'a self, line: &'a str) -> Row<'a> {
        Row {
            table: self,
            cells: line.split(self.separator).collect(),
        }
    }
}

impl Row<'_> {
    fn text(&self, column: &str) -> Option<&str> {
        let place = self.table.columns.iter().position(|name| *name == column)?;
        self.cells.get(place).copied()
    }

    fn number(&self, column: &str) -> Option<u64> {
        self.text(column)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What HAProxy 2.6.12 answered, with fewer columns of statistics.
    const ANSWER: &str = "1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port
3 web 1 rb:v1:a 127.0.0.1 2 0 9 10 0 1 0 0 0 0 0 0 - 19001 - 0 0 - - 0
3 web 2 rb:v2:b ::1 0 8 5 5 2 8 2 0 6 0 0 0 - 19002 - 0 0 - - 0
3 web 3 rb:v2:c 127.0.0.1 0 1 5 5 2 8 2 0 6 0 0 0 - 19003 - 0 0 - - 0
3 web 4 sorry 127.0.0.1 2 0 1 1 2 8 2 0 6 0 0 0 - 19004 - 0 0 - - 0
3 web 5 web1 127.0.0.1 2 0 1 1 2 8 2 0 6 0 0 0 - 19005 - 0 0 - - 0
3 web 1500000001 rb-mark:9:1: 127.0.0.1 0 1 1 1 0 1 0 0 0 0 0 1 - 1 - 0 0 - - 0
3 web 1500000002 rb-mark:9:2::10000-v1 127.0.0.1 0 1 1 1 0 1 0 0 0 0 0 1 - 1 - 0 0 - - 0

# pxname,svname,qcur,qmax,scur,smax,status,weight,act,bck,
web,rb:v1:a,1,1,2,2,no check,9,1,0,
web,rb:v2:b,0,0,0,0,DRAIN,0,1,0,
web,sorry,0,0,0,0,UP,1,0,1,

";

    #[test]
    fn an_answer_is_read() {
        let seen = Backend::read(ANSWER).unwrap();
        let ours: Vec<_> = seen
            .ours
            .values()
            .map(|s| {
                (
                    s.name.as_str(),
                    s.address.as_str(),
                    s.admin,
                    s.weight,
                    s.down,
                    s.open,
                )
            })
            .collect();
        assert_eq!(
            ours,
            [
                ("rb:v1:a", "127.0.0.1:19001", Admin::Ready, 9, false, 3),
                ("rb:v2:b", "[::1]:19002", Admin::Drain, 5, true, 0),
                (
                    "rb:v2:c",
                    "127.0.0.1:19003",
                    Admin::Maintenance,
                    5,
                    false,
                    0
                ),
            ]
        );
        let strangers: Vec<_> = seen.strangers.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(
            strangers,
            ["web1"],
            "who only stands in is nobody's business"
        );
        assert_eq!(seen.mark.map(|mark| mark.revision), Some(2));
        assert_eq!(seen.old_marks, ["rb-mark:9:1:"]);
    }

    #[test]
    fn what_is_no_answer_is_told() {
        for (answer, told) in [
            ("Can't find backend.\n\n", "Can't find backend."),
            ("", "nothing at all"),
            (
                "1\n# be_id be_name srv_id srv_name\n3 web 1 x\n",
                "`3 web 1 x`, which",
            ),
            ("1\n# be_id be_name\n\n", "`show stat`"),
        ] {
            let error = Backend::read(answer).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
