//! The schema: its migrations, which both databases have alike, and which programs it bears.

use super::{Result, StoreError};

/// The migrations of a database, out of its folder: both have the same.
macro_rules! migrations {
    ($db:literal) => {
        migrations! { $db:
            1 "0001" "ledger",
            3 "0003" "page",
            4 "0004" "work",
            5 "0005" "recipients",
            6 "0006" "receipts",
            7 "0007" "callbacks",
            8 "0008" "replies",
            9 "0009" "gate_use",
            10 "0010" "plans",
            11 "0011" "copies",
            12 "0012" "calls_back",
            13 "0013" "campaigns",
            15 "0015" "people",
            16 "0016" "pulse",
            17 "0017" "digests",
            18 "0018" "questions",
            19 "0019" "keeping",
            20 "0020" "recover",
            21 "0021" "alerts",
            23 "0023" "hardening",
            25 "0025" "way_back",
            26 "0026" "approved_texts",
            27 "0027" "outbox",
            28 "0028" "identity",
            29 "0029" "campaign_pages",
            30 "0030" "cheaper_rows",
            32 "0032" "history",
            34 "0034" "on_call",
            35 "0035" "came_back",
            36 "0036" "asked_by_all",
            37 "0037" "sign_offs",
            38 "0038" "pointers",
            39 "0039" "campaign_done",
            40 "0040" "work_state",
            41 "0041" "attempt_cost",
            42 "0042" "buried_at",
            43 "0043" "campaign_stops",
            44 "0044" "rows",
            45 "0045" "key_mark",
            46 "0046" "whole_rows",
        }
    };
    ($db:literal: $($number:literal $digits:literal $name:literal,)+) => {
        &[$((
            $number,
            $name,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $db, "/", $digits, "_", $name, ".sql")),
        )),+]
    };
}
pub(super) use migrations;

/// Number, name and text of each migration, oldest first.
pub(super) type Migrations = &'static [(i64, &'static str, &'static str)];

pub(super) const fn newest(migrations: Migrations) -> i64 {
    match migrations.last() {
        Some(last) => last.0,
        None => 0,
    }
}

/// The migrations of one database as the migration runner wants them, with what comes `first` of some. A schema newer than
/// this program is let through here: whether it still bears us is asked of `schema_info`.
pub(super) fn migrator(migrations: Migrations, first: &[(i64, &str)]) -> sqlx::migrate::Migrator {
    use sqlx::{AssertSqlSafe, SqlSafeStr};
    let list = migrations
        .iter()
        .map(|&(version, name, sql)| {
            let mut migration = sqlx::migrate::Migration::new(
                version,
                name.into(),
                sqlx::migrate::MigrationType::Simple,
                sql.into_sql_str(),
                false,
            );
            if let Some((_, first)) = first.iter().find(|(of, _)| *of == version) {
                migration.sql = AssertSqlSafe(format!("{first}\n{sql}")).into_sql_str();
            }
            migration
        })
        .collect();
    let mut migrator = sqlx::migrate::Migrator::with_migrations(list);
    migrator.set_ignore_missing(true);
    migrator
}

pub(super) fn check_compatible(needs: i64, known: i64) -> Result<()> {
    if needs > known {
        return Err(StoreError::Schema(format!(
            "the schema needs a program that knows migration {needs}; this one knows {known}: upgrade outreachd"
        )));
    }
    Ok(())
}
