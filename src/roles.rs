//! Runs some of the roles in one process, on one port. The roles meet only through the broker, also here.
//!
//! The caller owns the ports and the shutdown, and has seen to it that the broker is set up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use strum::IntoStaticStr;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::admin::Operations;
use crate::broker::{Broker, ConnectionSettings, Monitor, Objects};
use crate::config::{Config, Track};
use crate::http::health::{self, Check, Checks};
use crate::http::route::any;
use crate::http::serve::Site;
use crate::http::{Address, Cors, Door, Entrance, Guard, Routes};
use crate::ingest::Ingest;
use crate::metrics::{IngestMetrics, Metrics, QueryMetrics};
use crate::query::feed::{self, LiveView};
use crate::query::{Events, Live};
use crate::replay::reading_permits;
use crate::traces::Traces;
use crate::traces::export::Export;
use crate::track::TrackSettings;
use crate::track::health::Signs;
use crate::upkeep::{self, Upkeep};
use crate::{admin, http, memory, openapi, page, query, track};

/// Something that a process can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Role {
    /// Takes messages in.
    Ingest,
    /// Keeps each rocket's state.
    Track,
    /// Answers questions about rockets.
    Query,
}

/// What inspects the broker's objects, and where it tells what it finds.
pub type Monitored = (Monitor, Objects);

/// Runs roles until the shutdown: first no more requests are taken, then what is in hand is finished, then the rest ends. The
/// last spans are sent after that.
pub async fn run(
    config: &Config,
    roles: &[Role],
    connection: &ConnectionSettings,
    monitor: Monitored,
    entrance: Entrance,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    memory::set(config.memory.messages, config.stream.partitions);
    let names: Vec<&str> = roles.iter().map(|role| role.into()).collect();
    let names = names.join(",");
    let export = Export::start(&names)?;
    let telemetry = Telemetry { metrics: Metrics::new(&names), traces: export.traces() };
    let result = run_with(config, roles, connection, monitor, entrance, telemetry, shutdown).await;
    export.finish().await;
    result
}

/// What this process tells of itself.
struct Telemetry {
    metrics: Metrics,
    traces: Traces,
}

async fn run_with(
    config: &Config,
    roles: &[Role],
    connection: &ConnectionSettings,
    monitor: Monitored,
    entrance: Entrance,
    mut telemetry: Telemetry,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let http_metrics = telemetry.metrics.http();
    let starting = Process::start_all(roles, config, connection, monitor, &mut telemetry);
    let Some(started) = shutdown.run_until_cancelled(starting).await else {
        return Ok(());
    };
    let mut process = started?;
    let checks = Checks { roles: process.checks, shutdown: shutdown.clone() };
    let of_metrics = http::metrics::routes(&Arc::new(telemetry.metrics));
    let of_process = [health::routes(&checks), of_metrics, openapi::routes()];
    let routes = any(process.routes.into_iter().chain(of_process));
    let (cors, is_loopback) = (Cors::new(&config.http.cors_origins), config.http.addr.is_loopback());
    let guard = Guard::new(cors, is_loopback, &config.http.hosts);
    let door = Door { auth: entrance.auth.clone(), ..Door::default() };
    let site = Site::new(routes, http_metrics, guard, door, telemetry.traces, config.http.bounds, shutdown.clone());
    announce(&entrance, config.http.addr, roles)?;
    process.tasks.spawn(until_the_end(entrance.auth.clone().run(process.rest.clone())));
    let serving = http::serve_all(entrance, site, process.closing.clone());
    let failed = tokio::select! {
        ((), ()) = async { tokio::join!(serving, close(&shutdown, config.http.drain_delay, &process.closing)) } => None,
        Some(ended) = process.tasks.join_next() => Some(ended),
    };
    if let Some(ingest) = process.ingest {
        ingest.drain().await;
    }
    if let Some(operations) = process.operations {
        operations.drain().await;
    }
    process.rest.cancel();
    let mut ended = failed.into_iter().chain(process.tasks.join_all().await.into_iter().map(Ok));
    ended.try_for_each(|ended| ended?)
}

/// Says where HTTP is served, and once what it means that everybody may do everything there. (A tracker changes nothing for
/// anybody who asks.)
fn announce(entrance: &Entrance, addr: Address, roles: &[Role]) -> anyhow::Result<()> {
    let is_encrypted = entrance.public.tls.is_some();
    for listener in &entrance.public.listeners {
        tracing::info!(addr = %listener.local_addr()?, is_encrypted, ?roles, "serving HTTP");
    }
    for listener in entrance.operators.iter().flat_map(|ports| &ports.listeners) {
        tracing::info!(addr = %listener.local_addr()?, is_encrypted, "serving HTTP for operators");
    }
    let is_asked_for_changes = roles.iter().any(|role| *role != Role::Track);
    if is_asked_for_changes && entrance.auth.is_off() && !addr.is_loopback() {
        tracing::warn!(%addr, "whoever reaches this address may send, skip, replay and drop: no keys are asked for (auth.mode)");
    }
    Ok(())
}

/// Lets load balancers look away before requests are refused: until then whoever asks is told that this process is not
/// ready.
async fn close(shutdown: &CancellationToken, delay: Duration, closing: &CancellationToken) {
    shutdown.cancelled().await;
    if !delay.is_zero() {
        tracing::info!(?delay, "not ready any more, serving goes on for a while");
        sleep(delay).await;
    }
    closing.cancel();
}

/// A task that ends well whenever it ends.
async fn until_the_end(task: impl Future<Output = ()>) -> anyhow::Result<()> {
    task.await;
    Ok(())
}

/// What the roles of one process have brought together.
#[derive(Default)]
struct Process {
    routes: Vec<Routes>,
    checks: BTreeMap<&'static str, Check>,
    tasks: JoinSet<anyhow::Result<()>>,
    ingest: Option<Ingest>,
    operations: Option<Operations>,
    /// When no more requests are taken: those in hand are to come to their end.
    closing: CancellationToken,
    /// Ends everything but HTTP.
    rest: CancellationToken,
}

impl Process {
    async fn start_all(
        roles: &[Role],
        config: &Config,
        connection: &ConnectionSettings,
        (mut monitor, objects): Monitored,
        telemetry: &mut Telemetry,
    ) -> anyhow::Result<Self> {
        let mut process = Self::default();
        for role in roles {
            process.start(*role, config, connection, (&mut monitor, &objects), telemetry).await?;
        }
        let (broker, rest) = (Broker::connect(connection, "health").await?, process.rest.clone());
        process.tasks.spawn(until_the_end(monitor.run(broker, rest)));
        if roles.iter().any(|role| matches!(role, Role::Ingest | Role::Query)) {
            process.start_operations(config, connection).await?;
        }
        Ok(process)
    }

    /// What an operator does is served wherever HTTP is more than health.
    async fn start_operations(&mut self, config: &Config, connection: &ConnectionSettings) -> anyhow::Result<()> {
        let broker = Broker::connect(connection, "dlq").await?;
        let operations = Operations::new(broker, config.stream.partitions).await?;
        self.routes.push(admin::routes::routes(&operations));
        self.operations = Some(operations);
        Ok(())
    }

    async fn start(
        &mut self,
        role: Role,
        config: &Config,
        connection: &ConnectionSettings,
        monitored: (&mut Monitor, &Objects),
        telemetry: &mut Telemetry,
    ) -> anyhow::Result<()> {
        let broker = Broker::connect(connection, role.into()).await?;
        let check = match role {
            Role::Ingest => self.start_ingest(broker, config, monitored, telemetry.metrics.ingest()),
            Role::Track => self.start_track(broker, config, monitored, telemetry),
            Role::Query => {
                self.start_query(broker, config.stream.partitions, monitored.1, telemetry.metrics.query()).await?
            }
        };
        self.checks.insert(role.into(), check);
        Ok(())
    }

    fn start_ingest(
        &mut self,
        broker: Broker,
        config: &Config,
        (monitor, objects): (&mut Monitor, &Objects),
        metrics: IngestMetrics,
    ) -> Check {
        let ingest = Ingest::new(broker, config.ingest, metrics);
        self.routes.push(ingest.routes());
        monitor.watch_publisher(ingest.publisher());
        self.tasks.spawn(until_the_end(ingest.bounds().clone().count(self.rest.clone())));
        let check = ingest.check(objects);
        self.ingest = Some(ingest);
        check
    }

    fn start_track(
        &mut self,
        broker: Broker,
        config: &Config,
        (monitor, objects): (&mut Monitor, &Objects),
        telemetry: &mut Telemetry,
    ) -> Check {
        let (partitions, Track { ack_wait, group_commit }) = (config.stream.partitions, config.track);
        let settings = TrackSettings { partitions, ack_wait, group_commit, outcomes: true };
        let (metrics, traces) = (telemetry.metrics.track(partitions), telemetry.traces.clone());
        let signs = Signs { metrics, traces, ..Signs::default() };
        monitor.watch_track_stores(&signs.stores);
        let (check, rest) = (track::health::check(&broker, objects, &signs), self.rest.clone());
        let (leads, led) = watch::channel(Arc::from([]));
        let observing =
            track::observe::run(broker.clone(), led.clone(), signs.metrics.partitions.clone(), self.rest.clone());
        self.tasks.spawn(until_the_end(observing));
        let upkeep = Upkeep { broker: broker.clone(), partitions, retention: config.retention, gaps: config.gaps, led };
        if upkeep.has_to_do() {
            self.tasks.spawn(upkeep::run(upkeep, self.rest.clone()));
        }
        self.tasks.spawn(track::run(broker, settings, reading_permits(), signs, leads, rest));
        check
    }

    async fn start_query(
        &mut self,
        broker: Broker,
        partitions: u16,
        objects: &Objects,
        metrics: QueryMetrics,
    ) -> anyhow::Result<Check> {
        let live = Arc::new(LiveView::default());
        let events = Events::new(&broker, &live, self.closing.clone()).await?;
        let following = Live::new(&live, self.closing.clone());
        self.routes.push(query::routes::routes(&live, &broker, &events, &following));
        self.routes.push(query::history::routes::routes(&broker, partitions, reading_permits()));
        self.routes.push(page::routes());
        let (check, rest) = (query::routes::check(&live, &broker, objects), self.rest.clone());
        let observing = query::observe::run(broker.clone(), live.clone(), following.clone(), metrics, rest.clone());
        let pulsing = following.run(broker.clone(), self.rest.clone());
        self.tasks.spawn(until_the_end(observing));
        self.tasks.spawn(until_the_end(pulsing));
        self.tasks.spawn(until_the_end(feed::run(broker, live, rest)));
        Ok(check)
    }
}
