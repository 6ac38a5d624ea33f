//! Compiles every text once, per locale and way of escaping, lets `scan` look at each, and puts partials into it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use handlebars::{Handlebars, Template as Text};

use crate::domain::ids::TemplateName;
use crate::domain::words::Channel;

use super::catalogue::Template;
use super::files::{self, Files};
use super::finding::{Finding, Severity};
use super::formatters::tongue;
use super::helpers;
use super::inline::inline;
use super::part::{Escape, Part, escape_xml};
use super::scan::{Scan, Scope, circles, with_included};

/// The texts of one locale, ready to render.
pub(super) struct Compiled {
    plain: Handlebars<'static>,
    html: Handlebars<'static>,
    xml: Handlebars<'static>,
    /// Which partials each partial includes.
    includes: BTreeMap<String, BTreeSet<String>>,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compiled")
    }
}

impl Compiled {
    fn new() -> Self {
        Self {
            plain: registry(Escape::None),
            html: registry(Escape::Html),
            xml: registry(Escape::Xml),
            includes: BTreeMap::new(),
        }
    }

    pub(super) const fn registry(&self, escape: Escape) -> &Handlebars<'static> {
        match escape {
            Escape::None => &self.plain,
            Escape::Html => &self.html,
            Escape::Xml => &self.xml,
        }
    }

    pub(super) fn add(&mut self, name: &str, part: Part, text: Text) {
        match part.escape() {
            Escape::None => self.plain.register_template(name, text),
            Escape::Html => self.html.register_template(name, text),
            Escape::Xml => self.xml.register_template(name, text),
        }
    }

    fn add_partial(&mut self, name: &str, text: &Text) {
        for registry in [&mut self.plain, &mut self.html, &mut self.xml] {
            registry.register_template(name, text.clone());
        }
    }
}

fn registry(escape: Escape) -> Handlebars<'static> {
    let mut registry = Handlebars::new();
    registry.set_strict_mode(true);
    match escape {
        Escape::None => registry.register_escape_fn(handlebars::no_escape),
        Escape::Html => registry.register_escape_fn(handlebars::html_escape),
        Escape::Xml => registry.register_escape_fn(escape_xml),
    }
    helpers::register(&mut registry);
    registry
}

/// A partial file: which locale it is for (`None` is all), its name, its path, and what stands in it.
pub(super) struct Shared<'a> {
    pub(super) locale: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) path: &'a str,
    pub(super) source: &'a str,
    pub(super) text: Text,
}

/// Compiles all of `files`, and tells each template the hashes of its texts; what is wrong goes to `findings`.
pub(super) fn compile(
    files: &Files,
    templates: &mut BTreeMap<TemplateName, Template>,
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, Compiled> {
    let shared = partials(files, findings);
    let mut compiled: BTreeMap<String, Compiled> = BTreeMap::new();
    for locale in templates.values().flat_map(Template::locales) {
        if !compiled.contains_key(locale) {
            compiled.insert(locale.to_owned(), with_partials(locale, &shared, findings));
        }
    }
    for template in templates.values_mut() {
        let (asking, hashes) = texts(template, files, &shared, &mut compiled, findings);
        template.set_asking(asking);
        template.know_hashes(hashes);
    }
    compiled
}

/// Compiles the texts of a template; answers the channels over which they offer its answers, and what each locale says as
/// one hash.
fn texts(
    template: &Template,
    files: &Files,
    shared: &[Shared<'_>],
    compiled: &mut BTreeMap<String, Compiled>,
    findings: &mut Vec<Finding>,
) -> (BTreeSet<Channel>, BTreeMap<String, String>) {
    let (mut used, mut offering, mut hashes) = (BTreeSet::new(), Vec::new(), BTreeMap::new());
    for locale in template.locales() {
        let visible = visible(locale, shared);
        let known = visible.keys().map(|name| (*name).to_owned()).collect();
        let (mut read, mut included) = (Vec::new(), BTreeSet::new());
        for &part in Part::ALL {
            let Some(name) = template.text(locale, part) else { continue };
            let path = format!("{}/{locale}/{part}.hbs", template.name);
            let Some(mut text) = files.get(&path).and_then(|source| parse(&path, source, findings)) else {
                continue;
            };
            let variables = Some(&template.manifest.variables);
            let by = part.answered_by();
            let answers = if by.is_some() { template.manifest.answers.as_slice() } else { &[] };
            let scan = Scan::of(&text, &Scope { file: &path, variables, partials: &known, answers, by });
            findings.extend(scan.findings);
            offering.extend(by.map(|by| (by, path.clone(), scan.offered)));
            used.extend(scan.used);
            included.extend(scan.includes);
            read.push(path);
            if let Some(compiled) = compiled.get_mut(locale) {
                inline(&mut text, &visible, &compiled.includes);
                compiled.add(name, part, text);
            }
        }
        if let Some(compiled) = compiled.get(locale) {
            let included = with_included(&compiled.includes, included);
            let shared = included.iter().filter_map(|name| visible.get(name.as_str()));
            read.extend(shared.map(|shared| shared.path.to_owned()));
        }
        hashes.insert(locale.to_owned(), hash(files, &read));
    }
    let manifest = &template.manifest;
    used.extend(manifest.expires_from.iter().chain(&manifest.remote_from).cloned());
    for name in manifest.variables.keys().filter(|name| !used.contains(*name)) {
        let file = format!("{}/template.toml", template.name);
        let message = format!("variables.{name} is used by no text");
        let finding = Finding::error(&file, None, "unused-variable", message, "remove it, or use it");
        findings.push(finding.with_severity(Severity::Warning));
    }
    (asking(template, &offering, findings), hashes)
}

/// The channels over which the template's answers are offered, each by all its texts and all of them: by every text
/// message, and by calls and mails where one of them does.
fn asking(
    template: &Template,
    offering: &[(Channel, String, BTreeSet<String>)],
    findings: &mut Vec<Finding>,
) -> BTreeSet<Channel> {
    let offers = |by: &Channel, offered: &BTreeSet<String>| *by == Channel::Sms || !offered.is_empty();
    let asking = offering.iter().filter(|(by, _, offered)| offers(by, offered)).map(|(by, ..)| *by).collect();
    for (by, path, offered) in offering {
        let missing = template.manifest.answers.iter().filter(|offer| !offered.contains(offer.name.as_str()));
        for offer in missing.filter(|_| BTreeSet::contains(&asking, by)) {
            let message = format!("does not offer the answer {}", offer.name);
            let cure = format!(
                "write {{{{answer.{}}}}} and what it means: its digit is given out when the message is sent",
                offer.name
            );
            findings.push(Finding::error(path, None, "answer", message, cure));
        }
    }
    asking
}

/// Of exactly the files at these paths.
fn hash(files: &Files, paths: &[String]) -> String {
    let those = paths.iter().filter_map(|path| Some((path.clone(), files.get(path)?.clone())));
    files::hash(&those.collect())
}

fn parse(path: &str, source: &str, findings: &mut Vec<Finding>) -> Option<Text> {
    if let Some(line) = source.lines().position(|line| line.contains('\0')) {
        findings.push(Finding::error(path, Some(line + 1), "encoding", "holds a NUL", "remove it"));
        return None;
    }
    if let Some(line) = too_deep(source) {
        let message = format!("holds more than {DEEPEST} blocks or brackets within one another");
        findings.push(Finding::error(path, Some(line), "syntax", message, "write it flatter"));
        return None;
    }
    match Text::compile(source) {
        Ok(text) => Some(text),
        Err(error) => {
            let line = error.pos().map(|(line, _)| line);
            let message = format!("does not compile: {}", error.reason());
            findings.push(Finding::error(path, line, "syntax", message, "correct the braces at this place"));
            None
        }
    }
}

/// So many blocks or brackets may hold one another: whoever reads them goes one step down the stack for each.
const DEEPEST: usize = 64;

/// The line at which a text nests deeper than that.
fn too_deep(source: &str) -> Option<usize> {
    let (mut blocks, mut brackets) = (0_usize, 0_usize);
    for (number, line) in (1..).zip(source.lines()) {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            if rest.starts_with("{{#") || rest.starts_with("{{~#") {
                blocks += 1;
            } else if rest.starts_with("{{/") || rest.starts_with("{{~/") {
                blocks = blocks.saturating_sub(1);
            } else if first == '(' {
                brackets += 1;
            } else if first == ')' {
                brackets = brackets.saturating_sub(1);
            }
            if blocks.max(brackets) > DEEPEST {
                return Some(number);
            }
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    None
}

fn partials<'a>(files: &'a Files, findings: &mut Vec<Finding>) -> Vec<Shared<'a>> {
    let mut shared = Vec::new();
    for (path, source) in files {
        let Some((folder, rest)) = path.split_once('/').filter(|(folder, _)| folder.starts_with('_')) else {
            continue;
        };
        let (locale, file) = match rest.split_once('/') {
            Some((locale, file)) => (Some(locale), file),
            None => (None, rest),
        };
        let name = file.strip_suffix(".hbs").filter(|name| is_partial_name(name));
        let placed = matches!(folder, "_partials" | "_layouts")
            && locale.is_none_or(|locale| tongue(locale).is_some());
        let (Some(name), true) = (name, placed) else {
            let cure = "use _partials/LOCALE/NAME.hbs or _layouts/NAME.hbs, NAME of a-z 0-9 _";
            findings.push(Finding::error(path, None, "stray-file", "is no partial", cure));
            continue;
        };
        // An editor's newline at the end of the file must not break the line that includes it.
        let source = source.trim_end_matches(['\r', '\n']);
        if let Some(text) = parse(path, source, findings) {
            shared.push(Shared { locale, name, path, source, text });
        }
    }
    shared
}

fn is_partial_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The partials a locale sees: its own, else its language's, else everybody's.
fn visible<'s>(locale: &str, shared: &'s [Shared<'_>]) -> BTreeMap<&'s str, &'s Shared<'s>> {
    // `zh-Hans-SG` sees what is for all, then `zh`, `zh-Hans` and its own, the later in the place of the earlier.
    let ends = locale.match_indices('-').map(|(at, _)| at).chain([locale.len()]);
    let mut visible = BTreeMap::new();
    for wanted in [None].into_iter().chain(ends.map(|end| locale.get(..end))) {
        visible.extend(shared.iter().filter(|s| s.locale == wanted).map(|s| (s.name, s)));
    }
    visible
}

fn with_partials(locale: &str, shared: &[Shared<'_>], findings: &mut Vec<Finding>) -> Compiled {
    let mut compiled = Compiled::new();
    let visible = visible(locale, shared);
    let known: BTreeSet<String> = visible.keys().map(|name| (*name).to_owned()).collect();
    let mut includes = BTreeMap::new();
    for (name, partial) in &visible {
        let scan = Scan::of(
            &partial.text,
            &Scope { file: partial.path, variables: None, partials: &known, answers: &[], by: None },
        );
        for finding in scan.findings {
            // One file serves several locales; say each thing once.
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        includes.insert((*name).to_owned(), scan.includes);
        compiled.add_partial(name, &partial.text);
    }
    for name in circles(&includes) {
        let path = visible.get(name.as_str()).map_or("_partials", |partial| partial.path);
        let finding = Finding::error(path, None, "circle", "includes itself", "break the circle of partials");
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    compiled.includes = includes;
    compiled
}
