//! SIGTERM and Ctrl-C: the first drains, the second ends at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Tells every part of a process that it is time to drain.
#[derive(Clone, Debug)]
pub struct Shutdown {
    requested: watch::Receiver<bool>,
}

impl Shutdown {
    /// Listens for SIGTERM and SIGINT from now on. A second signal ends the
    /// process with status 130: nothing is lost by it, only repeated later.
    ///
    /// # Errors
    /// If the process may not install signal handlers.
    pub fn on_signals() -> std::io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (request, requested) = watch::channel(false);
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            tracing::info!("draining; a second signal ends at once");
            request.send_replace(true);
            either(&mut terminate, &mut interrupt).await;
            tracing::warn!("ended by a second signal before the drain was complete");
            std::process::exit(130);
        });
        Ok(Self { requested })
    }

    /// Never asked for, for what has an end of its own.
    #[must_use]
    pub fn never() -> Self {
        let (_, requested) = watch::channel(false);
        Self { requested }
    }

    /// Completes when the drain is asked for.
    pub async fn requested(mut self) {
        // The sender lives as long as the process, so this only ends by a signal; without a sender, never.
        if self
            .requested
            .wait_for(|requested| *requested)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the drain was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
