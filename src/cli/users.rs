//! `outreachd users`: who may sign in to the console, and as what.

use std::io::{IsTerminal as _, Read as _};

use clap::Subcommand;
use jiff::Timestamp;

use super::audit::record;
use super::messages::short;
use super::out::Table;
use super::{Desk, Failure, args};
use crate::config::Config;
use crate::domain::credential::{MAX_PASSWORD, MIN_PASSWORD, PasswordHash, TotpSecret, password_of};
use crate::domain::ids::{SiteId, UserName};
use crate::domain::people::Role;
use crate::store::people::{Link, User, UserChange};

/// Accounts of people. As soon as there is one, everybody signs in, on this machine too.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an account; its password and the secret of its authenticator are shown once
    #[command(after_help = "Examples:\n  outreachd users add ana --role operator\n  \
        outreachd users add ben --role coordinator --site lakeside-north\n  \
        outreachd users add cho@example.org --role viewer --oidc")]
    Add {
        /// 1 to 64 of a-z 0-9 . _ @ -
        #[arg(value_parser = args::user)]
        name: UserName,
        /// viewer, operator, coordinator, approver or admin
        #[arg(long, value_parser = args::role)]
        role: Role,
        /// Sees this site only; repeat it for several
        #[arg(long, value_parser = args::site)]
        site: Vec<SiteId>,
        /// Read the password from standard input instead of making one
        #[arg(long)]
        password_stdin: bool,
        /// Without a password: of whoever first signs in by this name at the identity provider ([console.oidc])
        #[arg(long, conflicts_with = "password_stdin")]
        oidc: bool,
    },
    /// List the accounts
    #[command(after_help = "Example:\n  outreachd users list")]
    List,
    /// Close an account and sign it out everywhere
    #[command(after_help = "Example:\n  outreachd users disable ana")]
    Disable {
        #[arg(value_parser = args::user)]
        name: UserName,
    },
    /// Open a closed account again
    #[command(after_help = "Example:\n  outreachd users enable ana")]
    Enable {
        #[arg(value_parser = args::user)]
        name: UserName,
    },
    /// Let whoever next signs in by this name at the identity provider have the account, and sign it out everywhere
    #[command(after_help = "Example:\n  outreachd users link ana")]
    Link {
        #[arg(value_parser = args::user)]
        name: UserName,
    },
    /// Give an account a new password and a new secret, and sign it out everywhere
    #[command(after_help = "Example:\n  outreachd users reset ana")]
    Reset {
        #[arg(value_parser = args::user)]
        name: UserName,
        /// Read the password from standard input instead of making one
        #[arg(long)]
        password_stdin: bool,
    },
}

pub(super) async fn run(desk: &mut Desk, command: Command) -> Result<(), Failure> {
    match command {
        Command::Add { name, role, site, password_stdin, oidc } => {
            let way = if oidc { Way::Provider } else { Way::Password { from_stdin: password_stdin } };
            add(desk, name, role, site, way).await
        }
        Command::List => list(desk).await,
        Command::Disable { name } => change_user(desk, &name, UserChange::Disable, "user.disable").await,
        Command::Enable { name } => change_user(desk, &name, UserChange::Enable, "user.enable").await,
        Command::Link { name } => {
            let config = desk.config()?;
            let change = UserChange::Link(issuer(&config)?);
            change_user(desk, &name, change, "user.link").await
        }
        Command::Reset { name, password_stdin } => reset(desk, &name, password_stdin).await,
    }
}

/// How a new account is opened.
enum Way {
    Password {
        from_stdin: bool,
    },
    /// By whoever the identity provider knows by its name.
    Provider,
}

/// The identity provider in force.
fn issuer(config: &Config) -> Result<String, Failure> {
    let oidc = config.console.oidc.as_ref().ok_or_else(|| {
        Failure::said("no identity provider is configured", "set up [console.oidc] first; see the README")
    })?;
    Ok(oidc.issuer.clone())
}

async fn add(
    desk: &mut Desk,
    name: UserName,
    role: Role,
    sites: Vec<SiteId>,
    way: Way,
) -> Result<(), Failure> {
    if role == Role::Admin && !sites.is_empty() {
        return Err(Failure::said(
            "an admin cannot be limited to sites",
            "leave --site out, or choose another role",
        ));
    }
    let config = desk.config()?;
    if let Some(unknown) = sites.iter().find(|site| config.site(site).is_none()) {
        let what = format!("there is no site {unknown} in the configuration");
        return Err(Failure::said(what, "use the id of a `[[site]]`"));
    }
    let store = Desk::store(&config).await?;
    let (fresh, link) = match way {
        Way::Password { from_stdin } => (Some(Fresh::make(from_stdin)?), None),
        Way::Provider => (None, Some(Link { issuer: issuer(&config)?, subject: None })),
    };
    let user = User {
        name: name.clone(),
        role,
        sites,
        password: fresh.as_ref().map_or_else(PasswordHash::of_nobody, |fresh| fresh.hash.clone()),
        totp: fresh
            .as_ref()
            .map_or_else(|| TotpSecret::from_bits(rand::random()), |fresh| fresh.totp.clone()),
        created_at: Timestamp::UNIX_EPOCH,
        disabled_at: None,
        link,
    };
    if !store.add_user(&user).await? {
        let what = format!("there is an account {name} already");
        return Err(Failure::said(
            what,
            "choose another name, or give it new credentials: outreachd users reset",
        ));
    }
    record(store.as_ref(), "user.add", &name, role.as_str()).await?;
    match fresh {
        Some(fresh) => fresh.tell(desk, &name),
        None => Ok(desk.out.line(format!("{name}: done; of whoever first signs in by that name"))?),
    }
}

async fn reset(desk: &mut Desk, name: &UserName, password_stdin: bool) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let fresh = Fresh::make(password_stdin)?;
    let change = UserChange::Credentials(fresh.hash.clone(), fresh.totp.clone());
    if !store.change_user(name, &change).await? {
        return Err(missing(name));
    }
    record(store.as_ref(), "user.reset", name, "").await?;
    fresh.tell(desk, name)
}

async fn change_user(desk: &mut Desk, name: &UserName, change: UserChange, act: &str) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    if !store.change_user(name, &change).await? {
        return Err(missing(name));
    }
    record(store.as_ref(), act, name, "").await?;
    Ok(desk.out.line(format!("{name}: done; signed out everywhere"))?)
}

async fn list(desk: &mut Desk) -> Result<(), Failure> {
    let config = desk.config()?;
    let users = Desk::store(&config).await?.users().await?;
    if desk.json {
        return Ok(users.iter().try_for_each(|user| desk.out.json(user))?);
    }
    if users.is_empty() {
        let text = "nobody has an account; whoever sits at this machine needs none until then";
        return Ok(desk.out.line(text)?);
    }
    let mut table = Table::new(&["name", "role", "sites", "made", "signs in", "state"]);
    for user in &users {
        let sites: Vec<&str> = user.sites.iter().map(|site| site.as_str()).collect();
        table.row([
            user.name.to_string(),
            user.role.to_string(),
            if sites.is_empty() { "all".to_owned() } else { sites.join(", ") },
            short(user.created_at),
            signs_in(user).to_owned(),
            if user.disabled_at.is_some() { "disabled".to_owned() } else { "open".to_owned() },
        ]);
    }
    Ok(table.write(&mut desk.out)?)
}

fn signs_in(user: &User) -> &'static str {
    match &user.link {
        None => "by password",
        Some(Link { subject: None, .. }) => "by provider, not yet",
        Some(Link { subject: Some(_), .. }) => "by provider",
    }
}

/// New credentials, as long as they are known.
struct Fresh {
    /// `None`: whoever gave it knows it.
    password: Option<String>,
    hash: PasswordHash,
    totp: TotpSecret,
}

impl Fresh {
    fn make(from_stdin: bool) -> Result<Self, Failure> {
        let made = (!from_stdin).then(|| password_of(rand::random()));
        let password = match &made {
            Some(made) => made.clone(),
            None => read_password()?,
        };
        let hash = PasswordHash::new(&password, rand::random()).ok_or_else(|| {
            let what =
                format!("the password must have {MIN_PASSWORD} characters, and at most {MAX_PASSWORD} bytes");
            Failure::said(what, "several words are easy to keep in mind")
        })?;
        Ok(Self { password: made, hash, totp: TotpSecret::from_bits(rand::random()) })
    }

    /// Shows what is shown once.
    fn tell(&self, desk: &mut Desk, name: &UserName) -> Result<(), Failure> {
        let link = self.totp.link(name.as_str());
        if desk.json {
            let told = serde_json::json!({
                "name": name, "password": self.password, "totp": self.totp.base32(), "totp_link": link,
            });
            return Ok(desk.out.json(&told)?);
        }
        desk.out.line(format!("account   {name}"))?;
        if let Some(password) = &self.password {
            desk.out.line(format!("password  {password}"))?;
        }
        desk.out.line(format!("secret    {}   (type it into an authenticator)", self.totp.base32()))?;
        desk.out.line(format!("or as     {link}"))?;
        Ok(desk.out.line("neither is shown again; hand them over in person")?)
    }
}

fn read_password() -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::said(
            "a password typed here would be seen",
            "send it from a file or a password manager: outreachd users add ... --password-stdin < FILE",
        ));
    }
    let mut text = String::new();
    let limit = u64::try_from(MAX_PASSWORD).unwrap_or(u64::MAX) + 2;
    stdin.take(limit).read_to_string(&mut text).map_err(|error| {
        Failure::said(format!("standard input: {}", error.kind()), "send the password as UTF-8, on one line")
    })?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

fn missing(name: &UserName) -> Failure {
    Failure::said(format!("there is no account {name}"), "look at `outreachd users list`")
}
