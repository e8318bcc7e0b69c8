//! Tokio, with short sleeps while a DTLS handshake runs.
//!
//! What the crate reads from a TURN relay it hands to its core after it has looked for something to send, and then
//! sleeps: the answer leaves at its next timer, 200 to 400 ms later. A DTLS handshake over relays took two seconds by
//! that. In a call the audio wakes the crate often enough; during the handshake it is woken by shorter sleeps, which
//! cost nothing but a look at its timers.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use webrtc::runtime::{AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime};

/// The longest sleep while the handshake runs.
const HANDSHAKE_SLEEP: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct EagerRuntime {
    tokio: Arc<dyn Runtime>,
    handshaking: Arc<AtomicBool>,
}

impl EagerRuntime {
    /// A runtime that sleeps short while `handshaking`.
    pub(super) fn new(tokio: Arc<dyn Runtime>, handshaking: Arc<AtomicBool>) -> Self {
        Self { tokio, handshaking }
    }
}

impl Runtime for EagerRuntime {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        self.tokio.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.tokio.wrap_udp_socket(socket)
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        self.tokio.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        remote_addr: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        self.tokio.connect_tcp(remote_addr)
    }

    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        self.tokio.resolve_host(host)
    }

    fn now(&self) -> Instant {
        self.tokio.now()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let longest = if self.handshaking.load(Ordering::Acquire) { HANDSHAKE_SLEEP } else { Duration::MAX };
        self.tokio.sleep(duration.min(longest))
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        self.tokio.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.tokio.block_on(future);
    }

    fn yield_now(&self) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        self.tokio.yield_now()
    }

    fn name(&self) -> &'static str {
        self.tokio.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sleeps_are_short_during_the_handshake_only() {
        let handshaking = Arc::new(AtomicBool::new(true));
        let runtime = EagerRuntime::new(webrtc::runtime::default_runtime().unwrap(), handshaking.clone());
        for (during, slept) in [(true, HANDSHAKE_SLEEP), (false, Duration::from_secs(60))] {
            handshaking.store(during, Ordering::Release);
            let start = super::super::monotonic_now();
            runtime.sleep(Duration::from_secs(60)).await;
            assert!(start.elapsed().as_millis().abs_diff(slept.as_millis()) <= 1, "{during}: {:?}", start.elapsed());
        }
    }
}
