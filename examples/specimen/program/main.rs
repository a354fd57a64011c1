//! A small service that misbehaves on request. What it does is in its environment:
//!
//! | variable | what |
//! |---|---|
//! | `VERSION` | what it calls itself in answers and metrics |
//! | `PORT` | where it answers; 8080 |
//! | `READY_AFTER` | `/health` answers 503 for so many milliseconds; `never` |
//! | `SICK_AFTER` | `/health` answers 503 after so many milliseconds |
//! | `EXIT_AFTER`, `EXIT_CODE` | ends by itself after so many milliseconds, with this code (1) |
//! | `FAIL_PERCENT` | so many of a hundred requests of `/` are answered by 500, evenly |
//! | `SLOW` | each request of `/` takes so many milliseconds |
//! | `LEAK` | so many megabytes are taken every second, and touched |
//! | `BURN` | so many threads calculate without an end |
//! | `SAYS` | printed at the start, to stdout and to stderr |
//!
//! `specimen probe` asks `/health` of itself: 0 if it is good, as a health check does.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::exit,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

static GOOD: AtomicU64 = AtomicU64::new(0);
static BAD: AtomicU64 = AtomicU64::new(0);
static TOOK_MS: AtomicU64 = AtomicU64::new(0);
/// Requests that took at most half a second.
static SWIFT: AtomicU64 = AtomicU64::new(0);

fn main() {
    let port = number("PORT").unwrap_or(8080) as u16;
    if env::args().nth(1).as_deref() == Some("probe") {
        exit(i32::from(!is_healthy(port)));
    }
    if let Ok(words) = env::var("SAYS") {
        println!("{words}");
        eprintln!("{words}");
    }
    let started = Instant::now();
    if let Some(after) = number("EXIT_AFTER") {
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(after));
            eprintln!("fatal: told to end after {after} ms");
            exit(number("EXIT_CODE").unwrap_or(1) as i32);
        });
    }
    for _ in 0..number("BURN").unwrap_or(0) {
        thread::spawn(|| {
            let mut x = 1_u64;
            loop {
                x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
        });
    }
    if let Some(megabytes) = number("LEAK") {
        thread::spawn(move || leak(megabytes));
    }
    let listener = match TcpListener::bind(("0.0.0.0", port)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("fatal: port {port}: {error}");
            exit(98);
        }
    };
    println!("{} answers on port {port}", version());
    for stream in listener.incoming().flatten() {
        thread::spawn(move || serve(&stream, started));
    }
}

fn leak(megabytes: u64) {
    let mut kept = Vec::new();
    loop {
        kept.push(vec![1_u8; (megabytes as usize) << 20]);
        std::hint::black_box(&kept);
        thread::sleep(Duration::from_secs(1));
    }
}

/// Answers one connection's requests, one after the other.
fn serve(stream: &TcpStream, started: Instant) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let (mut length, mut close) = (0, false);
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 {
                return;
            }
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            close |= header.replace(' ', "") == "connection:close";
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let path = first.split(' ').nth(1).unwrap_or("/");
        let path = path.split('?').next().unwrap_or("/");
        let (status, text) = answer(path, started);
        let keep = if close { "close" } else { "keep-alive" };
        let sent = write!(
            &mut &*stream,
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nX-Version: {}\r\nContent-Length: {}\r\nConnection: {keep}\r\n\r\n{text}",
            version(),
            text.len(),
        );
        if sent.is_err() || close {
            return;
        }
    }
}

fn answer(path: &str, started: Instant) -> (&'static str, String) {
    match path {
        "/health" if healthy(started) => ("200 OK", "healthy\n".to_owned()),
        "/health" => ("503 Service Unavailable", "not healthy\n".to_owned()),
        "/metrics" => ("200 OK", metrics()),
        _ => work(),
    }
}

fn healthy(started: Instant) -> bool {
    let up = started.elapsed().as_millis() as u64;
    let ready = match env::var("READY_AFTER").as_deref() {
        Ok("never") => false,
        _ => number("READY_AFTER").is_none_or(|after| up >= after),
    };
    ready && number("SICK_AFTER").is_none_or(|after| up < after)
}

/// One request of a user.
fn work() -> (&'static str, String) {
    let slow = number("SLOW").unwrap_or(0);
    let began = Instant::now();
    thread::sleep(Duration::from_millis(slow));
    let took = began.elapsed().as_millis() as u64;
    TOOK_MS.fetch_add(took, Ordering::Relaxed);
    let share = number("FAIL_PERCENT").unwrap_or(0);
    let swift = u64::from(took <= 500);
    let asked = GOOD.load(Ordering::Relaxed) + BAD.load(Ordering::Relaxed) + 1;
    // As many bad ones as the share says by now, spread evenly.
    if asked * share / 100 > BAD.load(Ordering::Relaxed) {
        BAD.fetch_add(1, Ordering::SeqCst);
        SWIFT.fetch_add(swift, Ordering::SeqCst);
        return ("500 Internal Server Error", "out of order\n".to_owned());
    }
    GOOD.fetch_add(1, Ordering::SeqCst);
    SWIFT.fetch_add(swift, Ordering::SeqCst);
    ("200 OK", format!("{}\n", version()))
}

fn metrics() -> String {
    let version = version();
    // Read before what it is a part of, and counted after it: never more than all.
    let swift = SWIFT.load(Ordering::SeqCst);
    let (good, bad) = (GOOD.load(Ordering::SeqCst), BAD.load(Ordering::SeqCst));
    let all = good + bad;
    let took = TOOK_MS.load(Ordering::Relaxed) as f64 / 1000.0;
    let release = format!("release=\"{version}\"");
    format!(
        "# TYPE http_requests_total counter\n\
         http_requests_total{{code=\"200\",{release}}} {good}\n\
         http_requests_total{{code=\"500\",{release}}} {bad}\n\
         # TYPE http_request_duration_seconds histogram\n\
         http_request_duration_seconds_bucket{{le=\"0.5\",{release}}} {swift}\n\
         http_request_duration_seconds_bucket{{le=\"+Inf\",{release}}} {all}\n\
         http_request_duration_seconds_sum{{{release}}} {took}\n\
         http_request_duration_seconds_count{{{release}}} {all}\n\
         # TYPE process_resident_memory_bytes gauge\n\
         process_resident_memory_bytes {memory}\n",
        memory = resident_bytes(),
    )
}

/// As client libraries of Prometheus tell it; pages have 4 KiB on the machines that this is for.
fn resident_bytes() -> u64 {
    let told = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = told.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

fn is_healthy(port: u16) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: specimen\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    match ask() {
        Ok(answer) => {
            println!("{}", answer.lines().last().unwrap_or("no answer"));
            answer.starts_with("HTTP/1.1 200")
        }
        Err(error) => {
            println!("{error}");
            false
        }
    }
}

fn version() -> String {
    env::var("VERSION").unwrap_or_else(|_| "v1".to_owned())
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}
