//! The teller: reads a story's commands, plays the world, writes down what the engine said.

mod platform;
mod said;
mod world;

use world::World;

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
    told
}
