//! The kind of design that many would choose: POST and GET of the same contract over PostgreSQL, and a worker that polls.
//!
//! [`server`] is a PostgreSQL of its own with the settings that it ships with: synced before it answers. [`service`] takes
//! messages into a table and answers after the commit; [`worker`] applies what is in order to a table of rockets. It is built
//! well: prepared statements, indexes, connections that are kept, one insert for a batch.
//!
//! What it leaves out that ours has, all to its advantage: outcomes, dead letters, pages, and that many waiting messages
//! hold nobody up.

mod server;
mod service;
mod worker;

use std::net::SocketAddr;

use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

pub use server::Database;

use crate::process::Process;

pub(super) const ARGUMENT: &str = "serve-postgres";

/// What is made in an empty database.
const TABLES: &str = "
    CREATE TABLE messages (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        channel uuid NOT NULL,
        number bigint NOT NULL,
        body text NOT NULL,
        received_at timestamptz NOT NULL DEFAULT now(),
        applied_at timestamptz,
        UNIQUE (channel, number)
    );
    CREATE INDEX messages_to_apply ON messages (id) WHERE applied_at IS NULL;
    CREATE TABLE rockets (channel uuid PRIMARY KEY, last_number bigint NOT NULL, record text NOT NULL);
";

/// Starts it as a process of its own, with empty tables.
pub async fn start(database: &Database) -> anyhow::Result<Process> {
    database.connect().await?.0.batch_execute(TABLES).await?;
    super::start(ARGUMENT, &[database.url()]).await
}

/// Serves until it is killed.
pub(super) async fn serve(addr: SocketAddr, url: &str) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    let pool = service::Pool::connect(url, &mut tasks).await?;
    let client = connect(url, &mut tasks).await?;
    tasks.spawn(worker::run(client));
    tasks.spawn(async move {
        service::serve(pool, addr).await;
        Ok(())
    });
    match tasks.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

/// A connection, which a task keeps.
async fn connect(url: &str, tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tasks.spawn(async move { Ok(connection.await?) });
    Ok(client)
}
