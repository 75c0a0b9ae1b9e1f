//! Lists without a limit, written while they are taken: what a reader costs does not grow with the list.
//!
//! By channel, which is how the view keeps the rockets, each piece is read from the view when its turn comes. By anything
//! else they are put in order first, a pointer a rocket, and written later. Only so many are under way at once; a reader that
//! takes nothing has its connection cut, and with it goes its turn.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::feed::LiveView;
use super::selection::SortBy;
use super::view::Entry;
use super::{ListRequest, PublicRocket, page};
use crate::http::{Answer, Pieces};

/// Lists under way at once.
const LISTS_MAX: usize = 32;
/// How long one waits for its turn.
const TURN_WAIT_MAX: Duration = Duration::from_secs(2);
/// Rockets of a piece, where they are not those of a look at the view.
const PIECE_ROCKETS: usize = 512;

type Part = Vec<Arc<Entry>>;
type Parts = Box<dyn Iterator<Item = Part> + Send>;

/// Gives lists their turns.
#[derive(Clone)]
pub struct WholeLists(Arc<Semaphore>);

impl Default for WholeLists {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LISTS_MAX)))
    }
}

impl WholeLists {
    /// A list of all the rockets that are asked for, once it is its turn.
    pub async fn answer(&self, live: &Arc<LiveView>, asked: ListRequest) -> Result<Answer, Answer> {
        let turn = timeout(TURN_WAIT_MAX, self.0.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Answer::unavailable("too many lists are being read, ask again, or for pages (limit)"));
        };
        Ok(Answer::pieces(Pieces::new(written(parts(live.clone(), asked).await?, turn))))
    }
}

async fn parts(live: Arc<LiveView>, asked: ListRequest) -> Result<Parts, Answer> {
    if asked.selection.sort_by == SortBy::Channel {
        return Ok(Box::new(by_channel(live, asked)));
    }
    let sorted = tokio::task::spawn_blocking(move || page(&live.view, &asked).rockets);
    Ok(Box::new(in_parts(sorted.await.map_err(|_| Answer::internal_error())?)))
}

fn by_channel(live: Arc<LiveView>, asked: ListRequest) -> impl Iterator<Item = Part> {
    let mut next = Some(asked.after.map(|place| place.id));
    let selection = asked.selection;
    iter::from_fn(move || {
        let mut chunk = live.view.chunk(selection.order, next?);
        next = chunk.next.map(Some);
        chunk.entries.retain(|entry| selection.filter.matches(entry));
        Some(chunk.entries)
    })
}

fn in_parts(rockets: Part) -> impl Iterator<Item = Part> {
    let mut rockets = rockets.into_iter();
    iter::from_fn(move || {
        let part: Part = rockets.by_ref().take(PIECE_ROCKETS).collect();
        (!part.is_empty()).then_some(part)
    })
}

/// The JSON of a list, whose turn ends with it.
fn written(parts: Parts, turn: OwnedSemaphorePermit) -> impl Stream<Item = Bytes> {
    let mut is_first = true;
    let texts = parts.map(move |part| text_of(&part, &mut is_first));
    let pieces = stream::unfold((texts, turn), async |(mut texts, turn)| {
        // Between two pieces it is the turn of whatever else the thread has to do.
        tokio::task::yield_now().await;
        Some((Bytes::from(texts.next()?), (texts, turn)))
    });
    let [begin, end] = [&b"["[..], b"]"].map(|bracket| stream::iter([Bytes::from_static(bracket)]));
    begin.chain(pieces.filter(|piece| std::future::ready(!piece.is_empty()))).chain(end)
}

fn text_of(part: &[Arc<Entry>], is_first: &mut bool) -> Vec<u8> {
    let mut text = Vec::new();
    for entry in part {
        if !std::mem::take(is_first) {
            text.push(b',');
        }
        // Strings and numbers, into memory: this cannot fail.
        let _ = serde_json::to_writer(&mut text, &PublicRocket::from(&**entry));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::fixtures::{Sample, channel};
    use super::*;

    const ROCKETS: u32 = 1_300;

    fn live() -> Arc<LiveView> {
        let live = LiveView::default();
        for id in 0..ROCKETS {
            let sample = Sample { speed: i64::from(id % 7), exploded: id % 2 == 1, ..Sample::new(id) };
            live.view.apply(Some(channel(id)), Some(sample.record()), u64::from(id) + 1);
        }
        Arc::new(live)
    }

    async fn pieces(live: &Arc<LiveView>, query: &str) -> Vec<Bytes> {
        let parts = parts(live.clone(), ListRequest::parse(query).unwrap()).await.unwrap();
        let turn = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        written(parts, turn).collect().await
    }

    #[tokio::test]
    async fn the_pieces_are_the_list() {
        let live = live();
        for query in ["", "order=desc", "sortBy=speed", "sortBy=speed&order=desc&status=active", "mission=nothing"] {
            let pieces = pieces(&live, query).await;
            let list: Value = serde_json::from_slice(&pieces.concat()).unwrap();
            let asked = ListRequest::parse(query).unwrap();
            let rockets = page(&live.view, &asked).rockets;
            let expected: Vec<_> = rockets.iter().map(|entry| PublicRocket::from(&**entry)).collect();
            assert_eq!(list, serde_json::to_value(expected).unwrap(), "{query}");
            assert!(pieces.len() > 3 || rockets.is_empty(), "{query}: {}", pieces.len());
        }
    }

    #[tokio::test]
    async fn a_piece_is_read_when_its_turn_comes() {
        let live = live();
        let turn = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let parts = parts(live.clone(), ListRequest::parse("").unwrap()).await.unwrap();
        let mut pieces = Box::pin(written(parts, turn));
        let begun = [pieces.next().await.unwrap(), pieces.next().await.unwrap()].concat();
        live.view.apply(Some(channel(ROCKETS - 1)), None, u64::from(ROCKETS) + 1);
        let rest: Vec<_> = pieces.collect().await;
        let list: Value = serde_json::from_slice(&[begun, rest.concat()].concat()).unwrap();
        assert_eq!(list.as_array().unwrap().len(), ROCKETS as usize - 1);
    }
}
