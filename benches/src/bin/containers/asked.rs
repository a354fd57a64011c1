//! What is asked for on the command line.

use std::time::Duration;

use crate::{Failure, fault::Fault};

/// Who guards the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    SwarmDefaults,
    SwarmBest,
    LibraryOnSwarm,
    LibraryOnContainers,
}

impl System {
    const ALL: [Self; 4] = [
        Self::SwarmDefaults,
        Self::SwarmBest,
        Self::LibraryOnSwarm,
        Self::LibraryOnContainers,
    ];

    /// As an argument.
    pub(crate) const fn letter(self) -> &'static str {
        match self {
            Self::SwarmDefaults => "a",
            Self::SwarmBest => "b",
            Self::LibraryOnSwarm => "c",
            Self::LibraryOnContainers => "d",
        }
    }

    /// In the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SwarmDefaults => "Swarm, defaults",
            Self::SwarmBest => "Swarm, best settings",
            Self::LibraryOnSwarm => "this library on Swarm",
            Self::LibraryOnContainers => "this library, containers and HAProxy",
        }
    }
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) faults: Vec<Fault>,
    pub(crate) systems: Vec<System>,
    /// A fault that nobody notices is watched so long.
    pub(crate) window: Duration,
}

impl Asked {
    pub(crate) fn of(arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut asked = Self {
            faults: Vec::new(),
            systems: Vec::new(),
            window: Duration::from_secs(90),
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let value = arguments.next();
            let value = value.ok_or_else(|| format!("{argument} needs a value"))?;
            match argument.as_str() {
                "--fault" => {
                    let all = Fault::ALL.map(|fault| (fault.name(), fault));
                    asked.faults.extend(named(&value, &all)?);
                }
                "--under" => {
                    let all = System::ALL.map(|system| (system.letter(), system));
                    asked.systems.extend(named(&value, &all)?);
                }
                "--window" => asked.window = Duration::from_secs(value.parse()?),
                _ => {
                    let known = "--fault, --under and --window";
                    return Err(
                        format!("no option is called `{argument}`; there are {known}").into(),
                    );
                }
            }
        }
        if asked.faults.is_empty() {
            asked.faults.extend(Fault::ALL);
        }
        if asked.systems.is_empty() {
            asked.systems.extend(System::ALL);
        }
        Ok(asked)
    }
}

fn named<T: Copy>(value: &str, all: &[(&str, T)]) -> Result<Vec<T>, Failure> {
    let one = |name: &str| {
        let found = all.iter().find(|(known, _)| *known == name);
        found.map(|(_, found)| *found).ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            Failure::from(format!("there is no `{name}`, only {}", names.join(", ")))
        })
    };
    value.split(',').map(one).collect()
}
