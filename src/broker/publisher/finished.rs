//! Work that comes to its end whoever stops waiting for it: done by who waits, as long as they do, and then by a task of its
//! own. Most wait, and a task for each message costs a wake-up more.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Such work, as a future of what it comes to.
pub struct Finished<F: Future<Output = ()> + Send + 'static> {
    work: Option<Pin<Box<F>>>,
    tasks: TaskTracker,
    /// It is tracked like a task from the start.
    _token: TaskTrackerToken,
}

impl<F: Future<Output = ()> + Send + 'static> Finished<F> {
    /// Work that is not begun before somebody waits for it.
    pub fn new(work: F, tasks: &TaskTracker) -> Self {
        Self { work: Some(Box::pin(work)), tasks: tasks.clone(), _token: tasks.token() }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Future for Finished<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let ended = self.work.as_mut().is_none_or(|work| work.as_mut().poll(context).is_ready());
        if !ended {
            return Poll::Pending;
        }
        self.work = None;
        Poll::Ready(())
    }
}

impl<F: Future<Output = ()> + Send + 'static> Drop for Finished<F> {
    fn drop(&mut self) {
        // Without a runtime everything has ended.
        if let Some(work) = self.work.take()
            && let Ok(runtime) = Handle::try_current()
        {
            self.tasks.spawn_on(work, &runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(20);

    /// Work that waits for the first and then opens the second.
    fn work(gates: &[Arc<Semaphore>; 2], tasks: &TaskTracker) -> Finished<impl Future<Output = ()> + use<>> {
        let [wait, done] = gates.clone();
        Finished::new(async move { wait.acquire().await.map(|_| done.add_permits(1)).unwrap() }, tasks)
    }

    #[tokio::test]
    async fn it_is_done_by_who_waits_and_by_a_task_when_nobody_does() {
        for is_left in [false, true] {
            let (gates, tasks) = ([0, 0].map(|permits| Arc::new(Semaphore::new(permits))), TaskTracker::new());
            let mut work = work(&gates, &tasks);
            assert!(timeout(SHORT, &mut work).await.is_err(), "it waits");
            gates[0].add_permits(1);
            if is_left {
                drop(work)
            } else {
                work.await
            }
            let _ = timeout(LONG, gates[1].acquire()).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn it_is_waited_for_like_a_task() {
        let (gates, tasks) = ([0, 0].map(|permits| Arc::new(Semaphore::new(permits))), TaskTracker::new());
        let mut work = work(&gates, &tasks);
        assert!(timeout(SHORT, &mut work).await.is_err());
        tasks.close();
        assert!(timeout(SHORT, tasks.wait()).await.is_err(), "it is under way");
        drop(work);
        assert!(timeout(SHORT, tasks.wait()).await.is_err(), "it still is");
        gates[0].add_permits(1);
        timeout(LONG, tasks.wait()).await.unwrap();
    }
}
