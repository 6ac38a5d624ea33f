//! What is shared while one configuration is read: the variables, the faults, the settings asked for.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::fault::{Broken, ConfigFault, closest};

/// How every variable starts.
pub(super) const PREFIX: &str = "OUTREACHD_";

/// What all sections share while one configuration is read.
#[derive(Debug)]
pub(super) struct Context {
    /// The file's name, for faults.
    pub(super) file: String,
    /// Relative paths count from here.
    pub(super) cwd: PathBuf,
    pub(super) env: BTreeMap<String, Variable>,
    pub(super) faults: RefCell<Vec<ConfigFault>>,
    /// Every setting that was asked for, list items as `provider[].name`.
    pub(super) known: RefCell<BTreeSet<String>>,
    /// The variables that could have been given.
    pub(super) variables: RefCell<BTreeSet<String>>,
}

/// One environment variable.
#[derive(Debug)]
pub(super) struct Variable {
    /// As it was spelt.
    pub(super) name: String,
    pub(super) value: String,
    pub(super) used: Cell<bool>,
}

impl Context {
    pub(super) fn fault(&self, file: &str, path: &str, broken: Broken) {
        self.faults.borrow_mut().push(ConfigFault {
            file: file.to_owned(),
            path: path.to_owned(),
            rule: broken.rule,
            cure: broken.cure,
        });
    }

    /// A variable that carries our prefix and no setting of ours is a misspelling: say so.
    pub(super) fn refuse_unused_variables(&self) {
        let known = self.variables.borrow();
        for (folded, variable) in &self.env {
            if variable.used.get() {
                continue;
            }
            let cure = match closest(folded, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => "remove it; items of a list are named in the file first, then overridden by name"
                    .to_owned(),
            };
            let broken = Broken::new("matches no setting of this configuration", cure);
            self.fault("environment", &harmless(&variable.name), broken);
        }
    }
}

/// A name that may be echoed: short and of plain letters; anything else could be a value in the wrong place.
pub(super) fn harmless(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain && (1..=64).contains(&name.len()) { name.to_owned() } else { "(a name not shown)".to_owned() }
}
