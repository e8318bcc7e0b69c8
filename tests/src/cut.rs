//! A TCP proxy in front of an edge, whose connections can be cut, or held: open to both sides, and nothing gets through.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Those that were made before this number are cut.
    CutBefore(u64),
    /// Those that were made before this number are held; later ones work.
    HoldBefore(u64),
}

/// The proxy, running. It ends, with its connections, when it is dropped.
#[derive(Debug)]
pub struct CutProxy {
    address: SocketAddr,
    orders: Arc<watch::Sender<Order>>,
    accepted: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl CutProxy {
    /// A proxy to `port` of 127.0.0.1.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn to(port: u16) -> std::io::Result<CutProxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (orders, _) = watch::channel(Order::CutBefore(0));
        let orders = Arc::new(orders);
        let (count, accepted) = watch::channel(0);
        let subscriptions = Arc::clone(&orders);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let number = *count.borrow();
                count.send_replace(number + 1);
                connections.spawn(carry(number, near, port, subscriptions.subscribe()));
            }
        });
        Ok(CutProxy { address, orders, accepted, task })
    }

    /// Where it listens, as the URL of a WebSocket.
    #[must_use]
    pub fn ws_url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    /// Cuts every connection that there is. New ones work.
    pub fn cut(&self) {
        self.orders.send_replace(Order::CutBefore(*self.accepted.borrow()));
    }

    /// Holds every connection that there is: it stays open, and nothing gets through any more. New ones work.
    pub fn hold(&self) {
        self.orders.send_replace(Order::HoldBefore(*self.accepted.borrow()));
    }
}

impl Drop for CutProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(number: u64, near: TcpStream, port: u16, mut orders: watch::Receiver<Order>) {
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    let _set = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let (up, down) = (orders.clone(), orders.clone());
    let cut = async {
        // An error says that the proxy is gone.
        let _gone = orders.wait_for(|order| matches!(order, Order::CutBefore(first) if number < *first)).await;
    };
    tokio::select! {
        () = cut => {}
        () = copy(number, near_in, far_out, up) => {}
        () = copy(number, far_in, near_out, down) => {}
    }
}

async fn copy(number: u64, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, orders: watch::Receiver<Order>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if matches!(*orders.borrow(), Order::HoldBefore(first) if number < first) {
            continue;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    if matches!(*orders.borrow(), Order::HoldBefore(first) if number < first) {
        // One side has given up; the other one is not told.
        std::future::pending::<()>().await;
    }
}
