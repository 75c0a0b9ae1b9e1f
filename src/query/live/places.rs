//! How many readers there are, and that there are not too many. Each is an open connection; what is sent to all of them is
//! what bounds their number.

use tokio::sync::watch;

/// Readers at once; a further one is answered that there are too many.
const READERS_MAX: usize = 2_000;

/// The places of all readers.
#[derive(Clone, Debug)]
pub struct Places(watch::Sender<usize>);

/// One reader's place, until it is dropped.
#[derive(Debug)]
pub struct Place(Places);

impl Default for Places {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Places {
    /// A place for one more, if there is one.
    pub fn take(&self) -> Option<Place> {
        let taken = self.0.send_if_modified(|count| {
            let is_free = *count < READERS_MAX;
            *count += usize::from(is_free);
            is_free
        });
        taken.then(|| Place(self.clone()))
    }

    /// How many are taken.
    pub fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until one is taken.
    pub async fn are_taken(&self) {
        // Its sender is ours: it does not end.
        let _ = self.0.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Waits until none is taken.
    pub async fn are_free(&self) {
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Place {
    /// How many readers there are, this one among them.
    pub fn readers(&self) -> usize {
        self.0.count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_and_no_more() {
        let places = Places::default();
        let mut taken: Vec<_> = (0..READERS_MAX).map(|_| places.take().unwrap()).collect();
        assert!(places.take().is_none());
        taken.pop();
        assert!(places.take().is_some() && places.count() == READERS_MAX - 1);
        taken.clear();
        assert_eq!(places.count(), 0);
    }
}
