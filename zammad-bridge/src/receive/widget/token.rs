//! `POST /widget/token`: credentials for a page.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tracing::{debug, warn};

use super::Widget;
use crate::admin::access::{peer_of, too_many};
use crate::receive::{Receiver, answers};
use crate::tally::Place;

pub(in crate::receive) async fn receive(State(receiver): State<Receiver>, request: Request) -> Response {
    let Some(widget) = &receiver.settings.widget else {
        return answers::problem(StatusCode::NOT_FOUND, "no credentials are given out", "set WIDGET_ORIGINS");
    };
    let Some(origin) = widget.allowed(request.headers()) else {
        warn!("credentials were asked for by a page of another origin");
        return answers::problem(
            StatusCode::FORBIDDEN,
            "pages of this origin get no credentials",
            "add the page's origin to WIDGET_ORIGINS",
        );
    };
    let (method, place) = (request.method().clone(), widget.place_of(&request));
    drop(request);
    let mut response = match method {
        Method::OPTIONS => preflight(),
        Method::POST => given(&receiver, widget, place).await,
        method => answers::only_post(method.as_str()),
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Widget {
    /// The request's origin, if it is one that gets credentials.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let text = origin.to_str().ok()?.to_ascii_lowercase();
        self.settings.origins.contains(&text).then(|| origin.clone())
    }

    /// Where a request comes from: behind a proxy, what the proxy next to us says.
    fn place_of(&self, request: &Request) -> Place {
        let headers = request.headers();
        let peer = peer_of(request);
        if !self.settings.behind_proxy {
            return Place::of(peer, headers);
        }
        let forwarded = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
        let said = forwarded.and_then(|list| list.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
        Place::of(said.map(|ip| SocketAddr::new(ip, 0)).or(peer), headers)
    }
}

fn preflight() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("accept, content-type"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

async fn given(receiver: &Receiver, widget: &Widget, place: Place) -> Response {
    let now = receiver.clock.now();
    let closed = widget.tally.closed_for_s(place, now).or_else(|| widget.all.closed_for_s(Place::ANYWHERE, now));
    if let Some(retry_after_s) = closed {
        warn!(retry_after_s, "more credentials were asked for than are given out");
        return too_many(retry_after_s);
    }
    widget.tally.count(place, now);
    widget.all.count(Place::ANYWHERE, now);
    let credentials = widget.mint(now);
    let name = receiver.names.of(widget.settings.application, || false).await;
    let mut body = json!({
        "username": credentials.username,
        "password": credentials.password.expose_secret(),
        "expires": credentials.expires.to_string(),
    });
    if let Some(name) = name {
        body["applicationName"] = name.as_str().into();
    }
    debug!(username = credentials.username, "credentials were given out");
    answers::json_bytes(StatusCode::OK, Bytes::from(body.to_string()))
}
