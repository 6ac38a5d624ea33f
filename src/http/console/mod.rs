//! The console: a page and its parts, as they stand in `assets`. What it shows comes from the API, by the cookie of the
//! session; it builds nodes and never reads text as markup, which its policy (CSP, Trusted Types) makes sure of.

mod routes;

use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;

pub(super) use self::routes::ROUTES;
use super::problem::{Answer, Fail};
use super::route::Call;

/// Scripts, style and pictures of this listener alone; no frame, no form that the browser sends by itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const PAGE: &str = include_str!("assets/index.html");

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, type, content.
const ASSETS: &[(&str, &str, &str)] = &[
    ("style.css", "text/css; charset=utf-8", include_str!("assets/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
    ("app.js", SCRIPT, include_str!("assets/app.js")),
    ("api.js", SCRIPT, include_str!("assets/api.js")),
    ("dom.js", SCRIPT, include_str!("assets/dom.js")),
    ("chart.js", SCRIPT, include_str!("assets/chart.js")),
    ("shell.js", SCRIPT, include_str!("assets/shell.js")),
    ("alerts.js", SCRIPT, include_str!("assets/alerts.js")),
    ("now.js", SCRIPT, include_str!("assets/now.js")),
    ("log.js", SCRIPT, include_str!("assets/log.js")),
    ("message.js", SCRIPT, include_str!("assets/message.js")),
    ("work.js", SCRIPT, include_str!("assets/work.js")),
    ("campaigns.js", SCRIPT, include_str!("assets/campaigns.js")),
    ("campaign.js", SCRIPT, include_str!("assets/campaign.js")),
    ("plan.js", SCRIPT, include_str!("assets/plan.js")),
    ("list.js", SCRIPT, include_str!("assets/list.js")),
    ("dead.js", SCRIPT, include_str!("assets/dead.js")),
    ("providers.js", SCRIPT, include_str!("assets/providers.js")),
    ("patients.js", SCRIPT, include_str!("assets/patients.js")),
    ("templates.js", SCRIPT, include_str!("assets/templates.js")),
    ("audit.js", SCRIPT, include_str!("assets/audit.js")),
    // For whoever an alert has woken: nothing in it is anybody's.
    ("runbook.md", "text/plain; charset=utf-8", include_str!("../../../deploy/runbook.md")),
];

/// `GET /`.
pub(super) async fn page(_call: Call) -> Answer {
    let mut response = ([(CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response();
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Ok(response)
}

/// `GET /console/{file}`.
pub(super) async fn asset(call: Call) -> Answer {
    let found = ASSETS.iter().find(|(name, ..)| *name == call.param("file"));
    let (_, media, text) = found.ok_or_else(|| Fail::not_found("part of the console"))?;
    Ok(([(CONTENT_TYPE, *media)], *text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::NextAction;
    use crate::domain::words::Reason;

    /// Text is never read as markup or as a program, and nothing comes from elsewhere.
    #[test]
    fn the_parts_keep_to_their_policy() {
        let all = ASSETS.iter().map(|(name, _, text)| (*name, *text)).chain([("index.html", PAGE)]);
        for (name, text) in all {
            for bad in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "DOMParser",
                "javascript:",
                "style=",
                "onclick=",
                "https://",
                "srcdoc",
            ] {
                assert!(!text.contains(bad), "{name} holds {bad}");
            }
            let outside = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!outside.contains("http://"), "{name} names another host");
        }
        assert!(!POLICY.contains("unsafe"));
    }

    /// Of these a job or its caller is told, and no message bears them.
    const OF_NO_MESSAGE: [Reason; 5] = [
        Reason::Duplicate,
        Reason::Conflict,
        Reason::UnknownSource,
        Reason::SourceNotAllowed,
        Reason::DeliveryLimit,
    ];

    #[test]
    fn what_a_message_can_bear_is_said_in_words() {
        let page = include_str!("assets/message.js");
        let means =
            page.split_once("const MEANS = {\n").and_then(|(_, rest)| rest.split_once("\n};")).unwrap().0;
        let told: Vec<&str> = means.lines().filter_map(|line| line.trim().split(':').next()).collect();
        for reason in Reason::ALL {
            assert_eq!(told.contains(&reason.as_str()), !OF_NO_MESSAGE.contains(reason), "{reason}");
        }
        let next =
            page.split_once("function nextOf(").and_then(|(_, rest)| rest.split_once("\n}")).unwrap().0;
        for action in NextAction::ALL {
            assert!(next.contains(&format!(" {action}: ")), "{action}");
        }
    }

    #[test]
    fn every_part_that_is_asked_for_is_there() {
        let known = |file: &str| ASSETS.iter().any(|(name, ..)| *name == file);
        for (name, media, text) in ASSETS {
            if *media == SCRIPT {
                for line in text.lines().filter(|line| line.starts_with("import ")) {
                    let file = line.rsplit("\"./").next().and_then(|rest| rest.split('"').next()).unwrap();
                    assert!(known(file), "{name} imports {file}");
                }
            }
        }
        for (at, _) in PAGE.match_indices("\"console/") {
            let file = PAGE[at + 9..].split('"').next().unwrap();
            assert!(known(file), "the page asks for {file}");
        }
    }
}
