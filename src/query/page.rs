//! The rockets that are the answer to a request, and the cursor to the ones behind them.
//!
//! A page of 100 out of a million rockets sorts at most 101 of them:
//!
//! - By channel, which is how the view keeps them, a page is a scan from the cursor on that stops when it is full
//!   (O(page) unless a filter passes over many).
//! - By anything else, every rocket is looked at once, and the best limit + 1 so far are kept in a heap whose top is
//!   the worst of them (`Smallest`). A rocket that is worse than the top costs one comparison and nothing else, and
//!   most are: O(n log limit) comparisons at worst, about n as rockets really come, O(limit) memory.
//!
//! There is no index by speed or time on purpose: each would cost every change of every rocket a removal and an
//! insertion, a hundred thousand times a second, for lists that are read now and then. A list without a limit is
//! sorted as a whole, as all of it is the answer.
//!
//! Deliberately not here: the JSON, which is written after the last look at the view, and threads. A list by anything
//! but the channel takes a while when there are very many rockets, and must not run where others wait for it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::cursor::Cursor;
use super::list::ListRequest;
use super::selection::{Selection, SortBy};
use super::view::{Entry, Order, View};
use crate::http::cursor;

/// Some rockets of a list, in its order.
#[derive(Debug)]
pub struct Page {
    /// The rockets.
    pub rockets: Vec<Arc<Entry>>,
    /// Where the next page begins; none on the last one.
    pub next_cursor: Option<String>,
}

/// Finds the rockets that a request asks for.
///
/// A rocket that stays as it is from one page to the next is shown once, whatever happens to others: its place does not
/// change, and every place is behind the end of one page or before it.
pub fn page(view: &View, request: &ListRequest) -> Page {
    // One more than is shown tells whether there is a next page.
    let wanted = request.limit.map_or(usize::MAX, |limit| limit + 1);
    let mut rockets = match (request.selection.sort_by, request.limit) {
        (SortBy::Channel, _) => by_channel(view, request).take(wanted).collect(),
        (_, Some(_)) => in_order(Smallest::of(by_place(view, request), wanted)),
        (_, None) => {
            let mut all: Vec<_> = by_place(view, request).collect();
            all.sort_unstable();
            in_order(all)
        }
    };
    let next_cursor = request.limit.filter(|&limit| rockets.len() > limit).and_then(|limit| {
        rockets.truncate(limit);
        let last = request.selection.place_of(rockets.last()?);
        Some(cursor::write(&Cursor::behind(&request.selection, &last)))
    });
    Page { rockets, next_cursor }
}

/// The rockets behind the cursor, already in order.
fn by_channel(view: &View, request: &ListRequest) -> impl Iterator<Item = Arc<Entry>> {
    let after = request.after.as_ref().map(|place| place.id);
    let scan = view.scan(request.selection.order, after);
    scan.filter(|entry| request.selection.filter.matches(entry))
}

/// The rockets behind the cursor, in any order.
fn by_place<'a>(view: &'a View, request: &'a ListRequest) -> impl Iterator<Item = Ranked<'a>> {
    let ListRequest { selection, after, .. } = request;
    let is_behind = move |entry: &Entry| {
        after.as_ref().is_none_or(|after| selection.compare(&selection.place_of(entry), after).is_gt())
    };
    let scan = view.scan(Order::Asc, None).filter(move |entry| selection.filter.matches(entry) && is_behind(entry));
    scan.map(move |entry| Ranked { entry, selection })
}

fn in_order(ranked: Vec<Ranked<'_>>) -> Vec<Arc<Entry>> {
    ranked.into_iter().map(|ranked| ranked.entry).collect()
}

/// A rocket that compares by its place in a list.
struct Ranked<'a> {
    entry: Arc<Entry>,
    selection: &'a Selection,
}

impl Ord for Ranked<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let [a, b] = [self, other].map(|ranked| self.selection.place_of(&ranked.entry));
        self.selection.compare(&a, &b)
    }
}

impl PartialOrd for Ranked<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked<'_> {}

/// The smallest items of many, of which never more than a bound are held.
struct Smallest<T> {
    heap: BinaryHeap<T>,
    bound: usize,
}

impl<T: Ord> Smallest<T> {
    /// The smallest of these, at most `bound`, rising.
    fn of(items: impl Iterator<Item = T>, bound: usize) -> Vec<T> {
        let mut smallest = Self { heap: BinaryHeap::new(), bound };
        items.for_each(|item| smallest.offer(item));
        smallest.heap.into_sorted_vec()
    }

    fn offer(&mut self, item: T) {
        if self.heap.len() < self.bound {
            self.heap.push(item);
        } else if let Some(mut largest) = self.heap.peek_mut()
            && item < *largest
        {
            // Sifted down to its place when `largest` is dropped.
            *largest = item;
        }
    }
}

#[cfg(test)]
mod tests;
