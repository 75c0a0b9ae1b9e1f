//! POST of one message or of many, and GET of a rocket: each POST is one insert, answered when it is committed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use rockets::internals::{Message, Record, wire};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;
use warp::Filter as _;
use warp::http::StatusCode;
use warp::reply::{Reply as _, Response};

/// Connections to the database: of the 100 that it takes unless it is told otherwise.
const CONNECTIONS: usize = 64;
const BODY_BYTES_MAX: u64 = 4 * 1024 * 1024;

const INSERT: &str =
    "INSERT INTO messages (channel, number, body) SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[])
    ON CONFLICT (channel, number) DO NOTHING RETURNING channel, number, id";
const INSERT_ONE: &str = "INSERT INTO messages (channel, number, body) VALUES ($1, $2, $3)
    ON CONFLICT (channel, number) DO NOTHING RETURNING id";
const FIND: &str = "SELECT id FROM messages WHERE channel = $1 AND number = $2";
const ROCKET: &str =
    "SELECT record, (SELECT count(*) FROM messages m WHERE m.channel = r.channel AND m.number > r.last_number)
    FROM rockets r WHERE channel = $1";

/// Connections that requests take turns in.
#[derive(Clone)]
pub struct Pool {
    connections: Arc<Vec<Connection>>,
    next: Arc<AtomicUsize>,
}

struct Connection {
    client: Client,
    insert: Statement,
    insert_one: Statement,
    find: Statement,
    rocket: Statement,
}

/// A message as it is stored.
struct Row {
    channel: Uuid,
    number: i64,
    body: String,
}

impl Pool {
    pub async fn connect(url: &str, tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let client = super::connect(url, tasks).await?;
            let insert = client.prepare(INSERT).await?;
            let (insert_one, find) = (client.prepare(INSERT_ONE).await?, client.prepare(FIND).await?);
            let rocket = client.prepare(ROCKET).await?;
            connections.push(Connection { client, insert, insert_one, find, rocket });
        }
        Ok(Self { connections: Arc::new(connections), next: Arc::default() })
    }

    fn next(&self) -> &Connection {
        &self.connections[self.next.fetch_add(1, Ordering::Relaxed) % CONNECTIONS]
    }
}

impl Connection {
    /// Stores one message, and says what the answer says of it.
    async fn store(&self, row: &Row) -> anyhow::Result<Value> {
        let stored = self.client.query_opt(&self.insert_one, &[&row.channel, &row.number, &row.body]).await?;
        match stored {
            Some(stored) => Ok(json!({ "status": "ingested", "event_id": stored.get::<_, i64>(0) })),
            None => self.duplicate(row).await,
        }
    }

    /// Stores many in one transaction.
    async fn store_all(&self, rows: &[Row]) -> anyhow::Result<Vec<Value>> {
        let channels: Vec<_> = rows.iter().map(|row| row.channel).collect();
        let numbers: Vec<_> = rows.iter().map(|row| row.number).collect();
        let bodies: Vec<_> = rows.iter().map(|row| row.body.as_str()).collect();
        let stored = self.client.query(&self.insert, &[&channels, &numbers, &bodies]).await?;
        let key = |row: tokio_postgres::Row| ((row.get::<_, Uuid>(0), row.get::<_, i64>(1)), row.get::<_, i64>(2));
        let mut ids: HashMap<_, _> = stored.into_iter().map(key).collect();
        let mut results = Vec::new();
        for row in rows {
            results.push(match ids.remove(&(row.channel, row.number)) {
                Some(id) => json!({ "status": "ingested", "event_id": id }),
                None => self.duplicate(row).await?,
            });
        }
        Ok(results)
    }

    async fn duplicate(&self, row: &Row) -> anyhow::Result<Value> {
        let first = self.client.query_one(&self.find, &[&row.channel, &row.number]).await?;
        Ok(json!({ "status": "duplicate", "event_id": first.get::<_, i64>(0) }))
    }
}

/// Serves until it is killed.
pub async fn serve(pool: Pool, addr: SocketAddr) {
    let pool = warp::any().map(move || pool.clone());
    let body = warp::body::content_length_limit(BODY_BYTES_MAX).and(warp::body::bytes());
    let post = warp::path!("messages").and(warp::post()).and(pool.clone()).and(body).then(post);
    let get = warp::path!("rockets" / Uuid).and(warp::get()).and(pool).then(get);
    warp::serve(post.or(get)).run(addr).await;
}

async fn post(pool: Pool, body: Bytes) -> Response {
    if !body.starts_with(b"[") {
        return match row(&body) {
            Ok(row) => answer(pool.next().store(&row).await),
            Err(error) => refuse(StatusCode::BAD_REQUEST, &error),
        };
    }
    let texts: Result<Vec<&RawValue>, _> = serde_json::from_slice(&body);
    let rows = texts
        .map_err(anyhow::Error::from)
        .and_then(|texts| texts.into_iter().map(|text| row(text.get().as_bytes())).collect::<anyhow::Result<Vec<_>>>());
    match rows {
        Ok(rows) => answer(pool.next().store_all(&rows).await.map(|results| json!({ "results": results }))),
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error),
    }
}

async fn get(channel: Uuid, pool: Pool) -> Response {
    let connection = pool.next();
    match connection.client.query_opt(&connection.rocket, &[&channel]).await {
        Ok(Some(row)) => answer(rocket(channel, row.get(0), row.get(1))),
        Ok(None) => refuse(StatusCode::NOT_FOUND, &anyhow::anyhow!("rocket not found")),
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error.into()),
    }
}

/// A message, if it is one.
fn row(body: &[u8]) -> anyhow::Result<Row> {
    let Message { channel, number, .. } = wire::read(body)?;
    let channel = Uuid::parse_str(&channel.to_string())?;
    Ok(Row { channel, number: i64::try_from(number.get())?, body: std::str::from_utf8(body)?.to_owned() })
}

fn rocket(channel: Uuid, record: &str, pending: i64) -> anyhow::Result<Value> {
    let Record { rocket, last, .. } = Record::from_bytes(record.as_bytes())?;
    let (Some(rocket), Some(last)) = (rocket, last) else { anyhow::bail!("not launched") };
    Ok(json!({
        "id": channel.to_string(), "type": rocket.rocket_type, "currentSpeed": rocket.speed, "mission": rocket.mission,
        "status": "active", "launchTime": rocket.launch_time.as_str(), "lastUpdated": rocket.last_updated.as_str(),
        "lastMessageNumber": last.number.get(), "lastMessageTime": last.time.as_str(), "pendingMessages": pending,
    }))
}

fn answer(data: anyhow::Result<Value>) -> Response {
    match data {
        Ok(data) => {
            warp::reply::json(&json!({ "request_id": Uuid::new_v4().to_string(), "data": data })).into_response()
        }
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, &error),
    }
}

fn refuse(status: StatusCode, error: &anyhow::Error) -> Response {
    let answer = warp::reply::json(&json!({ "request_id": Uuid::new_v4().to_string(), "error": error.to_string() }));
    warp::reply::with_status(answer, status).into_response()
}
