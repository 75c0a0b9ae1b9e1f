//! How each kind of fault is done to a site, and undone.

use std::time::Duration;

use crate::harness::eventually;
use crate::load::{Load, Outcome};
use crate::plan::{Fault, Kind, Role};
use crate::proxy::Line;
use crate::site::Site;

/// What a store that is to be full may take beyond what it has.
const ROOM_LEFT: u64 = 256 * 1024;
/// How late each piece is on a slow line.
const LATE: Duration = Duration::from_millis(60);
/// How large a message is that fills the store.
const LARGE: usize = 48 * 1024;

/// Does a fault to the site.
pub async fn inflict(site: &mut Site, load: &Load, fault: Fault) {
    let Fault { kind, at } = fault;
    match kind {
        Kind::Kill(role) | Kind::KillForGood(role) => site.slot(role, at).kill(),
        Kind::Freeze(role) | Kind::FreezeForGood(role) => site.slot(role, at).freeze(),
        Kind::Cut(role) => site.slot(role, at).proxy.set(Line::Cut),
        Kind::Slow(role) => site.slot(role, at).proxy.set(Line::Slow(LATE)),
        Kind::Silent(role) => site.slot(role, at).proxy.set(Line::Silent),
        Kind::KillBroker => site.broker.kill(),
        Kind::FreezeBroker => site.broker.freeze(),
        Kind::Full => fill(site, load).await,
    }
}

/// Undoes it.
pub async fn heal(site: &mut Site, fault: Fault) {
    let Fault { kind, at } = fault;
    match kind {
        Kind::Kill(role) | Kind::KillForGood(role) => site.slot(role, at).revive(),
        Kind::Freeze(role) | Kind::FreezeForGood(role) => site.slot(role, at).thaw(),
        Kind::Cut(role) | Kind::Slow(role) | Kind::Silent(role) => site.slot(role, at).mend(),
        Kind::KillBroker => site.broker.restart().await,
        Kind::FreezeBroker => site.broker.thaw(),
        Kind::Full => {
            site.broker.give_room(None);
            site.broker.restart().await;
        }
    }
}

/// Bounds the store by little more than what it has, and sends large messages until no more is taken: with the broker
/// there, a message is refused.
async fn fill(site: &mut Site, load: &Load) {
    let account = site.jetstream().await.query_account().await.unwrap();
    site.broker.give_room(Some(account.storage + ROOM_LEFT));
    site.broker.restart().await;
    let ingest = &site.clients(Role::Ingest)[0];
    eventually("the store is full", async || {
        let (number, mut message) = load.filler.next();
        message["padding"] = "x".repeat(LARGE).into();
        let ready = async || ingest.try_get("/readyz").await.is_some_and(|answer| answer.status == 200);
        let was_ready = ready().await;
        let outcome = load.post_to(ingest, &load.filler, number, &message).await;
        (was_ready && outcome == Outcome::Refused && ready().await).then_some(())
    })
    .await;
}
