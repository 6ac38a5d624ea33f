//! The patient's page: by the link in a message that was really sent, over the wire.

use std::time::{Duration, Instant};

use mail_parser::MessageParser;
use outreachd::domain::page::PageHash;
use outreachd::domain::words::Channel;
use outreachd::simulator::{ProviderKind, Simulator, SimulatorConfig};
use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Answer, Api, job, send};

const PUBLIC: &str = "public_url = \"https://outreach.example.org/clinic\"";
const TOKEN: &str =
    "[[api.tokens]]\nname = \"all\"\ntoken = \"token-of-all-0123456789abcdef\"\nscopes = [\"admin\"]\n";
const BEARER: &str = "Bearer token-of-all-0123456789abcdef";
const ONE_CLICK: &str = "List-Unsubscribe=One-Click";
const FORM: &str = "application/x-www-form-urlencoded";

/// A worker that sends mail to a simulated relay, and has texts that show the link.
struct House {
    api: Api,
    simulator: Simulator,
    _templates: tempfile::TempDir,
}

impl House {
    async fn open() -> Self {
        let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
        let templates = templates();
        let smtp = simulator.providers("sim").unwrap();
        let port = smtp.iter().find_map(|p| match &p.settings {
            outreachd::config::provider::ProviderSettings::Smtp(smtp) => Some(smtp.port),
            _ => None,
        });
        let more = format!(
            r#"
            [safety]
            mode = "allow_list"
            allow = [{allow}]
            [[provider]]
            name = "relay"
            kind = "smtp"
            host = "127.0.0.1"
            port = {port}
            tls = "none"
            from = "Lakeside Health <clinic@lakeside.example>"
            baa = true
            {TOKEN}
            "#,
            port = port.unwrap(),
            allow = (0..10)
                .map(|n| format!("\"p{n}@example.org\", \"x{n}@example.org\""))
                .collect::<Vec<_>>()
                .join(", "),
        );
        let api = Api::open_templates(PUBLIC, &more, templates.path()).await;
        Self { api, simulator, _templates: templates }
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Answer {
        send(self.api.request(&method, path).header("authorization", BEARER).json(body)).await
    }

    async fn patient(&self, id: &str, more: &Value) {
        let mut body = json!({"language": "en", "timezone": "America/Chicago", "site": "lakeside-north",
            "name": {"given": "Anavanna", "family": "Lopezqx"},
            "contacts": [{"channel": "email", "address": format!("{}@example.org", id.to_lowercase())}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let put = self.call(Method::PUT, &format!("/v1/patients/{id}"), &body).await;
        assert!(put.status.is_success(), "{put:?}");
    }

    async fn enqueue(&self, body: &Value) -> String {
        let told = self.call(Method::POST, "/v1/jobs", body).await.expect(202);
        told["message_id"].as_str().unwrap().to_owned()
    }

    async fn message(&self, id: &str) -> Value {
        self.call(Method::GET, &format!("/v1/messages/{id}"), &Value::Null).await.expect(200)
    }

    async fn until(&self, id: &str, status: &str) -> Value {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let message = self.message(id).await;
            if message["status"] == status {
                return message;
            }
            assert!(Instant::now() < end, "waited in vain for {status}: {message}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Sends a reminder by mail and gives the message's id and the mail as it came.
    async fn mail(&self, id: &str, patient: &str) -> (String, String) {
        let mut job = job(id, patient);
        job["channels"] = json!(["email"]);
        let message = self.enqueue(&job).await;
        self.until(&message, "sent").await;
        let kept = self.simulator.recent(100);
        let to = format!("{}@example.org", patient.to_lowercase());
        let mail = kept.iter().find(|m| m.kind == ProviderKind::Smtp && m.to.expose() == to).unwrap();
        (message, mail.body.expose().to_owned())
    }

    /// The path of the page behind the link in the mail that `patient` gets.
    async fn page_of(&self, patient: &str) -> (String, String) {
        let (message, mail) = self.mail(&format!("job-{patient}"), patient).await;
        (message, path(&unsubscribe(&mail)))
    }

    async fn look(&self, path: &str) -> Answer {
        self.api.get(path).await
    }

    async fn press(&self, path: &str, body: &str) -> Answer {
        self.api.post_raw(path, FORM, body.to_owned()).await
    }

    async fn stored(&self, patient: &str) -> Value {
        let asked = self.api.request(&Method::GET, &format!("/v1/patients/{patient}"));
        let asked = asked.header("authorization", BEARER).header("x-outreach-reason", "to compare it");
        send(asked).await.expect(200)
    }

    async fn close(self) {
        self.api.close().await;
    }
}

/// The shipped templates, with the link in the text message.
fn templates() -> tempfile::TempDir {
    fn copy(from: &std::path::Path, to: &std::path::Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    copy(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/templates")), dir.path());
    let text = "{{site.name}}: you have a visit.{{#if unsubscribe_url}} Choose: {{unsubscribe_url}}{{/if}} {{> opt_out}}";
    std::fs::write(dir.path().join("preferences-changed/en/sms.hbs"), text).unwrap();
    dir
}

/// The address in the header of a mail.
fn unsubscribe(mail: &str) -> String {
    let mail = MessageParser::default().parse(mail.as_bytes()).unwrap();
    let raw = mail.header_raw("List-Unsubscribe").unwrap().trim().to_owned();
    assert_eq!(mail.header_raw("List-Unsubscribe-Post").unwrap().trim(), ONE_CLICK);
    let url = raw.strip_prefix('<').and_then(|r| r.strip_suffix('>')).unwrap().to_owned();
    for body in [mail.body_text(0).unwrap(), mail.body_html(0).unwrap()] {
        assert!(body.contains(&url), "the text shows the same link: {body}");
    }
    url
}

/// Where the worker serves it, behind the public address.
fn path(url: &str) -> String {
    let token = url.strip_prefix("https://outreach.example.org/clinic/u/").unwrap();
    assert_eq!(token.len(), 22, "{token}");
    format!("/u/{token}")
}

/// What every page promises to whoever looks.
fn is_fit_for_patients(answer: &Answer) {
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8", "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["referrer-policy"], "no-referrer");
    assert_eq!(answer.headers["x-frame-options"], "DENY");
    assert!(answer.headers["x-robots-tag"].to_str().unwrap().contains("noindex"));
    assert!(!answer.headers.contains_key("set-cookie"));
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    for rule in ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let text = answer.text.to_lowercase();
    for never in ["<script", "onclick", "onload", "javascript:", "http-equiv", "<img", "<link", "src="] {
        assert!(!text.contains(never), "{never}");
    }
    for private in ["anavanna", "lopezqx", "dr. chen", "starts_at", "2036", "@example.org", "3125550142"] {
        assert!(!text.contains(private), "{private}: {text}");
    }
    assert!(answer.text.contains("(312) 555-0100"), "says where to call");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_click_from_a_mail_that_was_really_sent_ends_such_mails_and_no_others() {
    let house = House::open().await;
    house.patient("P1", &json!({})).await;
    let (message, mail) = house.mail("j1", "P1").await;
    let path = path(&unsubscribe(&mail));
    // What scanners and previews do.
    for _ in 0..3 {
        is_fit_for_patients(&house.look(&path).await);
        assert_eq!(send(house.api.request(&Method::HEAD, &path)).await.status, 200);
    }
    assert_eq!(house.message(&message).await["status"], "sent");
    assert_eq!(house.stored("P1").await.get("consents"), None);

    let done = house.press(&path, ONE_CLICK).await;
    assert_eq!((done.status.as_u16(), done.headers.get("location")), (200, None));
    assert!(!done.headers.contains_key("set-cookie"));
    let consents = house.stored("P1").await["consents"].clone();
    assert_eq!(consents.as_array().unwrap().len(), 1, "{consents}");
    for (name, value) in [("purpose", "appointment"), ("channel", "email"), ("source", "patient")] {
        assert_eq!(consents[0][name], value, "{consents}");
    }
    assert_eq!(consents[0]["granted"], false);
    assert_eq!(house.message(&message).await["status"], "read");

    // The same once more, as mail programs repeat it, and in their other form.
    let part =
        "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n";
    let again = house.api.post_raw(&path, "multipart/form-data; boundary=b", part).await;
    assert_eq!(again.status, 200);
    assert_eq!(house.stored("P1").await["consents"], consents);

    let mut next = job("j2", "P1");
    next["channels"] = json!(["email"]);
    let stopped = house.enqueue(&next).await;
    assert_eq!(house.until(&stopped, "suppressed").await["reason"], "opted_out");
    let other = json!({"id": "j3", "source": "lakeside-ehr", "patient_id": "P1", "template": "preferences-changed",
        "data": {}, "channels": ["email"]});
    let other = house.enqueue(&other).await;
    house.until(&other, "sent").await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_on_the_page_reaches_what_waits() {
    let house = House::open().await;
    house.patient("P1", &json!({})).await;
    let (_, path) = house.page_of("P1").await;
    let hold = house.call(Method::POST, "/v1/holds", &json!({"scope": "all", "reason": "drill"})).await;
    let hold = hold.expect(201)["id"].as_str().unwrap().to_owned();
    let mut waiting = Vec::new();
    for n in 0..20 {
        let mut job = job(&format!("w{n}"), "P1");
        job["channels"] = json!(["email"]);
        waiting.push(house.enqueue(&job).await);
    }
    house.until(&waiting[19], "held").await;
    assert_eq!(house.press(&path, "act=stop-all").await.status, 200);
    let ended = house.call(Method::DELETE, &format!("/v1/holds/{hold}"), &Value::Null).await;
    assert_eq!(ended.status, 204);
    for id in &waiting {
        assert_eq!(house.until(id, "suppressed").await["reason"], "opted_out");
    }
    assert_eq!(
        house.simulator.stats().of(ProviderKind::Smtp).taken,
        1,
        "only the mail with the link went out"
    );
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_choice_is_made_and_shown_in_every_language() {
    let house = House::open().await;
    for (id, language, title, saved, tick) in [
        ("P1", "en-US", "Your messages", "Done. We have saved your choice.", "English"),
        ("P2", "es-MX", "Sus mensajes", "Listo. Guardamos su elección.", "Español"),
        ("P3", "zh-CN", "您的消息", "完成。您的选择已保存。", "中文（简体）"),
        // A language that nobody wrote texts in: that of the message.
        ("P4", "vi", "Your messages", "Done. We have saved your choice.", ""),
    ] {
        house.patient(id, &json!({"language": language})).await;
        let (_, path) = house.page_of(id).await;
        let page = house.look(&path).await;
        is_fit_for_patients(&page);
        assert!(page.text.contains(title), "{language}");
        assert!(page.text.contains("Lakeside North"));
        let ticked =
            page.text.split("name=\"language\"").skip(1).find(|part| {
                part.split_once('>').is_some_and(|(attributes, _)| attributes.contains("checked"))
            });
        assert_eq!(ticked.map_or("", |part| between(part, ">", "<")), tick, "{language}");

        let quiet = house.press(&path, "from=21%3A00&to=08%3A00&act=quiet").await;
        is_fit_for_patients(&quiet);
        assert!(quiet.text.contains(saved), "{language}");
        house.press(&path, "first=sms&act=first").await;
        let seen = between(&house.look(&path).await.text, "name=\"seen\" value=\"", "\"").to_owned();
        let choose = format!(
            "seen={seen}&appointment=sms&appointment=email&care=email&prevention=sms&survey=email&marketing=email&act=choose"
        );
        let chosen = house.press(&path, &choose).await;
        assert!(chosen.text.contains(saved), "{language}: {}", chosen.text);
        assert_eq!(
            ticks(&chosen.text),
            [
                "appointment sms",
                "appointment email",
                "care email",
                "prevention sms",
                "survey email",
                "marketing email"
            ]
        );
        let stored = house.stored(id).await;
        assert_eq!(stored["quiet_hours"], json!({"start": "21:00", "end": "08:00"}));
        assert_eq!(stored["preferred_channels"], json!(["sms"]));
        assert_eq!(stored["preferences"], json!({"billing": [], "results": []}));
        assert_eq!(stored["language"], language);

        house.press(&path, "act=stop-email").await;
        let off = house.look(&path).await;
        assert_eq!(ticks(&off.text), ["appointment sms", "prevention sms"], "{language}");
        let on = house.press(&path, "act=start-email").await;
        assert!(on.text.contains(saved));
        assert!(
            !ticks(&on.text).contains(&"marketing email".to_owned()),
            "that needs an agreement of its own"
        );
        let spanish = house.press(&path, "language=es&act=language").await;
        assert!(spanish.text.contains("<html lang=\"es\" dir=\"ltr\">"));
        let expected = if language == "es-MX" { "es-MX" } else { "es" };
        assert_eq!(house.stored(id).await["language"], expected);
        let stopped = house.press(&path, "act=stop-all").await;
        assert!(stopped.text.contains("value=\"start-all\"") && ticks(&stopped.text).is_empty());
        let back = house.press(&path, "act=start-all").await;
        assert!(ticks(&back.text).contains(&"appointment sms".to_owned()), "{:?}", ticks(&back.text));
        assert!(!ticks(&back.text).contains(&"billing sms".to_owned()));
    }
    house.close().await;
}

/// The boxes that are ticked, as `purpose channel`.
fn ticks(page: &str) -> Vec<String> {
    let boxes = page.split("<input type=\"checkbox\" ").skip(1).map(|part| part.split_once('>').unwrap().0);
    let checked = boxes.filter(|attributes| attributes.ends_with(" checked"));
    checked.map(|a| format!("{} {}", between(a, "name=\"", "\""), between(a, "value=\"", "\""))).collect()
}

fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map_or("", |(found, _)| found)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_can_be_read_in_another_language_without_changing_anything() {
    let house = House::open().await;
    house.patient("P1", &json!({})).await;
    let (message, path) = house.page_of("P1").await;
    for (lang, title) in [("es", "Sus mensajes"), ("zh-Hans", "您的消息"), ("en", "Your messages")] {
        let page = house.look(&format!("{path}?lang={lang}")).await;
        is_fit_for_patients(&page);
        assert!(page.text.contains(&format!("<html lang=\"{lang}\"")) && page.text.contains(title));
    }
    let pressed = house.press(&format!("{path}?lang=es"), "act=stop-this").await;
    assert!(pressed.text.contains("Listo."), "buttons answer in the language of the page");
    assert_eq!(house.stored("P1").await["language"], "en");
    assert_eq!(house.message(&message).await["status"], "read");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_link_gets_the_same_answer_in_every_language() {
    let house = House::open().await;
    house.patient("P1", &json!({})).await;
    let (_, path) = house.page_of("P1").await;
    let mut forged = path.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'Q' } else { 'A' });
    let upper = path.to_uppercase().replace("/U/", "/u/");
    let mut bodies = std::collections::BTreeSet::new();
    let hash = PageHash::of(path.strip_prefix("/u/").unwrap()).as_str().to_owned();
    for other in [
        forged.as_str(),
        upper.as_str(),
        &format!("/u/{hash}"),
        "/u/AAAAAAAAAAAAAAAAAAAAAA",
        "/u/x",
        "/u/%00",
        "/u/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "/u/'%20OR%201=1--",
        &format!("/u/{}", "A".repeat(4_000)),
    ] {
        if other == path {
            continue;
        }
        for answer in [
            house.look(other).await,
            house.press(other, "act=stop-all").await,
            house.press(other, ONE_CLICK).await,
        ] {
            assert_eq!(answer.status, 404, "{other}");
            is_fit_for_patients(&answer);
            bodies.insert(answer.text);
        }
    }
    assert_eq!(bodies.len(), 1, "nothing of what was asked comes back");
    let body = bodies.pop_first().unwrap();
    for text in ["This link does not work", "Este enlace no funciona", "此链接无效"] {
        assert!(body.contains(text), "{text}");
    }
    assert_eq!(house.stored("P1").await.get("consents"), None);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_sixty_days_a_link_still_stops_messages_and_does_nothing_else() {
    let house = House::open().await;
    for id in ["P1", "P2"] {
        house.patient(id, &json!({})).await;
    }
    let (_, one) = house.page_of("P1").await;
    let (_, two) = house.page_of("P2").await;
    house.api.sql("UPDATE attempts SET begun_at = begun_at - interval '59 days 23 hours'".to_owned()).await;
    assert_eq!(house.look(&one).await.status, 200);
    house.api.sql("UPDATE attempts SET begun_at = begun_at - interval '2 hours'".to_owned()).await;
    let page = house.look(&one).await;
    assert_eq!(page.status, 410);
    is_fit_for_patients(&page);
    assert!(page.text.contains("more than 60 days old"));
    for kept in ["stop-this", "stop-all"] {
        assert!(page.text.contains(&format!("value=\"{kept}\"")), "{kept}");
    }
    for gone in ["choose", "language", "quiet", "first", "start-sms"] {
        assert!(!page.text.contains(&format!("value=\"{gone}\"")), "{gone}");
    }
    for refused in [
        "language=es&act=language",
        "from=&to=&act=quiet",
        "act=start-all",
        "act=start-sms",
        "first=any&act=first",
    ] {
        assert_eq!(house.press(&one, refused).await.status, 410, "{refused}");
    }
    let before = house.stored("P1").await;
    assert_eq!((before["language"].as_str(), before.get("consents")), (Some("en"), None));
    assert_eq!(house.press(&one, "act=stop-this").await.status, 200);
    assert_eq!(house.press(&two, ONE_CLICK).await.status, 200);
    for id in ["P1", "P2"] {
        let stored = house.stored(id).await;
        assert_eq!(stored["consents"][0]["granted"], false, "{id}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_another_site_shows_is_refused() {
    let house = House::open().await;
    house.patient("P1", &json!({})).await;
    let (_, path) = house.page_of("P1").await;
    let address = house.api.worker.http.to_string();
    let own = format!("http://{address}");
    for (headers, allowed) in [
        (vec![("sec-fetch-site", "cross-site")], false),
        (vec![("sec-fetch-site", "same-site")], false),
        (vec![("sec-fetch-site", "cross-site"), ("origin", "https://outreach.example.org")], false),
        (vec![("origin", "https://evil.example")], false),
        (vec![("origin", "https://outreach.example.org.evil.example")], false),
        (vec![("origin", "https://outreach.example.or")], false),
        (vec![("origin", "")], false),
        (vec![("sec-fetch-site", "same-origin"), ("origin", "null")], true),
        (vec![("origin", "null")], true),
        (vec![("origin", "https://outreach.example.org")], true),
        (vec![("origin", own.as_str())], true),
        (vec![], true),
    ] {
        let mut request =
            house.api.request(&Method::POST, &path).header("content-type", FORM).body("act=start-all");
        for (name, value) in &headers {
            request = request.header(*name, *value);
        }
        let answer = send(request).await;
        assert_eq!(answer.status.as_u16(), if allowed { 200 } else { 403 }, "{headers:?}");
        is_fit_for_patients(&answer);
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_posted_nothing_of_it_comes_back_and_nothing_changes() {
    let house = House::open().await;
    house.patient("P1", &json!({})).await;
    let (_, path) = house.page_of("P1").await;
    let before = house.stored("P1").await;
    let payloads = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</style><svg/onload=alert(1)>",
        "{{7*7}}{{constructor}}",
        "javascript:alert(1)",
        "\r\nSet-Cookie: a=b",
        "\0",
        "zq-canary-zq",
    ];
    for (n, payload) in payloads.into_iter().enumerate() {
        let coded: String = payload.bytes().map(|b| format!("%{b:02x}")).collect();
        // A link has its own patience: a new one for each.
        let id = format!("X{n}");
        house.patient(&id, &json!({})).await;
        let (_, path) = house.page_of(&id).await;
        for body in [
            format!("act={coded}"),
            format!("act=stop-{coded}"),
            format!("act=first&first={coded}"),
            format!("act=language&language={coded}"),
            format!("act=quiet&from={coded}&to=08%3A00"),
            format!("act=choose&seen={coded}"),
            format!("act=choose&seen=1&care={coded}"),
            format!("{coded}={coded}"),
        ] {
            let answer = house.press(&path, &body).await;
            assert_eq!(answer.status, 422, "{body}: {}", answer.text);
            is_fit_for_patients(&answer);
            assert!(!answer.text.contains("alert(1)") && !answer.text.contains("zq-canary"), "{body}");
            assert!(!answer.text.contains("49{"), "{body}");
        }
        let query = house.look(&format!("{path}?lang={coded}&{coded}=1")).await;
        assert_eq!(query.status, 200);
        is_fit_for_patients(&query);
        assert!(!query.text.contains("alert(1)") && !query.text.contains("zq-canary"));
    }
    let big = format!("act=stop-all&x={}", "y".repeat(17 << 10));
    assert_eq!(house.press(&path, &big).await.status, 413);
    assert_eq!(house.api.post_chunked(&path, FORM, &big).await.status, 413);
    assert_eq!(house.api.post_raw(&path, "application/json", "{}").await.status, 415);
    assert_eq!(house.stored("P1").await, before);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_from_the_configuration_are_text_and_nothing_else() {
    // The one thing that a page echoes: how a clinic calls itself.
    let more = format!(
        "{TOKEN}\n[[site]]\nid = \"odd\"\nname = \"<b>Tom & \\\"Sons\\\"</b>\"\nphone = \"+13125550100\"\n"
    );
    let api = Api::open(PUBLIC, &more).await;
    let page = api.get("/u/nothing").await;
    assert!(page.text.contains("&lt;b&gt;Tom &amp; &quot;Sons&quot;&lt;/b&gt;"), "{}", page.text);
    assert!(!page.text.contains("<b>Tom"));
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_too_often_is_told_to_wait() {
    let house = House::open().await;
    house.patient("P1", &json!({})).await;
    let (_, path) = house.page_of("P1").await;
    let mut refused = None;
    for _ in 0..60 {
        let answer = house.press(&path, "act=start-all").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a link is not pressed for ever");
    assert!(refused.headers.contains_key("retry-after"));
    is_fit_for_patients(&refused);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_message_has_a_link_only_where_its_words_show_it() {
    let house = House::open().await;
    let sms = json!({"contacts": [{"channel": "sms", "address": "+13125550142"}]});
    house.patient("P1", &sms).await;
    // Captured: no provider for text messages is configured, and the test looks at the ledger.
    let mut plain = job("j1", "P1");
    plain["channels"] = json!(["sms"]);
    let plain = house.enqueue(&plain).await;
    let shown = json!({"id": "j2", "source": "lakeside-ehr", "patient_id": "P1", "template": "preferences-changed",
        "data": {}, "channels": ["sms"], "test": true});
    let shown = house.enqueue(&shown).await;
    for id in [&plain, &shown] {
        let told = house.call(Method::GET, &format!("/v1/messages/{id}"), &Value::Null).await.expect(200);
        assert_eq!(told["patient_id"], "P1");
    }
    house.until(&shown, "sent").await;
    let texts = house.api.worker.simulator.recent(10);
    let text = texts.iter().find(|m| m.kind == ProviderKind::TwilioSms).unwrap().body.expose().to_owned();
    let url = text.split_whitespace().find(|word| word.starts_with("https://")).unwrap().to_owned();
    let page = house.look(&path(&url)).await;
    is_fit_for_patients(&page);
    assert!(page.text.contains("number ending in 42."), "{}", page.text);
    assert_eq!(house.press(&path(&url), "act=stop-sms").await.status, 200);
    let stored = house.stored("P1").await;
    assert_eq!(
        (stored["consents"][0]["channel"].as_str(), stored["consents"][0].get("purpose")),
        (Some(Channel::Sms.as_str()), None)
    );
    let linked = house.api.count("SELECT count(*) FROM attempts WHERE page_hash IS NOT NULL").await;
    let all = house.api.count("SELECT count(*) FROM attempts").await;
    assert!(linked == 1 && all >= 1, "{linked} of {all}");
    // The token itself is nowhere in the ledger.
    let token = path(&url).strip_prefix("/u/").unwrap().to_owned();
    let kept = format!("SELECT count(*) FROM attempts WHERE attempts::text LIKE '%{token}%'");
    assert_eq!(house.api.count(&kept).await, 0);
    let metrics =
        send(house.api.request(&Method::GET, "/metrics").header("authorization", BEARER)).await.text;
    assert!(
        metrics.contains("path=\"/u/{token}\"") && !metrics.contains(&token),
        "the pattern, not the path"
    );
    house.close().await;
}
