//! Accounts and their sessions, and whose account it is that an identity provider vouches for.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::Ledger;
use crate::domain::credential::{PasswordHash, TotpSecret};
use crate::domain::ids::{SiteId, UserName};
use crate::domain::people::Role;
use crate::store::columns::Columns;
use crate::store::engine::{Args, Engine, args, maybe_texts, micros, texts, try_bytes};
use crate::store::people::{
    Link, Recognised, Session, SessionHash, SessionLimits, User, UserChange, Vouched,
};
use crate::store::sealed::Sealed;
use crate::store::{People, Result, StoreError};

/// A session is written to at most so often.
const TOUCH: SignedDuration = SignedDuration::from_secs(30);

const USERS: &str =
    "SELECT name, role, sites, password, totp, created_at, disabled_at, issuer, subject FROM users";
const INSERT: &str = "INSERT INTO users (name, role, sites, password, totp, created_at, issuer, subject)
    SELECT name, role, sites, password, totp, now(), issuer, subject FROM {input}
    WHERE true ON CONFLICT DO NOTHING RETURNING name";

#[async_trait]
impl<E: Engine> People for Ledger<E> {
    async fn add_user(&self, user: &User) -> Result<bool> {
        let mut tx = self.engine.begin().await?;
        let made = self.add_row(&mut tx, user).await?;
        E::commit(tx).await?;
        Ok(made)
    }

    async fn users(&self) -> Result<Vec<User>> {
        let rows = self.engine.read(format!("{USERS} ORDER BY name"), Args::none()).await?;
        rows.iter().map(|row| self.user_row(row)).collect()
    }

    async fn user(&self, name: &UserName) -> Result<Option<User>> {
        let rows = self.engine.read(format!("{USERS} WHERE name = $1"), args![name.as_str()]).await?;
        rows.first().map(|row| self.user_row(row)).transpose()
    }

    async fn change_user(&self, name: &UserName, change: &UserChange) -> Result<bool> {
        let mut tx = self.engine.begin().await?;
        let changed = match change {
            UserChange::Disable => {
                let sql = "UPDATE users SET disabled_at = COALESCE(disabled_at, now()) WHERE name = $1 RETURNING name";
                E::run(&mut tx, sql, args![name.as_str()]).await?
            }
            UserChange::Enable => {
                let sql = "UPDATE users SET disabled_at = NULL WHERE name = $1 RETURNING name";
                E::run(&mut tx, sql, args![name.as_str()]).await?
            }
            UserChange::Link(Link { issuer, subject }) => {
                let sql = "UPDATE users SET issuer = $2, subject = $3 WHERE name = $1 RETURNING name";
                E::run(&mut tx, sql, args![name.as_str(), issuer.as_str(), subject.as_deref()]).await?
            }
            UserChange::Credentials(password, totp) => {
                let rows = [(password, totp)];
                let batch = vec![
                    texts("password", &rows, |(password, _)| password.as_str()),
                    try_bytes("totp", &rows, |(_, totp)| {
                        self.sealer.seal(Sealed::UserTotp.of(name.as_str()), totp.expose())
                    })?,
                ];
                E::run(
                    &mut tx,
                    "UPDATE users SET password = input.password, totp = input.totp, totp_step = 0 FROM {input}
                     WHERE users.name = $1 RETURNING users.name",
                    args![name.as_str()].batch(batch),
                )
                .await?
            }
        };
        E::run(&mut tx, "DELETE FROM sessions WHERE user_name = $1", args![name.as_str()]).await?;
        E::commit(tx).await?;
        Ok(!changed.is_empty())
    }

    /// Two browsers of one person at the same moment: the second one finds what the first one made.
    async fn recognise(&self, who: &Vouched) -> Result<Recognised> {
        match self.whose_now(who).await {
            Err(StoreError::Contention) => self.whose_now(who).await,
            other => other,
        }
    }

    async fn use_code(&self, name: &UserName, step: i64) -> Result<bool> {
        let sql = "UPDATE users SET totp_step = $2 WHERE name = $1 AND totp_step < $2 RETURNING name";
        Ok(!self.engine.write(sql, args![name.as_str(), step]).await?.is_empty())
    }

    async fn open_session(&self, token: &SessionHash, user: &UserName, limits: SessionLimits) -> Result<()> {
        let mut tx = self.engine.begin().await?;
        E::run(
            &mut tx,
            "DELETE FROM sessions WHERE seen_at < now() - $1 * {us} OR opened_at < now() - $2 * {us}",
            args![span(limits.idle), span(limits.whole)],
        )
        .await?;
        let sql =
            "INSERT INTO sessions (token_hash, user_name, opened_at, seen_at) VALUES ($1, $2, now(), now())";
        E::run(&mut tx, sql, args![token.as_str(), user.as_str()]).await?;
        E::commit(tx).await
    }

    async fn session(&self, token: &SessionHash, limits: SessionLimits) -> Result<Option<Session>> {
        let rows = self
            .engine
            .read(
                "SELECT u.name, u.role, u.sites, s.seen_at, now() FROM sessions s JOIN users u ON u.name = s.user_name
                 WHERE s.token_hash = $1 AND u.disabled_at IS NULL
                   AND s.seen_at >= now() - $2 * {us} AND s.opened_at >= now() - $3 * {us}",
                args![token.as_str(), span(limits.idle), span(limits.whole)],
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (seen, now): (Timestamp, Timestamp) = (row.time(3)?, row.time(4)?);
        if limits.touches && now.duration_since(seen) > TOUCH {
            let sql = "UPDATE sessions SET seen_at = now() WHERE token_hash = $1";
            self.engine.write(sql, args![token.as_str()]).await?;
        }
        Ok(Some(Session {
            user: row.word(0, UserName::parse)?,
            role: row.word(1, Role::from_word)?,
            sites: sites(row.text(2)?)?,
        }))
    }

    async fn close_session(&self, token: &SessionHash) -> Result<()> {
        self.engine.write("DELETE FROM sessions WHERE token_hash = $1", args![token.as_str()]).await?;
        Ok(())
    }

    async fn close_sessions_of(&self, issuer: &str, subject: &str) -> Result<bool> {
        let sql = "DELETE FROM sessions WHERE user_name IN
             (SELECT name FROM users WHERE issuer = $1 AND subject = $2) RETURNING user_name";
        Ok(!self.engine.write(sql, args![issuer, subject]).await?.is_empty())
    }
}

impl<E: Engine> Ledger<E> {
    /// False: there is one of that name, or of that subject.
    async fn add_row(&self, tx: &mut E::Tx, user: &User) -> Result<bool> {
        let sites = sites_text(&user.sites)?;
        let rows = std::slice::from_ref(user);
        let batch = vec![
            texts("name", rows, |u| u.name.as_str()),
            texts("role", rows, |u| u.role.as_str()),
            texts("sites", rows, |_| &sites),
            texts("password", rows, |u| u.password.as_str()),
            try_bytes("totp", rows, |u| {
                self.sealer.seal(Sealed::UserTotp.of(u.name.as_str()), u.totp.expose())
            })?,
            maybe_texts("issuer", rows, |u| u.link.as_ref().map(|link| link.issuer.as_str())),
            maybe_texts("subject", rows, |u| u.link.as_ref()?.subject.as_deref()),
        ];
        Ok(!E::run(tx, INSERT, Args::none().batch(batch)).await?.is_empty())
    }

    fn user_row(&self, row: &E::Row) -> Result<User> {
        let subject = row.maybe_text(8)?.map(str::to_owned);
        let bits =
            <[u8; 20]>::try_from(&*self.sealer.open(Sealed::UserTotp.of(row.text(0)?), row.bytes(4)?)?);
        Ok(User {
            name: row.word(0, UserName::parse)?,
            role: row.word(1, Role::from_word)?,
            sites: sites(row.text(2)?)?,
            password: PasswordHash::stored(row.text(3)?),
            totp: TotpSecret::from_bits(
                bits.map_err(|_| StoreError::Internal("an account's secret".to_owned()))?,
            ),
            created_at: row.time(5)?,
            disabled_at: row.maybe_time(6)?,
            link: row.maybe_text(7)?.map(|issuer| Link { issuer: issuer.to_owned(), subject }),
        })
    }

    async fn whose_now(&self, who: &Vouched) -> Result<Recognised> {
        let mut tx = self.engine.begin().await?;
        let mut found = self.of_subject(&mut tx, who).await?;
        if found.is_none()
            && who.binds
            && let Some(name) = &who.name
            && bind::<E>(&mut tx, who, name).await?
        {
            found = self.of_subject(&mut tx, who).await?;
        }
        let recognised = match found {
            Some(user) if user.disabled_at.is_some() => Recognised::Disabled(user.name),
            Some(user) => Recognised::Known(self.granted(&mut tx, who, user).await?),
            None => self.newcomer(&mut tx, who).await?,
        };
        E::commit(tx).await?;
        Ok(recognised)
    }

    async fn of_subject(&self, tx: &mut E::Tx, who: &Vouched) -> Result<Option<User>> {
        let sql = format!("{USERS} WHERE issuer = $1 AND subject = $2");
        let rows = E::run(tx, sql, args![who.issuer.as_str(), who.subject.as_str()]).await?;
        rows.first().map(|row| self.user_row(row)).transpose()
    }

    /// With the role and the sites that they have from now on.
    async fn granted(&self, tx: &mut E::Tx, who: &Vouched, user: User) -> Result<User> {
        let Some(granted) = &who.granted else { return Ok(user) };
        let sites = sites_text(&granted.sites)?;
        let sql = "UPDATE users SET role = $2, sites = $3 WHERE name = $1 RETURNING name";
        E::run(tx, sql, args![user.name.as_str(), granted.role.as_str(), sites.as_str()]).await?;
        Ok(User { role: granted.role, sites: granted.sites.clone(), ..user })
    }

    async fn newcomer(&self, tx: &mut E::Tx, who: &Vouched) -> Result<Recognised> {
        let Some(name) = &who.name else { return Ok(Recognised::Unknown) };
        let rows = E::run(tx, "SELECT name FROM users WHERE name = $1", args![name.as_str()]).await?;
        if let Some(row) = rows.first() {
            // Another window of theirs may have made it since it was looked for.
            if self.of_subject(tx, who).await?.is_some() {
                return Err(StoreError::Contention);
            }
            return Ok(Recognised::Taken(row.word(0, UserName::parse)?));
        }
        let Some(user) = &who.newcomer else { return Ok(Recognised::Unknown) };
        if !self.add_row(tx, user).await? {
            return Err(StoreError::Contention);
        }
        Ok(Recognised::Made(user.clone()))
    }
}

/// An account that waits for whoever comes by its name is theirs now. False: there is none.
async fn bind<E: Engine>(tx: &mut E::Tx, who: &Vouched, name: &UserName) -> Result<bool> {
    let sql =
        "UPDATE users SET subject = $3 WHERE name = $1 AND issuer = $2 AND subject IS NULL RETURNING name";
    let bound = E::run(tx, sql, args![name.as_str(), who.issuer.as_str(), who.subject.as_str()]).await?;
    Ok(!bound.is_empty())
}

fn span(length: std::time::Duration) -> i64 {
    micros(SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX))
}

fn sites_text(sites: &[SiteId]) -> Result<String> {
    serde_json::to_string(sites).map_err(|_| super::unfit("a list of sites"))
}

fn sites(json: &str) -> Result<Vec<SiteId>> {
    serde_json::from_str(json).map_err(|_| StoreError::Internal("an account's sites".to_owned()))
}
