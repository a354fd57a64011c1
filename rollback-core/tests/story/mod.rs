//! The teller: reads a story's commands, plays the world, writes down what the engine said.

mod platform;
mod said;
mod world;

use world::World;

/// Stories whose journals the fuzzer of `fuzz/` begins with: together they have every kind of input, fact
/// and command.
const JOURNALS: [&str; 17] = [
    "abort",
    "delay",
    "failure_while_paused",
    "fleet_is_silent",
    "freeze",
    "gate_approved",
    "kill_switch",
    "no_target",
    "nothing_deployed_nothing_rolled_back",
    "observe",
    "p09_evidence_is_bound_to_its_deployment",
    "p17_what_cannot_be_taken_back",
    "refused_by_the_platform",
    "superseded_by_a_newer",
    "target_cannot_start",
    "task_fails_and_holds",
    "task_left_behind",
];

/// Writes the journal of one of them anew, an entry a line.
fn keep(name: &str, world: &World) {
    if JOURNALS.contains(&name) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/entry");
        let entries = world.journal.iter();
        let lines: Vec<String> = entries
            .map(|entry| serde_json::to_string(entry).unwrap())
            .collect();
        std::fs::write(format!("{folder}/{name}"), lines.join("\n")).unwrap();
    }
}

/// Plays a story and gives it back with the answers written anew.
///
/// A command is a line and the indented lines after it; its answer stands between `----` and the
/// next empty line. Lines that begin with `#` are for the reader.
pub(crate) fn tell(name: &str, story: &str) -> String {
    let mut told = String::new();
    let mut world = World::new();
    let mut lines = story.lines().peekable();
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            told.push_str(line);
            told.push('\n');
            continue;
        }
        let mut command = line.to_owned();
        while let Some(more) = lines.next_if(|next| next.starts_with(' ')) {
            command.push('\n');
            command.push_str(more);
        }
        assert_eq!(
            lines.next(),
            Some("----"),
            "{name}: `{line}` lacks its ----"
        );
        while lines.next_if(|next| !next.is_empty()).is_some() {}
        let answer = world
            .play(&command)
            .unwrap_or_else(|why| panic!("{name}: {why}"));
        told.push_str(&command);
        told.push_str("\n----\n");
        for said in answer {
            told.push_str(&said);
            told.push('\n');
        }
    }
    world
        .replays()
        .unwrap_or_else(|why| panic!("{name}: the replay differs: {why}"));
    if std::env::var_os("UPDATE_CORPUS").is_some() {
        keep(name.trim_end_matches(".txt"), &world);
    }
    told
}
