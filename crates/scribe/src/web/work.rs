//! Work that would hold up other requests: off the async threads, and only so much at a time that
//! the engine still gets its share of the cores.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;
use super::state::{AppState, ServedModel};

/// As many pieces of work at the same time as there are cores.
#[must_use]
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from)))
}

/// Does `work` once there is a place for it. A caller that leaves before gives up its turn.
///
/// # Errors
///
/// What `work` fails with; 500 if it panics.
pub(super) async fn run<T: Send + 'static>(
    state: &AppState,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    spawned(place(state).await?, work).await
}

/// As [`run`], for a request to `model`: refused before the work where its queue is full.
///
/// # Errors
///
/// As [`run`], and 429 or 503 where the request could not be submitted anyway.
pub(super) async fn admitted<T: Send + 'static>(
    state: &AppState,
    model: &ServedModel,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    model.generator.check_room()?;
    let place = place(state).await?;
    // Others may have filled it meanwhile.
    model.generator.check_room()?;
    spawned(place, work).await
}

async fn place(state: &AppState) -> Result<OwnedSemaphorePermit, ApiError> {
    let place = Arc::clone(state.work_places()).acquire_owned().await;
    place.map_err(|_| ApiError::shutting_down())
}

async fn spawned<T: Send + 'static>(
    place: OwnedSemaphorePermit,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let working = tokio::task::spawn_blocking(move || {
        let result = work();
        // Only now, even if nobody waits for the result any more.
        drop(place);
        result
    });
    working.await.unwrap_or_else(|error| {
        tracing::error!(%error, "preparing a request failed");
        Err(ApiError::internal())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::web::ServeOptions;

    #[tokio::test]
    async fn work_that_is_abandoned_keeps_its_place_until_it_ends_and_no_longer() {
        let state = AppState::loading(ServeOptions::new(([127, 0, 0, 1], 0).into()));
        let most = state.work_places().available_permits();
        let (ends, gates): (Vec<_>, Vec<_>) =
            (0..most).map(|_| std::sync::mpsc::channel::<()>()).unzip();
        for gate in gates {
            let mut abandoned = Box::pin(run(&state, move || Ok(gate.recv().is_ok())));
            // Once is enough: there is a place, and the work begins.
            assert!(is_pending(abandoned.as_mut()).await);
        }
        assert_eq!(state.work_places().available_permits(), 0, "so much and no more at a time");
        let mut gave_up = Box::pin(run(&state, || Ok(())));
        assert!(is_pending(gave_up.as_mut()).await);
        drop(gave_up);
        drop(ends);
        assert!(run(&state, || Ok(true)).await.unwrap(), "whoever still waits comes next");
    }

    /// Polls once; whether there is no result yet.
    async fn is_pending<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_pending())
        })
        .await
    }

    #[tokio::test]
    async fn only_so_much_is_done_at_a_time() {
        let state = AppState::loading(ServeOptions::new(([127, 0, 0, 1], 0).into()));
        let most = state.work_places().available_permits();
        let (running, highest) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..8 * most {
            let (state, running, highest) = (state.clone(), running.clone(), highest.clone());
            all.spawn(async move {
                let work = move || {
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    highest.fetch_max(now, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                };
                run(&state, work).await
            });
        }
        assert!(all.join_all().await.iter().all(Result::is_ok));
        assert!((1..=most).contains(&highest.load(Ordering::SeqCst)));
    }
}
