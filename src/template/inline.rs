//! Puts partials into the texts that name them: the engine copies all that a message may say for each partial that it
//! expands itself.
//!
//! A text comes out the same to the byte. What would not stays named: a partial that is given something, stands around
//! a block or shows one, and one that the engine would indent. Partials know nothing but fields of one line ([`FIELDS`]), so
//! one whose files have one line each is never indented within a line.
//!
//! [`FIELDS`]: super::scan::FIELDS

use std::collections::{BTreeMap, BTreeSet};
use std::{iter, mem};

use handlebars::Template as Text;
use handlebars::template::{TemplateElement, TemplateMapping};

use super::compile::Shared;
use super::scan::with_included;

/// So many partials are put into one text; the others stay named, so that a few short files make no text without end.
const MOST: usize = 64;

/// Puts into `text` those of `partials` that it names; `includes` says which partials each of them names.
pub(super) fn inline(
    text: &mut Text,
    partials: &BTreeMap<&str, &Shared<'_>>,
    includes: &BTreeMap<String, BTreeSet<String>>,
) {
    Inliner { partials, includes, left: MOST }.put_into(text);
}

struct Inliner<'p> {
    partials: &'p BTreeMap<&'p str, &'p Shared<'p>>,
    includes: &'p BTreeMap<String, BTreeSet<String>>,
    left: usize,
}

impl Inliner<'_> {
    fn put_into(&mut self, text: &mut Text) {
        let lines = mem::take(&mut text.mapping);
        let mut in_line = false;
        for (at, mut element) in mem::take(&mut text.elements).into_iter().enumerate() {
            let line = lines.get(at);
            let partial = self.standing_for(&element, in_line);
            // Of a line that holds nothing but a partial the parser has taken these away.
            in_line = matches!(&element, TemplateElement::RawString(raw) if raw.ends_with([' ', '\t']));
            if let Some(mut partial) = partial {
                self.put_into(&mut partial);
                place(&mut partial, line);
                text.elements.append(&mut partial.elements);
                text.mapping.append(&mut partial.mapping);
            } else {
                for body in bodies(&mut element) {
                    self.put_into(body);
                }
                text.elements.push(element);
                text.mapping.extend(line.cloned());
            }
        }
    }

    /// The partial that may stand in the place of `element`.
    fn standing_for(&mut self, element: &TemplateElement, in_line: bool) -> Option<Text> {
        let TemplateElement::PartialExpression(call) = element else { return None };
        let name = call.name.as_name()?;
        let partial = self.partials.get(name)?;
        let is_bare = call.params.is_empty() && call.hash.is_empty();
        let is_flush = call.indent.is_none() || (in_line && self.is_one_line(name));
        if !is_bare || !is_flush || partial.source.contains("@partial-block") {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        Some(partial.text.clone())
    }

    /// Whether it and all that it includes have one line each, and could not write a second one: a backslash may stand for
    /// one. A space that begins a line is a partial's indent.
    fn is_one_line(&self, name: &str) -> bool {
        let all = with_included(self.includes, BTreeSet::from([name.to_owned()]));
        all.iter().filter_map(|name| self.partials.get(name.as_str())).all(|partial| {
            !partial.source.contains(['\n', '\r', '\\']) && !partial.source.starts_with([' ', '\t'])
        })
    }
}

/// A fault within it is told at the line that names it: that is a line of the text's own file.
fn place(partial: &mut Text, line: Option<&TemplateMapping>) {
    partial.mapping = iter::repeat_n(line, partial.elements.len()).flatten().cloned().collect();
    for body in partial.elements.iter_mut().flat_map(bodies) {
        place(body, line);
    }
}

/// What stands within a block.
fn bodies(element: &mut TemplateElement) -> impl Iterator<Item = &mut Text> {
    let (body, inverse) = match element {
        TemplateElement::HelperBlock(call) => {
            let call = call.as_mut();
            (call.template.as_mut(), call.inverse.as_mut())
        }
        TemplateElement::PartialBlock(partial) => (partial.template.as_mut(), None),
        _ => (None, None),
    };
    body.into_iter().chain(inverse)
}

#[cfg(test)]
mod tests {
    use handlebars::{Handlebars, RenderError, RenderErrorReason};
    use serde_json::{Value, json};

    use super::super::scan::{Scan, Scope};
    use super::*;

    /// A text and the partials that it may name.
    struct Case {
        named: Text,
        put_in: Text,
        registry: Handlebars<'static>,
    }

    fn written(text: &str, partials: &[(&str, &str)]) -> Case {
        let shared: Vec<Shared<'_>> = partials
            .iter()
            .map(|&(name, source)| {
                let text = Text::compile(source).unwrap();
                Shared { locale: None, name, path: name, source, text }
            })
            .collect();
        let known: BTreeSet<String> = partials.iter().map(|(name, _)| (*name).to_owned()).collect();
        let scope = Scope { file: "f", variables: None, partials: &known, answers: &[], by: None };
        let includes = |partial: &Shared<'_>| Scan::of(&partial.text, &scope).includes;
        let includes = shared.iter().map(|partial| (partial.name.to_owned(), includes(partial))).collect();
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        for partial in &shared {
            registry.register_template(partial.name, partial.text.clone());
        }
        let named = Text::compile(text).unwrap();
        let mut put_in = named.clone();
        let partials = shared.iter().map(|partial| (partial.name, partial)).collect();
        inline(&mut put_in, &partials, &includes);
        Case { named, put_in, registry }
    }

    impl Case {
        /// What both read as, each with the line of its fault.
        fn rendered(&mut self, data: &Value) -> [Result<String, (String, Option<usize>)>; 2] {
            [&self.named, &self.put_in].map(|text| {
                self.registry.register_template("text", text.clone());
                let fault = |error: RenderError| (error.reason().to_string(), error.line_no);
                self.registry.render("text", data).map_err(fault)
            })
        }

        /// Calls of partials that are left, by name.
        fn left(&self) -> Vec<String> {
            let mut found = Vec::new();
            calls(&mut self.put_in.clone(), &mut found);
            found
        }
    }

    fn calls(text: &mut Text, found: &mut Vec<String>) {
        for element in &mut text.elements {
            if let TemplateElement::PartialExpression(call) = &*element {
                found.push(call.name.as_name().unwrap_or("(by a value)").to_owned());
            }
            bodies(element).for_each(|body| calls(body, found));
        }
    }

    fn data() -> Value {
        json!({ "a": "A<", "yes": true, "no": false, "list": ["one", "two"], "which": "p" })
    }

    #[test]
    fn what_is_put_in_reads_as_it_did() {
        const P: &str = "{{#if yes}}[{{a}}]{{else}}-{{/if}}";
        const LINES: &str = "{{#if yes}}\n  {{a}}\n{{/if}}\n\nend";
        for (text, partials) in [
            ("x {{> p}}, {{> p}}", &[("p", P)][..]),
            ("{{> p}}\nnext", &[("p", LINES)]),
            ("one\n{{> p}}\n\nnext", &[("p", LINES)]),
            ("({{> p}})\n  next", &[("p", LINES)]),
            ("x \t{{> p}} \n y {{~> p~}} z", &[("p", P)]),
            ("{{#if no}}n {{> p}}{{else}}y {{> p}}{{/if}}", &[("p", P)]),
            ("{{#if no}}n{{else if yes}}y {{> p}}{{/if}}", &[("p", P)]),
            ("{{#each list}}{{> p}};{{/each}}", &[("p", "{{this}}{{#unless @last}},{{/unless}}{{@index}}")]),
            ("x {{> p}}", &[("p", "1 {{> q}}{{> q}}"), ("q", P)]),
            ("{{> p}}\n", &[("p", "{{> q}}\n{{> q}}"), ("q", LINES)]),
            ("x {{> p}} y", &[("p", "")]),
            ("{{#> page}}\n<p>{{> p}}</p>\n{{/page}}", &[("p", P), ("page", "<\n{{> @partial-block}}\n>")]),
        ] {
            let mut case = written(text, partials);
            assert!(case.left().is_empty(), "{text}: {:?}", case.left());
            let [named, put_in] = case.rendered(&data());
            assert_eq!(put_in.unwrap(), named.unwrap(), "{text}");
        }
    }

    #[test]
    fn what_would_read_otherwise_stays_named() {
        for (text, partials, left) in [
            ("a\n  {{> p}}\nb", &[("p", "1")][..], "p"),
            ("{{a~}}\n  {{> p}}\nb", &[("p", "1")], "p"),
            ("a {{> p}} b", &[("p", "1\n2")], "p"),
            ("a {{> p}} b", &[("p", "1 {{> q}}"), ("q", "2\n3")], "p"),
            ("a {{> p}} b", &[("p", "  {{> q}}"), ("q", "2")], "p"),
            ("{{> p}}\nb", &[("p", "1\n  {{> q}}\n"), ("q", "2\n3")], "q"),
            ("a {{> p}} b", &[("p", "{{eq a \"\\n\"}}")], "p"),
            ("{{> p a=1}}", &[("p", "{{a}}")], "p"),
            ("{{#each list}}{{> p ../a}}{{/each}}", &[("p", "{{this}}")], "p"),
            ("{{> (lookup this \"which\")}}", &[("p", "{{a}}")], "(by a value)"),
            ("{{#> page}}x{{/page}}{{> page}}", &[("page", "<{{> @partial-block}}>")], "page"),
            ("{{> nobody}}", &[], "nobody"),
        ] {
            let mut case = written(text, partials);
            assert_eq!(case.left(), [left], "{text}");
            let [named, put_in] = case.rendered(&data());
            assert_eq!(put_in, named, "{text}");
        }
    }

    #[test]
    fn a_fault_within_is_told_at_the_line_that_names_it() {
        let partials = [("p", "{{#if yes}}\n{{> q}}{{/if}}"), ("q", "\n\n\n{{nothing}}")];
        let mut case = written("one\n{{> p}}", &partials);
        assert!(case.left().is_empty());
        let [named, put_in] = case.rendered(&data()).map(Result::unwrap_err);
        assert_eq!(put_in, (named.0, Some(2)));
        let missing = RenderErrorReason::MissingVariable(Some("nothing".to_owned()));
        assert_eq!(put_in.0, missing.to_string());
    }

    #[test]
    fn a_circle_and_a_tower_end() {
        let circle = written("{{> p}}", &[("p", "x{{> q}}"), ("q", "{{> p}}")]);
        assert_eq!(circle.left().len(), 1);
        let names: Vec<String> = (0..12).map(|n| format!("p{n}")).collect();
        let twice: Vec<String> = (1..=12).map(|n| format!("{{{{> p{n}}}}}{{{{> p{n}}}}}")).collect();
        let mut tower: Vec<(&str, &str)> =
            names.iter().zip(&twice).map(|(name, text)| (name.as_str(), text.as_str())).collect();
        tower.push(("p12", "x"));
        let mut tower = written("{{> p0}}", &tower);
        assert!(!tower.left().is_empty() && tower.left().len() <= MOST + 1);
        let [named, put_in] = tower.rendered(&data());
        assert_eq!(put_in.unwrap(), named.unwrap());
    }
}
