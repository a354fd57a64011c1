//! HAProxy's sentences as our errors.

use rollback_core::model::ChangeError;

/// What a look was told instead of a backend.
pub(crate) fn of_a_look(backend: &str, told: &str) -> ChangeError {
    if told.contains("Can't find backend") || told.contains("No such") {
        return no_such_backend(backend);
    }
    if told.contains("Permission denied") {
        return ChangeError::refused(
            "HAProxy's socket may not show servers; write `level admin` at `stats socket`",
        );
    }
    ChangeError::not_sent(format_args!(
        "HAProxy was asked for backend `{backend}` and says: {told}"
    ))
}

/// Whether the note was taken.
pub(crate) fn of_the_note(backend: &str, told: &str) -> Result<(), ChangeError> {
    let told = told.trim();
    if told == "New server registered." {
        return Ok(());
    }
    if told.contains("already used") || told.contains("Already exists") {
        return Err(ChangeError::Conflict { now: None });
    }
    if told.contains("No such backend") {
        return Err(no_such_backend(backend));
    }
    if told.contains("dynamic load balancing") {
        return Err(ChangeError::refused(format_args!(
            "backend `{backend}` cannot take servers while HAProxy runs; give it `balance roundrobin`, `leastconn` or `random`"
        )));
    }
    if told.starts_with("Unknown command") {
        return Err(ChangeError::unsupported(
            "this HAProxy cannot add servers while it runs; it needs version 2.6 or newer",
        ));
    }
    Err(ChangeError::refused(format_args!(
        "backend `{backend}` does not take a server: {told}"
    )))
}

/// Whether all of the commands were taken. A server that is there already, or gone already, is as
/// it should be; one that still has connections is deleted next time.
pub(crate) fn of_changes(backend: &str, told: &str) -> Result<(), ChangeError> {
    const FINE: [&str; 7] = [
        "New server registered.",
        "Already exists a server",
        "Server deleted.",
        "No such server.",
        "Server still has connections attached",
        "no need to change",
        "changed from",
    ];
    let mut told = told.lines().map(str::trim).filter(|line| !line.is_empty());
    match told.find(|line| !FINE.iter().any(|fine| line.contains(fine))) {
        None => Ok(()),
        Some(line) if line.contains("No such backend") => Err(no_such_backend(backend)),
        Some(line) => Err(ChangeError::maybe_sent(format_args!(
            "HAProxy did not take all of it for backend `{backend}`: {line}"
        ))),
    }
}

fn no_such_backend(backend: &str) -> ChangeError {
    ChangeError::refused(format_args!(
        "HAProxy has no backend `{backend}`; add `backend {backend}` with `balance roundrobin` to its configuration, or name the service's backend"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sentence_means_one_thing() {
        for (told, words) in [
            ("New server registered.\n", None),
            (
                "'id' : custom id 1500000001 already used at (null):0 ('server mark:1').\n",
                Some("not as it was"),
            ),
            (
                "Already exists a server with the same name in backend.\n",
                Some("not as it was"),
            ),
            ("No such backend.", Some("add `backend web`")),
            (
                "Backend must use a dynamic load balancing to support dynamic servers.",
                Some("balance roundrobin"),
            ),
            ("Unknown command, but maybe", Some("2.6 or newer")),
            (
                "'add server web/x' : cannot use this",
                Some("cannot use this"),
            ),
        ] {
            let error = of_the_note("web", told)
                .err()
                .map(|error| error.to_string());
            let same = match (&error, words) {
                (Some(error), Some(words)) => error.contains(words),
                (error, words) => error.is_none() && words.is_none(),
            };
            assert!(same, "{told}: {error:?}");
        }
    }

    #[test]
    fn what_is_as_it_should_be_is_fine() {
        for fine in [
            "",
            "\n\n\n",
            "New server registered.\n\n\nNo such server.\nServer deleted.\n",
            "IP changed from '127.0.0.1' to '127.0.0.2' by 'stats socket command'\n",
            "Server still has connections attached to it, cannot remove it.\n",
        ] {
            assert_eq!(of_changes("web", fine), Ok(()), "{fine}");
        }
        let error = of_changes("web", "\nRequire 'weight <weight>' or 'weight <weight>%'\n");
        assert!(
            matches!(error, Err(ChangeError::MaybeSent { .. })),
            "{error:?}"
        );
        let refused = of_a_look("web", "Can't find backend.");
        assert!(
            refused.to_string().contains("no backend `web`"),
            "{refused}"
        );
    }
}
