//! How each kind of fault is done to a site, and undone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::by_hand;
use crate::harness::eventually;
use crate::load::{Load, Outcome};
use crate::plan::{Fault, Kind, Role};
use crate::proxy::Line;
use crate::site::Site;

/// How far a clock is off.
const HOUR_OFF: [Option<&str>; 2] = [Some("+1h"), Some("-1h")];
/// The stream of messages.
const STREAM: &str = "ROCKETS";
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
        Kind::DieInGroup(role, point) => site.slot(role, at).die_in_group(point).await,
        Kind::Freeze(role) | Kind::FreezeForGood(role) => {
            load.freezes.fetch_add(1, Ordering::SeqCst);
            load.frozen.fetch_add(1, Ordering::SeqCst);
            site.slot(role, at).freeze();
        }
        Kind::Cut(role) => site.slot(role, at).line(Line::Cut),
        Kind::Slow(role) => site.slot(role, at).line(Line::Slow(LATE)),
        Kind::Silent(role) => site.slot(role, at).line(Line::Silent),
        Kind::KillBroker => site.one().kill(),
        Kind::FreezeBroker => site.one().freeze(),
        Kind::Full => fill(site, load).await,
        Kind::KillNode => site.three().kill(at),
        Kind::FreezeNode => site.three().freeze(at),
        Kind::KillLeader => {
            let leader = site.three().leader_of(STREAM).await;
            site.three().kill(leader);
        }
        Kind::FreezeLeader => {
            let leader = site.three().leader_of(STREAM).await;
            site.three().freeze(leader);
        }
        Kind::Roll => site.three().roll().await,
        Kind::Upgrade => site.three().upgrade().await,
        Kind::DeleteDurable => by_hand::delete_durable(site, at).await,
        Kind::DeleteStore(store) => by_hand::delete_store(site, load, store).await,
        Kind::Trim => by_hand::trim(site, load).await,
        Kind::Forget => by_hand::forget(site, load).await,
        Kind::DeadLettersFull => by_hand::bound_dead_letters(site, true).await,
        Kind::ClockOff(role) => site.slot(role, at).begin_again(HOUR_OFF[at % 2]),
        Kind::StepDown => by_hand::step_down(site, at).await,
        Kind::CutRoutes => site.three().cut_off(at, true),
    }
}

/// Undoes it.
pub async fn heal(site: &mut Site, load: &Load, fault: Fault) {
    let Fault { kind, at } = fault;
    match kind {
        Kind::Kill(role) | Kind::KillForGood(role) | Kind::DieInGroup(role, _) => site.slot(role, at).revive(),
        Kind::Freeze(role) | Kind::FreezeForGood(role) => {
            site.slot(role, at).thaw();
            load.frozen.fetch_sub(1, Ordering::SeqCst);
        }
        Kind::Cut(role) | Kind::Slow(role) | Kind::Silent(role) => site.slot(role, at).line(Line::Open),
        Kind::KillBroker => site.one().restart().await,
        Kind::FreezeBroker => site.one().thaw(),
        Kind::Full => {
            site.one().give_room(None);
            site.one().restart().await;
        }
        Kind::KillNode | Kind::KillLeader | Kind::FreezeNode | Kind::FreezeLeader => site.three().mend().await,
        Kind::DeleteDurable => drop(site.program(&["init"]).ends().await.says(0)),
        Kind::DeleteStore(_) => by_hand::restore_store(site, load).await,
        Kind::DeadLettersFull => by_hand::bound_dead_letters(site, false).await,
        Kind::ClockOff(role) => site.slot(role, at).begin_again(None),
        Kind::CutRoutes => {
            site.three().cut_off(at, false);
            site.three().mend().await;
        }
        Kind::Roll | Kind::Upgrade | Kind::StepDown | Kind::Trim | Kind::Forget => {}
    }
}

/// Bounds the store by little more than what it has, and sends large messages until no more is taken: a message is
/// refused, and the ingress says why.
async fn fill(site: &mut Site, load: &Load) {
    let account = site.jetstream().await.query_account().await.unwrap();
    site.one().give_room(Some(account.storage + ROOM_LEFT));
    site.one().restart().await;
    let ingest = &site.clients(Role::Ingest)[0];
    eventually("the store is full", async || {
        let (number, mut message) = load.filler.next();
        message["padding"] = "x".repeat(LARGE).into();
        let outcome = load.post_to(ingest, &load.filler, number, &message).await;
        let told = ingest.try_get("/readyz").await.filter(|answer| answer.status == 503);
        let is_full =
            told.is_some_and(|answer| answer.body["data"]["problems"].to_string().contains("the store is full"));
        (outcome == Outcome::Refused && is_full).then_some(())
    })
    .await;
}
