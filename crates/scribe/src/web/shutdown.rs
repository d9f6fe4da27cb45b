//! When the server stops: first politely, then at once.

use tokio::sync::watch;

/// How far the server is on its way to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Serving,
    /// It accepts no connection and finishes what it has.
    Draining,
    /// It ends now.
    Ending,
}

/// Tells [`serve`](super::serve) when to stop.
#[derive(Clone, Debug)]
pub struct Shutdown {
    phase: watch::Receiver<Phase>,
}

/// Asks for the stop. Dropping it asks for nothing.
#[derive(Debug)]
pub struct Trigger {
    phase: watch::Sender<Phase>,
}

impl Trigger {
    /// Goes one phase on: from serving to draining, from draining to ending.
    pub fn advance(&self) {
        self.phase.send_modify(|phase| {
            *phase = if *phase == Phase::Serving { Phase::Draining } else { Phase::Ending };
        });
    }

    /// From now on the first SIGTERM or SIGINT (Ctrl-C) drains, the second one ends.
    ///
    /// # Errors
    ///
    /// An error of the operating system if the signals cannot be listened to.
    pub fn follow_signals(self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                self.advance();
            }
        });
        Ok(())
    }
}

impl Shutdown {
    /// A shutdown that somebody else triggers.
    #[must_use]
    pub fn manual() -> (Trigger, Self) {
        let (sender, receiver) = watch::channel(Phase::Serving);
        (Trigger { phase: sender }, Self { phase: receiver })
    }

    /// Waits until the server is at `phase` or beyond.
    pub async fn reached(&mut self, phase: Phase) {
        if self.phase.wait_for(|now| *now >= phase).await.is_err() {
            // Nobody is left who could ask for it.
            std::future::pending::<()>().await;
        }
    }
}
