//! Golden stories: a policy, what happens, and what the engine said, for people to read.
//!
//! Each file in `tests/stories` is a list of commands, each followed by `----` and what the engine
//! said. `UPDATE_STORIES=1 cargo test -p rollback-core --test stories` writes the answers anew;
//! commit the difference only if you understand it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: a story that cannot be told must fail"
)]

mod story;

use std::{fs, path::Path};

#[test]
fn every_story_goes_as_it_is_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let update = std::env::var_os("UPDATE_STORIES").is_some();
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no story found");
    let mut wrong = Vec::new();
    for file in &files {
        let told = fs::read_to_string(file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let heard = story::tell(&name, &told);
        if heard == told {
            continue;
        }
        if update {
            fs::write(file, &heard).unwrap();
        } else {
            wrong.push(format!("{name}:\n{}", first_difference(&told, &heard)));
        }
    }
    assert!(
        wrong.is_empty(),
        "stories went otherwise:\n{}",
        wrong.join("\n")
    );
}

fn first_difference(told: &str, heard: &str) -> String {
    for (number, (one, other)) in told.lines().zip(heard.lines()).enumerate() {
        if one != other {
            return format!("  line {}\n  told:  {one}\n  heard: {other}", number + 1);
        }
    }
    format!(
        "  one ends sooner: {} lines told, {} heard",
        told.lines().count(),
        heard.lines().count()
    )
}
