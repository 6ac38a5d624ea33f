//! Reads a TOML table field by field and remembers every fault with its line, instead of stopping at the first.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::Finding;

/// One file under reading and what was found wrong with it.
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) findings: RefCell<Vec<Finding>>,
}

impl<'a> Source<'a> {
    pub(super) const fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, findings: RefCell::new(Vec::new()) }
    }

    /// The line on which a byte range begins, from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.text.bytes().take(span.start).filter(|&b| b == b'\n').count() + 1
    }

    /// Remembers a fault.
    pub(super) fn fault(&self, line: Option<usize>, message: impl Into<String>, cure: impl Into<String>) {
        self.findings.borrow_mut().push(Finding::error(self.file, line, "manifest", message, cure));
    }
}

/// A table and the keys asked of it so far; the rest is unknown.
pub(super) struct Section<'s, 'a> {
    source: &'s Source<'a>,
    table: &'s DeTable<'s>,
    /// Dotted path with a trailing dot; empty at the top.
    path: String,
    line: usize,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'s, 'a> Section<'s, 'a> {
    pub(super) const fn new(
        source: &'s Source<'a>,
        table: &'s DeTable<'s>,
        path: String,
        line: usize,
    ) -> Self {
        Self { source, table, path, line, asked: RefCell::new(BTreeSet::new()) }
    }

    /// The value under `key` with its line.
    pub(super) fn get(&self, key: &'static str) -> Option<(&'s DeValue<'s>, usize)> {
        self.asked.borrow_mut().insert(key);
        self.table.get(key).map(|value| (value.get_ref(), self.source.line(&value.span())))
    }

    /// The line of `key`, else of the table.
    pub(super) fn line_of(&self, key: &str) -> usize {
        self.table.get(key).map_or(self.line, |value| self.source.line(&value.span()))
    }

    /// Remembers a fault of `key`.
    pub(super) fn fault(&self, key: &str, rule: impl std::fmt::Display, cure: impl Into<String>) {
        self.source.fault(Some(self.line_of(key)), format!("{}{key}: {rule}", self.path), cure);
    }

    fn typed<T>(
        &self,
        key: &'static str,
        want: &str,
        read: impl Fn(&'s DeValue<'s>) -> Option<T>,
    ) -> Option<T> {
        let (value, _) = self.get(key)?;
        let found = read(value);
        if found.is_none() {
            self.fault(key, format_args!("must be {want}"), format!("write it as {want}"));
        }
        found
    }

    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        self.typed(key, "a text", |v| v.as_str().map(str::to_owned))
    }

    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", DeValue::as_bool)
    }

    /// A whole number of at least 1.
    pub(super) fn count(&self, key: &'static str) -> Option<u32> {
        self.typed(key, "a whole number from 1", count)
    }

    /// A word of a closed set.
    pub(super) fn word<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Option<T>,
        words: &str,
    ) -> Option<T> {
        self.typed(key, &format!("one of: {words}"), |v| v.as_str().and_then(&parse))
    }

    /// A list of texts, each read by `parse`.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        want: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.typed(key, &format!("a list of {want}"), |v| {
            v.as_array()?.iter().map(|item| item.get_ref().as_str().and_then(&parse)).collect()
        })
    }

    /// The table under `key`.
    pub(super) fn table(&self, key: &'static str) -> Option<Section<'s, 'a>> {
        let (value, line) = self.get(key)?;
        let Some(table) = value.as_table() else {
            self.fault(key, "must be a table", format!("write a section [{}{key}]", self.path));
            return None;
        };
        Some(Section::new(self.source, table, format!("{}{key}.", self.path), line))
    }

    /// The tables under `key`, by name.
    pub(super) fn tables(&self, key: &'static str) -> Vec<(String, Section<'s, 'a>)> {
        let Some((value, _)) = self.get(key) else { return Vec::new() };
        let Some(outer) = value.as_table() else {
            self.fault(key, "must be a table", format!("write [{}{key}.NAME] sections", self.path));
            return Vec::new();
        };
        outer.iter().filter_map(|(name, value)| self.inner(key, name.get_ref(), value)).collect()
    }

    fn inner(
        &self,
        key: &str,
        name: &str,
        value: &'s Spanned<DeValue<'s>>,
    ) -> Option<(String, Section<'s, 'a>)> {
        let line = self.source.line(&value.span());
        let Some(table) = value.get_ref().as_table() else {
            self.fault(key, "must hold tables", format!("write [{}{key}.{name}]", self.path));
            return None;
        };
        Some((name.to_owned(), Section::new(self.source, table, format!("{}{key}.{name}.", self.path), line)))
    }

    /// Names every key that nobody asked for.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, value) in self.table {
            if !asked.contains(key.get_ref().as_ref()) {
                let known: Vec<_> = asked.iter().copied().collect();
                self.source.fault(
                    Some(self.source.line(&value.span())),
                    format!("{}{}: unknown key", self.path, key.get_ref()),
                    format!("remove it, or use one of: {}", known.join(", ")),
                );
            }
        }
    }
}

/// A TOML integer from 1 up.
pub(super) fn count(value: &DeValue<'_>) -> Option<u32> {
    let number = value.as_integer()?;
    u32::from_str_radix(number.as_str(), number.radix()).ok().filter(|&n| n > 0)
}
