//! `holdfast key`.

use std::path::PathBuf;

use holdfast_repository::{KeyId, Repository};
use serde_json::json;

use crate::arguments::Global;
use crate::outcome::{Failure, Outcome};
use crate::{repository, text};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List the passwords' keys; `*` is the one in use.
    List,
    /// Let another password open the repository.
    Add(New),
    /// Let a password open it no more. Come with another one: the key in use is never removed.
    Remove {
        /// The key, as `holdfast key list` names it.
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Put another password in the place of the one in use.
    Passwd(New),
}

#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// A file with the new password; without it the variable HOLDFAST_NEW_PASSWORD is used.
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, verb: &Verb) -> Result<Outcome, Failure> {
    match verb {
        Verb::List => list(global).await,
        Verb::Add(new) => {
            let repository = repository::open(global).await?;
            let id = repository.add_key(&repository::new_password(new.new_password_file.as_deref())?).await?;
            say(global, "added", &id);
            Ok(Outcome::Done)
        }
        Verb::Remove { key } => {
            let id = key.parse::<KeyId>().map_err(|_| Failure::new(format!("{key:?} is no key; holdfast key list names them")))?;
            repository::open(global).await?.remove_key(&id).await?;
            say(global, "removed", &id);
            Ok(Outcome::Done)
        }
        Verb::Passwd(new) => change(global, new).await,
    }
}

async fn list(global: &Global) -> Result<Outcome, Failure> {
    let keys = repository::open(global).await?.keys().await?;
    if global.json {
        let keys: Vec<_> = keys
            .iter()
            .map(|key| json!({ "id": key.id.to_string(), "in_use": key.is_own, "created_ms": key.created_ms.as_ref().ok() }))
            .collect();
        println!("{}", json!({ "keys": keys }));
        return Ok(Outcome::Done);
    }
    for key in keys {
        let mark = if key.is_own { '*' } else { ' ' };
        match key.created_ms {
            Ok(created_ms) => println!("{mark} {}  {}", key.id, text::time(created_ms)),
            Err(error) => println!("{mark} {}  {}", key.id, text::one_line(&error.to_string())),
        }
    }
    Ok(Outcome::Done)
}

/// The new password must have opened the repository before the old one goes.
async fn change(global: &Global, new: &New) -> Result<Outcome, Failure> {
    let password = repository::new_password(new.new_password_file.as_deref())?;
    if password.expose() == repository::password(global)?.expose() {
        return Err(Failure::new("the new password is the one in use; nothing was changed"));
    }
    let by_the_old = repository::open(global).await?;
    let added = by_the_old.add_key(&password).await?;
    let old = by_the_old.keys().await?.into_iter().find(|key| key.is_own).map(|key| key.id);
    let by_the_new = Repository::open(repository::store(global)?, &password, holdfast_repository::Environment::system()).await?;
    if let Some(old) = old {
        by_the_new.remove_key(&old).await?;
        say(global, "removed", &old);
    }
    say(global, "added", &added);
    Ok(Outcome::Done)
}

fn say(global: &Global, what: &str, id: &KeyId) {
    if global.json {
        println!("{}", json!({ "key": id.to_string(), "done": what }));
    } else {
        println!("{what} key {id}");
    }
}
