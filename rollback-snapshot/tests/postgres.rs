//! A real PostgreSQL server, made for each test and thrown away: kept, spoilt, brought back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code")]

mod support;

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use rollback_core::{model::Secret, ports::Task as _};
use rollback_snapshot::{Postgres, Snapshots};
use support::{
    child_in, ended, id, killed_after, run,
    server::{MIGRATION, PASSWORD, Server, assert_is_old_shop, programs, set_up, tasks},
    shop,
};

#[tokio::test]
async fn a_database_comes_back_as_it_was_and_nothing_is_lost() {
    let server = Server::start();
    set_up(&server);
    server.sql(
        "postgres",
        r#"ALTER ROLE deployer CREATEROLE;
           ALTER DATABASE shop SET search_path = "$user", public, "odd Name";
           ALTER DATABASE shop SET work_mem = '5MB';
           ALTER ROLE reader IN DATABASE shop SET application_name = 'it''s a reader';
           REVOKE CONNECT ON DATABASE shop FROM PUBLIC;
           GRANT CONNECT ON DATABASE shop TO reader WITH GRANT OPTION"#,
    );
    server.sql("postgres", "CREATE DATABASE bystander");
    let settings = "SELECT setrole::regrole, setconfig FROM pg_db_role_setting s JOIN pg_database d
        ON d.oid = setdatabase AND datname = 'shop' ORDER BY 1";
    let rights = "SELECT unnest(datacl)::text FROM pg_database WHERE datname = 'shop' ORDER BY 1";
    let owner = "SELECT datdba::regrole, datallowconn FROM pg_database WHERE datname = 'shop'";
    let was = [settings, rights, owner].map(|sql| server.sql("postgres", sql));

    let (snapshot, restore) = tasks(server.dir.path());
    run(&snapshot, &id("d1", 1)).await.unwrap();
    server.sql("shop", &format!("SET ROLE deployer; {MIGRATION}"));
    let lost = restore
        .loss(&shop(), &id("d1", 1).deployment)
        .await
        .unwrap();
    for part in [
        "since 20",
        "bytes since",
        "public.orders: 5000 rows, now 5007",
        "extra is new",
    ] {
        assert!(lost.contains(part), "{lost}");
    }
    // Somebody uses it all the time, as a pool does.
    let mut pool = Command::new(programs().join("psql"))
        .args([
            "-X",
            "-U",
            "deployer",
            "-d",
            "shop",
            "-c",
            "SELECT pg_sleep(1000)",
            "-h",
        ])
        .arg(server.dir.path())
        .env("PGPASSWORD", PASSWORD)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    run(&restore, &id("d1", 9))
        .await
        .unwrap_or_else(|why| panic!("{why}"));
    assert!(
        !pool.wait().unwrap().success(),
        "whoever was connected connects anew"
    );

    assert_is_old_shop(&server);
    let now = [settings, rights, owner].map(|sql| server.sql("postgres", sql));
    assert_eq!(now, was);
    let databases = server.databases();
    assert_eq!(databases.len(), 4, "{databases:?}");
    assert_eq!(databases[0], "bystander");
    let old = &databases[3];
    assert!(old.starts_with("shop_before_"), "{databases:?}");
    server.sql(
        "postgres",
        &format!("ALTER DATABASE {old} ALLOW_CONNECTIONS true"),
    );
    assert_eq!(server.sql(old, "SELECT count(*) FROM orders"), "5007");

    let shown = Command::new("grep")
        .args(["-r", PASSWORD])
        .arg(server.work_dir())
        .output();
    assert!(
        shown.unwrap().stdout.is_empty(),
        "the password is written down"
    );
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_nothing_is_touched() {
    let server = Server::start();
    set_up(&server);
    let (snapshot, restore) = tasks(server.dir.path());
    run(&snapshot, &id("d1", 1)).await.unwrap();
    server.sql("shop", "DELETE FROM orders");
    let kept = server
        .work_dir()
        .join("snapshots/shop/postgres-shop/kept/d1.s1.a1");
    let manifest = fs::read_to_string(kept.join("manifest.json")).unwrap();
    for (step, old, new, told) in [
        (2, "\"system\": \"", "\"system\": \"9", "of another server"),
        (
            3,
            "\"public.orders\": 5000",
            "\"public.orders\": 5001",
            "public.orders: 5001 rows, now 5000",
        ),
        (4, "\"sha256\": \"", "\"sha256\": \"f", "is damaged"),
    ] {
        assert!(manifest.contains(old), "{manifest}");
        fs::write(kept.join("manifest.json"), manifest.replace(old, new)).unwrap();
        let why = run(&restore, &id("d1", step)).await.unwrap_err();
        assert!(why.contains(told), "{why}");
        assert_eq!(server.databases(), ["postgres", "shop"]);
        assert_eq!(server.sql("shop", "SELECT count(*) FROM orders"), "0");
    }
    // Not to be reached, or not let in: told without the password.
    let snapshots = Snapshots::open(server.work_dir().join("snapshots")).unwrap();
    let wrong = Postgres::new("shop")
        .host(server.dir.path().to_string_lossy())
        .user("deployer")
        .password(Secret::new("wrong-and-secret".to_owned()))
        .programs(programs());
    let why = run(&snapshots.snapshot_of(wrong), &id("d2", 1))
        .await
        .unwrap_err();
    assert!(why.contains("password authentication failed"), "{why}");
    assert!(!why.contains("wrong-and-secret"), "{why}");
    assert_eq!(snapshot.kept(&shop()).unwrap_or_default().len(), 1);
}

#[tokio::test]
async fn a_cancelled_restore_leaves_the_database_as_it_was() {
    let server = Server::start();
    set_up(&server);
    let (snapshot, restore) = tasks(server.dir.path());
    run(&snapshot, &id("d1", 1)).await.unwrap();
    server.sql("shop", "DELETE FROM orders");
    let handle = restore.start(&shop(), &id("d1", 9)).await.unwrap();
    restore.cancel(&handle).await.unwrap();
    assert_eq!(
        ended(&restore, &handle).await.unwrap_err(),
        "it was asked to stop"
    );
    assert_eq!(server.databases(), ["postgres", "shop"]);
    assert_eq!(server.sql("shop", "SELECT count(*) FROM orders"), "0");
}

/// Killed at any moment, the restore is gone on with by whoever asks next, and is whole.
#[tokio::test]
async fn a_restore_goes_on_when_its_controller_was_killed() {
    if let Some(socket) = child_in() {
        let (_, restore) = tasks(&socket);
        fs::write(socket.join("at-work"), "").unwrap();
        let handle = restore.start(&shop(), &id("d1", 9)).await.unwrap();
        ended(&restore, &handle).await.unwrap();
        return;
    }
    let name = "a_restore_goes_on_when_its_controller_was_killed";
    let server = Server::start();
    let mut killed = 0;
    for millis in [0, 150, 400, 800] {
        server.sql("postgres", "CREATE DATABASE fresh OWNER deployer");
        for old in server.databases() {
            if old.starts_with("shop") {
                server.sql("postgres", &format!("DROP DATABASE {old} WITH (FORCE)"));
            }
        }
        server.sql("postgres", "ALTER DATABASE fresh RENAME TO shop");
        let _ = fs::remove_dir_all(server.dir.path().join("work"));
        set_up(&server);
        let (snapshot, restore) = tasks(server.dir.path());
        run(&snapshot, &id("d1", 1)).await.unwrap();
        server.sql("shop", &format!("SET ROLE deployer; {MIGRATION}"));
        killed += u32::from(killed_after(
            name,
            server.dir.path(),
            Duration::from_millis(millis),
        ));
        match restore.find(&shop(), &id("d1", 9)).await.unwrap() {
            Some(handle) => ended(&restore, &handle).await.unwrap(),
            None => run(&restore, &id("d1", 9)).await.unwrap(),
        }
        assert_is_old_shop(&server);
        let databases = server.databases();
        assert_eq!(databases.len(), 3, "{millis} ms: {databases:?}");
        assert!(databases[2].starts_with("shop_before_"), "{databases:?}");
    }
    assert!(killed > 1, "only {killed} were killed at work");
}

/// Whoever worked on it died again and again while nobody was let in: they are let in again.
#[tokio::test]
async fn a_restore_that_is_given_up_lets_everybody_in_again() {
    let server = Server::start();
    set_up(&server);
    let (snapshot, restore) = tasks(server.dir.path());
    run(&snapshot, &id("d1", 1)).await.unwrap();
    let handle = restore.start(&shop(), &id("d1", 9)).await.unwrap();
    restore.cancel(&handle).await.unwrap();
    ended(&restore, &handle).await.unwrap_err();
    // As five workers would have left it.
    let job = server
        .work_dir()
        .join("snapshots/shop/postgres-shop/jobs/d1.s9.a1");
    for done in ["end.json", "cancel"] {
        fs::remove_file(job.join(done)).unwrap();
    }
    let text = fs::read_to_string(job.join("job.json")).unwrap();
    let text = text.replace("\"beginnings\": 1", "\"beginnings\": 5");
    fs::write(job.join("job.json"), text).unwrap();
    server.sql("postgres", "ALTER DATABASE shop ALLOW_CONNECTIONS false");
    let why = ended(&restore, &handle).await.unwrap_err();
    assert!(why.contains("died 5 times"), "{why}");
    assert_is_old_shop(&server);
    assert_eq!(server.databases(), ["postgres", "shop"]);
}
