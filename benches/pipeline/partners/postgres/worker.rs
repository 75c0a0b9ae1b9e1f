//! The worker that polls: takes the oldest messages that are not applied, folds what is in order into their rockets, and
//! commits both together. It looks again at once while there is more than it can take.

use std::collections::HashMap;
use std::time::Duration;

use rockets::internals::{Message, Record, wire};
use tokio::time::sleep;
use tokio_postgres::{Client, Statement, Transaction};
use uuid::Uuid;

/// Pause where nothing more is there.
const POLL: Duration = Duration::from_millis(100);
/// Most messages of one transaction.
const BATCH: usize = 1_000;

const TAKE: &str = "SELECT id, channel, body FROM messages WHERE applied_at IS NULL ORDER BY id LIMIT 1000";
const LOAD: &str = "SELECT channel, record FROM rockets WHERE channel = ANY($1)";
const STORE: &str = "INSERT INTO rockets SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[])
    ON CONFLICT (channel) DO UPDATE SET last_number = excluded.last_number, record = excluded.record";
const MARK: &str = "UPDATE messages SET applied_at = now() WHERE id = ANY($1)";

struct Statements {
    take: Statement,
    load: Statement,
    store: Statement,
    mark: Statement,
}

/// What became of some messages.
#[derive(Default)]
struct Folded {
    records: HashMap<Uuid, Record>,
    applied: Vec<i64>,
}

/// Applies messages until something fails.
pub async fn run(mut client: Client) -> anyhow::Result<()> {
    let (take, load) = (client.prepare(TAKE).await?, client.prepare(LOAD).await?);
    let statements = Statements { take, load, store: client.prepare(STORE).await?, mark: client.prepare(MARK).await? };
    loop {
        let transaction = client.transaction().await?;
        let (taken, applied) = apply(&transaction, &statements).await?;
        transaction.commit().await?;
        if taken < BATCH || applied == 0 {
            sleep(POLL).await;
        }
    }
}

/// Applies the oldest ones, and tells how many were looked at and how many applied.
async fn apply(transaction: &Transaction<'_>, statements: &Statements) -> anyhow::Result<(usize, usize)> {
    let taken = transaction.query(&statements.take, &[]).await?;
    if taken.is_empty() {
        return Ok((0, 0));
    }
    let channels: Vec<Uuid> = taken.iter().map(|row| row.get(1)).collect();
    let mut folded = Folded::default();
    for row in transaction.query(&statements.load, &[&channels]).await? {
        folded.records.insert(row.get(0), Record::from_bytes(row.get::<_, &str>(1).as_bytes())?);
    }
    for row in &taken {
        folded.fold(row.get(0), row.get(1), &wire::read(row.get::<_, &str>(2).as_bytes())?);
    }
    let records: Vec<_> = folded.records.iter().filter_map(stored).collect();
    let channels: Vec<_> = records.iter().map(|(channel, ..)| channel).collect();
    let numbers: Vec<_> = records.iter().map(|(_, number, _)| number).collect();
    let texts: Vec<_> = records.iter().map(|(.., text)| text).collect();
    transaction.execute(&statements.store, &[&channels, &numbers, &texts]).await?;
    transaction.execute(&statements.mark, &[&folded.applied]).await?;
    Ok((taken.len(), folded.applied.len()))
}

impl Folded {
    /// Applies a message where it is its turn. One that is refused takes its place all the same.
    fn fold(&mut self, id: i64, channel: Uuid, message: &Message) {
        let record = self.records.entry(channel).or_default();
        if record.next_number() == Some(message.number) {
            let _ = record.place(message);
            self.applied.push(id);
        }
    }
}

/// A rocket as it is stored; nothing is where its launch has not come.
fn stored((channel, record): (&Uuid, &Record)) -> Option<(Uuid, i64, String)> {
    let number = i64::try_from(record.applied_through()?.get()).ok()?;
    Some((*channel, number, String::from_utf8(record.to_bytes()).ok()?))
}
