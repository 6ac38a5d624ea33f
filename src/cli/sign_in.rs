//! What `outreachd check` says of signing in through an identity provider.

use tokio::time::timeout;

use super::check::{LIMIT, Report};
use crate::app;
use crate::config::Config;
use crate::config::oidc::Newcomers;
use crate::domain::ids::UserName;
use crate::domain::people::Role;
use crate::store::Store;
use crate::store::people::User;

const SUBJECT: &str = "sign-in";

/// Asks the provider itself.
pub(super) async fn provider(report: &mut Report, config: &Config) {
    let provider = match app::identity_provider(config) {
        Ok(Some(provider)) => provider,
        Ok(None) => return,
        Err(error) => {
            report.bad(SUBJECT, error, "install the root certificates of this system (ca-certificates)");
            return;
        }
    };
    let Ok(findings) = timeout(LIMIT, provider.examine()).await else {
        report.bad(
            SUBJECT,
            "the identity provider did not answer within 15 s",
            "look at the network and the firewall",
        );
        return;
    };
    if !findings.iter().any(|finding| finding.fatal) {
        let back = provider.redirect_uri();
        report
            .good(SUBJECT, format!("the identity provider is reached; it must know the redirect URI {back}"));
    }
    for finding in findings {
        match finding.fatal {
            true => report.bad(SUBJECT, finding.what, finding.cure),
            false => report.warn(SUBJECT, finding.what, finding.cure),
        }
    }
}

/// Whether anybody can come in at all. That the ledger does not answer is told elsewhere.
pub(super) async fn accounts(report: &mut Report, config: &Config, store: &dyn Store) {
    let console = &config.console;
    let Some(oidc) = &console.oidc else { return };
    let Ok(Ok(users)) = timeout(LIMIT, store.users()).await else { return };
    let enters = |user: &&User| {
        let linked = user.link.as_ref().is_some_and(|link| link.issuer == oidc.issuer);
        user.disabled_at.is_none() && (console.password || linked)
    };
    let waiting = |user: &&User| {
        let link = user.link.as_ref().filter(|link| link.subject.is_none() && link.issuer == oidc.issuer);
        user.disabled_at.is_none() && link.is_some()
    };
    let waiting: Vec<&UserName> = users.iter().filter(waiting).map(|user| &user.name).collect();
    if let Some(first) = waiting.first() {
        let what = format!(
            "{} {} whoever first comes by that name, which people may be able to write themselves: {first}{}",
            waiting.len(),
            if waiting.len() == 1 { "account is of" } else { "accounts are of" },
            if waiting.len() == 1 { "" } else { " ..." },
        );
        let cure = "say whose they are, by the provider's `sub`: outreachd users link NAME --subject SUB";
        report.warn(SUBJECT, what, cure);
    }
    let made = oidc.newcomers == Newcomers::Made;
    if !made && users.iter().filter(enters).count() == 0 {
        let what = "nobody can sign in: no account here is one of the identity provider's, and none is made";
        let cure = "outreachd users add NAME --role admin --oidc, or `users link NAME` for an account that there is; or set \
            newcomers = \"made\" with a [[console.oidc.group]]";
        report.bad(SUBJECT, what, cure);
        return;
    }
    let by_group = |role| oidc.groups.iter().any(|rule| rule.role == role);
    let by_account = |user: &User| {
        let decided = oidc.decides(user.link.as_ref().map(|link| link.issuer.as_str()));
        user.role == Role::Admin && !decided
    };
    if !by_group(Role::Admin) && !users.iter().filter(enters).any(by_account) {
        let what = "nobody who can sign in has the role admin: nobody can read the audit log in the console";
        report.warn(
            SUBJECT,
            what,
            "give the role to a [[console.oidc.group]], or to an account: outreachd users add",
        );
    }
}
