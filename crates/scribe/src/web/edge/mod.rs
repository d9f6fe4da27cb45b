//! The connections: who is let in, how long they may take, and how they end.
//!
//! Connections are accepted and served here with hyper's HTTP/1, because what keeps slow and greedy
//! clients from hurting others are settings of the socket and of the connection.

mod stall;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::shutdown::{Phase, Shutdown};
use super::state::AppState;
use stall::StallTimeout;

/// Bytes of the kernel's buffer for answers that were not read yet.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Bytes of hyper's buffer, and so the longest header.
const HYPER_BUFFER_BYTES: usize = 64 << 10;
/// Pause after the operating system refuses to accept (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time for the last error events to be sent once the grace is over.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves `router` on `listener` until `shutdown` says otherwise, then ends as it says.
pub(super) async fn run(
    router: Router,
    state: &AppState,
    listener: TcpListener,
    mut shutdown: Shutdown,
) {
    let connections = Connections::new(state);
    let mut tasks = JoinSet::new();
    let graceful = GracefulShutdown::new();
    let mut draining = shutdown.clone();
    loop {
        let admitted = tokio::select! {
            biased;
            () = draining.reached(Phase::Draining) => break,
            admitted = connections.accept(&listener) => admitted,
            Some(_) = tasks.join_next() => continue,
        };
        let Some((stream, seat)) = admitted else { continue };
        let io = StallTimeout::new(stream, state.limits().write_stall, state.clone());
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(state.limits().header_timeout)
            .max_buf_size(HYPER_BUFFER_BYTES)
            .keep_alive(true)
            .serve_connection(TokioIo::new(io), service);
        let connection = graceful.watch(connection);
        tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke off");
            }
            drop(seat);
        });
    }
    drop(listener);
    tracing::info!(connections = tasks.len(), "stopping: no new connections");
    tokio::select! {
        () = shutdown.reached(Phase::Ending) => {}
        () = finish(state, graceful) => {}
    }
    stop_generators(state, Duration::ZERO).await;
}

/// Lets requests finish as long as the grace lasts; after it, those left get an error.
async fn finish(state: &AppState, graceful: GracefulShutdown) {
    let grace = state.limits().shutdown_grace;
    let closed = tokio::time::timeout(grace + LAST_WORDS, graceful.shutdown());
    let ((), closed) = tokio::join!(stop_generators(state, grace), closed);
    if closed.is_err() {
        tracing::warn!("some connections did not end in time and are cut");
    }
}

/// Ends all engines, waiting `grace` for their requests.
async fn stop_generators(state: &AppState, grace: Duration) {
    let state = state.clone();
    let stopping = tokio::task::spawn_blocking(move || {
        std::thread::scope(|scope| {
            for model in state.all_models() {
                scope.spawn(move || model.generator.shutdown(grace));
            }
        });
    });
    if let Err(error) = stopping.await {
        tracing::error!(%error, "an engine did not end cleanly");
    }
}

/// How many connections there are, in all and by address.
struct Connections {
    all: Arc<Semaphore>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most_by_address: usize,
    state: AppState,
}

/// A connection's place; it is free again when this is dropped.
struct Seat {
    _permit: OwnedSemaphorePermit,
    address: IpAddr,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    state: AppState,
}

impl Connections {
    fn new(state: &AppState) -> Self {
        Self {
            all: Arc::new(Semaphore::new(state.limits().connections)),
            by_address: Arc::default(),
            most_by_address: state.limits().connections_per_address,
            state: state.clone(),
        }
    }

    /// The next connection once there is a place for it; nothing if it was refused. Dropping the
    /// future loses no connection.
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, Seat)> {
        let permit = Arc::clone(&self.all).acquire_owned().await.ok()?;
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                return None;
            }
        };
        let seat = self.seat(permit, peer)?;
        let socket = SockRef::from(&stream);
        let set = socket
            .set_tcp_nodelay(true)
            .and_then(|()| socket.set_send_buffer_size(SEND_BUFFER_BYTES));
        if let Err(error) = set {
            tracing::debug!(%error, "a socket option was refused");
        }
        Some((stream, seat))
    }

    fn seat(&self, permit: OwnedSemaphorePermit, peer: SocketAddr) -> Option<Seat> {
        let address = peer.ip().to_canonical();
        {
            let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let count = by_address.entry(address).or_default();
            if *count >= self.most_by_address && !address.is_loopback() {
                tracing::debug!(%address, "too many connections from one address");
                return None;
            }
            *count += 1;
        }
        self.state.metrics().connected();
        let by_address = Arc::clone(&self.by_address);
        Some(Seat { _permit: permit, address, by_address, state: self.state.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
        self.state.metrics().disconnected();
    }
}
