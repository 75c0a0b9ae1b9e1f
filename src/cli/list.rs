//! `rockets list`: what `GET /rockets` answers, from the command line and straight from the broker.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::ensure;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::{Serialize, Serializer};
use strum::VariantNames;

use super::Settings;
use super::common::{at_broker, following};
use super::listing::{Row, Shown};
use crate::domain::MessageTime;
use crate::query::feed::{Freshness, LiveView};
use crate::query::filter::{Filter, Moment};
use crate::query::public::PublicStatus;
use crate::query::selection::{Selection, SortBy};
use crate::query::view::Order;
use crate::query::{Entry, ListRequest, PublicRocket, page};

/// What can be said behind `rockets list`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    filters: Filters,
    /// What they are sorted by
    #[arg(long, value_name = "FIELD", value_parser = one_of::<SortBy>(), default_value = "channel")]
    sort_by: SortBy,
    /// Which ones come first
    #[arg(long, value_enum, default_value = "asc")]
    order: Order,
    /// At most so many [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    settings: Settings,
}

/// The filters of `GET /rockets`.
#[derive(Debug, Args)]
struct Filters {
    /// Only those of this status
    #[arg(long, value_parser = one_of::<PublicStatus>())]
    status: Option<PublicStatus>,
    /// Only those of exactly this type
    #[arg(long = "type", value_name = "TYPE")]
    rocket_type: Option<String>,
    /// Only those with exactly this mission
    #[arg(long)]
    mission: Option<String>,
    /// Only those that are as fast as this, or faster
    #[arg(long, value_name = "SPEED", value_parser = clap::value_parser!(i64).range(0..))]
    min_speed: Option<i64>,
    /// Only those that are as fast as this, or slower
    #[arg(long, value_name = "SPEED", value_parser = clap::value_parser!(i64).range(0..))]
    max_speed: Option<i64>,
    /// Only those launched later than this (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    launched_after: Option<Moment>,
    /// Only those launched earlier than this (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    launched_before: Option<Moment>,
}

/// Shows the rockets, by channel unless asked otherwise.
pub(super) async fn run(options: Options) -> ExitCode {
    let Options { filters, sort_by, order, limit, shown, settings } = options;
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX - 1));
    let request = ListRequest { selection: Selection { sort_by, order, filter: filters.into() }, limit, after: None };
    at_broker(settings, async |broker, _| {
        following(&broker, async |live| shown.show(async || rockets(live, &request)).await).await
    })
    .await
}

fn rockets(live: &LiveView, request: &ListRequest) -> anyhow::Result<Vec<Rocket>> {
    ensure!(live.freshness() != Freshness::Stale, "the broker is away, and rockets may have changed");
    Ok(page(&live.view, request).rockets.into_iter().map(Rocket).collect())
}

/// A parser of the names of something.
fn one_of<
    T: VariantNames + std::str::FromStr<Err: std::error::Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
>() -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(T::VARIANTS).try_map(|name| name.parse::<T>())
}

fn moment(text: &str) -> Result<Moment, &'static str> {
    let time = MessageTime::parse(text).ok_or("must be a time of RFC 3339 such as 2022-02-02T19:39:05Z")?;
    Ok(Moment(time.instant()))
}

impl From<Filters> for Filter {
    fn from(filters: Filters) -> Self {
        let Filters { status, rocket_type, mission, min_speed, max_speed, launched_after, launched_before } = filters;
        Self { status, rocket_type, mission, min_speed, max_speed, launched_after, launched_before }
    }
}

/// A rocket of the list.
struct Rocket(Arc<Entry>);

impl Serialize for Rocket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PublicRocket::from(&*self.0).serialize(serializer)
    }
}

impl Row for Rocket {
    const COLUMNS: &'static [&'static str] =
        &["id", "status", ">speed", ">number", ">pending", "last updated", "type", "mission"];
    const NONE: &'static str = "no rockets found";

    fn key(&self) -> String {
        self.0.channel.to_string()
    }

    fn cells(&self) -> Vec<String> {
        let Entry { channel, rocket, last, pending, .. } = &*self.0;
        vec![
            channel.to_string(),
            PublicStatus::from(&rocket.status).to_string(),
            rocket.speed.to_string(),
            last.number.to_string(),
            pending.to_string(),
            rocket.last_updated.to_string(),
            rocket.rocket_type.clone(),
            rocket.mission.clone(),
        ]
    }
}
