//! What an operator writes, and what they are told about it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use outreachd::config::api::Scope;
use outreachd::config::limits::Cost;
use outreachd::config::money::Money;
use outreachd::config::policy::ConsentDefault;
use outreachd::config::provider::{OptOutReply, ProviderSettings};
use outreachd::config::store::StoreKind;
use outreachd::config::{Config, ConfigFault, LoadOptions};
use outreachd::domain::hours::Area;
use outreachd::domain::ids::{SiteId, SourceName, TemplateName};
use outreachd::domain::phi::Phi;
use outreachd::domain::status::MessageStatus;
use outreachd::domain::words::{Channel, Priority, Purpose, SafetyMode};

mod hostile;

const KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";

/// A clinic that really sends.
const CLINIC: &str = r#"
[safety]
mode = "live"
[organisation]
name = "Lakeside Health"
timezone = "America/Chicago"
[security]
key = "0707070707070707070707070707070707070707070707070707070707070707"
[store]
url = "postgres://outreach:canary-db-pw@db/outreach"
[amqp]
url = "amqp://outreach:canary-mq-pw@mq:5672/%2f"
[http]
listen = "0.0.0.0:8080"
public_url = "https://outreach.example.org/"
[[api.tokens]]
name = "ehr"
token = "canary-token-0123456789abcdef"
scopes = ["jobs:write", "messages:read"]
sources = ["lakeside-ehr"]
expires_at = "2027-01-01T00:00:00Z"
[limits]
countries = ["US", "CA"]
cost_per_segment = 0.0079
[limits.country.CA]
cost_per_minute = 0.02
[limits.budget_per_day]
total = 500
[events]
statuses = ["held"]
[policy.purpose.marketing]
expires_after = "12h"
[[source]]
name = "lakeside-ehr"
amqp_user = "ehr"
site = "lakeside-north"
templates = ["appointment-reminder"]
purposes = ["appointment"]
[[site]]
id = "lakeside-north"
phone = "+13125550100"
language = "es-MX"
quiet_hours = { start = "21:00", end = "08:00" }
holidays = ["2026-12-25"]
portal_url = "https://portal.example.org"
[site.opt_out]
en = "Text STOP to end these messages."
es = "Envíe STOP para terminar estos mensajes."
[site.name]
en = "Lakeside North"
es = "Lakeside Norte"
[site.senders]
sms = ["+13125550100"]
email = "Lakeside North <north@example.org>"
[site.hours]
mon = ["08:00-12:00", "13:00-17:00"]
[[provider]]
name = "twilio-main"
kind = "twilio_sms"
account_sid = "AC0123456789abcdef0123456789abcdef"
auth_token = "canary-auth-token"
from = ["+13125550100"]
limits = ["10/s", "1/s per sender", "2000/day"]
weight = 90
baa = true
opt_out_reply = "ours"
[[provider]]
name = "mail"
kind = "smtp"
host = "127.0.0.1"
tls = "none"
username = "u"
password = "canary-smtp-pw"
from = "outreach@example.org"
[provider.dkim]
domain = "example.org"
selector = "s1"
private_key = "-----BEGIN canary-dkim"
[[provider]]
name = "portal"
kind = "fhir_portal"
base_url = "https://fhir.example.org/r4"
client_id = "outreachd"
key_id = "k1"
private_key = "-----BEGIN canary-jwt"
"#;

fn clinic() -> Config {
    Config::from_toml(CLINIC).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn faults_of(text: &str) -> Vec<ConfigFault> {
    Config::from_toml(text).err().unwrap_or_default()
}

fn with_env(text: &str, env: &[(&str, &str)]) -> Result<Config, Vec<ConfigFault>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("outreachd.toml"), text).unwrap();
    Config::load(
        &LoadOptions { cwd: folder.path().into(), ..Default::default() }.with_env(env.iter().copied()),
    )
}

#[test]
fn nothing_configured_is_a_safe_start() {
    let config = Config::from_toml("").unwrap();
    assert_eq!(config.safety.mode, SafetyMode::Capture);
    assert!(!config.safety.allows(&Phi::new("+13125550142")));
    assert_eq!(config.store.kind, StoreKind::Sqlite);
    assert!(config.amqp.is_none());
    assert!(!config.http.token_needed());
    assert_eq!(config.limits.countries, ["US"]);
    // No source configured: whoever asks may use everything, and a job that names nobody is `default`'s.
    assert_eq!(config.default_source().unwrap().as_str(), "default");
    let anybody = config.source(&SourceName::parse("anybody").unwrap()).unwrap();
    assert!(anybody.allow_inline && anybody.max_priority == Priority::Urgent);
    assert_eq!(config.policy.purpose(Purpose::Appointment).expires_after, Duration::from_secs(86_400));
    assert_eq!(config.policy.purpose(Purpose::Marketing).consent_default, ConsentDefault::None);
}

#[test]
fn a_clinic_is_read_whole() {
    let config = clinic();
    assert!(config.http.token_needed());
    assert_eq!(config.store.kind, StoreKind::Postgres);
    assert_eq!(config.amqp.as_ref().unwrap().prefix, "outreach");
    assert!(config.events.tells(MessageStatus::Held) && config.events.tells(MessageStatus::Sent));
    assert!(!config.events.tells(MessageStatus::Sending));
    assert_eq!(config.policy.purpose(Purpose::Marketing).expires_after, Duration::from_secs(12 * 3_600));

    let cost = Cost { per_segment: Money::from_micros(7_900), per_minute: Money::from_micros(20_000) };
    assert_eq!(config.limits.cost_to("CA"), cost);
    assert_eq!(config.limits.cost_to("US").per_minute, Money::default());
    assert_eq!(config.limits.budget_per_day.total, Some(Money::from_micros(500_000_000)));

    let source = config.source(&SourceName::parse("lakeside-ehr").unwrap()).unwrap();
    assert!(source.may_use(&TemplateName::parse("appointment-reminder").unwrap()));
    assert!(!source.may_use(&TemplateName::parse("vaccine-invitation").unwrap()));
    assert!(source.may_write_for(Purpose::Appointment) && !source.may_write_for(Purpose::Care));
    assert_eq!(source.max_priority, Priority::Normal);
    assert!(config.source(&SourceName::parse("default").unwrap()).is_none(), "unknown sources are refused");
    assert!(config.default_source().is_none());
    assert_eq!(config.source_of_amqp_user("ehr").unwrap().name, source.name);
    assert!(config.source_of_amqp_user("guest").is_none());

    let site = config.site(&SiteId::parse("lakeside-north").unwrap()).unwrap();
    assert_eq!(site.timezone.iana_name(), Some("America/Chicago"), "the organisation's");
    assert_eq!(site.name.get("en-US"), "Lakeside North");
    assert_eq!(site.name.get("ht"), "Lakeside Norte", "the site's own language, by its parent");
    assert_eq!(site.opt_out.as_ref().unwrap().get("en"), "Text STOP to end these messages.");
    assert_eq!(site.portal_url.as_deref(), Some("https://portal.example.org"));
    assert_eq!(site.hours.len(), 2);
    let sender = site.senders.email.as_ref().unwrap();
    assert_eq!(
        (sender.name.as_deref(), sender.address.as_str()),
        (Some("Lakeside North"), "north@example.org")
    );
}

#[test]
fn providers_are_found_by_channel_with_what_follows_from_the_public_address() {
    let config = clinic();
    let sms: Vec<_> = config.providers_for(Channel::Sms).collect();
    let [twilio] = sms.as_slice() else { panic!("one SMS provider") };
    assert_eq!((twilio.weight, twilio.baa, twilio.opt_out_reply), (90, true, OptOutReply::Ours));
    assert_eq!((twilio.limits.len(), twilio.timeout), (3, Duration::from_secs(15)));
    let ProviderSettings::TwilioSms(settings) = &twilio.settings else { panic!("{twilio:?}") };
    assert_eq!(settings.base_url, "https://api.twilio.com");
    let callback = settings.status_callback.as_deref();
    assert_eq!(callback, Some("https://outreach.example.org/webhooks/twilio-main"));
    let ProviderSettings::Smtp(mail) = &config.providers_for(Channel::Email).next().unwrap().settings else {
        panic!("mail is SMTP")
    };
    assert_eq!((mail.port, mail.dkim.is_some()), (25, true));
    assert_eq!(config.providers_for(Channel::Voice).count(), 0);
}

#[test]
fn a_token_opens_what_it_says_for_as_long_as_it_says() {
    let config = clinic();
    let token = config.api.find("canary-token-0123456789abcdef").unwrap();
    assert!(token.allows(Scope::JobsWrite) && !token.allows(Scope::HoldsWrite));
    assert!(token.speaks_for(&SourceName::parse("lakeside-ehr").unwrap()));
    assert!(!token.speaks_for(&SourceName::parse("other").unwrap()));
    assert!(token.is_valid_at("2026-12-31T23:59:59Z".parse().unwrap()));
    assert!(!token.is_valid_at("2027-01-01T00:00:00Z".parse().unwrap()));
    assert!(config.api.find("canary-token-0123456789abcdee").is_none());
    assert!(config.api.find("").is_none());
}

#[test]
fn no_secret_and_no_patient_is_ever_shown() {
    let allow = "mode = \"live\"\nallow = [\"+13125559876\", \"canary@example.org\"]";
    let config = Config::from_toml(&CLINIC.replace("mode = \"live\"", allow)).unwrap();
    let debug = format!("{config:?} {config:#?}");
    let shown = config.redacted_toml();
    for secret in ["canary-", "canary@", KEY, "13125559876", "0xca"] {
        assert!(!debug.contains(secret), "{secret} in Debug");
        assert!(!shown.contains(secret), "{secret} in check --show");
    }
    // What is shown is the configuration in force, and TOML.
    let shown: toml::Table = shown.parse().unwrap();
    assert_eq!(shown["store"]["url"].as_str(), Some("postgres://outreach:***@db/outreach"));
    assert_eq!(shown["provider"][0]["auth_token"].as_str(), Some("***"));
    assert_eq!(shown["safety"]["allow"][0].as_str(), Some("+***76"));
    assert_eq!(shown["worker"]["lease"].as_str(), Some("1m"));
    assert_eq!(shown["limits"]["cost_per_segment"].as_float(), Some(0.0079));
}

/// Configuration, and for each fault it holds: the setting, and a word of the cure.
const FAULTY: &[(&str, &[(&str, &str)])] = &[
    ("[htpp]\nlisten = \"127.0.0.1:1\"", &[("htpp", "did you mean `http`?")]),
    ("[http]\nlisen = \"127.0.0.1:1\"", &[("http.lisen", "did you mean `listen`?")]),
    (
        "[http]\nlisten = 8080\npublic_url = \"http://example.org\"",
        &[("http.listen", "quotes"), ("http.public_url", "https://")],
    ),
    ("[safety]\nmode = \"captured\"", &[("safety.mode", "did you mean \"capture\"?")]),
    ("[safety]\nmode = \"allow_list\"", &[("safety.allow", "list test addresses")]),
    ("[safety]\nallow = [\"+1312555014\", \"nobody\"]", &[("safety.allow[1]", "write it as")]),
    (
        "[safety]\nmode = \"live\"",
        &[
            ("organisation.name", "OUTREACHD_ORGANISATION__NAME"),
            ("organisation.timezone", "OUTREACHD_ORGANISATION__TIMEZONE"),
            ("security.key", "key_file"),
            ("provider", "[[provider]]"),
        ],
    ),
    (
        "[organisation]\ntimezone = \"Chicago\"\nlanguage = \"english\"\ndefault_region = \"USA\"",
        &[
            ("organisation.timezone", "America/Chicago"),
            ("organisation.default_region", "two capitals"),
            ("organisation.language", "es-MX"),
        ],
    ),
    ("[store]\nurl = \"postgres://db/outreach\"", &[("store.url", "USER")]),
    ("[store]\npool_size = \"10\"", &[("store.pool_size", "without quotes")]),
    ("[amqp]\nprefix = \"Outreach\"", &[("amqp.url", "OUTREACHD_AMQP__URL"), ("amqp.prefix", "choose")]),
    (
        "[amqp]\nurl = \"http://mq\"\nprefetch = 0",
        &[("amqp.url", "amqp://"), ("amqp.prefetch", "without quotes")],
    ),
    ("[security]\nkey = \"short\"", &[("security.key", "urandom")]),
    ("[security]\nkey_file = \"/no/such/file\"", &[("security.key_file", "no such file")]),
    ("[store]\nurl = \"sqlite://a.db\"\nurl_file = \"b\"", &[("store.url", "either `url` or `url_file`")]),
    ("[worker]\nlease = 60", &[("worker.lease", "its unit")]),
    (
        "[worker]\nlease = \"40s\"\nheartbeat = \"5s\"",
        &[("worker.lease_local", "raise `lease`"), ("worker.heartbeat_stale", "lower `heartbeat`")],
    ),
    (
        "[events]\nstatuses = [\"hold\", \"sent\", 3]",
        &[("events.statuses[0]", "held"), ("events.statuses[2]", "quotes")],
    ),
    (
        "[limits]\ncountries = [\"USA\"]\ncost_per_segment = -1\n[limits.country.xx]\n",
        &[
            ("limits.countries[0]", "two capitals"),
            ("limits.cost_per_segment", "0.0079"),
            ("limits.country.xx", "two capitals"),
        ],
    ),
    (
        "[policy.purpose.marketting]\n[policy.retry]\nfirst_delay = \"1h\"",
        &[("policy.retry.first_delay", "max_delay"), ("policy.purpose.marketting", "marketing")],
    ),
    (
        "[policy.hours]\nspread = \"1d\"\nchannels = [\"fax\"]\nholidays = [\"xmas\"]\nrule = [{ id = \"patient\", open = \"always\" }, { id = \"a\" }, { id = \"b\", open = \"21:00-08:00\", areas = [\"Texas\"], purposes = [], channels = [\"fax\"] }, { id = \"c\", open = \"mon-fri 08:00-21:00\", purposes = [\"emergency\"], until = 1 }]",
        &[
            ("policy.hours.spread", "its unit"),
            ("policy.hours.channels[0]", "choose"),
            ("policy.hours.holidays[0]", "4th thu nov"),
            ("policy.hours.rule[patient].id", "rename"),
            ("policy.hours.rule[a].open", "set `open`"),
            ("policy.hours.rule[b].open", "08:00-21:00"),
            ("policy.hours.rule[b].areas[0]", "US-TX"),
            ("policy.hours.rule[b].purposes", "leave it out"),
            ("policy.hours.rule[b].channels[0]", "choose"),
            ("policy.hours.rule[c].open", "sun closed"),
            ("policy.hours.rule[c].purposes", "remove it"),
            ("policy.hours.rule[c].until", "known here"),
        ],
    ),
    ("[provider]\nname = \"x\"", &[("provider", "[[provider]]")]),
    (
        "[[provider]]\nkind = \"smtp\"\n[[provider]]\nname = \"A B\"",
        &[("provider[0].name", "set `name`"), ("provider[(a name not shown)].name", "choose")],
    ),
    (
        "[[provider]]\nname = \"mail\"\nkind = \"smpt\"\nhost = \"x\"",
        &[("provider[mail].kind", "did you mean \"smtp\"?")],
    ),
    (
        "[[provider]]\nname = \"mail\"\nkind = \"smtp\"\nhost = \"mx.example.org\"\ntls = \"none\"\npassword = \"x\"\nlimits = [\"ten\", \"1/s\", \"2/s\"]\nauth_token = \"x\"",
        &[
            ("provider[mail].limits[0]", "10/s"),
            ("provider[mail].limits", "tighter"),
            ("provider[mail].tls", "starttls"),
            ("provider[mail].username", "username"),
            ("provider[mail].from", "OUTREACHD_PROVIDER__MAIL__FROM"),
            ("provider[mail].auth_token", "known here"),
        ],
    ),
    (
        "[[provider]]\nname = \"sms\"\nkind = \"twilio_sms\"\naccount_sid = \"AC12\"\nbase_url = \"http://api.example.org\"\nfrom = []",
        &[
            ("provider[sms].base_url", "loopback"),
            ("provider[sms].account_sid", "console"),
            ("provider[sms].from", "list the numbers"),
            ("provider[sms].auth_token", "OUTREACHD_PROVIDER__SMS__AUTH_TOKEN_FILE"),
        ],
    ),
    (
        "[[provider]]\nname = \"p\"\nkind = \"fhir_portal\"\nprivate_key = \"hunter2\"\nsender = \"clinic\"",
        &[
            ("provider[p].private_key", "private_key_file"),
            ("provider[p].base_url", "set `base_url`"),
            ("provider[p].client_id", "set"),
            ("provider[p].key_id", "set"),
            ("provider[p].sender", "Organization/7"),
        ],
    ),
    (
        "[[provider]]\nname = \"c-1\"\nkind = \"capture\"\nchannel = \"sms\"\n[[provider]]\nname = \"c_1\"\nkind = \"capture\"\nchannel = \"fax\"",
        &[("provider[c_1].name", "of its own"), ("provider[c_1].channel", "choose")],
    ),
    (
        "[worker]\nlease_local = \"10s\"\n[[provider]]\nname = \"c\"\nkind = \"capture\"\nchannel = \"sms\"",
        &[("provider[c].timeout", "lease")],
    ),
    (
        "[[provider]]\nname = \"c\"\nkind = \"capture\"\nchannel = \"sms\"\ntimeout = \"16s\"",
        &[("provider[c].timeout", "raise `lease`")],
    ),
    (
        "[[provider]]\nname = \"c\"\nkind = \"capture\"\nchannel = \"sms\"\n[provider.breaker]\nprobes = 0\ncool_down = \"2m\"\ncooldown = \"5s\"",
        &[
            ("provider[c].breaker.probes", "without quotes"),
            ("provider[c].breaker.cool_down_max", "raise it"),
            ("provider[c].breaker.cooldown", "did you mean `cool_down`?"),
        ],
    ),
    (
        "[[source]]\nname = \"ehr\"\nsite = \"norht\"\namqp_user = \"u\"\ncallback_url = \"http://10.0.0.1/\"\n[[source]]\nname = \"lab\"\namqp_user = \"u\"\npurposes = [\"lab\"]\n[[site]]\nid = \"north\"\nname = \"North\"",
        &[
            ("source[ehr].callback_secret", "OUTREACHD_SOURCE__EHR__CALLBACK_SECRET_FILE"),
            ("source[lab].purposes[0]", "choose"),
            ("source[ehr].site", "did you mean \"north\"?"),
            ("source[lab].amqp_user", "of its own"),
        ],
    ),
    (
        "[retention]\nmessages = \"400d\"\nevents = \"1d\"\nrows = \"399d\"",
        &[("retention.events", "with its unit"), ("retention.rows", "or lower `messages`")],
    ),
    ("[retention]\nrows = \"89d\"", &[("retention.rows", "with its unit")]),
    (
        "[events.callbacks]\nallow = [\"10.0.0.0/33\", \"https://ehr\"]\nfirst_pause = \"1m\"\nlongest_pause = \"30s\"\n[[source]]\nname = \"a\"\ncallback_url = \"http://10.0.0.1/\"\ncallback_secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n[[source]]\nname = \"b\"\ncallback_url = \"http://ehr.example.org/\"\ncallback_secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n[[source]]\nname = \"c\"\ncallback_url = \"ftp://ehr.example.org/\"\ncallback_secret = \"whsec_c2hvcnQ=\"\n[[source]]\nname = \"d\"\ncallback_url = \"https://u:p@ehr.example.org/#x\"\ncallback_secret = \"secret\"\ncallback_secret_previous = \"secret\"",
        &[
            ("events.callbacks.allow[0]", "10.20.0.0/16"),
            ("events.callbacks.allow[1]", "without scheme"),
            ("events.callbacks.longest_pause", "raise it"),
            ("source[a].callback_url", "[events.callbacks] allow"),
            ("source[b].callback_url", "https://"),
            ("source[c].callback_url", "https://host/path"),
            ("source[c].callback_secret", "head -c 32"),
            ("source[d].callback_url", "#"),
            ("source[d].callback_secret", "head -c 32"),
            ("source[d].callback_secret_previous", "head -c 32"),
        ],
    ),
    (
        "[[site]]\nid = \"north\"\ntimezone = \"EST\"\nphone = \"312 555 0100\"\nquiet_hours = { start = \"21:00\" }\nholidays = [\"25.12.\"]\n[site.name]\nes = \"Norte\"\n[site.hours]\nmon = [\"17:00-08:00\", \"8-5\"]",
        &[
            ("site[north].timezone", "do not know daylight saving"),
            ("site[north].name", "name.en"),
            ("site[north].phone", "+13125550100"),
            ("site[north].hours.mon[0]", "two days"),
            ("site[north].hours.mon[1]", "08:00-17:00"),
            ("site[north].holidays[0]", "2026-12-25"),
            ("site[north].quiet_hours.end", "set `end`"),
        ],
    ),
    (
        "[[api.tokens]]\nname = \"a\"\ntoken = \"short\"\nscopes = [\"job:write\"]\nexpires_at = \"2027-01-01\"\n[[api.tokens]]\nname = \"b\"\nscopes = [\"admin\"]\nsources = [\"nobody\"]\n[[api.tokens]]\nname = \"c\"\nscopes = [\"admin\"]\nsha256 = \"0707070707070707070707070707070707070707070707070707070707070707\"\nsources = [\"nobody\"]\n[[api.tokens]]\nname = \"d\"\nscopes = [\"admin\"]\nsha256 = \"0707070707070707070707070707070707070707070707070707070707070707\"\n[[source]]\nname = \"ehr\"",
        &[
            ("api.tokens[a].scopes[0]", "jobs:write"),
            ("api.tokens[a].expires_at", "2027-01-31T00:00:00Z"),
            ("api.tokens[a].token", "urandom"),
            ("api.tokens[b].token", "set `token`"),
            ("api.tokens", "of its own"),
            ("api.tokens[c].sources", "[[source]]"),
        ],
    ),
    ("[log]\nformat = json", &[("(line 2)", "mend the syntax")]),
    ("[console]\npassword = false", &[("console.password", "[console.oidc]")]),
    (
        "[console.oidc]\nissuer = \"http://login.example.org\"\nalgorithms = [\"HS256\", \"none\"]\nnewcomers = \"made\"",
        &[
            ("console.oidc.issuer", "https://"),
            ("console.oidc.client_id", "set `client_id`"),
            ("console.oidc.algorithms[0]", "ES256"),
            ("console.oidc.algorithms[1]", "choose"),
            ("console.oidc.newcomers", "[[console.oidc.group]]"),
        ],
    ),
    (
        "[console.oidc]\nissuer = \"https://login.example.org/?x=1\"\nclient_id = \"a\"\nscopes = [\"profile\"]\n\
         [[console.oidc.group]]\nname = \"a\"\nrole = \"admin\"\nsites = [\"north\"]\n\
         [[console.oidc.group]]\nname = \"b\"\nrole = \"boss\"",
        &[
            ("console.oidc.issuer", "provider's own document"),
            ("console.oidc.scopes", "openid"),
            ("console.oidc.group[a].sites", "another role"),
            ("console.oidc.group[b].role", "choose one"),
        ],
    ),
    (
        "[console.oidc]\nissuer = \"https://login.example.org\"\nclient_id = \"a\"\n\
         [[console.oidc.group]]\nname = \"a\"\nrole = \"viewer\"\nsites = [\"north\"]",
        &[("http.public_url", "people open the console by"), ("console.oidc.group[a].sites", "[[site]]")],
    ),
];

#[test]
fn every_fault_is_told_in_one_go_with_its_cure() {
    for (text, expected) in FAULTY {
        let faults = faults_of(text);
        let mut found: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        let mut wanted: Vec<&str> = expected.iter().map(|(path, _)| *path).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{text}\n{faults:#?}");
        for (path, cure) in *expected {
            let told = faults.iter().any(|fault| fault.path == *path && fault.cure.contains(cure));
            assert!(told, "{path} should be cured by {cure}: {faults:#?}");
        }
    }
}

#[test]
fn a_rule_of_hours_takes_the_place_of_the_shipped_one_and_the_others_stay() {
    let text = "[policy.hours]\nrule = [{ id = \"us-tx\", open = \"always\" }, { id = \"surveys\", purposes = [\"survey\"], open = \"mon-fri 09:00-17:00, sat-sun closed\" }]";
    let shipped = Config::from_toml("").unwrap().policy.hours;
    let hours = Config::from_toml(text).unwrap().policy.hours;
    assert_eq!(hours.rules.len(), shipped.rules.len() + 1);
    let rule = |id: &str| hours.rules.iter().find(|rule| rule.id == id).unwrap();
    assert_eq!(rule("us-tx").open.to_string(), "always");
    assert!(rule("us-tx").areas.is_empty(), "the whole rule is the file's");
    assert_eq!(rule("surveys").purposes, [Purpose::Survey]);
    assert_eq!(rule("us-fl"), shipped.rules.iter().find(|rule| rule.id == "us-fl").unwrap());
    let changed = with_env(text, &[("OUTREACHD_POLICY__HOURS__RULE__US_TX__OPEN", "10:00-20:00")]).unwrap();
    assert!(changed.redacted_toml().contains("10:00-20:00"));
}

/// What the law of each state and the federal rule leave open, as a nurse manager would check it.
#[test]
fn the_shipped_hours_are_those_of_the_law() {
    let table = Config::from_toml("").unwrap().policy.hours;
    let rule = |id: &str| {
        let rule = table.rules.iter().find(|rule| rule.id == id).unwrap_or_else(|| panic!("{id}"));
        (rule.open.to_string(), rule.source.is_some())
    };
    for (id, open) in [
        ("everywhere", "08:00-21:00"),
        ("us-fl", "08:00-20:00"),
        ("us-md", "08:00-20:00"),
        ("us-ms", "08:00-20:00"),
        ("us-nj", "08:00-20:00"),
        ("us-ok", "08:00-20:00"),
        ("us-ct", "09:00-20:00"),
        ("us-tx", "mon-sat 09:00-21:00, sun 12:00-21:00"),
        ("us-ri", "mon-fri 09:00-18:00, sat-sun 10:00-17:00"),
    ] {
        assert_eq!(rule(id), (open.to_owned(), true), "{id}");
    }
    // Federal hours hold wherever a state says nothing, and with it where it does.
    assert!(table.rules.iter().all(|rule| rule.areas.is_empty() == (rule.id == "everywhere")));
    let ids = |purpose, channel| {
        let areas = [Area::parse("US-UT").unwrap()];
        table.applying(&areas, purpose, channel).map(|rule| rule.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(Purpose::Care, Channel::Sms), ["everywhere"]);
    assert_eq!(ids(Purpose::Marketing, Channel::Voice), ["everywhere", "us-sundays", "us-holidays"]);
    assert!(ids(Purpose::Marketing, Channel::Email).is_empty());
    assert!(ids(Purpose::Emergency, Channel::Sms).is_empty());
}

#[test]
fn faults_of_many_sections_come_together() {
    let all: String = FAULTY.iter().take(2).map(|(text, _)| format!("{text}\n")).collect();
    let text = format!(
        "{all}[worker]\nbatch = 0\n[[provider]]\nname = \"c\"\nkind = \"capture\"\n[[provider]]\nkind = 1"
    );
    let paths: Vec<String> = faults_of(&text).into_iter().map(|fault| fault.path).collect();
    assert_eq!(paths, ["http.lisen", "worker.batch", "provider[c].channel", "provider[1].name", "htpp"]);
}

#[test]
fn a_fault_names_the_rule_and_never_the_value() {
    let text = r#"
[store]
url = "canary://canary:canary@canary/canary"
[organisation]
timezone = "canary/canary"
name = "canary\ncanary"
[safety]
mode = "canary"
allow = ["canary name"]
[security]
key = "canary"
[http]
listen = "canary"
public_url = "https://canary:canary@canary"
[[provider]]
name = "sms"
kind = "twilio_sms"
account_sid = "canary-canary"
auth_token = ["canary"]
from = ["canary canary canary"]
"canary key" = 1
"#;
    let faults = faults_of(text);
    assert!(faults.len() > 8, "{faults:#?}");
    for fault in faults {
        assert!(!format!("{fault} {fault:?}").contains("canary"), "{fault}");
    }
    let syntax = faults_of("[store]\nurl = canary-secret\n");
    assert!(!syntax.is_empty() && !format!("{syntax:?}").contains("canary"), "{syntax:?}");
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = with_env(
        CLINIC,
        &[
            ("OUTREACHD_HTTP__LISTEN", "127.0.0.1:9999"),
            ("OUTREACHD_WORKER__BATCH", "77"),
            ("outreachd_worker__lease", "90s"),
            ("OUTREACHD_LIMITS__COUNTRIES", "US, MX"),
            ("OUTREACHD_LIMITS__COUNTRY__CA__COST_PER_SEGMENT", "0.05"),
            ("OUTREACHD_PROVIDER__TWILIO_MAIN__AUTH_TOKEN", "from-env"),
            ("OUTREACHD_PROVIDER__TWILIO_MAIN__BAA", "false"),
            ("OUTREACHD_SOURCE__LAKESIDE_EHR__PER_DAY", "5"),
            ("OUTREACHD_SITE__LAKESIDE_NORTH__SENDERS__VOICE", "+13125550199"),
            ("OUTREACHD_POLICY__PURPOSE__CARE__VOICE_ALLOWED", "false"),
            ("OUTREACHD_HTTP__PUBLIC_URL", ""),
            ("OUTREACHD_LOG", "debug"),
            ("OUTREACHD_TEST_DATABASE_URL", "x"),
            ("HOME", "/"),
        ],
    )
    .unwrap();
    assert_eq!(config.http.listen.port(), 9999);
    assert_eq!(config.http.public_url.as_deref(), Some("https://outreach.example.org"), "empty is not set");
    assert_eq!((config.worker.batch, config.worker.lease), (77, Duration::from_secs(90)));
    assert_eq!(config.limits.countries, ["US", "MX"]);
    assert_eq!(config.limits.cost_to("CA").per_segment, Money::from_micros(50_000));
    let ProviderSettings::TwilioSms(twilio) = &config.providers[0].settings else {
        panic!("twilio-main comes first")
    };
    assert_eq!(twilio.auth_token.expose(), "from-env");
    assert!(!config.providers[0].baa);
    assert_eq!(config.sources[0].per_day, Some(5));
    assert_eq!(config.sites[0].senders.voice, ["+13125550199"]);
    assert!(!config.policy.purpose(Purpose::Care).voice_allowed);
}

#[test]
fn the_environment_alone_can_bring_a_broker() {
    let config = with_env("", &[("OUTREACHD_AMQP__URL", "amqp://u:p@127.0.0.1/%2f")]).unwrap();
    assert_eq!(config.amqp.unwrap().url.expose(), "amqp://u:p@127.0.0.1/%2f");
    assert!(with_env("", &[("OUTREACHD_AMQP__URL", "")]).unwrap().amqp.is_none());
}

#[test]
fn a_variable_that_matches_nothing_is_a_misspelling() {
    let faults = with_env(
        CLINIC,
        &[
            ("OUTREACHD_HTTP__LISEN", "127.0.0.1:1"),
            ("OUTREACHD_PROVIDER__TWILIO_MIAN__BAA", "true"),
            ("OUTREACHD_WORKER__BATCH", "many"),
            ("OUTREACHD_SAY", "x"),
        ],
    )
    .unwrap_err();
    let told: Vec<(&str, &str)> =
        faults.iter().map(|fault| (fault.path.as_str(), fault.cure.as_str())).collect();
    assert!(faults.iter().all(|fault| fault.file == "environment"), "{faults:#?}");
    assert_eq!(told[0].0, "OUTREACHD_WORKER__BATCH");
    assert_eq!(told[1], ("OUTREACHD_HTTP__LISEN", "did you mean OUTREACHD_HTTP__LISTEN?"));
    assert_eq!(told[2].1, "did you mean OUTREACHD_PROVIDER__TWILIO_MAIN__BAA?");
    assert_eq!(told[3].0, "OUTREACHD_SAY");
    assert_eq!(told.len(), 4);
}

#[test]
fn one_fault_is_not_told_twice() {
    let text = "[[provider]]\nname = \"sms\"\nkind = \"twillio_sms\"\naccount_sid = \"AC1\"";
    let faults = with_env(text, &[("OUTREACHD_PROVIDER__SMS__AUTH_TOKEN", "x")]).unwrap_err();
    assert_eq!(faults.len(), 1, "the settings of an unknown kind cannot be judged: {faults:#?}");
    assert_eq!(faults[0].cure, "did you mean \"twilio_sms\"?");
}

#[test]
fn a_secret_comes_from_a_file_and_the_nearest_word_wins() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
    write("db", b"postgres://u:from-file@db/o\n");
    write("other", b"postgres://u:from-other@db/o\r\n");
    write("empty", b"\n");
    write("binary", b"\xff\xfe");
    let load = |text: &str, env: &[(&str, &str)]| {
        write("outreachd.toml", text.as_bytes());
        let options = LoadOptions { cwd: folder.path().into(), ..Default::default() };
        Config::load(&options.with_env(env.iter().copied()))
            .map(|config| config.store.url.expose().to_owned())
    };
    let in_file = "[store]\nurl_file = \"db\"";
    assert_eq!(load(in_file, &[]).unwrap(), "postgres://u:from-file@db/o");
    let other = ("OUTREACHD_STORE__URL_FILE", "other");
    assert_eq!(load(in_file, &[other]).unwrap(), "postgres://u:from-other@db/o");
    assert_eq!(load("[store]\nurl = \"sqlite://a.db\"", &[other]).unwrap(), "postgres://u:from-other@db/o");
    let value = ("OUTREACHD_STORE__URL", "sqlite://env.db");
    assert_eq!(load(in_file, &[value]).unwrap(), "sqlite://env.db");
    let twice = load(in_file, &[value, other]).unwrap_err();
    assert_eq!(twice[0].path, "OUTREACHD_STORE__URL");
    for bad in ["empty", "binary", "missing"] {
        let faults = load(in_file, &[("OUTREACHD_STORE__URL_FILE", bad)]).unwrap_err();
        assert_eq!(
            (faults.len(), faults[0].path.as_str()),
            (1, "OUTREACHD_STORE__URL_FILE"),
            "{bad}: {faults:#?}"
        );
    }
}

#[test]
fn the_file_is_the_one_that_was_named() {
    let folder = tempfile::tempdir().unwrap();
    let load = |file: Option<&str>, env: &[(&str, &str)]| {
        let file = file.map(PathBuf::from);
        let options = LoadOptions { file, cwd: folder.path().into(), ..Default::default() };
        Config::load(&options.with_env(env.iter().copied())).map(|config| config.worker.batch)
    };
    for (name, batch) in [("a.toml", 1), ("b.toml", 2)] {
        std::fs::write(folder.path().join(name), format!("[worker]\nbatch = {batch}")).unwrap();
    }
    let by_env = ("OUTREACHD_CONFIG", "b.toml");
    assert_eq!(load(None, &[]).unwrap(), 500, "the defaults alone");
    assert_eq!(load(None, &[by_env]).unwrap(), 2);
    assert_eq!(load(Some("a.toml"), &[by_env]).unwrap(), 1);
    std::fs::write(folder.path().join("outreachd.toml"), "[worker]\nbatch = 3").unwrap();
    assert_eq!(load(None, &[]).unwrap(), 3);
    assert_eq!(load(None, &[by_env]).unwrap(), 2);
    let faults = load(Some("none.toml"), &[]).unwrap_err();
    assert_eq!((faults[0].file.as_str(), faults.len()), ("none.toml", 1));
    std::fs::write(folder.path().join("c.toml"), b"\xff\xfe").unwrap();
    assert!(load(Some("c.toml"), &[]).is_err());
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let env = vec![(OsString::from("OUTREACHD_LOG__LEVEL"), OsString::from_vec(vec![0xff]))];
    let faults = Config::load(&LoadOptions { env, ..Default::default() }).unwrap_err();
    assert_eq!(faults[0].path, "OUTREACHD_LOG__LEVEL");
}

#[test]
fn the_allow_list_reaches_its_addresses_and_nobody_else() {
    let config = Config::from_toml("[safety]\nmode = \"allow_list\"\nallow = [\"ana@example.org\"]").unwrap();
    assert!(config.safety.allows(&Phi::new("Ana@Example.org")));
    assert!(!config.safety.allows(&Phi::new("bob@example.org")));
}

#[test]
fn the_deployed_file_is_good_as_it_stands() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/outreachd.toml");
    let options = LoadOptions { file: Some(file), ..Default::default() };
    let config = Config::load(&options).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(config.safety.mode, SafetyMode::Capture, "nothing leaves until somebody says so");
}

#[test]
fn the_composed_file_is_good_with_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("store_url", "postgres://outreach:pw@db/outreach"),
        ("amqp_url", "amqp://outreach:pw@mq:5672/%2f"),
        ("ledger_key", KEY),
        ("api_token", KEY),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/compose.toml");
    let text = std::fs::read_to_string(file).unwrap();
    let text = text.replace("/run/secrets", &folder.path().display().to_string());
    // What the image sets: a container's listener is not loopback, so callers must show a token.
    let env = [
        ("OUTREACHD_HTTP__LISTEN", "0.0.0.0:8080"),
        ("OUTREACHD_TEMPLATES__DIR", "/usr/share/outreachd/templates"),
    ];
    let config = with_env(&text, &env).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert!(config.http.token_needed() && config.api.find(KEY).is_some());
    assert_eq!((config.store.kind, config.safety.mode), (StoreKind::Postgres, SafetyMode::Capture));
    assert!(config.amqp.is_some() && config.security.key.is_some());
}

#[test]
fn the_services_unit_names_settings_that_exist() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/outreachd.service");
    let unit = std::fs::read_to_string(file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut env = Vec::new();
    for line in unit.lines() {
        if let Some(credential) = line.strip_prefix("LoadCredential=") {
            let (name, _) = credential.split_once(':').unwrap();
            let text = if name == "store_url" { "postgres://u@db/o" } else { KEY };
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        if let Some(variable) = line.strip_prefix("Environment=") {
            let (name, value) = variable.split_once('=').unwrap();
            env.push((name.to_owned(), value.replace("%d", &folder.path().display().to_string())));
        }
    }
    env.retain(|(name, _)| name != "OUTREACHD_CONFIG");
    let pairs: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let config = with_env("", &pairs).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(config.store.kind, StoreKind::Postgres);
    assert!(config.security.key.is_some());
}

/// What the alert rules and the dashboard ask for is measured somewhere.
#[test]
fn every_measure_that_deploy_names_is_there() {
    fn sources(folder: &std::path::Path, all: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, all);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                all.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut source = String::new();
    sources(&root.join("src"), &mut source);
    for file in ["deploy/alerts.yml", "deploy/grafana.json"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let names = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
        let named: Vec<&str> = names.filter(|name| name.starts_with("outreachd_")).collect();
        assert!(named.len() > 10, "{file}");
        for name in named {
            let name = name.trim_end_matches("_bucket");
            assert!(source.contains(name), "{file}: {name} is measured nowhere");
        }
    }
}
