//! Builds the specimen: one file, the standard library alone, linked statically, so that an image
//! of it needs nothing else.

use std::{env, path::PathBuf, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=program/main.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("specimen");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let target = env::var("TARGET").unwrap_or_default();
    if !target.contains("-linux-") {
        // Images of it are for Linux: elsewhere the crate builds, and its images cannot run.
        println!("cargo::warning=the specimen is for Linux; its images will hold no program");
        let _ = std::fs::write(&out, []);
        return;
    }
    let built = Command::new(rustc)
        .args(["--edition", "2024", "--crate-name", "specimen"])
        .args(["--target", &target])
        .args(["-C", "target-feature=+crt-static"])
        .args(["-C", "opt-level=s", "-C", "panic=abort"])
        .args(["-C", "strip=symbols"])
        .arg("-o")
        .arg(&out)
        .arg("program/main.rs")
        .status();
    match built {
        Ok(status) if status.success() => {}
        Ok(status) => println!("cargo::error=rustc could not build program/main.rs ({status})"),
        Err(error) => println!("cargo::error=rustc could not be run: {error}"),
    }
}
