//! Ctrl-C during long work: where something can be saved, the first asks for that and the second ends
//! it at once; elsewhere the first ends it and says how to go on.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Exit;

/// Whether somebody wants the work to end.
#[derive(Debug, Clone)]
pub(super) struct Interrupt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_wanted: AtomicBool,
    /// Whether whoever works looks at [`Interrupt::is_wanted`], and saves.
    saves: AtomicBool,
    /// The command that goes on, to be told; `None` where nothing is to be said.
    go_on: Option<String>,
}

impl Interrupt {
    /// Listens from now on, for SIGTERM too. `go_on` is the command that goes on.
    ///
    /// # Errors
    ///
    /// An error of the operating system if the signals cannot be listened to.
    pub(super) fn follow(go_on: Option<String>) -> io::Result<Self> {
        let interrupt = Self(Arc::new(State { go_on, ..State::default() }));
        let wanted = interrupt.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("interrupt".to_owned())
            .spawn(move || runtime.block_on(wanted.listen()))?;
        Ok(interrupt)
    }

    /// Whether it was asked for.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.is_wanted.load(Ordering::Relaxed)
    }

    /// Says whether the work that comes saves when it is asked to end. What does not leaves whole
    /// folders or none, so that it may be ended at any moment.
    pub(super) fn set_saves(&self, saves: bool) {
        self.0.saves.store(saves, Ordering::Relaxed);
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
            let is_again = self.0.is_wanted.swap(true, Ordering::Relaxed);
            if is_again || !self.0.saves.load(Ordering::Relaxed) {
                self.tell();
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
        }
    }

    /// Says how to go on, on a line of its own where a bar is drawn.
    fn tell(&self) {
        let mut err = io::stderr();
        if let Some(go_on) = &self.0.go_on {
            let line = if err.is_terminal() { "\n" } else { "" };
            // Nobody is left to be told that standard error is closed.
            let _ = writeln!(err, "{line}stopped; go on with: {go_on}");
        }
    }
}
