//! A policy and a journal, looked at: nothing is changed, nobody is asked.

use std::{fs, io::Write};

use rollback::{
    dialect::Dialect,
    inspect::{CheckOptions, check_policy as check, policy_docs as policy_docs_of},
    policy::schema,
    store,
};

use crate::{
    archive::must_exist,
    cli::{At, PolicyCheckArgs},
    exit::{BROKE, FINE, Fallible, Trouble, USAGE},
    guarded::{not_native, written_in},
};

/// What a policy promises and leaves open.
pub(crate) fn check_policy(args: &PolicyCheckArgs) -> Fallible<u8> {
    let name = args.file.display().to_string();
    let text = fs::read_to_string(&args.file)
        .map_err(|why| Trouble::asked(format!("{name}: {why}; check the path")))?;
    let mut options = CheckOptions::default().file(&name);
    let dialect = args.dialect.or_else(|| Dialect::of_file(&name));
    if let Some(dialect) = dialect {
        options = options.dialect(dialect);
    }
    let report = check(&text, &options);
    let meant = match dialect {
        None if !report.is_valid() => written_in(&text),
        _ => None,
    };
    if args.json {
        let mut json = report.json();
        if let (Some(dialect), Some(json)) = (meant, json.as_object_mut()) {
            json.insert("reads_as".to_owned(), dialect.name().into());
        }
        println!("{json}");
    } else if let Some(dialect) = meant {
        return Err(Trouble::asked(not_native(&name, dialect)));
    } else {
        print!("{}", report.text());
    }
    if std::env::var("GITHUB_ACTIONS").as_deref() == Ok("true") {
        eprint!("{}", report.annotations());
    }
    Ok(if report.is_valid() { FINE } else { USAGE })
}

/// Every key that can be written.
pub(crate) fn policy_docs(section: Option<&str>) -> Fallible<u8> {
    match policy_docs_of(section) {
        Some(text) => {
            print!("{text}");
            Ok(FINE)
        }
        None => Err(Trouble::asked(format!(
            "a policy has no part `{}`: `guard policy docs` tells all",
            section.unwrap_or_default()
        ))),
    }
}

/// For editors that complete and check while one writes.
pub(crate) fn policy_schema() -> Fallible<u8> {
    let text = serde_json::to_string_pretty(&schema()).map_err(Trouble::broke)?;
    println!("{text}");
    Ok(FINE)
}

/// Whether every entry is there and intact.
pub(crate) fn verify(at: &At) -> Fallible<u8> {
    must_exist(&at.journal)?;
    let audit = store::verify(&at.journal).map_err(Trouble::broke)?;
    print!("{audit}");
    if audit.is_intact() {
        println!("intact");
        return Ok(FINE);
    }
    println!("DAMAGED: keep the file; what is intact can be exported with `guard journal export`");
    Ok(BROKE)
}

/// Every intact entry as a line of JSON.
pub(crate) fn export(at: &At) -> Fallible<u8> {
    must_exist(&at.journal)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let audit =
        store::export(&at.journal, at.service.as_ref(), &mut out).map_err(Trouble::broke)?;
    out.flush().map_err(Trouble::broke)?;
    if audit.is_intact() {
        return Ok(FINE);
    }
    eprint!("{audit}");
    Ok(BROKE)
}
