//! Whatever stands in a journal: entries that are written as they were read and can be folded, or
//! errors. One entry a line.

use rollback_core::{
    engine::{Engine, EngineConfig},
    entry::Entry,
    model::ServiceId,
    ports::Capabilities,
};

pub fn check(bytes: &[u8]) {
    let service = ServiceId::new("shop").expect("a name");
    let mut engine = Engine::new(EngineConfig::new(
        service,
        Capabilities::least(std::time::Duration::ZERO),
    ));
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(entry) = serde_json::from_slice::<Entry>(line) else {
            continue;
        };
        let written = serde_json::to_string(&entry).expect("an entry can be written");
        let again: Entry = serde_json::from_str(&written).expect("and read");
        assert_eq!(again, entry);
        engine.restore(&entry);
    }
}
