//! Reads one setting at a time: the environment before the file before the default. Every fault is noted and
//! reading goes on, so that one run tells all. What was read is kept for `check --show`, secrets masked.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::context::{Context, PREFIX, harmless};
use super::fault::{Broken, closest};
use super::kind::{Kind, Raw};

/// What a masked value looks like.
pub(super) const MASK: &str = "***";

/// One table of the configuration.
#[derive(Debug)]
pub(super) struct Section<'c> {
    pub(super) context: &'c Context,
    path: String,
    pattern: String,
    variable: String,
    given: Option<&'c Table>,
    keys: BTreeSet<String>,
    shown: Table,
}

impl<'c> Section<'c> {
    pub(super) fn root(context: &'c Context, given: &'c Table) -> Self {
        let (path, pattern) = (String::new(), String::new());
        let variable = PREFIX.to_owned();
        Self {
            context,
            path,
            pattern,
            variable,
            given: Some(given),
            keys: BTreeSet::new(),
            shown: Table::new(),
        }
    }

    /// The setting, where it is given and good.
    pub(super) fn optional<K: Kind>(&mut self, key: &str, kind: K) -> Option<K::Value> {
        let raw = self.raw(key)?;
        match kind.read(raw) {
            Ok(value) => {
                self.show(key, kind.show(&value));
                Some(value)
            }
            Err(broken) => {
                self.fault(key, broken);
                None
            }
        }
    }

    /// The setting, or its default.
    pub(super) fn or<K: Kind>(&mut self, key: &str, kind: K, default: K::Value) -> K::Value {
        let shown = kind.show(&default);
        let value = self.optional(key, kind);
        if value.is_none() {
            self.show(key, shown);
        }
        value.unwrap_or(default)
    }

    /// The setting; its absence is a fault.
    pub(super) fn required<K: Kind>(&mut self, key: &str, kind: K) -> Option<K::Value> {
        let value = self.optional(key, kind);
        if value.is_none() && self.raw(key).is_none() {
            self.missing(key);
        }
        value
    }

    /// Notes that a setting without which nothing works is not there.
    pub(super) fn missing(&self, key: &str) {
        self.fault(key, Broken::new("is required", format!("set `{key}`, or {}", self.variable_of(key))));
    }

    /// A list, each item judged on its own. In the environment: items parted by commas.
    pub(super) fn list<K: Kind>(&mut self, key: &str, kind: K) -> Option<Vec<K::Value>> {
        let raws = match self.raw(key)? {
            Raw::Env(text) => text.split(',').map(|item| Raw::Env(item.trim())).collect(),
            Raw::File(Value::Array(items)) => items.iter().map(Raw::File).collect::<Vec<_>>(),
            Raw::File(_) => {
                self.fault(key, Broken::new("must be a list", format!("write {key} = [\"...\"]")));
                return None;
            }
        };
        let mut values = Vec::with_capacity(raws.len());
        for (index, raw) in raws.into_iter().enumerate() {
            match kind.read(raw) {
                Ok(value) => values.push(value),
                Err(broken) => {
                    let (file, path) = self.place(key);
                    self.context.fault(&file, &format!("{path}[{index}]"), broken);
                }
            }
        }
        self.show(key, Value::Array(values.iter().map(|value| kind.show(value)).collect()));
        Some(values)
    }

    /// Whether a list is absent or has no items, good or bad.
    pub(super) fn lists_nothing(&mut self, key: &str) -> bool {
        match self.raw(key) {
            None => true,
            Some(Raw::File(Value::Array(items))) => items.is_empty(),
            Some(_) => false,
        }
    }

    /// A table below this one, given or not.
    pub(super) fn section<R>(&mut self, key: &str, read: impl FnOnce(&mut Section<'c>) -> R) -> R {
        self.note(key);
        let given = self.given.and_then(|table| table.get(key));
        if given.is_some_and(|value| !value.is_table()) {
            self.fault(key, Broken::new("must be a table", format!("write [{}]", self.path_of(key))));
        }
        let mut below = Section {
            context: self.context,
            path: self.path_of(key),
            pattern: joined(&self.pattern, key),
            variable: format!("{}__", self.variable_of(key)),
            given: given.and_then(Value::as_table),
            keys: BTreeSet::new(),
            shown: Table::new(),
        };
        let result = read(&mut below);
        let shown = below.finish();
        if !shown.is_empty() {
            self.show(key, Value::Table(shown));
        }
        result
    }

    /// A list of tables, each known by its `name_key`. `parse` judges the name.
    pub(super) fn items<N, R>(
        &mut self,
        key: &str,
        name_key: &str,
        parse: impl Fn(&str) -> Result<N, Broken>,
        read: impl Fn(N, &mut Section<'c>) -> R,
    ) -> Vec<R> {
        self.keys.insert(key.to_owned());
        let tables = match self.given.and_then(|table| table.get(key)) {
            None => return Vec::new(),
            Some(Value::Array(tables)) => tables.as_slice(),
            Some(_) => {
                let path = self.path_of(key);
                self.fault(
                    key,
                    Broken::new("must be a list of tables", format!("write [[{path}]], in two brackets")),
                );
                return Vec::new();
            }
        };
        let (mut results, mut shown, mut taken) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (index, value) in tables.iter().enumerate() {
            let Some(mut item) = self.item(key, name_key, index, value) else { continue };
            let named = item.name(name_key, &parse);
            if let Some((name, text)) = named {
                if !taken.insert(folded(&text)) {
                    let rule = "is taken by an item before it (- and _ count as one in variables)";
                    item.fault(name_key, Broken::new(rule, "give each item a name of its own"));
                }
                item.show(name_key, Value::String(text));
                results.push(read(name, &mut item));
                shown.push(Value::Table(item.finish()));
            }
        }
        if !shown.is_empty() {
            self.show(key, Value::Array(shown));
        }
        results
    }

    /// The keys that the file gives here, for tables whose keys are the operator's own words.
    pub(super) fn given_keys(&self) -> Vec<String> {
        self.given.map(|table| table.keys().cloned().collect()).unwrap_or_default()
    }

    /// Whether the file gives a table under `key`.
    pub(super) fn is_table(&self, key: &str) -> bool {
        self.given.and_then(|table| table.get(key)).is_some_and(Value::is_table)
    }

    /// Whether the file or the environment says anything here.
    pub(super) fn is_given(&self) -> bool {
        self.given.is_some_and(|table| !table.is_empty())
            || self
                .context
                .env
                .iter()
                .any(|(name, variable)| name.starts_with(&self.variable) && !variable.value.is_empty())
    }

    /// Lets everything pass that is given here: what belongs here cannot be told.
    pub(super) fn overlook(&mut self) {
        self.keys.extend(self.given_keys());
        let below = self.context.env.iter().filter(|(name, _)| name.starts_with(&self.variable));
        below.for_each(|(_, variable)| variable.used.set(true));
    }

    /// Takes this section out of what is shown: it has no effect.
    pub(super) fn hide(&mut self) {
        self.shown.clear();
    }

    /// Notes a fault of a setting of this section.
    pub(super) fn fault(&self, key: &str, broken: Broken) {
        let (file, path) = self.place(key);
        self.context.fault(&file, &path, broken);
    }

    pub(super) fn show(&mut self, key: &str, value: Value) {
        self.shown.insert(key.to_owned(), value);
    }

    /// What is given for `key`, the environment first. An empty variable counts as not given.
    pub(super) fn raw(&mut self, key: &str) -> Option<Raw<'c>> {
        self.note(key);
        self.context.known.borrow_mut().insert(joined(&self.pattern, key));
        self.in_env(key).map(Raw::Env).or_else(|| self.in_file(key).map(Raw::File))
    }

    pub(super) fn in_file(&self, key: &str) -> Option<&'c Value> {
        self.given.and_then(|table| table.get(key))
    }

    pub(super) fn in_env(&self, key: &str) -> Option<&'c str> {
        let name = self.variable_of(key);
        self.context.variables.borrow_mut().insert(name.clone());
        let variable = self.context.env.get(&name)?;
        variable.used.set(true);
        Some(variable.value.as_str()).filter(|value| !value.is_empty())
    }

    /// Marks a key as one of ours.
    pub(super) fn note(&mut self, key: &str) {
        self.keys.insert(key.to_owned());
    }

    /// Refuses what nobody asked for, and gives back what is in force.
    pub(super) fn finish(self) -> Table {
        for key in self.given_keys() {
            if self.keys.contains(&key) {
                continue;
            }
            let cure = match closest(&key, self.keys.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", self.keys.iter().cloned().collect::<Vec<_>>().join(", ")),
            };
            let path = self.path_of(&harmless(&key));
            self.context.fault(&self.context.file, &path, Broken::new("is not a setting", cure));
        }
        self.shown
    }

    fn item(&self, key: &str, name_key: &str, index: usize, value: &'c Value) -> Option<Section<'c>> {
        let label = value.get(name_key).and_then(Value::as_str).map(harmless);
        let label = label.unwrap_or_else(|| index.to_string());
        let path = format!("{}[{label}]", self.path_of(key));
        let Some(given) = value.as_table() else {
            let cure = format!("write [[{}]], in two brackets", self.path_of(key));
            self.context.fault(&self.context.file, &path, Broken::new("must be a table", cure));
            return None;
        };
        Some(Section {
            context: self.context,
            path,
            pattern: format!("{}[]", joined(&self.pattern, key)),
            variable: format!("{}__{}__", self.variable_of(key), folded(&label)),
            given: Some(given),
            keys: BTreeSet::new(),
            shown: Table::new(),
        })
    }

    /// The item's name. The environment finds items by it and cannot change it.
    fn name<N>(&mut self, key: &str, parse: impl Fn(&str) -> Result<N, Broken>) -> Option<(N, String)> {
        self.note(key);
        self.context.known.borrow_mut().insert(joined(&self.pattern, key));
        let parsed = match self.in_file(key) {
            None => Err(Broken::new("is required", format!("set `{key}`"))),
            Some(Value::String(text)) => parse(text).map(|name| (name, text.clone())),
            Some(_) => Err(Broken::new("must be text", "put it in quotes")),
        };
        parsed
            .map_err(|broken| {
                let path = self.path_of(key);
                self.context.fault(&self.context.file, &path, broken);
            })
            .ok()
    }

    fn place(&self, key: &str) -> (String, String) {
        match self.context.env.get(&self.variable_of(key)).filter(|variable| !variable.value.is_empty()) {
            Some(variable) => ("environment".to_owned(), variable.name.clone()),
            None => (self.context.file.clone(), self.path_of(key)),
        }
    }

    fn path_of(&self, key: &str) -> String {
        joined(&self.path, key)
    }

    pub(super) fn variable_of(&self, key: &str) -> String {
        format!("{}{}", self.variable, folded(key))
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// How a name is spelt in a variable: upper case, `-` as `_`.
pub(super) fn folded(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}
