//! The steps of one pull, for everybody who watches it: late comers see all of them, slow ones miss byte counts only.

use super::{Progress, ProgressSender, ProgressStep};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tare_types::Digest;
use tokio::sync::watch;

/// What has happened so far. Writing never waits for a reader.
#[derive(Debug)]
pub(super) struct Journal {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Grows by one with every note.
    version: u64,
    /// Everything but byte counts, in order: a few entries for each layer.
    steps: Vec<Progress>,
    /// The newest byte count of each blob with the version it came in; gone with the blob's next step.
    bytes: BTreeMap<Digest, (u64, ProgressStep)>,
}

/// How far one reader is.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    steps: usize,
    version: u64,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a step of a blob, or of the whole.
    pub(super) fn note(&self, digest: Option<&Digest>, step: ProgressStep) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let counts = matches!(
            step,
            ProgressStep::Downloading { .. } | ProgressStep::Extracting { .. } | ProgressStep::Pushing { .. }
        );
        match digest.filter(|_| counts) {
            Some(digest) => {
                state.bytes.insert(digest.clone(), (version, step));
            }
            None => {
                if let Some(digest) = digest {
                    state.bytes.remove(digest);
                }
                state.steps.push(Progress { digest: digest.cloned(), step });
            }
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// What came since the cursor.
    fn since(&self, cursor: &mut Cursor) -> Vec<Progress> {
        let state = self.state();
        let mut news: Vec<Progress> = state.steps[cursor.steps..].to_vec();
        cursor.steps = state.steps.len();
        for (digest, (version, step)) in &state.bytes {
            if *version > cursor.version {
                news.push(Progress { digest: Some(digest.clone()), step: step.clone() });
            }
        }
        cursor.version = state.version;
        news
    }

    /// Sends everything, from the beginning on, until `end` is done; then the rest. A reader that went away is no
    /// error.
    pub(super) async fn forward<T>(&self, sender: Option<ProgressSender>, end: impl Future<Output = T>) -> T {
        let Some(sender) = sender else { return end.await };
        let mut changed = self.changed.subscribe();
        let mut cursor = Cursor::default();
        tokio::pin!(end);
        loop {
            for progress in self.since(&mut cursor) {
                if sender.send(progress).await.is_err() {
                    return end.await;
                }
            }
            tokio::select! {
                biased;
                result = &mut end => {
                    for progress in self.since(&mut cursor) {
                        if sender.send(progress).await.is_err() {
                            break;
                        }
                    }
                    return result;
                }
                news = changed.changed() => {
                    if news.is_err() {
                        return end.await;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::{mpsc, oneshot};

    #[tokio::test]
    async fn a_slow_reader_gets_all_steps_and_the_last_count() {
        let journal = Arc::new(Journal::new());
        let layer = Digest::of_bytes(b"layer");
        journal.note(Some(&layer), ProgressStep::Waiting);
        for current in 0..1000 {
            journal.note(Some(&layer), ProgressStep::Downloading { current, total: 1000 });
        }
        let (sender, mut receiver) = mpsc::channel(1);
        let (finish, finished) = oneshot::channel::<()>();
        let running = {
            let journal = journal.clone();
            tokio::spawn(async move { journal.forward(Some(sender), finished).await })
        };
        assert_eq!(receiver.recv().await.unwrap().step, ProgressStep::Waiting);
        assert_eq!(
            receiver.recv().await.unwrap().step,
            ProgressStep::Downloading { current: 999, total: 1000 }
        );
        journal.note(Some(&layer), ProgressStep::DownloadComplete);
        journal.note(Some(&layer), ProgressStep::PullComplete);
        finish.send(()).unwrap();
        assert_eq!(receiver.recv().await.unwrap().step, ProgressStep::DownloadComplete);
        assert_eq!(receiver.recv().await.unwrap().step, ProgressStep::PullComplete);
        assert!(receiver.recv().await.is_none());
        running.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_does_not_stop_the_work() {
        let journal = Journal::new();
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        journal.note(None, ProgressStep::Waiting);
        assert_eq!(journal.forward(Some(sender), async { 7 }).await, 7);
    }
}
