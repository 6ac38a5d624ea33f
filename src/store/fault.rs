//! What a database error means for whoever called. Messages of a database may quote a row, so only codes are kept.

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgDatabaseError;

use super::StoreError;

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
        sqlx::Error::PoolTimedOut => StoreError::Unavailable("no connection in time".to_owned()),
        sqlx::Error::Io(io) => StoreError::Unavailable(io.kind().to_string()),
        _ => StoreError::Unavailable("connection".to_owned()),
    }
}

/// PostgreSQL, Appendix A.
fn sqlstate(code: &str) -> StoreError {
    match code {
        "40001" | "40P01" | "55P03" => StoreError::Contention,
        "42P01" | "42883" => missing_schema(),
        c if c.starts_with("22") || c.starts_with("23") || c == "54000" => StoreError::Data(c.to_owned()),
        c if c.starts_with("42") || c.starts_with("0A") => StoreError::Internal(format!("SQLSTATE {c}")),
        // 08 connection, 25006 read-only, 28 authorisation, 3D no such database, 53 resources, 57 operator, 58 system
        c => StoreError::Unavailable(format!("SQLSTATE {c}")),
    }
}

/// <https://www.sqlite.org/rescode.html>; the low byte of an extended code is the primary one.
fn sqlite(code: u32, message: &str) -> StoreError {
    match code & 0xff {
        // SQLITE_BUSY, SQLITE_LOCKED
        5 | 6 => StoreError::Contention,
        // SQLITE_TOOBIG, SQLITE_CONSTRAINT (a trigger's refusal too), SQLITE_MISMATCH
        18..=20 => StoreError::Data(format!("SQLite {code}")),
        // SQLITE_ERROR has no finer code for a table that is not there.
        1 if message.starts_with("no such table") => missing_schema(),
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
