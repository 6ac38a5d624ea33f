//! A schema of its own in somebody else's database, for a while.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::store::Result;
use crate::store::fault::fault;

/// Makes an empty schema. `name` is a word of ours: a letter, then letters, digits and `_`.
///
/// # Errors
/// The database cannot be reached, or the role may not create schemas in it.
pub async fn make_schema(url: &str, name: &str) -> Result<()> {
    run(url, format!("CREATE SCHEMA {name}")).await
}

/// Removes it, and all that is in it.
///
/// # Errors
/// The database cannot be reached.
pub async fn drop_schema(url: &str, name: &str) -> Result<()> {
    run(url, format!("DROP SCHEMA IF EXISTS {name} CASCADE")).await
}

/// The URL of the same database with everything in that schema.
#[must_use]
pub fn within_schema(url: &str, name: &str) -> String {
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}options[search_path]={name}")
}

async fn run(url: &str, statement: String) -> Result<()> {
    let mut connection = PgConnection::connect(url).await.map_err(fault)?;
    // The name is ours, so there is nothing to escape.
    connection.execute(AssertSqlSafe(statement)).await.map_err(fault)?;
    connection.close().await.map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_named_in_the_url() {
        for (url, expected) in [
            ("postgres://a@h/d", "postgres://a@h/d?options[search_path]=x"),
            ("postgres://a@h/d?sslmode=require", "postgres://a@h/d?sslmode=require&options[search_path]=x"),
        ] {
            assert_eq!(within_schema(url, "x"), expected);
        }
    }
}
