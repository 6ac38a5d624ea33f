//! I7: nothing of a patient may be found where it does not belong. Names, addresses and data that occur nowhere
//! else go through the whole house, over every channel, well and badly, and are looked for in everything that it says: as
//! they are, and as JSON, URLs, mails, UTF-16, base64 and hexadecimal would spell them. The search itself is the
//! [auditor](super::auditor)'s; here it is shown to find what is planted.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use mail_parser::MessageParser;
use outreachd::simulator::{Faults, ProviderKind, Simulator};
use regex::bytes::RegexBuilder;
use serde_json::{Value, json};
use sqlx::Row as _;

use super::auditor::{Evidence, audit};
use super::bad::SOURCES;
use super::rig::{Plan, Rig};
use crate::support::house::job;
use crate::traces::Collector;

/// What must not be found: at least 11 characters each, and nowhere else in the world.
#[derive(Clone, Debug)]
pub(crate) struct Canary {
    token: String,
    spellings: Vec<Vec<u8>>,
}

impl Canary {
    pub(crate) fn new(token: &str) -> Self {
        let mut spellings: BTreeSet<Vec<u8>> = BTreeSet::new();
        let bytes = token.as_bytes();
        spellings.insert(bytes.to_vec());
        // JSON, with and without escapes of what is not ASCII; and once more inside a JSON text.
        let plain = serde_json::to_string(token).unwrap();
        let escaped: String = token
            .encode_utf16()
            .map(|unit| match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => char::from(byte).to_string(),
                _ => format!("\\u{unit:04x}"),
            })
            .collect();
        for text in [plain.trim_matches('"'), &escaped, &escaped.to_uppercase().replace("\\U", "\\u")] {
            spellings.insert(text.as_bytes().to_vec());
            spellings.insert(text.replace('\\', "\\\\").into_bytes());
        }
        for text in [token.escape_debug().to_string(), token.escape_default().to_string()] {
            spellings.insert(text.replace('\\', "\\\\").into_bytes());
            spellings.insert(text.into_bytes());
        }
        for everything in [true, false] {
            let percent = |upper: bool| -> String {
                let spell = |b: u8| if upper { format!("%{b:02X}") } else { format!("%{b:02x}") };
                let keep = |b: u8| b.is_ascii_alphanumeric() || (!everything && b"-._~@".contains(&b));
                bytes.iter().map(|b| if keep(*b) { char::from(*b).to_string() } else { spell(*b) }).collect()
            };
            spellings.insert(percent(true).into_bytes());
            spellings.insert(percent(false).into_bytes());
            spellings.insert(percent(true).replace("%20", "+").into_bytes());
        }
        // In a text of a mail, and in a header.
        let plain = |b: &u8| (b' '..=b'~').contains(b) && *b != b'=';
        let quoted =
            bytes.iter().map(|b| if plain(b) { char::from(*b).to_string() } else { format!("={b:02X}") });
        let quoted: String = quoted.collect();
        spellings.insert(quoted.replace(' ', "_").into_bytes());
        spellings.insert(quoted.into_bytes());
        let wide: Vec<u16> = token.encode_utf16().collect();
        spellings.insert(wide.iter().flat_map(|unit| unit.to_le_bytes()).collect());
        spellings.insert(wide.iter().flat_map(|unit| unit.to_be_bytes()).collect());
        spellings.insert(hex::encode(bytes).into_bytes());
        spellings.insert(hex::encode_upper(bytes).into_bytes());
        // Inside a longer text base64 may fall in any of three ways; the digits at the ends mix with neighbours.
        for before in 0..3 {
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                let coded = engine.encode([&vec![0; before], bytes].concat());
                let first = if before == 0 { 0 } else { before + 1 };
                let last = coded.len() - usize::from(!(before + bytes.len()).is_multiple_of(3));
                spellings.insert(coded.as_bytes()[first..last].to_vec());
            }
        }
        Self { token: token.to_owned(), spellings: spellings.into_iter().collect() }
    }

    /// The same for a telephone number, which is also looked for without its plus and its country.
    pub(crate) fn phone(number: &str) -> Vec<Self> {
        let digits = number.trim_start_matches('+');
        vec![Self::new(number), Self::new(digits), Self::new(digits.trim_start_matches('1'))]
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    fn is_in(&self, text: &[u8]) -> bool {
        self.spellings.iter().any(|spelling| text.windows(spelling.len()).any(|window| window == spelling))
    }
}

/// Where something was said, and what.
pub(crate) type Said = (String, Vec<u8>);

/// The places in which a canary was found, with which.
pub(crate) fn find(canaries: &[Canary], said: &[Said]) -> Vec<String> {
    // One automaton over every spelling: most texts hold nothing at all, and are read once.
    let literal = |spelling: &Vec<u8>| spelling.iter().map(|b| format!("\\x{b:02x}")).collect::<String>();
    let all: Vec<String> = canaries.iter().flat_map(|c| c.spellings.iter().map(literal)).collect();
    let any = RegexBuilder::new(&all.join("|")).unicode(false).size_limit(1 << 30).build().unwrap();
    said.iter()
        .filter(|(_, text)| any.is_match(text))
        .flat_map(|(place, text)| {
            canaries.iter().filter(|c| c.is_in(text)).map(move |c| format!("{place}: {}", c.token))
        })
        .collect()
}

/// The patients of the run, whose every detail is a canary: those who are called, written to by mail (some by one that is
/// refused), in the portal and by text, and children whose mother is.
fn patients(count: usize) -> (Vec<Value>, Vec<Canary>) {
    let mut canaries = Vec::new();
    let people = (0..count)
        .map(|n| {
            let (given, family) = (format!("Zq\u{e9}vanna{n:03}Xk"), format!("O'Wr\u{f8}blewskiq{n:03}"));
            let (sms, voice) = (format!("+1773{:07}", 2_380_000 + n), format!("+1773{:07}", 2_480_000 + n));
            let local = if n % 10 == 1 { format!("reject-571zq{n:03}xkvw") } else { format!("zqmail{n:03}xkvw") };
            let (mail, file) = (format!("{local}@post.example"), format!("zqport{n:03}xkvw"));
            let portal = format!("Patient/{file}");
            canaries.extend([&given, &family, &local, &mail, &file, &portal].map(|token| Canary::new(token)));
            canaries.extend(Canary::phone(&sms));
            canaries.extend(Canary::phone(&voice));
            let contact = |channel: &str, address: &str| json!({ "channel": channel, "address": address });
            let mut contacts = vec![contact("sms", &sms), contact("voice", &voice)];
            let channel = ["voice", "email", "portal", "sms", "email"][n % 5];
            match channel {
                "email" => contacts.push(contact(channel, &mail)),
                "portal" => contacts.push(contact(channel, &portal)),
                _ => {}
            }
            let mut person = json!({
                "id": format!("P{n}"), "updated_at": "2026-11-20T08:00:00Z", "name": { "given": given, "family": family },
                "language": "en", "timezone": "America/Chicago", "preferred_channels": [channel], "contacts": contacts,
            });
            if n % 5 == 4 {
                let mother = format!("Zqm\u{f8}ther{n:03}Xk");
                canaries.push(Canary::new(&mother));
                person["birth_date"] = json!("2019-05-01");
                person["contacts"] = json!([]);
                person["proxies"] = json!([{
                    "person": { "name": { "given": mother, "family": family }, "contacts": [contact("email", &mail)] },
                    "relationship": "mother", "authority": "guardian", "mode": "instead", "purposes": ["*"],
                }]);
            }
            person
        })
        .collect();
    (people, canaries)
}

/// What is looked for did leave the house, and where it may: over every channel, in texts, subjects and headers.
fn all_was_sent(simulator: &Simulator, doctor: &str) {
    let stats = simulator.stats();
    for kind in ProviderKind::ALL {
        assert!(stats.of(kind).taken > 0, "nothing left by {kind:?}");
    }
    let kept = simulator.recent(10_000);
    let of =
        |kind: ProviderKind| kept.iter().filter(move |message| message.kind == kind).map(|m| m.body.expose());
    assert!(of(ProviderKind::FhirPortal).any(|text| text.contains(doctor)), "the portal has no text with it");
    let (mut subjects, mut texts, mut headers) = (0, 0, 0);
    for mail in of(ProviderKind::Smtp) {
        let parsed = MessageParser::default().parse(mail.as_bytes()).unwrap();
        subjects += usize::from(parsed.subject().is_some_and(|subject| subject.contains("Zq\u{e9}vanna")));
        texts += usize::from(parsed.body_text(0).is_some_and(|text| text.contains(doctor)));
        headers += usize::from(mail.contains("xkvw@post.example"));
    }
    assert!(
        subjects > 0 && texts > 0 && headers > 0,
        "of mails: {subjects} subjects, {texts} texts, {headers} headers"
    );
}

/// Jobs with private data, good and bad, over a provider that fails in every way.
pub(crate) async fn search(name: &str, plan: Plan, jobs: usize) {
    let mut rig = Rig::build(Plan { more: SOURCES, log_level: "debug", every_channel: true, ..plan }).await;
    let (people, mut canaries) = patients(30);
    let doctor = "Dr. Qu\u{e4}rzelbichler-Vxw";
    canaries.push(Canary::new(doctor));
    let ids: Vec<String> = (0..jobs).map(|n| format!("c{n}")).collect();
    let mut bodies: Vec<Vec<u8>> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| {
            let mut body = job(id, &format!("P{}", n % people.len()));
            body["data"]["practitioner"] = json!(doctor);
            if n % 7 == 0 {
                body["patient"] = people[n % people.len()].clone();
            }
            body.to_string().into_bytes()
        })
        .collect();
    let bad = bad_bodies(&people, doctor);
    bodies.extend(bad.iter().cloned());
    let faults = Faults { throttled: 0.05, unavailable: 0.05, error: 0.05, lost: 0.05, ..Faults::default() };
    for kind in [ProviderKind::TwilioSms, ProviderKind::FhirPortal] {
        rig.simulator.set_faults(Some(kind), &faults).unwrap();
    }

    let collector = Collector::start().await;
    let mut worker = rig.worker_with(&[
        ("OUTREACHD_TELEMETRY__TRACES_URL", &collector.url()),
        ("OUTREACHD_TELEMETRY__TRACES_AUTHORIZATION", Collector::AUTHORIZATION),
    ]);
    let upserts = people.iter().map(|p| p.to_string().into_bytes()).collect();
    rig.publish("patient.upsert", upserts).await;
    rig.until("all patients", "SELECT count(*) FROM patients", 30, Duration::from_secs(30)).await;
    rig.publish("job", bodies).await;
    let parked = i64::try_from(bad.len()).unwrap();
    rig.until("parked bodies", "SELECT count(*) FROM parked", parked, Duration::from_secs(60)).await;
    let done = "SELECT count(*) FROM messages WHERE status NOT IN ('accepted', 'scheduled', 'sending')";
    rig.until("all outcomes", done, i64::try_from(jobs).unwrap(), Duration::from_secs(240)).await;
    rig.until("an empty outbox", "SELECT -count(*) FROM outbox", 0, Duration::from_secs(60)).await;
    let measures = worker.metrics().await;
    for measure in ["outreachd_attempts_total", "outreachd_send_seconds"] {
        assert!(measures.contains(measure), "{measure} is there to be looked at");
    }
    let usage = vec![worker.usage()];
    worker.stop();

    let heard = rig.tap.drain().await;
    let mut said: Vec<Said> = vec![("/metrics".to_owned(), measures.into_bytes())];
    said.extend(heard.iter().map(|h| {
        (
            format!("event {}", h.key),
            [h.key.as_bytes(), b" ", h.properties.as_bytes(), b" ", &h.body].concat(),
        )
    }));
    let dead = rig.tap.drain_own("dead").await;
    said.extend(
        dead.iter().map(|h| ("a header of the dead queue".to_owned(), h.properties.clone().into_bytes())),
    );
    said.extend(in_the_open(&rig).await);
    let spans = collector.kept().into_iter().map(|body| ("a span".to_owned(), body.to_vec()));
    let before = said.len();
    said.extend(spans);
    assert!(said.len() > before, "the spans are there to be looked at");
    let mut log = Vec::new();
    for file in rig.logs() {
        let text = std::fs::read(file).unwrap();
        log.extend(text.split(|b| *b == b'\n').map(<[u8]>::to_vec));
    }
    assert!(log.len() > jobs, "the log speaks at debug level");
    said.extend(log.into_iter().map(|line| ("log".to_owned(), line)));
    all_was_sent(&rig.simulator, doctor);
    let evidence = Evidence { bad, heard, canaries, said, ..rig.evidence(ids, usage).await };
    let report = audit(&rig.sql, &evidence).await;

    // The same search finds what is planted in the same places.
    let (mut said, canaries) = (evidence.said, evidence.canaries);
    rig.tap
        .plant("planted.leak", json!({ "to": people[7]["contacts"][0]["address"] }).to_string().as_bytes())
        .await;
    let planted = rig.tap.drain().await.remove(0);
    let family = people[11]["name"]["family"].as_str().unwrap();
    let mother = &people[9]["proxies"][0]["person"];
    let address = mother["contacts"][0]["address"].as_str().unwrap();
    let place = |word: &str| format!("planted {word}");
    said.push((place("event"), planted.body));
    for (word, text) in [
        ("log", format!("could not send: {}", STANDARD.encode(format!("x{family}y")))),
        (
            "subject",
            format!("Subject: =?utf-8?b?{}?=", STANDARD.encode(people[4]["name"]["given"].as_str().unwrap())),
        ),
        ("text", format!("Dear {},", mother["name"]["given"].as_str().unwrap())),
        ("header", format!("RCPT TO:<{address}>: 550 no such mailbox")),
        ("span", format!("POST /Communication {}", people[2]["contacts"][2]["address"].as_str().unwrap())),
        ("measure", format!("sends{{to=\"{}\"}} 1", hex::encode(doctor))),
    ] {
        said.push((place(word), text.into_bytes()));
    }
    let found = find(&canaries, &said);
    for word in ["event", "log", "subject", "text", "header", "span", "measure"] {
        assert!(
            found.iter().any(|f| f.starts_with(&place(word))),
            "the leak in the planted {word} was not found"
        );
    }
    assert!(found.iter().all(|f| f.starts_with("planted ")), "{found:?}");
    report.close(
        name,
        json!({ "jobs": jobs, "spellings": canaries.iter().map(|c| c.spellings.len()).sum::<usize>(),
            "planted_found": found.len() }),
    );
}

/// Bodies that cannot be accepted, with something private where the fault lies.
fn bad_bodies(people: &[Value], doctor: &str) -> Vec<Vec<u8>> {
    let person = &people[3];
    let family = person["name"]["family"].as_str().unwrap();
    let phone = person["contacts"][0]["address"].as_str().unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = job("bad", "P3");
        change(&mut body);
        body.to_string().into_bytes()
    };
    vec![
        with(&|b| b["data"]["starts_at"] = json!(doctor)),
        with(&|b| b["data"][family] = json!(1)),
        with(&|b| b[family] = json!(1)),
        with(&|b| b["not_before"] = json!(family)),
        with(&|b| b["site"] = json!(family)),
        with(&|b| b["id"] = json!(family)),
        with(&|b| b["template"] = json!(phone)),
        with(&|b| b["channels"] = json!([family])),
        with(&|b| {
            b["patient"] = json!({ "id": "P3", "contacts": [{ "channel": "email", "address": phone }] })
        }),
        with(&|b| b["patient"] = json!({ "id": "P3", "timezone": family })),
        format!("{{\"id\": \"x\", \"patient\": \"{family}\", {phone}").into_bytes(),
        format!("{family} {phone}").into_bytes(),
    ]
}

/// The columns that are not sealed, because they hold nothing private: that must be true.
async fn in_the_open(rig: &Rig) -> Vec<Said> {
    let mut said = Vec::new();
    for (place, sql) in [
        ("explanation", "SELECT COALESCE(explanation, '') FROM messages"),
        ("explanation of what was sent", "SELECT COALESCE(explanation, '') FROM attempts"),
        ("parked problems", "SELECT problems || ' ' || field || ' ' || reason FROM parked"),
        ("events", "SELECT routing_key || ' ' || body FROM events"),
        ("preference changes", "SELECT what || ' ' || evidence FROM preference_changes"),
        ("worker state", "SELECT state FROM workers"),
        ("attempt", "SELECT COALESCE(code, '') || ' ' || COALESCE(provider_ref, '') FROM attempts"),
        ("keys of limits", "SELECT key FROM rate_gate"),
        ("keys of what is counted", "SELECT subject || ' ' || COALESCE(recent_sends, '') FROM patient_state"),
        ("what is known of addresses", "SELECT status || ' ' || evidence FROM address_statuses"),
        ("work items", "SELECT kind || ' ' || COALESCE(outcome, '') FROM work_items"),
        ("alerts", "SELECT key || ' ' || what || ' ' || owed_ways FROM alerts"),
    ] {
        for row in sqlx::query(sql).fetch_all(&rig.sql).await.unwrap() {
            said.push((place.to_owned(), row.get::<String, _>(0).into_bytes()));
        }
    }
    said
}

#[test]
fn every_spelling_of_a_canary_is_found() {
    let token = "Zq\u{e9}vanna 007/Xk";
    let canary = Canary::new(token);
    let bytes = token.as_bytes();
    for (name, text) in [
        ("as it is", format!("name={token};")),
        ("JSON", json!({ "a": token }).to_string()),
        ("escaped JSON", r#"{"a":"Zq\u00e9vanna 007/Xk"}"#.to_owned()),
        ("JSON in JSON", json!({ "a": r"Zq\u00e9vanna 007/Xk" }).to_string()),
        ("Debug", format!("{:?}", token.escape_default().to_string())),
        ("percent", "?q=Zq%C3%A9vanna%20007%2FXk&x".to_owned()),
        ("a form", "q=Zq%C3%A9vanna+007%2FXk".to_owned()),
        ("a text of a mail", "Dear Zq=C3=A9vanna 007/Xk,".to_owned()),
        ("a header of a mail", "To: =?utf-8?q?Zq=C3=A9vanna_007/Xk?= <x@example.org>".to_owned()),
        ("hexadecimal", format!("0x{}00", hex::encode(bytes))),
        ("base64", format!("Basic {}", STANDARD.encode(bytes))),
        ("base64, one later", STANDARD.encode(format!("x{token}y"))),
        ("base64, two later", STANDARD.encode(format!("xy{token}yz"))),
    ] {
        assert!(canary.is_in(text.as_bytes()), "{name}: {text}");
    }
    assert!(!canary.is_in(b"Zqvanna 007/Xk and others"));
    assert!(Canary::phone("+13125550142").iter().any(|c| c.is_in(b"tel 3125550142")));
}
