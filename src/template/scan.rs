//! Walks a compiled text and names everything in it that could go wrong at night: variables nobody declared,
//! helpers and partials that do not exist, unescaped output, partials that include each other for ever.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use handlebars::Template;
use handlebars::template::{DecoratorTemplate, HelperTemplate, Parameter, TemplateElement};

use crate::domain::reply::Offer;
use crate::domain::words::Channel;

use super::finding::Finding;
use super::helpers::{BUILT_IN, OWN};
use super::variable::{Kind, Variable};

/// What a text may name beside `data`.
pub(super) const FIELDS: &[&str] = &[
    "patient.given",
    "patient.family",
    "patient.name",
    "recipient.given",
    "recipient.family",
    "recipient.name",
    "recipient.is_proxy",
    "recipient.is_parent",
    "site.name",
    "site.phone",
    "site.postal_address",
    "site.portal_url",
    "site.opt_out",
    "organisation",
    "is_change",
    "also",
    "test",
    "keypad",
    "mailbox",
    "unsubscribe_url",
    "lang",
    "dir",
];

/// Where a text stands: its file, and what it may use.
pub(super) struct Scope<'a> {
    pub(super) file: &'a str,
    /// `None` for a partial, which is shared and so must not name `data`.
    pub(super) variables: Option<&'a BTreeMap<String, Variable>>,
    pub(super) partials: &'a BTreeSet<String>,
    /// What the template offers as answers, where this text may.
    pub(super) answers: &'a [Offer],
    /// How they come back.
    pub(super) by: Option<Channel>,
}

/// What a walk has found.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) findings: Vec<Finding>,
    /// Partials that are included.
    pub(super) includes: BTreeSet<String>,
    /// Declared variables that are used.
    pub(super) used: BTreeSet<String>,
    /// Answers that are offered.
    pub(super) offered: BTreeSet<String>,
}

impl Scan {
    /// Walks `template`.
    pub(super) fn of(template: &Template, scope: &Scope<'_>) -> Self {
        let mut scan = Self::default();
        scan.walk(template, scope, Around::default());
        scan
    }

    fn walk(&mut self, template: &Template, scope: &Scope<'_>, around: Around) {
        for (at, element) in template.elements.iter().enumerate() {
            let place = Place { scope, line: template.mapping.get(at).map(|m| m.0), around };
            self.element(element, &place);
        }
    }

    fn element(&mut self, element: &TemplateElement, place: &Place<'_>) {
        match element {
            TemplateElement::RawString(_) | TemplateElement::Comment(_) => {}
            TemplateElement::Expression(call) => self.expression(call, place),
            TemplateElement::HelperBlock(call) => self.block(call, place),
            TemplateElement::PartialExpression(partial) | TemplateElement::PartialBlock(partial) => {
                self.partial(partial, place);
            }
            TemplateElement::HtmlExpression(_) => self.fault(
                place,
                "raw-output",
                "`{{{ }}}` prints a value unescaped",
                "use two braces: each channel escapes what it must",
            ),
            // `{{* }}`, and whatever the engine may come to know.
            _ => self.fault(
                place,
                "syntax",
                "this kind of tag is not supported",
                "put the text into a partial",
            ),
        }
    }

    fn expression(&mut self, call: &HelperTemplate, place: &Place<'_>) {
        let name = call.name.as_name().unwrap_or_default();
        let plain = call.params.is_empty() && call.hash.is_empty();
        if plain && !OWN.contains(&name) && !BUILT_IN.contains(&name) {
            let kind = self.path(name, place);
            if let Some(helper) = kind.and_then(wants_helper) {
                self.fault(
                    place,
                    "bare-value",
                    format!("{name} is printed as it came"),
                    format!("write {{{{{helper} {name}}}}}"),
                );
            }
            return;
        }
        self.call(name, &call.params, &call.hash, place);
    }

    fn block(&mut self, call: &HelperTemplate, place: &Place<'_>) {
        let name = call.name.as_name().unwrap_or_default();
        if !["if", "unless", "each"].contains(&name) {
            self.fault(
                place,
                "unknown-helper",
                format!("no block helper `{name}`"),
                "use if, unless or each",
            );
        }
        self.arguments(&call.params, &call.hash, place);
        let (each, heard) = (name == "each", name == "if" && place.is_heard(&call.params));
        let within = Around { each: place.around.each || each, heard: place.around.heard || heard };
        if place.around.each && each {
            self.fault(place, "nested-each", "a loop stands within a loop", "write one loop");
        }
        if let Some(body) = &call.template {
            self.walk(body, place.scope, within);
        }
        if let Some(inverse) = &call.inverse {
            self.walk(inverse, place.scope, place.around);
        }
    }

    fn call(
        &mut self,
        name: &str,
        params: &[Parameter],
        hash: &HashMap<String, Parameter>,
        place: &Place<'_>,
    ) {
        if !OWN.contains(&name) && !BUILT_IN.contains(&name) {
            let known = OWN.join(", ");
            self.fault(
                place,
                "unknown-helper",
                format!("no helper `{name}`"),
                format!("use one of: {known}"),
            );
        }
        let kinds = self.arguments(params, hash, place);
        if OWN.contains(&name) && params.len() != 1 {
            self.fault(place, "arguments", format!("`{name}` takes one value"), "give it one variable");
        }
        if let Some(Some(kind)) = kinds.first()
            && !fits(name, *kind)
        {
            self.fault(place, "wrong-helper", format!("`{name}` cannot show a {kind}"), "use its own helper");
        }
    }

    /// Checks what a helper is given; the kinds of the variables among the values.
    fn arguments(
        &mut self,
        params: &[Parameter],
        hash: &HashMap<String, Parameter>,
        place: &Place<'_>,
    ) -> Vec<Option<Kind>> {
        let kinds = params.iter().map(|param| self.parameter(param, place)).collect();
        for param in hash.values() {
            self.parameter(param, place);
        }
        kinds
    }

    fn parameter(&mut self, param: &Parameter, place: &Place<'_>) -> Option<Kind> {
        match param {
            Parameter::Literal(_) => None,
            Parameter::Name(name) => self.path(name, place),
            Parameter::Path(_) => self.path(param.as_name().unwrap_or_default(), place),
            Parameter::Subexpression(inner) => {
                if let TemplateElement::Expression(call) = inner.as_element() {
                    let name = call.name.as_name().unwrap_or_default();
                    self.call(name, &call.params, &call.hash, place);
                }
                None
            }
            _ => {
                self.fault(place, "syntax", "this kind of value is not supported", "name a variable");
                None
            }
        }
    }

    fn partial(&mut self, partial: &DecoratorTemplate, place: &Place<'_>) {
        match partial.name.as_name() {
            Some("@partial-block") if place.scope.variables.is_none() => {}
            Some(name) if place.scope.partials.contains(name) => {
                self.includes.insert(name.to_owned());
            }
            Some(name) => self.fault(
                place,
                "unknown-partial",
                format!("no partial `{name}`"),
                format!("create _partials/LOCALE/{name}.hbs, or _partials/{name}.hbs for all"),
            ),
            None => {
                self.fault(place, "dynamic-partial", "a partial is chosen by a value", "name the partial");
            }
        }
        if !partial.params.is_empty() || !partial.hash.is_empty() {
            self.fault(place, "partial-arguments", "a partial takes no arguments", "use the common fields");
        }
        if let Some(body) = &partial.template {
            self.walk(body, place.scope, place.around);
        }
    }

    /// Checks one path; its kind where it is a declared variable.
    fn path(&mut self, path: &str, place: &Place<'_>) -> Option<Kind> {
        let item = matches!(path, "this" | "." | "@index" | "@first" | "@last");
        if item && place.around.each {
            return None;
        }
        if place.around.each || item || path.starts_with('@') || path.starts_with("..") {
            self.fault(place, "unknown-variable", format!("`{path}` does not lead to a value here"), IN_EACH);
            return None;
        }
        if let Some(name) = path.strip_prefix("answer.") {
            self.offered.insert(name.to_owned());
            if !place.scope.answers.iter().any(|offer| offer.name.as_str() == name) {
                let cure = "declare it under `answers` in template.toml; sms.hbs, sms.short.hbs, voice.hbs, email.html.hbs and \
                    email.txt.hbs offer answers";
                self.fault(
                    place,
                    "unknown-answer",
                    format!("`{path}` is no answer that may be offered here"),
                    cure,
                );
            } else if let Some(flag) = place.scope.by.and_then(heard_where).filter(|_| !place.around.heard) {
                let cure = format!("write it within {{{{#if {flag}}}}}");
                self.fault(place, "answer", "what is answered here may reach nobody", cure);
            }
        } else if let (Some(name), Some(variables)) = (path.strip_prefix("data."), place.scope.variables) {
            self.used.insert(name.to_owned());
            if let Some(variable) = variables.get(name) {
                return Some(variable.kind);
            }
            let cure = format!("declare [variables.{name}] in template.toml, or correct the name");
            self.fault(place, "unknown-variable", format!("`{path}` is not declared"), cure);
        } else if path.starts_with("data.") {
            let cure = "write it into the text itself";
            self.fault(place, "unknown-variable", "a shared partial cannot know a template's data", cure);
        } else if !FIELDS.contains(&path) {
            let cure = format!("use data.NAME or one of: {}", FIELDS.join(", "));
            self.fault(place, "unknown-variable", format!("no field `{path}`"), cure);
        }
        None
    }

    fn fault(
        &mut self,
        place: &Place<'_>,
        rule: &'static str,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.findings.push(Finding::error(place.scope.file, place.line, rule, message, cure));
    }
}

const IN_EACH: &str = "within {{#each}} use this, @index, @first, @last; elsewhere none of them";

struct Place<'a> {
    scope: &'a Scope<'a>,
    line: Option<usize>,
    around: Around,
}

/// What stands around a place.
#[derive(Clone, Copy, Default)]
struct Around {
    each: bool,
    /// It is shown only where what is answered reaches us.
    heard: bool,
}

impl Place<'_> {
    /// Whether a block with these values is shown only where what is answered reaches us.
    fn is_heard(&self, params: &[Parameter]) -> bool {
        let flag = self.scope.by.and_then(heard_where);
        flag.is_some() && params.first().and_then(Parameter::as_name) == flag
    }
}

/// The field that says whether answers over the channel reach us; `None`: they always do.
const fn heard_where(by: Channel) -> Option<&'static str> {
    match by {
        Channel::Voice => Some("keypad"),
        Channel::Email => Some("mailbox"),
        Channel::Sms | Channel::Portal => None,
    }
}

/// The helper without which a value of this kind reads like a machine wrote it.
const fn wants_helper(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Datetime => Some("datetime"),
        Kind::Date => Some("date"),
        Kind::Number | Kind::Integer => Some("number"),
        Kind::Phone => Some("phone"),
        Kind::List => Some("list"),
        Kind::Boolean => Some("#if"),
        Kind::Text | Kind::Url => None,
    }
}

fn fits(helper: &str, kind: Kind) -> bool {
    match helper {
        "date" => matches!(kind, Kind::Datetime | Kind::Date),
        "time" | "datetime" => kind == Kind::Datetime,
        "phone" => kind == Kind::Phone,
        "list" => kind == Kind::List,
        "number" => matches!(kind, Kind::Number | Kind::Integer),
        "plural" => kind == Kind::Integer,
        _ => true,
    }
}

/// Partials that include themselves, directly or by way of others.
pub(super) fn circles(includes: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    includes.keys().filter(|name| reaches(includes, name, name, &mut BTreeSet::new())).cloned().collect()
}

/// Those of `from`, and all that they include, directly or by way of others.
pub(super) fn with_included(
    includes: &BTreeMap<String, BTreeSet<String>>,
    from: BTreeSet<String>,
) -> BTreeSet<String> {
    let mut open: Vec<String> = from.into_iter().collect();
    let mut all = BTreeSet::new();
    while let Some(name) = open.pop() {
        open.extend(includes.get(&name).into_iter().flatten().cloned());
        all.insert(name);
        open.retain(|name| !all.contains(name));
    }
    all
}

fn reaches<'a>(
    includes: &'a BTreeMap<String, BTreeSet<String>>,
    from: &str,
    goal: &str,
    seen: &mut BTreeSet<&'a str>,
) -> bool {
    includes.get(from).is_some_and(|next| {
        next.iter()
            .any(|name| name == goal || (seen.insert(name.as_str()) && reaches(includes, name, goal, seen)))
    })
}
