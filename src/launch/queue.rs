//! Which message a worker sends next: one whose time has come to be sent again, or a new one.
//!
//! A message that did not get through waits aside, so that it holds up no worker. The pause is the same for all, hence
//! the one that has waited longest is always the next one due. At most `WAITING_MESSAGES_MAX` wait (and those under way
//! on top): at the bound no new message is taken until one of them is through.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::disorder::Outgoing;

/// How many messages may wait to be sent again.
const WAITING_MESSAGES_MAX: usize = 10_000;

/// The messages that workers take from.
pub(super) struct Queue {
    retry_after: Duration,
    inner: Mutex<Inner>,
}

struct Inner {
    /// New messages. They are generated as they are taken.
    feed: Box<dyn Iterator<Item = Outgoing> + Send>,
    /// Messages to be sent again, with the times at which they are due, in that order.
    waiting: VecDeque<(Instant, Outgoing)>,
}

/// What a worker does next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Send this message.
    Send(Outgoing),
    /// Ask again at this time, when the next waiting message is due.
    WaitUntil(Instant),
    /// End: what is not through by now is in the hands of other workers, one message each.
    Finished,
}

impl Queue {
    /// A queue of new messages, each to be sent again after the given pause until it is through.
    pub(super) fn new(feed: impl Iterator<Item = Outgoing> + Send + 'static, retry_after: Duration) -> Queue {
        Queue { retry_after, inner: Mutex::new(Inner { feed: Box::new(feed), waiting: VecDeque::new() }) }
    }

    /// Decides for one worker.
    pub(super) fn next(&self, now: Instant) -> Next {
        let mut inner = self.lock();
        let due = inner.waiting.front().map(|(due, _)| *due);
        if due.is_some_and(|due| due <= now)
            && let Some((_, outgoing)) = inner.waiting.pop_front()
        {
            return Next::Send(outgoing);
        }
        if inner.waiting.len() < WAITING_MESSAGES_MAX
            && let Some(outgoing) = inner.feed.next()
        {
            return Next::Send(outgoing);
        }
        due.map_or(Next::Finished, Next::WaitUntil)
    }

    /// Puts a message aside that did not get through.
    pub(super) fn send_again(&self, mut outgoing: Outgoing, now: Instant) {
        outgoing.is_retry = true;
        self.lock().waiting.push_back((now + self.retry_after, outgoing));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const RETRY_AFTER: Duration = Duration::from_millis(500);

    fn message(name: &str) -> Outgoing {
        Outgoing { body: Bytes::copy_from_slice(name.as_bytes()), is_copy: false, is_retry: false }
    }

    fn retry(name: &str) -> Outgoing {
        Outgoing { is_retry: true, ..message(name) }
    }

    fn queue(names: &'static [&'static str]) -> Queue {
        Queue::new(names.iter().map(|name| message(name)), RETRY_AFTER)
    }

    #[test]
    fn a_message_waits_aside_and_holds_up_no_other() {
        let (queue, now) = (queue(&["a", "b"]), Instant::now());
        assert_eq!(queue.next(now), Next::Send(message("a")));
        queue.send_again(message("a"), now);
        assert_eq!(queue.next(now), Next::Send(message("b")));
        assert_eq!(queue.next(now), Next::WaitUntil(now + RETRY_AFTER));
        assert_eq!(queue.next(now + RETRY_AFTER), Next::Send(retry("a")));
        assert_eq!(queue.next(now + RETRY_AFTER), Next::Finished);
    }

    #[test]
    fn what_is_due_goes_before_what_is_new() {
        let (queue, now) = (queue(&["new"]), Instant::now());
        queue.send_again(message("old"), now);
        assert_eq!(queue.next(now + RETRY_AFTER), Next::Send(retry("old")));
    }

    #[test]
    fn at_the_bound_nothing_new_is_taken() {
        let now = Instant::now();
        let queue = Queue::new(std::iter::repeat_with(|| message("new")), RETRY_AFTER);
        (0..WAITING_MESSAGES_MAX).for_each(|_| queue.send_again(message("old"), now));
        assert_eq!(queue.next(now), Next::WaitUntil(now + RETRY_AFTER));
        assert_eq!(queue.next(now + RETRY_AFTER), Next::Send(retry("old")));
        assert_eq!(queue.next(now), Next::Send(message("new")));
    }
}
