//! Ctrl-C during long work: the first asks it to save and end, the second ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Exit;

/// Whether somebody wants the work to end.
#[derive(Debug, Clone)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on, for SIGTERM too.
    ///
    /// # Errors
    ///
    /// An error of the operating system if the signals cannot be listened to.
    pub(super) fn follow() -> std::io::Result<Self> {
        let interrupt = Self(Arc::default());
        let wanted = interrupt.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("interrupt".to_owned())
            .spawn(move || runtime.block_on(wanted.listen()))?;
        Ok(interrupt)
    }

    /// Whether it was asked for.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    async fn listen(self) {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
        loop {
            let heard = tokio::select! {
                heard = tokio::signal::ctrl_c() => heard.is_ok(),
                heard = terminate.recv() => heard.is_some(),
            };
            if !heard {
                return;
            }
            // Who asks twice does not want to wait for a checkpoint.
            if self.0.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
        }
    }
}
