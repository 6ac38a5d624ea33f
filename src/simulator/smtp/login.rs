//! AUTH PLAIN and AUTH LOGIN (RFC 4954, RFC 4616).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::session::{Next, reply};
use crate::simulator::config::SmtpServer;

/// How far the client has come. No `Debug`: it may hold what the client typed.
pub(super) enum Login {
    /// Asked for, not yet done.
    Needed,
    /// The credentials of AUTH PLAIN come on the next line.
    Plain,
    /// The user name of AUTH LOGIN comes on the next line.
    User,
    /// The password comes on the next line.
    Password(String),
    Done,
}

impl Login {
    pub(super) const fn new(smtp: &SmtpServer) -> Self {
        if smtp.username.is_some() { Self::Needed } else { Self::Done }
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Whether the next line is not a command.
    pub(super) const fn awaits_line(&self) -> bool {
        matches!(self, Self::Plain | Self::User | Self::Password(_))
    }

    /// The AUTH command.
    pub(super) fn start(&mut self, smtp: &SmtpServer, argument: &str, out: &mut Vec<u8>) -> Next {
        if !matches!(self, Self::Needed) {
            return reply(out, 503, "5.5.1 not now");
        }
        let (mechanism, initial) = argument.split_once(' ').unwrap_or((argument, ""));
        match (mechanism.to_ascii_uppercase().as_str(), initial) {
            ("PLAIN", "") => {
                *self = Self::Plain;
                reply(out, 334, "")
            }
            ("PLAIN", credentials) => self.finish_plain(smtp, credentials, out),
            ("LOGIN", _) => {
                *self = Self::User;
                reply(out, 334, "VXNlcm5hbWU6")
            }
            _ => reply(out, 504, "5.5.4 mechanism not known"),
        }
    }

    /// The line after it.
    pub(super) fn go_on(&mut self, smtp: &SmtpServer, line: &str, out: &mut Vec<u8>) -> Next {
        match std::mem::replace(self, Self::Needed) {
            Self::Plain => self.finish_plain(smtp, line, out),
            Self::User => {
                *self = Self::Password(decoded(line));
                reply(out, 334, "UGFzc3dvcmQ6")
            }
            Self::Password(user) => self.finish(smtp, &user, &decoded(line), out),
            before @ (Self::Needed | Self::Done) => {
                *self = before;
                reply(out, 503, "5.5.1 not now")
            }
        }
    }

    fn finish_plain(&mut self, smtp: &SmtpServer, credentials: &str, out: &mut Vec<u8>) -> Next {
        let text = decoded(credentials);
        let mut parts = text.split('\0').skip(1);
        let (user, password) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        self.finish(smtp, user, password, out)
    }

    fn finish(&mut self, smtp: &SmtpServer, user: &str, password: &str, out: &mut Vec<u8>) -> Next {
        let known = smtp.username.as_deref() == Some(user)
            && smtp.password.as_ref().is_some_and(|secret| secret.expose() == password);
        *self = if known { Self::Done } else { Self::Needed };
        if known {
            reply(out, 235, "2.7.0 welcome")
        } else {
            reply(out, 535, "5.7.8 user name or password wrong")
        }
    }
}

fn decoded(base64: &str) -> String {
    STANDARD
        .decode(base64.trim())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
