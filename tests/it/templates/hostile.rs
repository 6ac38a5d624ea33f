//! Whatever a file of texts holds: it is taken, or refused with its finding, in time, and what was taken is rendered or
//! refused. `PROPTEST_CASES` says how many cases.

use std::time::{Duration, Instant};

use outreachd::template::{LintOptions, lint};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::support::cases;

/// What texts are made of.
const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{{{",
    "}}}",
    "{{data.x}}",
    "{{{data.x}}}",
    "{{data.y}}",
    "{{site.name}}",
    "{{patient.given}}",
    "{{this}}",
    "{{@index}}",
    "{{@root}}",
    "{{../data.x}}",
    "{{data.[x]}}",
    "{{#if data.x}}",
    "{{else}}",
    "{{^}}",
    "{{/if}}",
    "{{#unless data.x}}",
    "{{/unless}}",
    "{{#each data.x}}",
    "{{#each data}}",
    "{{/each}}",
    "{{#with data}}",
    "{{/with}}",
    "{{> more}}",
    "{{> (lookup . 'x')}}",
    "{{> note}}",
    "{{>",
    "{{#> more}}",
    "{{/more}}",
    "{{#*inline \"a\"}}",
    "{{/inline}}",
    "{{date data.x}}",
    "{{datetime data.x style=\"short\"}}",
    "{{plural data.x one=\"a\" other=\"b\"}}",
    "{{list data.x}}",
    "{{phone site.phone}}",
    "{{number data.x}}",
    "{{lookup data \"x\"}}",
    "{{log data.x}}",
    "{{raw}}",
    "{{{{raw}}}}",
    "{{{{/raw}}}}",
    "{{!",
    "{{!--",
    "--}}",
    "{{~",
    "~}}",
    "\\{{",
    "{{&data.x}}",
    "{{helper (sub (sub x))}}",
    "{{answer.yes}}",
    "{{\"x\"}}",
    "{{1}}",
    "{{null}}",
    "{{true}}",
    "|x|",
    "(",
    ")",
    "as |a b|",
    "<b>",
    "</b>",
    "Hello",
    "\n",
    "\0",
    "ñ",
    "张",
    "\u{202e}",
];

fn body() -> impl Strategy<Value = String> {
    let part = prop_oneof![6 => select(PIECES.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,12}", 1 => any::<String>()];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

/// Takes the files or not; what is taken is linted, and rendered with this `x`.
fn whole(pairs: &[(&str, &str)], x: &Value) -> Result<(), TestCaseError> {
    let started = Instant::now();
    match Catalogue::from_files(&files(pairs)) {
        Err(findings) => {
            prop_assert!(!findings.is_empty());
            for finding in &findings {
                prop_assert!(!finding.cure.is_empty(), "{finding}");
            }
        }
        Ok(catalogue) => {
            let _ = lint(&catalogue, &LintOptions::default());
            let (template, data) = (note(), object(serde_json::json!({ "x": x })));
            for &channel in Channel::ALL {
                let mut wanted = request(&template, &data);
                wanted.channel = channel;
                let _ = catalogue.render(&wanted);
            }
        }
    }
    prop_assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(64), ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_taken_or_refused(
        (sms, html, voice) in (body(), body(), body()), partial in body(), x in any::<String>(),
        kind in select(vec!["type = \"text\"\nexamples = [\"a\"]", "type = \"list\"\nexamples = [[\"a\"]]", "type = \"integer\"\nexamples = [1]"]),
    ) {
        let manifest = manifest(kind).replace("[\"sms\"]", "[\"sms\", \"email\", \"voice\"]");
        let value = if kind.contains("list") { serde_json::json!([x]) } else if kind.contains("text") { serde_json::json!(x) } else { serde_json::json!(7) };
        let parts = [
            ("note/template.toml", manifest.as_str()), ("note/en/sms.hbs", sms.as_str()), ("note/en/email.html.hbs", html.as_str()),
            ("note/en/email.txt.hbs", sms.as_str()), ("note/en/email.subject.hbs", "Hello"), ("note/en/voice.hbs", voice.as_str()),
            ("_partials/en/more.hbs", partial.as_str()),
        ];
        whole(&parts, &value)?;
    }

    #[test]
    fn no_damage_to_a_manifest_does_more_than_refuse_it(at in any::<Index>(), strange in "[\\[\\]a-z_.=\"' 0-9{}#,\n-]{0,20}", cut in any::<bool>()) {
        let good = manifest(TEXT);
        let at = at.index(good.len());
        let mut altered = good.clone();
        if cut { altered.truncate(at) } else { altered.insert_str(at, &strange) }
        whole(&[("note/template.toml", &altered), ("note/en/sms.hbs", "{{data.x}}")], &Value::from("a"))?;
    }

    #[test]
    fn any_path_is_taken_or_refused(paths in prop::collection::vec("[a-z_./ A-Z-]{0,24}|note/en/[a-z.]{0,12}", 1..6), text in body()) {
        let manifest = manifest(TEXT);
        let mut pairs = vec![("note/template.toml", manifest.as_str()), ("note/en/sms.hbs", "{{data.x}}")];
        pairs.extend(paths.iter().map(|path| (path.as_str(), text.as_str())));
        whole(&pairs, &Value::from("a"))?;
    }
}

const TEXT: &str = "type = \"text\"\nexamples = [\"a\"]";

/// As deep as a file of 256 KiB allows, in every way in which a text can hold another.
#[test]
fn no_depth_of_nesting_ends_the_process() {
    let manifest = manifest(TEXT);
    for depth in [100, 1_000, 10_000, 20_000] {
        for (open, within, close) in [
            ("{{#if data.x}}", "x", "{{/if}}"),
            ("{{#each data.x}}", "x", "{{/each}}"),
            ("{{#if data.x}}a{{else}}", "x", "{{/if}}"),
            ("{{#if", "", "}}"),
            ("(", "", ")"),
            ("{{", "", "}}"),
            ("{{#if (not ", "data.x", ")}}{{/if}}"),
            ("{{a.", "x", "}}"),
            ("{{[", "x", "]}}"),
        ] {
            let nested = format!("{}{within}{}", open.repeat(depth), close.repeat(depth));
            let sub = format!("{{{{#if {}data.x{}}}}}a{{{{/if}}}}", "(not ".repeat(depth), ")".repeat(depth));
            for text in [nested, sub] {
                let text: String = text.chars().take(256 << 10).collect();
                let taken = whole(
                    &[("note/template.toml", &manifest), ("note/en/sms.hbs", &text)],
                    &Value::from("a"),
                );
                assert!(taken.is_ok(), "{depth} x {open}: {taken:?}");
            }
        }
    }
}
