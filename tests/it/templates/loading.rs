//! A folder is loaded as a whole or not at all, and every fault is named with its file and line.

use std::fs;

use outreachd::domain::sign_off::SignOff;
use outreachd::template::{Catalogue, LintOptions, SharedCatalogue, lint};

use super::{files, load, manifest};

const X: &str = "type = \"text\"\nexamples = [\"a\"]";

/// The faults of a folder as `file:line rule`.
fn faults(pairs: &[(&str, &str)]) -> Vec<String> {
    let findings = Catalogue::from_files(&files(pairs)).err().unwrap_or_default();
    findings
        .iter()
        .map(|f| {
            assert!(!f.cure.is_empty());
            format!("{}:{} {}", f.file, f.line.unwrap_or_default(), f.rule)
        })
        .collect()
}

#[test]
fn every_fault_of_a_manifest_comes_with_its_line() {
    let toml = "\
title = \"\"
purposes = [\"appointments\"]
priority = \"high\"
channels = [\"sms\", \"sms\"]
default_locale = \"en\"
colour = \"red\"
expires_from = \"starts\"
urgent_deadline = \"soon\"
approved = [\"not a tag\"]
digest_within = \"day\"
[channel.fax]
phi = \"minimal\"

[channel.sms]
max_segments = 0
alphabet = \"utf8\"

[channel.email]
max_segments = 2

[variables.starts]
type = \"text\"
examples = [\"a\\nb\"]

[variables.Link]
type = \"url\"
examples = [\"https://example.org\"]
max_length = 100000

[variables.none]
required = \"yes\"
";
    let findings =
        Catalogue::from_files(&files(&[("note/template.toml", toml), ("note/en/sms.hbs", "x")])).unwrap_err();
    let found: Vec<String> = findings.iter().map(|f| format!("{} {}", f.line.unwrap(), f.message)).collect();
    let want = [
        "1 title: is required",
        "1 phi: is required",
        "2 purposes: must be a list of these words",
        "3 priority: must be one of",
        "4 channels: names one twice",
        "6 colour: unknown key",
        "7 expires_from: must name a datetime variable",
        "8 urgent_deadline: must be a positive span",
        "9 approved: must be a list of locales",
        "10 digest_within: needs digest = true",
        "channel: names no channel",
        "15 channel.sms.max_segments: must be a whole number from 1",
        "16 channel.sms.alphabet: must be one of",
        "19 channel.email.max_segments: unknown key",
        "23 variables.starts.examples: must be one line",
        "variables.Link.: a variable's name",
        "variables.Link.domains: is required",
        "28 variables.Link.max_length: must be at most",
        "variables.none.type: is required",
    ];
    for part in want {
        assert!(found.iter().any(|line| line.contains(part)), "no {part:?} in {found:#?}");
    }
    assert_eq!(
        faults(&[("note/template.toml", "title = "), ("note/en/sms.hbs", "x")]),
        ["note/template.toml:1 manifest"]
    );
}

#[test]
fn every_fault_of_a_text_comes_with_its_line() {
    let toml = manifest(X);
    let table = [
        ("ok {{data.x}}\n{{data.y}}", "note/en/sms.hbs:2 unknown-variable"),
        ("{{data.x}}{{#if data.typo}}a{{/if}}", "note/en/sms.hbs:1 unknown-variable"),
        ("{{data.x}}\n\n{{patient.diagnosis}}", "note/en/sms.hbs:3 unknown-variable"),
        ("{{data.x}} {{@root}}", "note/en/sms.hbs:1 unknown-variable"),
        ("{{data.x}} {{../x}}", "note/en/sms.hbs:1 unknown-variable"),
        ("{{data.x}} {{#each data.x}}{{site.name}}{{/each}}", "note/en/sms.hbs:1 unknown-variable"),
        ("{{{data.x}}}", "note/en/sms.hbs:1 raw-output"),
        ("{{&data.x}}", "note/en/sms.hbs:1 raw-output"),
        ("{{shout data.x}}", "note/en/sms.hbs:1 unknown-helper"),
        ("{{data.x}}{{log data.x}}", "note/en/sms.hbs:1 unknown-helper"),
        ("{{data.x}}{{#with data}}{{x}}{{/with}}", "note/en/sms.hbs:1 unknown-helper"),
        ("{{data.x}}{{date data.x}}", "note/en/sms.hbs:1 wrong-helper"),
        ("{{data.x}}{{phone}}", "note/en/sms.hbs:1 arguments"),
        ("{{data.x}}{{> nothing}}", "note/en/sms.hbs:1 unknown-partial"),
        ("{{data.x}}{{> (lookup data \"x\")}}", "note/en/sms.hbs:1 dynamic-partial"),
        ("{{data.x}}{{> p y=1}}", "note/en/sms.hbs:1 partial-arguments"),
        ("{{#*inline \"a\"}}b{{/inline}}{{data.x}}", "note/en/sms.hbs:1 syntax"),
        ("{{data.x}}\n{{#if data.x}}", "note/en/sms.hbs:2 syntax"),
        ("{{data.x}}\n\0", "note/en/sms.hbs:2 encoding"),
    ];
    for (text, want) in table {
        let found =
            faults(&[("note/template.toml", &toml), ("note/en/sms.hbs", text), ("_partials/p.hbs", "p")]);
        assert!(found.iter().any(|line| line == want), "{text:?}: {found:?}");
    }
}

#[test]
fn answers_are_offered_where_they_come_back_and_by_all_texts_of_a_channel() {
    let sms = "{{data.x}} Reply {{answer.yes}} or {{answer.no}}.";
    let toml = |channels: &str| {
        let top = manifest(X).replacen(
            "channels = [\"sms\"]",
            &format!("channels = [{channels}]\nanswers = [\"yes\", \"no\"]"),
            1,
        );
        assert!(top.contains("answers"), "{top}");
        top
    };
    let with = |parts: &[(&str, &str)], channels: &str| {
        let toml = toml(channels);
        let mut pairs = vec![("note/template.toml", toml.as_str())];
        pairs.extend(parts);
        faults(&pairs)
    };
    let voice =
        |text: &str| with(&[("note/en/sms.hbs", sms), ("note/en/voice.hbs", text)], "\"sms\", \"voice\"");
    assert_eq!(voice("{{data.x}}"), [""; 0], "a call need not offer them");
    let both = "{{data.x}}{{#if keypad}} Press {{answer.yes}} or {{answer.no}}.{{/if}}";
    assert_eq!(voice(both), [""; 0]);
    assert_eq!(voice(&both.replace(" or {{answer.no}}", "")), ["note/en/voice.hbs:0 answer"], "all or none");
    assert_eq!(
        voice(&both.replace("keypad", "mailbox")),
        ["note/en/voice.hbs:1 answer", "note/en/voice.hbs:1 answer"]
    );
    assert_eq!(voice("{{data.x}}{{#unless keypad}}{{answer.yes}}{{answer.no}}{{/unless}}").len(), 2);
    let machine = with(
        &[("note/en/sms.hbs", sms), ("note/en/voice.hbs", both), ("note/en/voicemail.hbs", both)],
        "\"sms\", \"voice\"",
    );
    assert_eq!(machine, ["note/en/voicemail.hbs:1 unknown-answer", "note/en/voicemail.hbs:1 unknown-answer"]);
    let mail = "{{data.x}}{{#if mailbox}} Answer with {{answer.yes}} or {{answer.no}}.{{/if}}";
    let text = |text: &str| {
        with(
            &[
                ("note/en/email.subject.hbs", "x"),
                ("note/en/email.html.hbs", mail),
                ("note/en/email.txt.hbs", text),
            ],
            "\"email\"",
        )
    };
    assert_eq!(text(mail), [""; 0]);
    assert_eq!(text("{{data.x}}"), ["note/en/email.txt.hbs:0 answer", "note/en/email.txt.hbs:0 answer"]);
}

#[test]
fn what_is_missing_or_stray_is_named() {
    let toml = manifest(X);
    let (toml, body) = (toml.as_str(), "{{data.x}}");
    let table: &[(&[(&str, &str)], &str)] = &[
        (&[("note/en/sms.hbs", body)], "note/template.toml:0 manifest"),
        (&[("note/template.toml", toml), ("note/es/sms.hbs", body)], "note/en/sms.hbs:0 missing-text"),
        (&[("note/template.toml", toml), ("note/es/sms.hbs", body)], "note/template.toml:0 unknown-locale"),
        (
            &[("note/template.toml", toml), ("note/en/sms.hbs", body), ("note/en/sms.txt", "")],
            "note/en/sms.txt:0 stray-file",
        ),
        (
            &[("note/template.toml", toml), ("note/en/sms.hbs", body), ("note/en/email.html.hbs", "")],
            "note/en/email.subject.hbs:0 missing-text",
        ),
        (
            &[("note/template.toml", toml), ("note/en/sms.hbs", body), ("note/en/voicemail.hbs", "")],
            "note/en/voice.hbs:0 missing-text",
        ),
        (
            &[("note/template.toml", toml), ("note/en/sms.hbs", body), ("note/en/portal.hbs", "")],
            "note/en/portal.subject.hbs:0 missing-text",
        ),
        (
            &[("note/template.toml", toml), ("note/en/sms.hbs", body), ("note/not a tag/sms.hbs", "")],
            "note/not a tag/sms.hbs:0 stray-file",
        ),
        (&[("Note/template.toml", toml), ("Note/en/sms.hbs", body)], "Note:0 name"),
        (&[("readme.txt", "")], "readme.txt:0 stray-file"),
        (&[("_partials/en/A b.hbs", "")], "_partials/en/A b.hbs:0 stray-file"),
    ];
    for (pairs, want) in table {
        let found = faults(pairs);
        assert!(found.iter().any(|line| line == want), "{want}: {found:?}");
    }
}

#[test]
fn partials_that_include_each_other_are_found_before_they_run() {
    let toml = manifest(X);
    let found = faults(&[
        ("note/template.toml", &toml),
        ("note/en/sms.hbs", "{{data.x}}{{> a}}"),
        ("_partials/a.hbs", "{{> b}}"),
        ("_partials/en/b.hbs", "{{> a}}"),
        ("_partials/c.hbs", "{{data.x}}"),
    ]);
    assert_eq!(
        found,
        ["_partials/a.hbs:0 circle", "_partials/c.hbs:1 unknown-variable", "_partials/en/b.hbs:0 circle"]
    );
}

#[test]
fn what_points_to_the_portal_is_there_and_a_folder_of_its_own_keeps_to_its_rules() {
    let own = |change: &dyn Fn(String) -> String| {
        let toml = change(manifest(X).split("[variables").next().unwrap().to_owned());
        let texts = [("portal-pointer/en/sms.hbs", "Our portal has a message for you.")];
        let files = [("portal-pointer/template.toml", toml.as_str()), texts[0]];
        let portal = [("portal-pointer/en/portal.hbs", "x"), ("portal-pointer/en/portal.subject.hbs", "x")];
        let more = if toml.contains("portal\"") { &portal[..] } else { &[] };
        faults(&[&files[..], more].concat())
    };
    assert!(own(&|toml| toml).is_empty());
    let fault = vec!["portal-pointer/template.toml:0 pointer".to_owned()];
    assert_eq!(own(&|toml| toml.replace("minimal", "limited")), fault);
    assert_eq!(own(&|toml| toml.replace("[\"sms\"]", "[\"sms\", \"portal\"]")), fault);
    let with_data = own(&|toml| format!("{toml}[variables.x]\ntype = \"text\"\nexamples = [\"a\"]\n"));
    assert!(with_data.contains(&fault[0]), "{with_data:?}");

    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("note/en")).unwrap();
    fs::write(dir.path().join("note/template.toml"), manifest(X)).unwrap();
    fs::write(dir.path().join("note/en/sms.hbs"), "{{data.x}}").unwrap();
    let with = Catalogue::load(dir.path()).unwrap();
    assert_eq!(with.pointers().len(), 3, "it comes with the program");
    assert!(
        lint(&with, &LintOptions::default())
            .iter()
            .all(|f| f.rule == "segments" || f.file.starts_with("note/"))
    );
    fs::create_dir_all(dir.path().join("portal-pointer/en")).unwrap();
    fs::write(
        dir.path().join("portal-pointer/template.toml"),
        manifest(X).split("[variables").next().unwrap(),
    )
    .unwrap();
    fs::write(dir.path().join("portal-pointer/en/sms.hbs"), "Our portal has a message for you.").unwrap();
    assert_eq!(Catalogue::load(dir.path()).unwrap().pointers().len(), 1, "their own takes its place");
}

#[test]
fn a_reload_that_fails_leaves_the_old_set_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("note/en/sms.hbs");
    fs::create_dir_all(text.parent().unwrap()).unwrap();
    fs::write(dir.path().join("note/template.toml"), manifest(X)).unwrap();
    fs::write(dir.path().join("note/NOTES.md"), "for the authors").unwrap();
    fs::write(&text, "one {{data.x}}").unwrap();
    let shared = SharedCatalogue::load(dir.path()).unwrap();
    let first = shared.current().bundle_hash().to_owned();
    assert_eq!(first.len(), 64);
    assert!(!shared.reload().unwrap(), "nothing has changed");

    fs::write(&text, "two {{data.y}}").unwrap();
    assert_eq!(shared.reload().unwrap_err()[0].rule, "unknown-variable");
    assert_eq!(shared.current().bundle_hash(), first);

    fs::write(&text, "two {{data.x}}").unwrap();
    assert!(shared.reload().unwrap());
    assert_ne!(shared.current().bundle_hash(), first);

    fs::write(&text, [0xff, 0xfe]).unwrap();
    assert_eq!(shared.reload().unwrap_err()[0].rule, "encoding");
    assert!(SharedCatalogue::load(dir.path().join("nowhere")).is_err());
}

/// The hash of `note` in the locale, with some files changed.
fn hash_of(changed: &[(&str, &str)], locale: &str) -> String {
    let toml = manifest(X);
    let mut pairs = vec![
        ("note/template.toml", toml.as_str()),
        ("note/en/sms.hbs", "{{data.x}}{{> name}}"),
        ("note/es/sms.hbs", "{{data.x}}{{#> frame}}{{/frame}}"),
        ("_partials/en/name.hbs", "{{> deeper}}"),
        ("_partials/deeper.hbs", "1"),
        ("_partials/en/unused.hbs", "2"),
        ("_layouts/frame.hbs", "3{{> @partial-block}}"),
    ];
    pairs.retain(|(path, _)| !changed.iter().any(|(other, _)| other == path));
    pairs.extend(changed);
    load(&pairs).get(&super::note()).unwrap().hash(locale).unwrap().to_owned()
}

#[test]
fn texts_are_others_once_anything_of_them_has_changed() {
    let toml = manifest(X).replace("approved = [\"en\"]", "approved = [\"en\", \"es\"]");
    let (en, es) = (hash_of(&[], "en"), hash_of(&[], "es"));
    assert_eq!(en.len(), 64);
    let table: [(&str, &str, bool, bool); 10] = [
        ("note/en/sms.hbs", "{{data.x}}{{> name}}.", true, false),
        ("note/en/sms.short.hbs", "{{data.x}}", true, false),
        ("note/es/sms.hbs", "{{data.x}}", false, true),
        ("_partials/en/name.hbs", "{{> deeper}}.", true, false),
        ("_partials/deeper.hbs", "one", true, false),
        // Another file in its place, though it says the same.
        ("_partials/en/deeper.hbs", "1", true, false),
        ("_partials/es/deeper.hbs", "one", false, false),
        ("_partials/en/unused.hbs", "two", false, false),
        ("_layouts/frame.hbs", "4{{> @partial-block}}", false, true),
        // Who says that somebody answers for them changes none of them.
        ("note/template.toml", &toml, false, false),
    ];
    for (path, text, changes_en, changes_es) in table {
        let changed = [(path, text)];
        assert_eq!(hash_of(&changed, "en") != en, changes_en, "en: {path}");
        assert_eq!(hash_of(&changed, "es") != es, changes_es, "es: {path}");
    }
}

/// What the ledger knows of one locale of `note`.
fn signed(locale: &str, hash: &str, stands: bool) -> SignOff {
    SignOff {
        template: super::note(),
        locale: locale.to_owned(),
        hash: hash.to_owned(),
        stands,
        by: "ana".to_owned(),
        at: jiff::Timestamp::UNIX_EPOCH,
        note: String::new(),
    }
}

#[test]
fn what_people_have_signed_off_is_said_until_it_changes_or_is_taken_back() {
    let toml = manifest(X);
    let texts = [
        ("note/template.toml", toml.as_str()),
        ("note/en/sms.hbs", "en {{data.x}}"),
        ("note/es/sms.hbs", "es {{data.x}}"),
    ];
    let catalogue = load(&texts);
    let (template, data) = (super::note(), super::object(serde_json::json!({"x": "1"})));
    let hash = |locale: &str| catalogue.get(&template).unwrap().hash(locale).unwrap().to_owned();
    let said = |catalogue: &Catalogue| {
        let mut wanted = super::request(&template, &data);
        wanted.languages = &["es-MX"];
        super::sms(&catalogue.render(&wanted).unwrap()).to_owned()
    };
    let warning = |catalogue: &Catalogue| {
        let findings = lint(catalogue, &LintOptions::default());
        findings.into_iter().find(|f| f.rule == "not-approved").map(|f| format!("{}; {}", f.message, f.cure))
    };
    let bundle = catalogue.bundle_hash().to_owned();
    let table = [
        (None, "en 1", "unless it was signed off"),
        (Some(vec![]), "en 1", "es is not approved"),
        (Some(vec![signed("es", &hash("es"), true)]), "es 1", ""),
        (Some(vec![signed("es", &hash("es"), false)]), "en 1", "taken back"),
        (Some(vec![signed("es", &hash("en"), true)]), "en 1", "has changed since"),
        (Some(vec![signed("en", &hash("es"), true)]), "en 1", "es is not approved"),
    ];
    for (sign_offs, text, remark) in table {
        let signed = sign_offs.map(|all| catalogue.with_sign_offs(all.into_iter().collect()));
        let catalogue = signed.as_ref().unwrap_or(&catalogue);
        assert_eq!(said(catalogue), text, "{remark}");
        // A campaign's approval is bound to what people sign off, too.
        let bound = if remark.is_empty() { format!("{bundle}+es") } else { bundle.clone() };
        assert_eq!((catalogue.bundle_hash(), catalogue.said_by(&template)), (bundle.as_str(), bound));
        match warning(catalogue) {
            None => assert!(remark.is_empty()),
            Some(found) => {
                assert!(found.contains(remark) && !remark.is_empty(), "{remark}: {found}");
                assert!(
                    found.contains("template sign-off note es") && found.contains("add it to `approved`"),
                    "{found}"
                );
            }
        }
    }
}

#[test]
fn a_reload_keeps_what_people_have_signed_off() {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in
        [("template.toml", manifest(X).as_str()), ("en/sms.hbs", "{{data.x}}"), ("es/sms.hbs", "{{data.x}}")]
    {
        let path = dir.path().join("note").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let shared = SharedCatalogue::load(dir.path()).unwrap();
    let standing = || {
        let now = shared.current();
        now.standing(now.get(&super::note()).unwrap(), "es").as_str()
    };
    assert!(!shared.current().knows_sign_offs());
    let hash = shared.current().get(&super::note()).unwrap().hash("es").unwrap().to_owned();
    shared.heed(&[signed("es", &hash, true)].into_iter().collect());
    assert_eq!(standing(), "signed_off");
    fs::write(dir.path().join("note/en/sms.hbs"), "{{data.x}}.").unwrap();
    assert!(shared.reload().unwrap());
    assert_eq!(standing(), "signed_off", "another text has changed");
    fs::write(dir.path().join("note/es/sms.hbs"), "{{data.x}}.").unwrap();
    assert!(shared.reload().unwrap());
    assert_eq!(standing(), "changed");
    shared.heed(&[].into_iter().collect());
    assert_eq!((standing(), shared.current().knows_sign_offs()), ("open", true));
}

/// The rules that the lint finds broken in one text of a template.
fn remarks(part: &str, text: &str, purpose: &str) -> Vec<&'static str> {
    let channel = part.split('.').next().unwrap().replace("voicemail", "voice");
    let toml = manifest(X)
        .replace("[\"sms\"]", &format!("[\"{channel}\"]"))
        .replace("[\"care\"]", &format!("[\"{purpose}\"]"));
    let path = format!("note/en/{part}.hbs");
    let catalogue = load(&[("note/template.toml", &toml), (&path, text)]);
    let mut rules: Vec<_> = lint(&catalogue, &LintOptions::default())
        .into_iter()
        .filter(|finding| finding.rule != "segments")
        .map(|finding| finding.rule)
        .collect();
    rules.dedup();
    rules
}

#[test]
fn the_lint_reads_like_a_patient_a_carrier_and_a_lawyer() {
    let good = "{{site.name}}: {{#if data.x}}{{data.x}} {{/if}}Call {{phone site.phone}}.";
    let table = [
        ("sms", good.to_owned(), "care", vec![]),
        ("sms", good.to_owned(), "prevention", vec!["opt-out"]),
        ("sms", format!("{good} Reply STOP to opt out."), "marketing", vec![]),
        ("sms", format!("{good} Reply STOP to opt out."), "survey", vec![]),
        ("sms", good.replace("{{site.name}}", "We"), "care", vec!["site-name"]),
        ("sms", good.replace("Call {{phone site.phone}}.", ""), "care", vec!["way-back"]),
        (
            "sms",
            good.replace("Call {{phone site.phone}}.", "Reply STOP to opt out."),
            "care",
            vec!["way-back"],
        ),
        ("sms", good.replace("Call {{phone site.phone}}.", "Reply YES to confirm."), "care", vec![]),
        ("sms", format!("{good} Reply YES or CANCEL."), "care", vec!["stop-word"]),
        ("sms", format!("{good} Responda SI o CANCELAR."), "care", vec!["stop-word"]),
        ("sms", format!("{good} https://bit.ly/abc"), "care", vec!["shortener"]),
        ("sms", format!("{good} {{{{recipient.given}}}}"), "care", vec!["render"]),
        ("sms", good.replace("{{#if data.x}}{{data.x}} {{/if}}", "{{data.x}}"), "care", vec!["render"]),
        ("sms", good.replace("{{#if data.x}}{{data.x}} {{/if}}", ""), "care", vec!["unused-variable"]),
        ("voice", format!("{good}<break time=\"1s\"/><s>Bye</s>"), "care", vec![]),
        ("voice", format!("{good}<Dial>+1</Dial>"), "care", vec!["ssml"]),
        ("voice", format!("{good}<s>Bye"), "care", vec!["ssml"]),
        ("voice", format!("{good} Salt & pepper."), "care", vec!["ssml"]),
        ("voice", format!("{good} Salt &pepper; more."), "care", vec!["ssml"]),
        ("voice", format!("{good} Salt &amp; pepper, &#38; more, &#x26; all."), "care", vec![]),
    ];
    for (part, text, purpose, want) in table {
        assert_eq!(remarks(part, &text, purpose), want, "{purpose}: {text}");
    }
}

#[test]
fn the_lint_reads_the_short_text_too() {
    let sms = "{{site.name}}: {{#if data.x}}{{data.x}} {{/if}}Call {{phone site.phone}}.";
    let catalogue = load(&[
        ("note/template.toml", &manifest(X)),
        ("note/en/sms.hbs", sms),
        ("note/en/sms.short.hbs", "Call {{phone site.phone}}."),
    ]);
    let findings = lint(&catalogue, &LintOptions::default());
    let loud: Vec<_> =
        findings.iter().filter(|f| f.rule != "segments").map(|f| (f.file.as_str(), f.rule)).collect();
    assert_eq!(loud, [("note/en/sms.short.hbs", "site-name")]);
}

#[test]
fn the_lint_counts_segments_and_cost_with_the_longest_sample() {
    let long = "ñ".repeat(100) + "á";
    let toml = manifest(&format!("type = \"text\"\nexamples = [\"a\", \"{long}\"]"));
    let text = "{{#if data.x}}{{data.x}}{{/if}}";
    let catalogue = load(&[("note/template.toml", &toml), ("note/en/sms.hbs", text)]);
    let options = LintOptions { cost_per_segment: Some(0.0079), ..LintOptions::default() };
    let findings = lint(&catalogue, &options);
    let figure = findings.iter().find(|finding| finding.rule == "segments").unwrap();
    let want = "2 segments (ucs2, 101 units) with the longest sample, 0.0158 a message";
    assert_eq!(figure.message, want);
}
