//! Connections that come in: how many there may be, and how long each may take to say what it wants.
//!
//! jambonz' calls come in here, and so may anybody's connections. There are at most [`Limits::connections`] at a time. When
//! all are taken, whoever comes next takes the place of the one that has been silent longest, or has been sending the head
//! of a request longest: so connections that say nothing (or a byte a minute) keep nobody out. Requests under way are never
//! cut; if all places have one, the next caller waits in the system's queue until one is through.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use tracing::{debug, warn};

/// How many connections there may be at a time.
pub const MAX_CONNECTIONS: usize = 1024;
/// How long a connection may be silent between requests, and how long the head of a request may take from the end of the
/// one before. Longer than proxies keep idle connections (60 s for nginx), so that none is closed under a request.
pub const HEAD_LIMIT: Duration = Duration::from_secs(75);
/// How large the head of a request may be, in bytes.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How long a request may still come in when the bridge ends.
const LAST_HEAD_LIMIT: Duration = Duration::from_secs(1);
/// How long to wait when the system has no more descriptors or memory for connections.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What connections may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many there may be at a time.
    pub connections: usize,
    /// How long one may be silent, or the head of a request take.
    pub head: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: MAX_CONNECTIONS, head: HEAD_LIMIT }
    }
}

/// One connection, as the others see it.
#[derive(Debug, Default)]
struct Seat {
    /// Requests that have no answer yet.
    under_way: AtomicUsize,
    /// Orders the seats by when they were last of use.
    used: AtomicUsize,
    /// Told to make room.
    leave: Notify,
}

/// All connections.
#[derive(Debug, Default)]
struct Seats {
    taken: Mutex<Vec<Arc<Seat>>>,
    turn: AtomicUsize,
    /// A request is through: its connection could make room.
    through: Notify,
}

/// A seat that is given back when this is dropped.
struct Occupied {
    seats: Arc<Seats>,
    seat: Arc<Seat>,
}

impl Occupied {
    fn take(seats: &Arc<Seats>) -> Self {
        let seat = Arc::new(Seat::default());
        seats.touch(&seat);
        seats.taken().push(Arc::clone(&seat));
        Self { seats: Arc::clone(seats), seat }
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.seats.taken().retain(|own| !Arc::ptr_eq(own, &self.seat));
    }
}

impl Seats {
    fn taken(&self) -> MutexGuard<'_, Vec<Arc<Seat>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the connection was of use just now.
    fn touch(&self, seat: &Seat) {
        seat.used.store(self.turn.fetch_add(1, Relaxed), Relaxed);
    }

    /// Asks the connection that has been of no use longest to leave; whether there is one.
    fn make_room(&self) -> bool {
        let mut taken = self.taken();
        let idle = taken.iter().enumerate().filter(|(_, seat)| seat.under_way.load(Relaxed) == 0);
        let Some((at, _)) = idle.min_by_key(|(_, seat)| seat.used.load(Relaxed)) else { return false };
        // It is asked once.
        let seat = taken.swap_remove(at);
        seat.leave.notify_one();
        true
    }
}

/// Takes connections and serves `app` on them until `stop` becomes true; then finishes what is under way.
///
/// Requests carry [`ConnectInfo`] with the peer's address.
pub async fn serve(listener: TcpListener, app: Router, limits: Limits, stop: watch::Receiver<bool>) {
    let (seats, places) = (Arc::new(Seats::default()), Arc::new(Semaphore::new(limits.connections.max(1))));
    let mut connections = JoinSet::new();
    let mut stopping = stop.clone();
    let taking = async {
        loop {
            let (stream, peer) = accepted(&listener).await;
            let place = place(&places, &seats).await;
            let (app, stop, occupied) = (app.clone(), stop.clone(), Occupied::take(&seats));
            connections.spawn(async move {
                // A failure costs latency, nothing else.
                let _ = stream.set_nodelay(true);
                converse(stream, peer, app, limits.head, occupied, stop).await;
                drop(place);
            });
            // Those that have ended are not kept.
            while connections.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = taking => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A place for one more connection that has come.
async fn place(places: &Arc<Semaphore>, seats: &Seats) -> Option<OwnedSemaphorePermit> {
    let mut told = false;
    loop {
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Some(place);
        }
        if seats.make_room() {
            debug!("all connections are taken: the one that was silent longest makes room");
            // Never closed.
            return Arc::clone(places).acquire_owned().await.ok();
        }
        if !std::mem::replace(&mut told, true) {
            warn!("all connections have requests under way: the next caller waits");
        }
        tokio::select! {
            place = Arc::clone(places).acquire_owned() => return place.ok(),
            () = seats.through.notified() => {}
        }
    }
}

async fn accepted(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                warn!(%error, pause_s = ACCEPT_PAUSE.as_secs(), "no connection can be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Serves one connection until it ends, is silent for too long, or has to make room.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: SocketAddr,
    app: Router,
    head_limit: Duration,
    occupied: Occupied,
    mut stop: watch::Receiver<bool>,
) {
    let seat = Arc::clone(&occupied.seat);
    let service = service_fn(move |request: Request<Incoming>| {
        let under_way = UnderWay::begin(&occupied);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answering = app.clone().oneshot(request);
        async move {
            let answer: Result<Response<Body>, Infallible> = answering.await;
            drop(under_way);
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_limit)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let (mut told, mut last) = (false, std::pin::pin!(tokio::time::sleep(Duration::MAX)));
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                // A client that goes away is none of our business.
                if let Err(error) = ended {
                    debug!(%error, "a connection broke");
                }
                break;
            }
            // A request that has come in the meantime is still answered.
            () = seat.leave.notified() => {
                if seat.under_way.load(Relaxed) == 0 {
                    break;
                }
                connection.as_mut().graceful_shutdown();
            }
            _ = stop.wait_for(|stop| *stop), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
                last.set(tokio::time::sleep(LAST_HEAD_LIMIT));
            }
            // Half of a head is not waited for any longer.
            () = last.as_mut(), if told => {
                if seat.under_way.load(Relaxed) == 0 {
                    break;
                }
                last.set(tokio::time::sleep(LAST_HEAD_LIMIT));
            }
        }
    }
}

/// A request that has no answer yet.
struct UnderWay {
    seats: Arc<Seats>,
    seat: Arc<Seat>,
}

impl UnderWay {
    fn begin(Occupied { seats, seat }: &Occupied) -> Self {
        seat.under_way.fetch_add(1, Relaxed);
        Self { seats: Arc::clone(seats), seat: Arc::clone(seat) }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.seats.touch(&self.seat);
        self.seat.under_way.fetch_sub(1, Relaxed);
        self.seats.through.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::extract::State;
    use axum::routing::{get, post};
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::clock::{Clock as _, TokioClock, UnixMillis};

    const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4000);
    const PING: &[u8] = b"GET /ping HTTP/1.1\r\nHost: bridge\r\n\r\n";

    fn app() -> Router {
        app_with(Arc::default())
    }

    fn app_with(of_held: Arc<Held>) -> Router {
        Router::new()
            .route("/ping", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }))
            .route("/echo", post(|body: Bytes| async move { body }))
            .route("/never", get(std::future::pending::<()>))
            .route("/held", get(held))
            .with_state(of_held)
    }

    /// Tells that it was asked, and answers when it may.
    async fn held(State(held): State<Arc<Held>>) -> &'static str {
        held.asked.notify_one();
        held.may_answer.notified().await;
        "held"
    }

    #[derive(Default)]
    struct Held {
        asked: Notify,
        may_answer: Notify,
    }

    /// The client's end of a connection that is served; time is tokio's.
    fn connection(seats: &Arc<Seats>, stop: &watch::Sender<bool>) -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let (client, server) = duplex(4096);
        let (occupied, stop) = (Occupied::take(seats), stop.subscribe());
        let serving = tokio::spawn(converse(server, PEER, app(), HEAD_LIMIT, occupied, stop));
        (client, serving)
    }

    async fn exchange(client: &mut DuplexStream, request: &[u8]) -> String {
        client.write_all(request).await.unwrap();
        let (mut answer, mut part) = (Vec::new(), [0; 4096]);
        while !answer.ends_with(b"127.0.0.1:4000") {
            let count = client.read(&mut part).await.unwrap();
            assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&part[..count]);
        }
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_is_cut_and_silence_too() {
        let stop = watch::Sender::new(false);
        for said in [&b""[..], b"POST /echo HTTP/1.1\r\nHost: bridge\r\nX-A: ", PING] {
            let seats = Arc::new(Seats::default());
            let (mut client, serving) = connection(&seats, &stop);
            let clock = TokioClock::starting_at(UnixMillis::new(1));
            let began = clock.now();
            let writing = async {
                client.write_all(said).await.unwrap();
                // One byte now and then changes nothing.
                while client.write_all(b"a").await.is_ok() && !said.is_empty() {
                    tokio::time::sleep(HEAD_LIMIT / 10).await;
                }
            };
            tokio::select! {
                ended = serving => ended.unwrap(),
                () = writing => {}
            }
            let took = clock.now().saturating_since(began);
            assert!(took <= HEAD_LIMIT + HEAD_LIMIT / 10, "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_may_not_be_endless() {
        let stop = watch::Sender::new(false);
        let (mut client, serving) = connection(&Arc::new(Seats::default()), &stop);
        let (mut reader, mut writer) = {
            client.write_all(b"GET /ping HTTP/1.1\r\n").await.unwrap();
            tokio::io::split(client)
        };
        let writing = tokio::spawn(async move {
            let mut sent = 0;
            while writer.write_all(&[b'a'; 1024]).await.is_ok() {
                sent += 1024;
            }
            sent
        });
        let mut answer = String::new();
        let _ = reader.read_to_string(&mut answer).await;
        serving.await.unwrap();
        drop(reader);
        assert!(answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(writing.await.unwrap() <= 2 * MAX_HEAD_BYTES);
    }

    #[tokio::test]
    async fn who_says_nothing_makes_room_for_who_has_something_to_say() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = watch::Sender::new(false);
        let limits = Limits { connections: 3, ..Limits::default() };
        let serving = tokio::spawn(serve(listener, app(), limits, stop.subscribe()));
        let mut slow = Vec::new();
        // Three that begin a request and never end it, and then again and again more of them.
        for _ in 0..12 {
            let mut one = TcpStream::connect(address).await.unwrap();
            one.write_all(b"POST /echo HTTP/1.1\r\nX-Slow: ").await.unwrap();
            slow.push(one);
            let mut honest = TcpStream::connect(address).await.unwrap();
            honest.write_all(b"GET /ping HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            honest.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("127.0.0.1:"), "{answer}");
        }
        // The first of them were closed.
        assert_eq!(slow[0].read(&mut [0; 16]).await.unwrap_or(0), 0);
        stop.send_replace(true);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_under_way_is_never_cut_to_make_room() {
        let stop = watch::Sender::new(false);
        let seats = Arc::new(Seats::default());
        let (mut busy, _serving) = connection(&seats, &stop);
        busy.write_all(b"GET /never HTTP/1.1\r\nHost: bridge\r\n\r\n").await.unwrap();
        while seats.taken().iter().all(|seat| seat.under_way.load(Relaxed) == 0) {
            tokio::task::yield_now().await;
        }
        assert!(!seats.make_room());
        let (mut idle, serving) = connection(&seats, &stop);
        exchange(&mut idle, PING).await;
        assert!(seats.make_room());
        serving.await.unwrap();
        assert_eq!(seats.taken().len(), 1);
        assert!(!seats.make_room(), "the other one still has its request");
    }

    #[tokio::test]
    async fn at_the_end_idle_connections_are_closed_and_requests_finished() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = watch::Sender::new(false);
        let held = Arc::new(Held::default());
        let app = app_with(Arc::clone(&held));
        let serving = tokio::spawn(serve(listener, app, Limits::default(), stop.subscribe()));
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(PING).await.unwrap();
        let _ = idle.read(&mut [0; 1024]).await.unwrap();
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(b"GET /held HTTP/1.1\r\nHost: bridge\r\n\r\n").await.unwrap();
        held.asked.notified().await;
        stop.send_replace(true);
        assert_eq!(idle.read(&mut [0; 16]).await.unwrap_or(0), 0);
        assert!(TcpStream::connect(address).await.is_err(), "nothing new is taken");
        held.may_answer.notify_one();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("held"), "{answer}");
        serving.await.unwrap();
    }
}
