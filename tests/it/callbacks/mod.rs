//! Results by HTTP, from the job to the caller's own receiver.

mod desk;
mod down;
mod hostile;
mod keys;
mod office;
mod receiver;

pub(crate) use down::down;

/// A statement that told an event without naming the callback's column would keep it from receivers, in silence.
#[test]
fn every_statement_that_tells_an_event_says_whose_callback_it_is_for() {
    let mut seen = 0;
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for statement in text.split("INSERT INTO events").skip(1) {
                seen += 1;
                let columns = statement.split_once(')').unwrap().0;
                assert!(columns.contains("callback"), "{}: {columns}", path.display());
            }
        }
    }
    assert!(seen >= 5, "the test has lost its eyes: {seen}");
}
