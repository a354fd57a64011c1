//! A static program that misbehaves on request, and images made of it, for the tests, the demos
//! and the measurements of container adapters: no image needs to be pulled from anywhere. Beside
//! it an HAProxy of one's own, where one is installed.
//!
//! What the program does is said by its environment; `program/main.rs` has the table.
//!
//! ```
//! let image = rollback_specimen::Image::new("v2").env("FAIL_PERCENT", 30);
//! assert!(image.dockerfile().contains(r#"ENV FAIL_PERCENT="30""#));
//! // Posted to `/build` of a Docker Engine:
//! assert_eq!(image.context().len() % 512, 0);
//! ```

mod proxy;
mod tar;

pub use proxy::{Proxy, free_address};

/// The program: an executable without any other file that it needs.
pub static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/specimen"));

/// Where it lies in the images.
pub const PATH: &str = "/specimen";

/// An image of the program, in the making.
#[derive(Debug, Clone)]
#[must_use]
pub struct Image {
    env: Vec<(String, String)>,
    labels: Vec<(String, String)>,
    health: Option<Health>,
    port: u16,
    starts: &'static str,
}

/// How often the engine asks the health check.
#[derive(Debug, Clone, Copy)]
struct Health {
    every_ms: u64,
    retries: u32,
}

impl Image {
    /// The program under this version, on port 8080, with a health check twice a second that
    /// fails after two bad answers.
    pub fn new(version: &str) -> Self {
        Self {
            env: vec![("VERSION".to_owned(), version.to_owned())],
            labels: Vec::new(),
            health: Some(Health {
                every_ms: 500,
                retries: 2,
            }),
            port: 8080,
            starts: PATH,
        }
    }

    /// The same with a variable in its environment: a behaviour.
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    /// The same with a label.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with a health check so often, failing after so many bad answers.
    pub const fn health_every(mut self, every_ms: u64, retries: u32) -> Self {
        self.health = Some(Health { every_ms, retries });
        self
    }

    /// The same without a health check.
    pub const fn without_health(mut self) -> Self {
        self.health = None;
        self
    }

    /// The same on another port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The same, starting a file that is not there: no container of it can be started.
    pub const fn that_cannot_start(mut self) -> Self {
        self.starts = "/nothing-here";
        self
    }

    /// How it is built. The program dies at once when it is told to stop: as the first process of
    /// a container nothing else would end it.
    #[must_use]
    pub fn dockerfile(&self) -> String {
        let mut text = format!(
            "FROM scratch\nCOPY specimen {PATH}\nSTOPSIGNAL SIGKILL\nEXPOSE {0}\nENV PORT=\"{0}\"\n",
            self.port
        );
        for (name, value) in &self.env {
            text.push_str(&format!("ENV {name}=\"{}\"\n", escaped(value)));
        }
        for (name, value) in &self.labels {
            text.push_str(&format!("LABEL {name}=\"{}\"\n", escaped(value)));
        }
        if let Some(health) = self.health {
            text.push_str(&format!(
                "HEALTHCHECK --interval={}ms --timeout=5s --retries={} CMD [\"{PATH}\", \"probe\"]\n",
                health.every_ms, health.retries
            ));
        }
        text.push_str(&format!("ENTRYPOINT [\"{}\"]\n", self.starts));
        text
    }

    /// The build context: a tar file of the Dockerfile and the program.
    #[must_use]
    pub fn context(&self) -> Vec<u8> {
        tar::archive(&[
            ("Dockerfile", self.dockerfile().as_bytes(), 0o644),
            ("specimen", PROGRAM, 0o755),
        ])
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('$', "\\$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_static() {
        assert!(PROGRAM.starts_with(b"\x7fELF"));
        // A dynamic program names its interpreter.
        let interpreter: &[u8] = b"/lib64/ld-linux";
        assert!(!PROGRAM.windows(interpreter.len()).any(|w| w == interpreter));
    }

    #[test]
    fn a_behaviour_is_in_the_image_and_its_text_stays_what_it_is() {
        let text = Image::new("v1").env("SAYS", "a \"b\" $C \\").dockerfile();
        assert!(text.contains(r#"ENV SAYS="a \"b\" \$C \\""#), "{text}");
    }
}
