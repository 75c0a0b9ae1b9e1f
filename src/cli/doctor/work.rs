//! What is made of what is stored: who works on which partition, what waits to be applied, which gaps are old, and what
//! could not be applied.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Finding;
use crate::broker::Broker;
use crate::broker::dead_letters::list::count_by_reason;
use crate::broker::inspect::{Backlog, backlog, overview};
use crate::broker::membership::{Heartbeat, roll_call};
use crate::cli::common::following;
use crate::config::Config;
use crate::query::gaps::rows;

/// A message that has waited for so long to be applied is late: it is applied within milliseconds.
const LATE: Duration = Duration::from_secs(30);
/// A gap that is so old does not close by itself.
const GAP_OLD: Duration = Duration::from_secs(60 * 60);

/// All findings about the work.
pub(super) async fn examine(broker: &Broker, config: &Config) -> Vec<Finding> {
    // Without the log there is no work, and that is said already.
    let Ok(overview) = overview(broker).await else { return Vec::new() };
    let (trackers, backlogs, gaps, dead_letters) = tokio::join!(
        roll_call(broker),
        try_join_all((0..overview.partitions).map(|partition| backlog(broker, partition))),
        gaps(broker, config.gaps.skip_after),
        count_by_reason(broker),
    );
    let mut findings = match trackers {
        Ok(trackers) => vec![self::trackers(&trackers, overview.partitions)],
        Err(error) => vec![Finding::unanswered("trackers", &error)],
    };
    findings.push(backlogs.map_or_else(|error| Finding::unanswered("lag", &error), |backlogs| lag(&backlogs)));
    findings.push(gaps.unwrap_or_else(|error| Finding::unanswered("gaps", &error)));
    let dead_letters = dead_letters.map(|counts| self::dead_letters(&counts));
    findings.push(dead_letters.unwrap_or_else(|error| Finding::unanswered("dead letters", &error)));
    findings
}

fn trackers(words: &[Heartbeat], partitions: u16) -> Finding {
    let leaders = |partition: &u16| words.iter().filter(|word| word.leads.contains(partition)).count();
    let named = |partitions: &[u16]| partitions.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let alone: Vec<_> = (0..partitions).filter(|partition| leaders(partition) == 0).collect();
    let disputed: Vec<_> = (0..partitions).filter(|partition| leaders(partition) > 1).collect();
    let counts = || words.iter().map(|word| word.leads.len());
    let (fewest, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    match words.len() {
        0 => Finding::bad("trackers", "no tracker is there: nothing is applied", "start one (`rockets track`)"),
        _ if !alone.is_empty() => Finding::bad(
            "trackers",
            format!("nobody works on partition {}", named(&alone)),
            "look at `rockets partitions` and the trackers' logs; it settles within seconds after one has come or gone",
        ),
        _ if !disputed.is_empty() => Finding::warn(
            "trackers",
            format!("several trackers lead partition {}", named(&disputed)),
            "ask again: they agree within seconds, unless some cannot hear each other",
        ),
        _ if most > fewest + 1 => Finding::warn(
            "trackers",
            format!("partitions are shared unevenly: one tracker leads {most}, another {fewest}"),
            "ask again: it settles within seconds, unless some trackers cannot hear each other",
        ),
        1 => Finding::ok("trackers", format!("one tracker works on all {partitions} partitions")),
        count => Finding::ok("trackers", format!("{count} trackers share {partitions} partitions evenly")),
    }
}

fn lag(backlogs: &[Backlog]) -> Finding {
    let (now, waiting) = (OffsetDateTime::now_utc(), backlogs.iter().map(Backlog::messages).sum::<u64>());
    let is_late = |backlog: &Backlog| backlog.oldest.is_some_and(|oldest| now - oldest > LATE);
    let late: Vec<_> = (0_u16..).zip(backlogs).filter(|(_, backlog)| is_late(backlog)).collect();
    if late.is_empty() {
        return Finding::ok("lag", format!("{waiting} messages wait to be applied, none for longer than {LATE:?}"));
    }
    let named: Vec<_> = late.iter().map(|(partition, _)| partition.to_string()).collect();
    Finding::warn(
        "lag",
        format!(
            "{waiting} messages wait to be applied, some for longer than {LATE:?}, in partition {}",
            named.join(", ")
        ),
        "see whether it becomes less and whether more trackers would help (`rockets partitions`)",
    )
}

/// The oldest gap says it for all.
async fn gaps(broker: &Broker, skip_after: Option<Duration>) -> anyhow::Result<Finding> {
    let (count, oldest) = following(broker, async |live| {
        let oldest = rows(broker, &live.view.gaps(None, 1)).await?.pop();
        Ok((live.view.totals().1.gaps, oldest))
    })
    .await?;
    let since = oldest.and_then(|gap| OffsetDateTime::parse(&gap.since?, &Rfc3339).ok());
    let age = since.and_then(|since| Duration::try_from(OffsetDateTime::now_utc() - since).ok());
    Ok(oldest_gap(count, age.unwrap_or_default(), skip_after))
}

fn oldest_gap(count: u64, age: Duration, skip_after: Option<Duration>) -> Finding {
    let old = skip_after.map_or(GAP_OLD, |skip_after| skip_after.max(GAP_OLD));
    let shown = humantime::format_duration(Duration::from_secs(age.as_secs()));
    match count {
        0 => Finding::ok("gaps", "no rocket waits behind a gap"),
        _ if age < old => Finding::ok("gaps", format!("{count} rockets wait behind a gap, the longest for {shown}")),
        _ => Finding::warn(
            "gaps",
            format!("{count} rockets wait behind a gap, the longest for {shown}"),
            "see which (`rockets gaps`), and skip what will not come (`rockets skip`, gaps.skip_after)",
        ),
    }
}

fn dead_letters(counts: &BTreeMap<&'static str, u64>) -> Finding {
    let there: Vec<_> =
        counts.iter().filter(|(_, count)| **count > 0).map(|(reason, count)| format!("{count} {reason}")).collect();
    if there.is_empty() {
        return Finding::ok("dead letters", "there are none");
    }
    let remedy = "look at them (`rockets dlq list`), and replay or drop them";
    Finding::warn("dead letters", format!("{} could not be applied", there.join(", ")), remedy)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn every_partition_has_one_tracker_and_every_tracker_its_share() {
        let rows: [(&[&[u16]], Level); 7] = [
            (&[], Level::Bad),
            (&[&[0, 1, 2, 3]], Level::Ok),
            (&[&[0, 1], &[2, 3]], Level::Ok),
            (&[&[0, 1], &[2], &[3]], Level::Ok),
            (&[&[0, 1], &[2]], Level::Bad),
            (&[&[0, 1, 2], &[2, 3]], Level::Warn),
            (&[&[0, 1, 2], &[3]], Level::Warn),
        ];
        for (leads, expected) in rows {
            let word =
                |leads: &&[u16]| Heartbeat { name: "a".into(), leads: leads.to_vec(), leaves: false, misses: None };
            assert_eq!(trackers(&leads.iter().map(word).collect::<Vec<_>>(), 4).level, expected, "{leads:?}");
        }
    }

    #[test]
    fn what_waits_for_long_is_late() {
        let backlog = |seconds| Backlog {
            lag: 1,
            oldest: Some(OffsetDateTime::now_utc() - time::Duration::seconds(seconds)),
            ..Backlog::default()
        };
        assert_eq!(lag(&[Backlog::default(), backlog(1)]).level, Level::Ok);
        let late = lag(&[Backlog::default(), backlog(300)]);
        assert!(late.level == Level::Warn && late.detail.ends_with("in partition 1"), "{late:?}");
    }

    #[test]
    fn a_gap_is_old_after_an_hour_or_when_it_is_skipped() {
        let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
        let level = |count, age, skip_after| oldest_gap(count, age, skip_after).level;
        assert_eq!(level(0, hours(9), None), Level::Ok);
        assert_eq!(level(1, hours(0), None), Level::Ok);
        assert_eq!(level(1, hours(1), None), Level::Warn);
        assert_eq!(level(1, hours(5), Some(hours(24))), Level::Ok);
    }
}
