//! Accounts, sessions, the audit log, and the counts of each minute.

use std::time::Duration;

use outreachd::domain::credential::{PasswordHash, TotpSecret};
use outreachd::domain::ids::{SiteId, UserName};
use outreachd::domain::people::{Granted, Role};
use outreachd::domain::phi::Phi;
use outreachd::domain::status::{AttemptStatus, MessageStatus};
use outreachd::store::audit::{AuditEntry, AuditFilter, verify};
use outreachd::store::people::{Link, Recognised, SessionHash, SessionLimits, User, UserChange, Vouched};
use outreachd::store::pulse::PulseRow;
use outreachd::store::rows::Then;

use super::ledger::{Ledger, rejects};
use super::make::{job, reject};

const LIMITS: SessionLimits =
    SessionLimits { idle: Duration::from_secs(60), whole: Duration::from_secs(150), touches: true };

fn user(name: &str) -> User {
    User {
        name: UserName::parse(name).unwrap(),
        role: Role::Operator,
        sites: vec![SiteId::parse("north").unwrap()],
        // Not the hash of anything: hashing takes a while.
        password: PasswordHash::stored("$argon2id$one"),
        totp: TotpSecret::from_bits([7; 20]),
        created_at: jiff::Timestamp::UNIX_EPOCH,
        disabled_at: None,
        link: None,
    }
}

pub(super) async fn an_account_is_made_once_and_changed(ledger: Ledger) {
    let ana = user("ana");
    assert!(ledger.add_user(&ana).await.unwrap());
    assert!(!ledger.add_user(&ana).await.unwrap(), "once");
    let known = ledger.user(&ana.name).await.unwrap().unwrap();
    assert_eq!((known.role, &known.sites), (Role::Operator, &ana.sites));
    assert_eq!((&known.password, &known.totp), (&ana.password, &ana.totp));
    // A code counts once, and so does none before it.
    for (step, taken) in [(10, true), (10, false), (9, false), (11, true)] {
        assert_eq!(ledger.use_code(&ana.name, step).await.unwrap(), taken, "{step}");
    }
    let token = SessionHash::of("token");
    for change in [
        UserChange::Disable,
        UserChange::Enable,
        UserChange::Credentials(PasswordHash::stored("$argon2id$two"), TotpSecret::from_bits([8; 20])),
    ] {
        ledger.open_session(&token, &ana.name, LIMITS).await.unwrap();
        assert!(ledger.change_user(&ana.name, &change).await.unwrap());
        assert!(ledger.session(&token, LIMITS).await.unwrap().is_none(), "signed out by {change:?}");
        let now = ledger.user(&ana.name).await.unwrap().unwrap();
        assert_eq!(now.disabled_at.is_some(), matches!(change, UserChange::Disable));
    }
    let now = ledger.user(&ana.name).await.unwrap().unwrap();
    assert_eq!(now.password.as_str(), "$argon2id$two");
    assert_eq!(now.totp, TotpSecret::from_bits([8; 20]));
    assert!(ledger.use_code(&ana.name, 1).await.unwrap(), "a new secret begins anew");
    assert!(!ledger.change_user(&UserName::parse("ben").unwrap(), &UserChange::Disable).await.unwrap());
    assert_eq!(ledger.users().await.unwrap().len(), 1);
    whom_a_provider_vouches_for_is_found(&ledger).await;
}

async fn whom_a_provider_vouches_for_is_found(ledger: &Ledger) {
    let issuer = "https://login.example.org";
    let vouched = |subject: &str, name: &str, granted: Option<Granted>, newcomer: Option<User>| Vouched {
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
        name: UserName::parse(name),
        binds: true,
        granted,
        newcomer,
    };
    let by = async |who: Vouched| match ledger.recognise(&who).await.unwrap() {
        Recognised::Known(user) => format!("known {} {} {}", user.name, user.role, user.sites.len()),
        Recognised::Made(user) => format!("made {} {} {}", user.name, user.role, user.sites.len()),
        Recognised::Disabled(name) => format!("disabled {name}"),
        Recognised::Taken(name) => format!("taken {name}"),
        Recognised::Unknown => "unknown".to_owned(),
    };
    let admin = || Some(Granted { role: Role::Admin, sites: Vec::new() });
    let ana = UserName::parse("ana").unwrap();
    assert_eq!(
        by(vouched("1", "ana", None, None)).await,
        "taken ana",
        "an account with a password is nobody else's"
    );
    assert_eq!(by(vouched("1", "ben", admin(), None)).await, "unknown");
    assert_eq!(by(vouched("1", "?", admin(), None)).await, "unknown");
    let to = |subject: Option<&str>| {
        UserChange::Link(Link { issuer: issuer.to_owned(), subject: subject.map(str::to_owned) })
    };
    assert!(ledger.change_user(&ana, &to(Some("0"))).await.unwrap());
    assert_eq!(by(vouched("1", "ana", None, None)).await, "taken ana", "it is of whom the link names");
    assert_eq!(by(vouched("0", "whatever", None, None)).await, "known ana operator 1");
    assert!(ledger.change_user(&ana, &to(None)).await.unwrap());
    let unverified = Vouched { binds: false, ..vouched("1", "ana", None, None) };
    assert_eq!(by(unverified).await, "taken ana", "a name that does not bind");
    let elsewhere = Vouched { issuer: "https://evil.example".to_owned(), ..vouched("1", "ana", None, None) };
    assert_eq!(by(elsewhere).await, "taken ana");
    assert_eq!(by(vouched("1", "ana", None, None)).await, "known ana operator 1");
    assert_eq!(by(vouched("1", "renamed", admin(), None)).await, "known ana admin 0");
    // Whom the provider lets in no more is signed out everywhere, and nobody else is.
    for n in 1..3 {
        ledger.open_session(&token_of(n), &ana, LIMITS).await.unwrap();
    }
    for (issuer, subject, ended) in [
        ("https://evil.example", "1", false),
        (issuer, "2", false),
        (issuer, "1", true),
        (issuer, "1", false),
    ] {
        assert_eq!(ledger.close_sessions_of(issuer, subject).await.unwrap(), ended, "{issuer} {subject}");
    }
    assert!(ledger.session(&token_of(1), LIMITS).await.unwrap().is_none());
    assert_eq!(by(vouched("2", "ana", None, None)).await, "taken ana");
    assert_eq!(ledger.user(&ana).await.unwrap().unwrap().role, Role::Admin, "kept");
    ledger.change_user(&ana, &UserChange::Disable).await.unwrap();
    assert_eq!(by(vouched("1", "ana", admin(), None)).await, "disabled ana");
    let link = Some(Link { issuer: issuer.to_owned(), subject: Some("3".to_owned()) });
    let cho = || User { link: link.clone(), ..user("cho") };
    assert_eq!(by(vouched("3", "cho", None, Some(cho()))).await, "made cho operator 1");
    assert_eq!(by(vouched("3", "cho", None, Some(cho()))).await, "known cho operator 1");
    assert_eq!(ledger.user(&cho().name).await.unwrap().unwrap().link, link);
    // Two windows of somebody new, at the same moment: each is told of the one account.
    for n in 10..20 {
        let (name, subject) = (format!("dee{n}"), n.to_string());
        let link = Some(Link { issuer: issuer.to_owned(), subject: Some(subject.clone()) });
        let who = vouched(&subject, &name, None, Some(User { link, ..user(&name) }));
        let mut told: [String; 2] = futures_util::future::join(by(who.clone()), by(who)).await.into();
        told.sort();
        assert_eq!(told, [format!("known {name} operator 1"), format!("made {name} operator 1")]);
    }
}

pub(super) async fn a_session_ends_when_nobody_asks_for_it(ledger: Ledger) {
    let ana = user("ana");
    ledger.add_user(&ana).await.unwrap();
    let token = SessionHash::of("token");
    ledger.open_session(&token, &ana.name, LIMITS).await.unwrap();
    let session = ledger.session(&token, LIMITS).await.unwrap().unwrap();
    assert_eq!((session.user, session.role, session.sites), (ana.name.clone(), ana.role, ana.sites));
    assert!(ledger.session(&SessionHash::of("other"), LIMITS).await.unwrap().is_none());
    let pass = async |seconds: i64| ledger.pass(jiff::SignedDuration::from_secs(seconds)).await;
    pass(50).await;
    assert!(ledger.session(&token, LIMITS).await.unwrap().is_some(), "asked for, it stays open");
    pass(50).await;
    let looking = SessionLimits { touches: false, ..LIMITS };
    assert!(ledger.session(&token, looking).await.unwrap().is_some());
    pass(20).await;
    assert!(ledger.session(&token, LIMITS).await.unwrap().is_none(), "looked at by a page, it does not");
    ledger.open_session(&token_of(2), &ana.name, LIMITS).await.unwrap();
    for _ in 0..2 {
        pass(50).await;
        assert!(ledger.session(&token_of(2), LIMITS).await.unwrap().is_some());
    }
    pass(51).await;
    assert!(ledger.session(&token_of(2), LIMITS).await.unwrap().is_none(), "it is over in any case");
    ledger.open_session(&token_of(3), &ana.name, LIMITS).await.unwrap();
    ledger.close_session(&token_of(3)).await.unwrap();
    assert!(ledger.session(&token_of(3), LIMITS).await.unwrap().is_none());
}

fn token_of(n: u32) -> SessionHash {
    SessionHash::of(&n.to_string())
}

pub(super) async fn the_audit_log_shows_what_was_altered(ledger: Ledger) {
    let store = ledger.store.as_ref();
    assert_eq!(verify(store).await.unwrap().entries, 0);
    let write = async |n: usize| {
        let entry = AuditEntry {
            who: format!("ana{n}"),
            act: "message.reveal".to_owned(),
            subject: "m".to_owned(),
            detail: Phi::new("patient called back"),
        };
        ledger.record(&entry).await.unwrap();
    };
    // At once, from several hands.
    futures_util::future::join_all((0..6).map(write)).await;
    let whole = verify(store).await.unwrap();
    assert_eq!((whole.entries, whole.broken_at), (6, None));
    let newest = AuditFilter { before: Some(i64::MAX), limit: 2, ..AuditFilter::default() };
    let rows = ledger.audit(&newest).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.ord).collect::<Vec<_>>(), [6, 5]);
    assert_eq!(rows[0].hash, whole.hash);

    // The database itself refuses; whoever goes around it is found.
    assert!(ledger.execute("UPDATE audit SET who = 'eve' WHERE ord = 3").await.is_err());
    assert!(ledger.execute("DELETE FROM audit WHERE ord = 3").await.is_err());
    ledger.unguard_audit().await;
    let broken = async |sql: &str| {
        ledger.execute(sql).await.unwrap();
        verify(store).await.unwrap().broken_at
    };
    assert_eq!(broken("UPDATE audit SET act = 'x' WHERE ord = 3").await, Some(3));
    assert_eq!(broken("UPDATE audit SET act = 'message.reveal' WHERE ord = 3").await, None);
    assert_eq!(broken("UPDATE audit SET subject = 'other' WHERE ord = 1").await, Some(1));
    assert_eq!(broken("UPDATE audit SET subject = 'm' WHERE ord = 1").await, None);
    assert_eq!(broken("DELETE FROM audit WHERE ord = 6").await, Some(6), "cut off at its end");
    assert_eq!(broken("UPDATE audit_head SET ord = 5").await, Some(6), "and its head with it");
}

pub(super) async fn what_happens_is_counted_by_the_minute(ledger: Ledger) {
    ledger.admit(&rejects(vec![reject(b"one", false), reject(b"two", false)])).await.unwrap();
    let end = ledger.stream_end().await.unwrap();
    let events = ledger.stream(0, &[], 100).await.unwrap();
    assert_eq!((events.len(), events.last().unwrap().ord), (2, end));
    assert!(events.iter().all(|event| event.body.contains("job.rejected")));
    assert!(ledger.stream(end, &[], 100).await.unwrap().is_empty());
    assert_eq!(ledger.stream(end, &[end], 100).await.unwrap().len(), 1, "one that was missing");

    assert_eq!(ledger.count_pulse(100).await.unwrap(), 0, "too new to be counted");
    ledger.pass(jiff::SignedDuration::from_secs(10)).await;
    assert_eq!(ledger.count_pulse(100).await.unwrap(), 2);
    assert_eq!(ledger.count_pulse(100).await.unwrap(), 0, "once");
    let rows = ledger.pulse(60, 5).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 2);
    assert!(rows.iter().all(|row| row.what == "job.rejected" && row.channel.is_empty()));

    // They may fall into two spans of time.
    for id in ["a", "b"] {
        ledger.sent(job(id)).await;
    }
    ledger.pass(jiff::SignedDuration::from_secs(10)).await;
    assert_eq!(ledger.count_pulse(100).await.unwrap(), 2);
    let rows = ledger.pulse(60, 5).await.unwrap();
    let sent: Vec<_> = rows.iter().filter(|row| row.what == "sent").collect();
    assert_eq!(sent.iter().map(|row| row.count).sum::<u64>(), 2);
    let by_twilio = |row: &&PulseRow| (row.channel.as_str(), row.provider.as_str()) == ("sms", "twilio-main");
    assert!(sent.iter().all(by_twilio), "{sent:?}");
    assert!(sent.iter().all(|row| row.reason.is_empty()), "{sent:?}");

    assert!(ledger.oldest_due().await.unwrap().is_empty());
    ledger.accept(job("j1")).await;
    ledger.pass(jiff::SignedDuration::from_secs(90)).await;
    let oldest = ledger.oldest_due().await.unwrap();
    assert_eq!(oldest.len(), 1, "{oldest:?}");
    assert!((89.0..100.0).contains(&oldest[0].seconds), "{oldest:?}");
}

pub(super) async fn a_route_that_fails_is_given_up_by_a_persons_word(ledger: Ledger) {
    let (hand, attempt) = ledger.begun(job("j1")).await;
    let id = hand.facts.id;
    assert!(!ledger.next_route(id).await.unwrap(), "on the wire");
    let later = ledger.now().await.checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
    ledger.settle_one(&hand, attempt, AttemptStatus::Failed, Then::Retry(later)).await;
    assert_eq!((ledger.row(id).await.step, ledger.row(id).await.tries), (0, 1));
    assert!(ledger.next_route(id).await.unwrap());
    let row = ledger.row(id).await;
    assert_eq!((row.step, row.tries, row.status), (1, 0, MessageStatus::Sending));
    assert!(row.due_at.unwrap() <= ledger.now().await, "at once");
    assert!(!ledger.next_route(id).await.unwrap(), "once");
    let other = ledger.sent(job("j2")).await;
    assert!(!ledger.next_route(other).await.unwrap(), "it was sent");
    // It went out, and its plan waits for an answer before the next way: a person need not.
    let waits = "UPDATE messages SET step = 1, due_at = expires_at WHERE job_id = 'j2'";
    ledger.execute(waits).await.unwrap();
    assert!(ledger.next_route(other).await.unwrap());
    let row = ledger.row(other).await;
    assert_eq!((row.step, row.status), (1, MessageStatus::Sent), "its status stays");
    assert!(row.due_at.unwrap() <= ledger.now().await, "at once");
    assert!(!ledger.next_route(other).await.unwrap(), "it is due");
}
