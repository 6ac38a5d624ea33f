//! What a database error means for whoever called. Messages of a database may quote a row, so only codes are kept.

use std::io;

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgDatabaseError;

use super::StoreError;

/// By what a database shows that it does not serve.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// How its SQLSTATE begins (PostgreSQL, Appendix A).
    State(&'static str),
    /// Its name leads nowhere.
    Name,
    /// A socket or a certificate is not there.
    Path,
    Tls,
    /// No connection was to be had in time: sqlx goes on asking while it is refused, or told to come again.
    Late,
    /// What answers does not speak as PostgreSQL does.
    Protocol,
}

/// Each sign in words, with what to do. The first that fits counts.
const SIGNS: &[(Sign, &str, &str)] = &[
    (
        Sign::State("42501"),
        "the role may not do this",
        "make the role the owner of the database and of what is in it, by your names: \
         ALTER DATABASE outreach OWNER TO outreach",
    ),
    (
        Sign::State("28"),
        "it does not let this user in",
        "correct user and password in [store] url (in a password write % as %25, # as %23, / as %2F, @ as %40), or let the \
         user in: CREATE ROLE outreach LOGIN PASSWORD '...', and a line for it in pg_hba.conf",
    ),
    (
        Sign::State("3D000"),
        "there is no such database",
        "make it, by your names: CREATE DATABASE outreach OWNER outreach; or correct its name in [store] url",
    ),
    (
        Sign::State("53300"),
        "all of its connections are taken",
        "lower [store] pool_size of the workers, or raise max_connections of the server",
    ),
    (Sign::State("53100"), "its disk is full", "make room on the database's disk"),
    (
        Sign::State("57P03"),
        "it is starting or stopping",
        "wait until it has started; its own log says what keeps it",
    ),
    (Sign::State("57P0"), "it is stopping", "start the database"),
    (Sign::State("25006"), "it takes no writes", "lead [store] url to the primary: a standby is read only"),
    (
        Sign::Name,
        "the name of its host leads nowhere",
        "correct the host in [store] url, or look at this machine's name servers",
    ),
    (
        Sign::Path,
        "a socket or a certificate that [store] url names is not there",
        "start the database, or correct the path in [store] url",
    ),
    (
        Sign::Tls,
        "no TLS that can be trusted",
        "see sslmode in [store] url: verify-full wants a certificate for that host, signed by a public authority or by the \
         one in sslrootcert=FILE",
    ),
    (
        Sign::Late,
        "no connection in time",
        "start the database, correct host and port in [store] url, or look at the firewall; where it runs, all of its \
         connections may be taken",
    ),
    (
        Sign::Protocol,
        "its answer cannot be read",
        "correct host and port in [store] url: they may not lead to PostgreSQL",
    ),
];

/// What brings a ledger back that is away for this reason; none where nothing better is known than to look at the database.
#[must_use]
pub fn way_back(why: &str) -> Option<&'static str> {
    SIGNS.iter().find(|(_, words, _)| why.starts_with(words)).map(|(_, _, cure)| *cure)
}

/// Classes an error by what the caller can do about it.
pub(super) fn fault(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(db) => {
            let code = db.code().unwrap_or_default();
            if db.try_downcast_ref::<PgDatabaseError>().is_some() {
                sqlstate(&code)
            } else {
                sqlite(code.parse().unwrap_or_default(), db.message())
            }
        }
        sqlx::Error::ColumnDecode { index, .. } => StoreError::Internal(format!("column {index}")),
        sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Encode(_) => {
            StoreError::Internal("a row does not fit".to_owned())
        }
        sqlx::Error::PoolTimedOut => away(Sign::Late),
        sqlx::Error::Tls(_) => away(Sign::Tls),
        sqlx::Error::Protocol(_) => away(Sign::Protocol),
        sqlx::Error::Io(error) => broken(error),
        _ => StoreError::Unavailable("the connection is of no use".to_owned()),
    }
}

/// What the network says, and the file system of whoever connects.
fn broken(error: &io::Error) -> StoreError {
    // Only their text tells failed look-ups from others. It names no host.
    if error.to_string().starts_with("failed to lookup address") {
        return away(Sign::Name);
    }
    match error.kind() {
        io::ErrorKind::NotFound => away(Sign::Path),
        // rustls, of a certificate that it does not take.
        io::ErrorKind::InvalidData => away(Sign::Tls),
        kind => StoreError::Unavailable(format!("the connection broke: {kind}")),
    }
}

fn away(sign: Sign) -> StoreError {
    let words = SIGNS.iter().find(|(known, _, _)| *known == sign).map(|(_, words, _)| *words);
    StoreError::Unavailable(words.unwrap_or_default().to_owned())
}

/// PostgreSQL, Appendix A.
fn sqlstate(code: &str) -> StoreError {
    match code {
        "40001" | "40P01" | "55P03" => StoreError::Contention,
        // No such table, function, column, type.
        "42P01" | "42883" | "42703" | "42704" => missing_schema(),
        "42501" => unserved(code),
        c if c.starts_with("22") || c.starts_with("23") || c == "54000" => StoreError::Data(c.to_owned()),
        c if c.starts_with("42") || c.starts_with("0A") => StoreError::Internal(format!("SQLSTATE {c}")),
        // 08 connection, 25006 read-only, 28 authorisation, 3D no such database, 53 resources, 57 operator, 58 system
        c => unserved(c),
    }
}

/// In words where there are any, and with the code for whoever looks it up.
fn unserved(code: &str) -> StoreError {
    let begins = |sign: &Sign| matches!(sign, Sign::State(start) if code.starts_with(start));
    let words = SIGNS.iter().find(|(sign, _, _)| begins(sign)).map(|(_, words, _)| *words);
    StoreError::Unavailable(match words {
        Some(words) => format!("{words}: SQLSTATE {code}"),
        None => format!("it fails: SQLSTATE {code}"),
    })
}

/// <https://www.sqlite.org/rescode.html>; the low byte of an extended code is the primary one.
fn sqlite(code: u32, message: &str) -> StoreError {
    match code & 0xff {
        // SQLITE_BUSY, SQLITE_LOCKED
        5 | 6 => StoreError::Contention,
        // SQLITE_TOOBIG, SQLITE_CONSTRAINT (a trigger's refusal too), SQLITE_MISMATCH
        18..=20 => StoreError::Data(format!("SQLite {code}")),
        // SQLITE_ERROR has no finer code for a table or a column that is not there.
        1 if message.starts_with("no such table") || message.starts_with("no such column") => {
            missing_schema()
        }
        // SQLITE_ERROR, SQLITE_INTERNAL, SQLITE_MISUSE, SQLITE_RANGE
        1 | 2 | 21 | 25 => StoreError::Internal(format!("SQLite {code}")),
        // SQLITE_READONLY, SQLITE_IOERR, SQLITE_CORRUPT, SQLITE_FULL, SQLITE_CANTOPEN, SQLITE_NOTADB ...
        _ => StoreError::Unavailable(format!("SQLite {code}")),
    }
}

fn missing_schema() -> StoreError {
    StoreError::Schema("the schema is missing or old: run `outreachd migrate`".to_owned())
}

pub(super) fn migration_fault(error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMismatch(version) => StoreError::Schema(format!(
            "migration {version} was changed after it had been applied: restore the released file"
        )),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => match fault(error) {
            refused @ (StoreError::Data(_) | StoreError::Internal(_)) => {
                StoreError::Schema(format!("migration failed: {refused}"))
            }
            passing => passing,
        },
        other => StoreError::Schema(format!("migration failed: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_does_not_serve_says_so_in_words_with_a_cure() {
        let io = |text: &str| sqlx::Error::Io(io::Error::other(text.to_owned()));
        let of_kind = |kind: io::ErrorKind| sqlx::Error::Io(kind.into());
        for (error, words, cure) in [
            (sqlstate("42501"), "the role may not do this: SQLSTATE 42501", "OWNER TO"),
            (sqlstate("28P01"), "it does not let this user in: SQLSTATE 28P01", "%23"),
            (sqlstate("28000"), "it does not let this user in: SQLSTATE 28000", "pg_hba.conf"),
            (sqlstate("3D000"), "there is no such database: SQLSTATE 3D000", "CREATE DATABASE"),
            (sqlstate("53300"), "all of its connections are taken: SQLSTATE 53300", "pool_size"),
            (sqlstate("57P03"), "it is starting or stopping: SQLSTATE 57P03", "wait"),
            (sqlstate("57P01"), "it is stopping: SQLSTATE 57P01", "start"),
            (
                fault(io("failed to lookup address information: Name or service not known")),
                "the name of its host leads nowhere",
                "name servers",
            ),
            (fault(sqlx::Error::Tls("x".into())), "no TLS that can be trusted", "sslrootcert"),
            (fault(of_kind(io::ErrorKind::InvalidData)), "no TLS that can be trusted", "verify-full"),
            (fault(sqlx::Error::PoolTimedOut), "no connection in time", "host and port"),
        ] {
            let StoreError::Unavailable(why) = &error else { panic!("{error:?}") };
            assert_eq!(why, words);
            assert!(way_back(why).is_some_and(|way| way.contains(cure)), "{why}: {:?}", way_back(why));
        }
        for (error, words) in [
            (sqlstate("08006"), "it fails: SQLSTATE 08006"),
            (fault(of_kind(io::ErrorKind::ConnectionReset)), "the connection broke: connection reset"),
        ] {
            assert!(matches!(&error, StoreError::Unavailable(why) if why == words), "{error:?}");
        }
    }

    #[test]
    fn what_an_older_schema_lacks_is_no_fault_of_the_code() {
        for code in ["42P01", "42883", "42703", "42704"] {
            assert!(matches!(sqlstate(code), StoreError::Schema(_)), "{code}");
        }
        assert!(matches!(sqlstate("42601"), StoreError::Internal(_)));
        assert!(matches!(sqlite(1, "no such column: key_mark"), StoreError::Schema(_)));
        assert!(matches!(sqlite(1, "integer overflow"), StoreError::Internal(_)));
    }
}
