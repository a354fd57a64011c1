//! A controller that stays: `guard serve`, also in the background of `guard run`.

use std::{
    fs::File,
    io::Write,
    os::unix::process::CommandExt,
    process::Stdio,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use rollback::{Controller, Stopped};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    client,
    exit::{FINE, Fallible, Trouble},
    place::Place,
    server::{Desk, Listener},
    settings::Settings,
    wire::{Ask, Hello},
};

/// How long a controller that ends when nothing is under way stays for whoever comes next.
const IDLE: Duration = Duration::from_secs(2);

/// What a controller in the background says first.
const READY: &str = "ready";

/// Guards until it is told to end.
pub(crate) async fn serve(place: &Place, settings: &Settings, until_idle: bool) -> Fallible<u8> {
    let _locked = place.lock()?;
    let controller = settings.start(place).await?;
    let listener = Listener::bind(&place.socket()?)?;
    let desk = Arc::new(Desk {
        controller: controller.clone(),
        until_idle,
        script: settings.script.is_some(),
        policy: settings.policy.digest().to_string(),
        stop: watch::Sender::new(false),
        connections: AtomicU64::new(0),
        served: watch::Sender::new(0),
    });
    let serving = tokio::spawn(listener.serve(Arc::clone(&desk)));
    let mut out = std::io::stdout();
    // Whoever started us may be gone; we stay.
    let _ = writeln!(out, "{READY}").and_then(|()| out.flush());
    if !until_idle {
        eprintln!(
            "guards {} with the journal {}; end it with `guard stop`",
            place.service,
            place.journal.display()
        );
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(Trouble::broke)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Trouble::broke)?;
    let mut stop = desk.stop.subscribe();
    let stopped = tokio::select! {
        stopped = controller.stopped() => Some(stopped),
        _ = terminate.recv() => None,
        _ = interrupt.recv(), if !until_idle => None,
        _ = stop.wait_for(|stop| *stop) => None,
        () = idle(&desk), if until_idle => None,
    };
    serving.abort();
    match stopped {
        None => {
            controller.shutdown().await;
            Ok(FINE)
        }
        Some(Stopped::ShutDown) => Ok(FINE),
        Some(other) => Err(Trouble::broke(other)),
    }
}

/// Returns when nothing is being deployed and nobody has asked anything for a while.
async fn idle(desk: &Desk) {
    let mut served = desk.served.subscribe();
    loop {
        served.mark_unchanged();
        tokio::select! {
            _ = served.changed() => continue,
            () = tokio::time::sleep(IDLE) => {}
        }
        if desk.connections.load(std::sync::atomic::Ordering::SeqCst) == 0
            && is_idle(&desk.controller).await
        {
            return;
        }
    }
}

async fn is_idle(controller: &Controller) -> bool {
    let status = controller.status().await;
    status.is_ok_and(|status| status.active.is_none() && status.pending_notices == 0)
}

/// A controller with these settings: the one that runs, if it follows the same policy, or a new one
/// in the background. It lives on when we end.
pub(crate) async fn ensure(place: &Place, settings: &Settings) -> Fallible<Hello> {
    if let Some(hello) = client::hello(place).await? {
        let same = hello.policy == settings.policy.digest().to_string();
        if !hello.until_idle && hello.script != settings.script.is_some() {
            return Err(Trouble::asked(if hello.script {
                "the controller that stays for this service deploys by a --script of its own: leave the deploy command out"
            } else {
                "the controller that stays for this service has no --script: give a deploy command, or `guard stop` it and serve with --script"
            }));
        }
        if !hello.until_idle && same {
            return Ok(hello);
        }
        if !hello.until_idle {
            return Err(Trouble::asked(
                "a controller stays for this service (`guard serve`) and follows another policy: leave --policy and the like out, or `guard stop` it first",
            ));
        }
        let picture = client::picture(place).await?;
        let open = picture.and_then(|picture| picture.active);
        match (open, same) {
            (Some(_), true) => return Ok(hello),
            (Some(active), false) => {
                return Err(Trouble::asked(format!(
                    "deployment {} of {} is under way and follows another policy: wait for it with `guard wait`, end it with `guard abort`, or deploy with the same policy",
                    active.deployment, active.name
                )));
            }
            // Its environment is that of the run before.
            (None, _) => end(place).await?,
        }
    }
    settings.keep(place)?;
    spawn(place).await
}

/// The controller that runs, or one in the background that goes on with what is open.
pub(crate) async fn ensure_any(place: &Place) -> Fallible<Hello> {
    match client::hello(place).await? {
        Some(hello) => Ok(hello),
        None => {
            Settings::load(place)?;
            spawn(place).await
        }
    }
}

/// Ends a running controller and waits until it is gone.
pub(crate) async fn end(place: &Place) -> Fallible<()> {
    let Some(mut line) = client::try_ask(place, Ask::Stop).await? else {
        return Ok(());
    };
    // It answers, and then the connection ends with it.
    while line.next().await?.is_some() {}
    // The lock is given back by the kernel a moment after the socket.
    for _ in 0..200 {
        if place.lock().is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Trouble::broke(
        "the controller hands over and does not end: it still waits for an answer of the platform; try again",
    ))
}

async fn spawn(place: &Place) -> Fallible<Hello> {
    let path = place.controller_log();
    let log = File::options().create(true).append(true).open(&path);
    let log = log.map_err(|why| Trouble::broke(format!("{}: {why}", path.display())))?;
    let guard = std::env::current_exe().map_err(Trouble::broke)?;
    let mut command = std::process::Command::new(guard);
    command
        .arg("serve")
        .arg("--until-idle")
        .arg("--service")
        .arg(place.service.as_str())
        .arg("--journal")
        .arg(&place.journal)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        // Ctrl-C and the end of this terminal are not for it.
        .process_group(0);
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(false)
        .spawn()
        .map_err(|why| Trouble::broke(format!("the controller could not be started: {why}")))?;
    let mut said = String::new();
    if let Some(out) = child.stdout.take() {
        let mut out = BufReader::new(out);
        out.read_line(&mut said).await.map_err(Trouble::broke)?;
    }
    if said.trim() != READY {
        let status = child.wait().await.map_err(Trouble::broke)?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let last = text.lines().last().unwrap_or_default();
        let last = last.strip_prefix("Error: ").unwrap_or(last);
        return Err(Trouble::with_code(
            code.filter(|code| *code != FINE)
                .unwrap_or(crate::exit::BROKE),
            format!("the controller did not start: {last}"),
        ));
    }
    client::hello(place)
        .await?
        .ok_or_else(|| Trouble::broke("the controller ended as soon as it had started"))
}
