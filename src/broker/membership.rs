//! Which trackers there are, by what they say of themselves on plain subjects: nothing of it is stored, and nothing of it
//! is needed for anything to be right. A tracker that hears nobody takes itself for the only one, and shares the work
//! with others by turns.
//!
//! Once a second each says that it is there and what it is first for; it says so at once when it comes, when it hears of
//! somebody new, and when it goes. Whoever has been silent for [`SILENT_BEATS_MAX`] is taken for gone. In between each asks
//! the one whose name comes after its own whether it is there: where that one's connection has ended, the broker itself
//! answers that nobody listens, and then all are told. So whoever is killed is missed after a beat, at the cost of one
//! question a beat for each tracker, however many there are.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Message, Request, StatusCode, Subscriber};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::connection::{PUBLISH_TIMEOUT, within};
use super::topology::{TRACKER_PINGS, TRACKER_WORDS, tracker_ask_subject, tracker_word_subject};
use super::{Broker, BrokerError};

/// Time between two beats.
const BEAT: Duration = Duration::from_millis(250);
/// On every so many a tracker says that it is there.
const BEATS_A_WORD: u64 = 4;
/// Beats that somebody may be silent for. Beats are counted and no time is measured, so that a tracker that stood still
/// itself does not take the others for gone.
const SILENT_BEATS_MAX: u32 = 9;
/// How long a newcomer waits for the others to answer, and anybody for one other.
const ANSWER_MAX: Duration = Duration::from_millis(250);
/// How long somebody who is no tracker waits for the answers of all.
const ROLL_CALL_MAX: Duration = Duration::from_millis(500);
/// Partitions of the widest stream; a word that names more is not from a tracker.
const LEADS_MAX: usize = 256;
/// Other trackers that are listened to: no more can have a pull waiting at the broker. Further names are not heard.
const OTHERS_MAX: usize = 256;

/// What a tracker says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Its name.
    pub name: String,
    /// The partitions that it is first for, as it sees it.
    pub leads: Vec<u16>,
    /// Whether it is about to go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaves: bool,
    /// Whose connection it has just found to have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misses: Option<String>,
}

/// One tracker among others.
pub struct Membership {
    broker: Broker,
    name: String,
    leads: Vec<u16>,
    words: Subscriber,
    asks: Subscriber,
    own_pings: Subscriber,
    beat: Interval,
    /// Counts beats.
    beats: u64,
    others: Others,
    /// The question whether the next one is there.
    query: Option<BoxFuture<'static, (String, bool)>>,
}

impl Membership {
    /// Says that this tracker is there, and waits for the others to answer, if there are any.
    pub async fn join(broker: &Broker) -> Result<Self, BrokerError> {
        let name = broker.instance().to_owned();
        let words = subscribe(broker, TRACKER_WORDS.into()).await?;
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Only the others listen for questions yet: if nobody answers for all, there is nobody to wait for.
        let alone = !listens(broker, TRACKER_PINGS.into()).await;
        let (asks, own_pings) =
            (subscribe(broker, TRACKER_PINGS.into()).await?, subscribe(broker, tracker_ask_subject(&name)).await?);
        let mut membership = Self {
            broker: broker.clone(),
            name,
            leads: Vec::new(),
            words,
            asks,
            own_pings,
            beat,
            beats: 0,
            others: Others::default(),
            query: None,
        };
        membership.say(membership.word()).await;
        if !alone {
            let hearing = async { while membership.hear().await.is_some() {} };
            let _ = timeout(ANSWER_MAX, hearing).await;
        }
        Ok(membership)
    }

    /// Its own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of all trackers that are there, its own among them.
    pub fn names(&self) -> Vec<&str> {
        self.others.silent_beats.keys().map(String::as_str).chain([self.name()]).collect()
    }

    /// Notes what this tracker is first for, and says so.
    pub async fn lead(&mut self, leads: Vec<u16>) {
        self.leads = leads;
        self.say(self.word()).await;
    }

    /// Waits until another tracker has come or gone. Nothing is lost when the wait is given up.
    pub async fn changed(&mut self) {
        loop {
            match self.hear().await {
                Some(true) => return,
                Some(false) => {}
                // The connection has ended for good: nothing changes any more.
                None => std::future::pending().await,
            }
        }
    }

    /// Says that this tracker goes, so that the others need not find it out.
    pub async fn leave(mut self) {
        self.say(Heartbeat { leaves: true, ..self.word() }).await;
        // Without a broker there is nobody to tell.
        let _ = self.broker.flush().await;
    }

    /// Waits for one thing to happen, and returns whether another tracker has come or gone by it; nothing where the
    /// connection has ended for good.
    async fn hear(&mut self) -> Option<bool> {
        tokio::select! {
            biased;
            word = self.words.next() => {
                let change = self.others.heard(&word?, &self.name);
                if change == Change::Came || change == Change::MissesUs {
                    self.say(self.word()).await;
                }
                Some(change == Change::Came || change == Change::Went)
            }
            ask = self.asks.next() => self.answer(ask?).await,
            ask = self.own_pings.next() => self.answer(ask?).await,
            (name, is_there) = answer_to(&mut self.query) => Some(!is_there && self.misses(&name).await),
            _ = self.beat.tick() => Some(self.beats().await),
        }
    }

    /// Lets a beat pass, and returns whether somebody is gone by it.
    async fn beats(&mut self) -> bool {
        self.beats += 1;
        if self.beats.is_multiple_of(BEATS_A_WORD) {
            self.say(self.word()).await;
        }
        if !self.broker.is_connected() {
            // Nobody can be heard, so that silence says nothing.
            return false;
        }
        if let (None, Some(next)) = (&self.query, self.others.next_to(&self.name)) {
            let (broker, name) = (self.broker.clone(), next.to_owned());
            let query = async move {
                let is_there = listens(&broker, tracker_ask_subject(&name)).await || !broker.is_connected();
                (name, is_there)
            };
            self.query = Some(query.boxed());
        }
        self.others.beat()
    }

    /// Takes a tracker for gone whose connection has ended, and says so; returns whether it was there before.
    async fn misses(&mut self, name: &str) -> bool {
        let was_there = self.others.silent_beats.remove(name).is_some();
        if was_there {
            self.say(Heartbeat { misses: Some(name.to_owned()), ..self.word() }).await;
        }
        was_there
    }

    /// What there is to say when nothing has happened.
    fn word(&self) -> Heartbeat {
        Heartbeat { name: self.name.clone(), leads: self.leads.clone(), leaves: false, misses: None }
    }

    async fn say(&mut self, word: Heartbeat) {
        publish(&self.broker, tracker_word_subject(&self.name), &word).await;
    }

    async fn answer(&mut self, ask: Message) -> Option<bool> {
        if let Some(reply) = ask.reply {
            publish(&self.broker, reply.to_string(), &self.word()).await;
        }
        Some(false)
    }
}

/// Waits for the answer to a question, if one was asked; it is not asked any more then.
async fn answer_to(query: &mut Option<BoxFuture<'static, (String, bool)>>) -> (String, bool) {
    match query {
        Some(asked) => {
            let answer = asked.await;
            *query = None;
            answer
        }
        None => std::future::pending().await,
    }
}

/// Whether anybody listens on a subject. One that listens and is slow to answer is there.
async fn listens(broker: &Broker, subject: String) -> bool {
    let request = Request::new().timeout(Some(ANSWER_MAX));
    let answer = timeout(2 * ANSWER_MAX, broker.client().send_request(subject, request)).await;
    !matches!(answer, Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders)
}

/// Asks all trackers what they say of themselves; by name.
pub async fn roll_call(broker: &Broker) -> Result<Vec<Heartbeat>, BrokerError> {
    let inbox = broker.client().new_inbox();
    let mut answers = subscribe(broker, inbox.clone()).await?;
    let ask = broker.client().publish_with_reply(TRACKER_PINGS, inbox, bytes::Bytes::new());
    within(PUBLISH_TIMEOUT, "asking the trackers", ask).await?;
    let mut words = BTreeMap::new();
    let collect = async {
        while let Some(answer) = answers.next().await {
            if answer.status == Some(StatusCode::NO_RESPONDERS) {
                return;
            }
            words.extend(read(&answer).map(|word| (word.name.clone(), word)));
        }
    };
    let _ = timeout(ROLL_CALL_MAX, collect).await;
    Ok(words.into_values().collect())
}

async fn subscribe(broker: &Broker, subject: String) -> Result<Subscriber, BrokerError> {
    within(PUBLISH_TIMEOUT, "subscribing", broker.client().subscribe(subject)).await
}

async fn publish(broker: &Broker, subject: String, word: &Heartbeat) {
    let Ok(payload) = serde_json::to_vec(word) else { return };
    if broker.is_connected() {
        // What is not said now is said with the next beat.
        let _ = within(PUBLISH_TIMEOUT, "saying", broker.client().publish(subject, payload.into())).await;
    }
}

/// A word, unless it is something else: everybody may publish.
fn read(message: &Message) -> Option<Heartbeat> {
    let word: Heartbeat = serde_json::from_slice(&message.payload).ok()?;
    let is_name = |name: &str| (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    (is_name(&word.name) && word.leads.len() <= LEADS_MAX).then_some(word)
}

/// What a word has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Came,
    Went,
    MissesUs,
}

/// The other trackers.
#[derive(Debug, Default)]
struct Others {
    /// For how many beats each has not been heard.
    silent_beats: BTreeMap<String, u32>,
}

impl Others {
    fn heard(&mut self, message: &Message, own: &str) -> Change {
        match read(message) {
            Some(word) if word.name != own => self.says(word, own),
            _ => Change::None,
        }
    }

    fn says(&mut self, word: Heartbeat, own: &str) -> Change {
        let missed = word.misses.as_ref().is_some_and(|missed| self.silent_beats.remove(missed).is_some());
        if self.silent_beats.len() >= OTHERS_MAX && !self.silent_beats.contains_key(&word.name) {
            return Change::None;
        }
        let known = match word.leaves {
            true => self.silent_beats.remove(&word.name),
            false => self.silent_beats.insert(word.name, 0),
        };
        match (word.leaves, known) {
            (false, None) => Change::Came,
            (true, Some(_)) => Change::Went,
            _ if missed => Change::Went,
            _ if word.misses.as_deref() == Some(own) => Change::MissesUs,
            _ => Change::None,
        }
    }

    /// Whose name comes after this one, the first after the last.
    fn next_to(&self, name: &str) -> Option<&str> {
        let after = self.silent_beats.range::<str, _>((Bound::Excluded(name), Bound::Unbounded)).next();
        after.or_else(|| self.silent_beats.first_key_value()).map(|(name, _)| name.as_str())
    }

    /// Lets one beat pass, and returns whether somebody is gone by it.
    fn beat(&mut self) -> bool {
        let before = self.silent_beats.len();
        self.silent_beats.values_mut().for_each(|beats| *beats += 1);
        self.silent_beats.retain(|_, beats| *beats <= SILENT_BEATS_MAX);
        self.silent_beats.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(name: &str, leaves: bool) -> Heartbeat {
        Heartbeat { name: name.into(), leads: vec![3], leaves, misses: None }
    }

    #[test]
    fn trackers_come_and_go() {
        let mut others = Others::default();
        assert_eq!(others.says(word("a", true), "own"), Change::None);
        assert_eq!(others.says(word("a", false), "own"), Change::Came);
        assert_eq!(others.says(word("a", false), "own"), Change::None);
        assert_eq!(others.says(word("b", false), "own"), Change::Came);
        assert_eq!(others.says(word("a", true), "own"), Change::Went);
        assert_eq!(others.silent_beats.len(), 1);
    }

    #[test]
    fn no_more_are_listened_to_than_can_pull() {
        let mut others = Others::default();
        let came = (0..=OTHERS_MAX).filter(|at| others.says(word(&format!("t{at}"), false), "own") == Change::Came);
        assert_eq!(came.count(), OTHERS_MAX);
        assert_eq!(
            (others.says(word("t0", false), "own"), others.says(word("t0", true), "own")),
            (Change::None, Change::Went)
        );
    }

    #[test]
    fn who_is_silent_for_long_is_gone() {
        let mut others = Others::default();
        others.says(word("a", false), "own");
        others.says(word("b", false), "own");
        for _ in 0..SILENT_BEATS_MAX {
            assert!(!others.beat());
            others.says(word("b", false), "own");
        }
        assert!(others.beat());
        assert_eq!(others.silent_beats.into_keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn whom_another_one_misses_is_gone() {
        let mut others = Others::default();
        others.says(word("a", false), "own");
        others.says(word("b", false), "own");
        let misses = |name: &str| Heartbeat { misses: Some(name.into()), ..word("a", false) };
        assert_eq!(others.says(misses("b"), "own"), Change::Went);
        assert_eq!(others.says(misses("b"), "own"), Change::None);
        assert_eq!(others.says(misses("own"), "own"), Change::MissesUs);
        assert_eq!(others.says(word("b", false), "own"), Change::Came);
    }

    #[test]
    fn everybody_is_next_to_somebody() {
        let mut others = Others::default();
        assert_eq!(others.next_to("b"), None);
        others.says(word("a", false), "b");
        assert_eq!(others.next_to("b"), Some("a"));
        others.says(word("c", false), "b");
        assert_eq!(others.next_to("b"), Some("c"));
        assert_eq!(others.next_to("c"), Some("a"));
    }

    #[test]
    fn a_word_is_legible_and_nothing_else_is_one() {
        let said = serde_json::to_string(&word("host-1-0a", false)).unwrap();
        assert_eq!(said, r#"{"name":"host-1-0a","leads":[3]}"#);
        let message = |payload: &str| Message {
            subject: "a".into(),
            reply: None,
            payload: payload.to_owned().into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        assert_eq!(read(&message(&said)), Some(word("host-1-0a", false)));
        for other in
            ["", "{}", r#"{"name":"","leads":[]}"#, r#"{"name":"a b","leads":[]}"#, r#"{"name":"a","leads":[-1]}"#]
        {
            assert_eq!(read(&message(other)), None, "{other}");
        }
    }
}
