//! A random walk of two user agents over what people want, what the network does and what the far end answers.
//!
//! Each has its own connection to an edge that hands everything on, answers pings, and loses what is on its way when a
//! connection breaks. What holds after every step: nothing is sent on a connection that is not open, and nobody holds more
//! than its limits. What holds after every chapter, when everybody has hung up and the network has been quiet for a while:
//! every call has ended once, every command has had its answer, nothing is left of any call, transaction or timer. And
//! nothing comes out after `destroy`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::super::client_request::Purpose;
use super::super::{CallHandle, Command, FlowId, Input, Output, UaEvent, UserAgent};
use super::lab::{ANSWER, OFFER, config, header};
use crate::error::Error;
use crate::header_field::{HeaderField, HeaderValue};
use crate::random::{Random as _, SeededRandom};
use crate::sip::message::StatusCode;
use crate::time::Time;

/// Steps of one walk in a test of every day; a soak takes ten times as many.
const STEPS: usize = 100_000;
/// After so many steps everything comes to an end and is looked at.
const CHAPTER: usize = 250;
/// More than any timer of a call, session timers included.
const QUIET: Duration = Duration::from_secs(15 * 60);
/// Timers beside those of calls and transactions, and per call.
const TIMERS: usize = 16;
const TIMERS_PER_CALL: usize = 16;

/// One side.
struct Side {
    agent: UserAgent,
    flow: Option<FlowId>,
    /// Rises with every connection: what was on its way to an older one is lost.
    epoch: u64,
    /// What is sent arrives in order.
    last_arrival: Time,
    next_call: u64,
    live: Vec<CallHandle>,
    /// Calls that were placed or have come and have not ended.
    open: BTreeSet<CallHandle>,
    ringing: Vec<CallHandle>,
    asked: Vec<CallHandle>,
    /// Calls whose far end has sent this side to somebody else.
    referred: Vec<CallHandle>,
    /// Calls in which somebody waits for the outcome of a hold, an offer, a transfer.
    holds: BTreeSet<CallHandle>,
    offers: BTreeSet<CallHandle>,
    transfers: BTreeSet<CallHandle>,
    infos: usize,
    checks: usize,
    ended: usize,
    destroyed: bool,
}

#[derive(Debug)]
enum Arrival {
    Message { to: usize, epoch: u64, bytes: Bytes },
    Opened { to: usize, flow: FlowId },
    Refused { to: usize, flow: FlowId },
    Closed { to: usize, epoch: u64 },
}

struct World {
    seed: u64,
    step: usize,
    random: SeededRandom,
    now: Time,
    sides: [Side; 2],
    on_the_way: BTreeMap<(Time, u64), Arrival>,
    count: u64,
    refusing: bool,
    /// Everything vanishes and nobody is told.
    silent: bool,
    /// What has happened, to see that the walk goes everywhere.
    seen: BTreeMap<&'static str, usize>,
}

impl Side {
    fn new(seed: u64) -> Self {
        let mut settings = config();
        settings.keep_alive_interval = Some(Duration::from_secs(30));
        settings.accept_referrals = true;
        settings.session_expires = Some(Duration::from_secs(90 + seed % 200));
        Self {
            agent: UserAgent::new(settings, Box::new(SeededRandom::new(seed))),
            flow: None,
            epoch: 0,
            last_arrival: Time::ZERO,
            next_call: 1,
            live: Vec::new(),
            open: BTreeSet::new(),
            ringing: Vec::new(),
            asked: Vec::new(),
            referred: Vec::new(),
            holds: BTreeSet::new(),
            offers: BTreeSet::new(),
            transfers: BTreeSet::new(),
            infos: 0,
            checks: 0,
            ended: 0,
            destroyed: false,
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = SeededRandom::new(seed);
        let sides = [Side::new(random.below(u64::MAX)), Side::new(random.below(u64::MAX))];
        let mut world = Self {
            seed,
            step: 0,
            random,
            now: Time::from_micros(1),
            sides,
            on_the_way: BTreeMap::new(),
            count: 0,
            refusing: false,
            silent: false,
            seen: BTreeMap::new(),
        };
        for side in 0..2 {
            world.command(side, Command::Connect);
        }
        world
    }

    /// Where the walk is, for whoever has to walk it again.
    fn here(&self) -> String {
        format!("seed {}, step {}, {:?}", self.seed, self.step, self.now)
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn input(&mut self, side: usize, input: Input) {
        self.sides[side].agent.handle(self.now, input);
        self.drain();
    }

    fn command(&mut self, side: usize, command: Command) {
        self.input(side, Input::Command(command));
    }

    fn later(&mut self, from: usize, least_ms: u64, arrival: Arrival) {
        let delay = Duration::from_millis(least_ms + self.random.below(60));
        let at = (self.now + delay).max(self.sides[from].last_arrival);
        self.sides[from].last_arrival = at;
        self.count += 1;
        self.on_the_way.insert((at, self.count), arrival);
    }

    fn drain(&mut self) {
        for side in [0, 1, 0] {
            while let Some(output) = self.sides[side].agent.poll_output() {
                assert!(!self.sides[side].destroyed, "{}: {output:?} after destroy", self.here());
                match output {
                    Output::OpenFlow { flow } => {
                        assert!(self.sides[side].flow.is_none(), "{}", self.here());
                        let arrival = if self.refusing {
                            Arrival::Refused { to: side, flow }
                        } else {
                            Arrival::Opened { to: side, flow }
                        };
                        self.later(side, 5, arrival);
                    }
                    Output::CloseFlow { flow } => {
                        if self.sides[side].flow == Some(flow) {
                            self.sides[side].flow = None;
                            self.sides[side].epoch += 1;
                        }
                    }
                    Output::Send { flow, bytes } => self.sent(side, flow, bytes),
                    Output::Event(event) => self.told(side, event),
                }
            }
        }
    }

    fn sent(&mut self, side: usize, flow: FlowId, bytes: Bytes) {
        assert_eq!(self.sides[side].flow, Some(flow), "{}: sent on a dead flow", self.here());
        if self.silent {
            return;
        }
        let (to, bytes) = match bytes.as_ref() {
            b"\r\n\r\n" => (side, Bytes::from_static(b"\r\n")),
            b"\r\n" => return,
            _ => (1 - side, bytes),
        };
        let epoch = self.sides[to].epoch;
        if self.sides[to].flow.is_some() {
            self.later(side, 1, Arrival::Message { to, epoch, bytes });
        }
    }

    fn told(&mut self, side: usize, event: UaEvent) {
        let here = self.here();
        let one = &mut self.sides[side];
        match event {
            UaEvent::Referred { call, .. } => {
                one.referred.push(call);
                self.saw("referred");
            }
            UaEvent::TransferProgress { status: 180.., .. } => self.saw("progress told"),
            UaEvent::Incoming { call, replaces, .. } => {
                let saw = if replaces.is_some() { "replacing" } else { "incoming" };
                assert!(one.open.insert(call), "{here}: {call:?} comes twice");
                one.ringing.push(call);
                one.live.push(call);
                self.saw(saw);
            }
            UaEvent::Ended { call, error, .. } => {
                assert!(one.open.remove(&call), "{here}: {call:?} ends though it is not there");
                one.ended += 1;
                one.live.retain(|live| *live != call);
                one.ringing.retain(|ringing| *ringing != call);
                one.asked.retain(|asked| *asked != call);
                one.referred.retain(|referred| *referred != call);
                for waiting in [&one.holds, &one.offers, &one.transfers] {
                    assert!(!waiting.contains(&call), "{here}: {call:?} ended before its commands were answered");
                }
                if matches!(error, Some(Error::FlowLostDuringSetup)) {
                    self.saw("flow lost during setup");
                }
            }
            UaEvent::HoldResult { call, result } => {
                one.holds.remove(&call);
                self.saw(if result.is_ok() { "held" } else { "not held" });
            }
            UaEvent::OfferAnswered { call, result } => {
                one.offers.remove(&call);
                self.saw(if result.is_ok() { "offer accepted" } else { "offer failed" });
            }
            UaEvent::TransferResult { call, result } => {
                one.transfers.remove(&call);
                self.saw(if result.is_ok() { "transferred" } else { "not transferred" });
            }
            UaEvent::InfoResult { .. } => {
                one.infos = one.infos.checked_sub(1).unwrap_or_else(|| panic!("{here}: an INFO is answered twice"));
            }
            UaEvent::FlowChecked { .. } => {
                one.checks = one.checks.checked_sub(1).unwrap_or_else(|| panic!("{here}: a check is answered twice"));
            }
            UaEvent::Reoffered { call, .. } => {
                one.asked.push(call);
                self.saw("reoffered");
            }
            UaEvent::Confirmed { .. } => self.saw("confirmed"),
            UaEvent::Reconnecting { .. } => self.saw("reconnecting"),
            _ => {}
        }
    }

    /// Lets time pass.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut turns = 0_u64;
        loop {
            let arrival = self.on_the_way.first_key_value().map(|((at, _), _)| *at);
            let timers = self.sides.iter().filter_map(|side| side.agent.next_timeout());
            let Some(at) = timers.chain(arrival).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            turns += 1;
            assert!(turns < 1_000_000, "{}: it never comes to rest", self.here());
            if arrival.is_some_and(|arrival| arrival <= self.now) {
                if let Some((_, arrival)) = self.on_the_way.pop_first() {
                    self.arrives(arrival);
                }
                continue;
            }
            for side in 0..2 {
                self.input(side, Input::Timeout);
            }
        }
        self.now = end;
    }

    fn arrives(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Message { to, epoch, bytes } => {
                if let Some(flow) = self.sides[to].flow.filter(|_| self.sides[to].epoch == epoch) {
                    self.input(to, Input::Received { flow, bytes });
                }
            }
            Arrival::Opened { to, flow } => {
                if !self.sides[to].destroyed {
                    self.sides[to].flow = Some(flow);
                    self.sides[to].epoch += 1;
                    self.input(to, Input::FlowOpened { flow });
                }
            }
            Arrival::Refused { to, flow } => {
                let error = Error::Connect { address: "edge".to_owned(), problem: "refused".to_owned() };
                self.input(to, Input::FlowFailed { flow, error });
            }
            Arrival::Closed { to, epoch } => {
                let one = &mut self.sides[to];
                if let Some(flow) = one.flow.filter(|_| one.epoch == epoch) {
                    one.flow = None;
                    one.epoch += 1;
                    let error = Some(Error::FlowLost { problem: "reset".to_owned() });
                    self.input(to, Input::FlowClosed { flow, error });
                }
            }
        }
    }

    fn pick(&mut self, side: usize) -> CallHandle {
        let live = self.sides[side].live.len() as u64;
        let index = usize::try_from(self.random.below(live.max(1))).unwrap();
        // One that is not there is asked for, too.
        self.sides[side].live.get(index).copied().unwrap_or(CallHandle(999_999))
    }

    fn description(&mut self, base: &str) -> String {
        let directions = ["sendrecv", "sendonly", "recvonly", "inactive"];
        let direction = directions[usize::try_from(self.random.below(4)).unwrap()];
        base.replace("m=audio ", &format!("m=audio {}", self.random.below(90))) + &format!("a={direction}\r\n")
    }

    /// The number of a call that `side` is about to place.
    fn place(&mut self, side: usize) -> CallHandle {
        let call = CallHandle(self.sides[side].next_call);
        self.sides[side].next_call += 1;
        self.sides[side].open.insert(call);
        self.sides[side].live.push(call);
        call
    }

    fn invite(&mut self, side: usize, headers: Vec<HeaderField>) {
        let call = self.place(side);
        let call_id = format!("walk-{}-{side}-{}", self.seed, call.0);
        let target = "sip:app-7087fe50@example.com".to_owned();
        let offer = OFFER.to_owned();
        self.command(side, Command::Invite { call, target, call_id, headers, offer, display_name: None });
    }

    fn take_step(&mut self) {
        let side = usize::try_from(self.random.below(2)).unwrap();
        let choice = self.random.below(64);
        match choice {
            0..=9 if self.sides[side].open.len() < 4 => {
                let headers = if self.random.below(3) == 0 { vec![header("Require", "100rel")] } else { Vec::new() };
                self.invite(side, headers);
            }
            10..=12 => {
                if let Some(call) = self.sides[side].ringing.last().copied() {
                    self.command(side, Command::Ring { call, headers: Vec::new() });
                }
            }
            13..=22 => {
                if let Some(call) = self.sides[side].ringing.pop() {
                    self.command(side, Command::Answer { call, sdp: ANSWER.to_owned(), headers: Vec::new() });
                }
            }
            23 => {
                if let Some(call) = self.sides[side].ringing.pop() {
                    self.command(side, Command::Reject { call, status: StatusCode::BUSY_HERE, reason: None });
                }
            }
            24..=26 => {
                let call = self.pick(side);
                self.command(side, Command::Hangup { call, reason: Some("walk".to_owned()) });
            }
            27..=33 => {
                let (call, held) = (self.pick(side), self.random.below(2) == 0);
                self.sides[side].holds.insert(call);
                self.command(side, Command::Hold { call, held });
            }
            34..=37 => {
                let call = self.pick(side);
                let sdp = self.description(OFFER);
                self.sides[side].offers.insert(call);
                self.command(side, Command::Offer { call, sdp });
            }
            38..=43 => {
                if let Some(call) = self.sides[side].asked.pop() {
                    let answer = match self.random.below(4) {
                        0 => Err(StatusCode::NOT_ACCEPTABLE_HERE),
                        _ => Ok(self.description(ANSWER)),
                    };
                    self.command(side, Command::AnswerOffer { call, answer });
                }
            }
            44..=46 => {
                let call = self.pick(side);
                self.sides[side].infos += 1;
                let content_type = HeaderValue::from_static("application/dtmf-relay");
                self.command(side, Command::Info { call, content_type, body: Bytes::from_static(b"Signal=1\r\n") });
            }
            47 => {
                let call = self.pick(side);
                self.sides[side].transfers.insert(call);
                // To somebody, or to somebody who is spoken to already.
                let other = self.pick(side);
                let attended = self.sides[side].agent.replacement_uri(other).filter(|_| self.random.below(2) == 0);
                let target = attended.unwrap_or_else(|| "sip:bob@example.com".to_owned());
                self.command(side, Command::Transfer { call, target });
            }
            59..=60 => {
                if let Some(referral) = self.sides[side].referred.pop() {
                    if self.random.below(4) == 0 {
                        self.command(side, Command::DeclineReferral { call: referral });
                    } else {
                        let call = self.place(side);
                        let call_id = format!("walk-{}-{side}-{}", self.seed, call.0);
                        let (headers, offer) = (Vec::new(), OFFER.to_owned());
                        self.command(
                            side,
                            Command::Follow { referral, call, call_id, headers, offer, display_name: None },
                        );
                    }
                }
            }
            61 => {
                // Another call of this side takes the place of one that there is.
                let call = self.pick(side);
                let uri = self.sides[side].agent.replacement_uri(call);
                if let Some((_, value)) = uri.as_deref().and_then(|uri| uri.split_once("?Replaces=")) {
                    let value = crate::sip::uri::unescape(value).into_owned();
                    self.invite(side, vec![header("Replaces", &value)]);
                }
            }
            48 => {
                self.sides[side].checks += 1;
                self.command(side, Command::CheckFlow { id: self.step as u64 });
            }
            49..=50 => {
                // Both or one of them hear of it, at once or later.
                let epoch = self.sides[side].epoch;
                let when = self.random.below(3000);
                self.later(side, when, Arrival::Closed { to: side, epoch });
            }
            51 => self.command(side, Command::NetworkChanged),
            52 => self.command(side, Command::Woke),
            53 => self.refusing = !self.refusing,
            54 => self.silent = !self.silent,
            55..=56 => (self.refusing, self.silent) = (false, false),
            57 => self.run(Duration::from_secs(45)),
            _ => {}
        }
        let pause = Duration::from_millis(self.random.below(800));
        self.run(pause);
        self.check();
    }

    /// What holds at any time.
    fn check(&mut self) {
        for side in &self.sides {
            let agent = &side.agent;
            let limits = agent.config.limits;
            let here = self.here();
            assert!(agent.clients.len() <= limits.client_transactions, "{here}");
            assert!(agent.servers.len() <= limits.server_transactions, "{here}");
            let transactions = agent.clients.len() + agent.servers.len();
            let most = TIMERS + TIMERS_PER_CALL * agent.calls.len() + transactions;
            assert!(agent.timers.len() <= most, "{here}: {} timers", agent.timers.len());
            assert!(agent.next_timeout().is_none_or(|due| due >= self.now), "{here}");
        }
    }

    /// Everybody hangs up, the network is well: nothing is left.
    fn end_chapter(&mut self) {
        (self.refusing, self.silent) = (false, false);
        self.run(Duration::from_secs(60));
        for side in 0..2 {
            for call in self.sides[side].open.clone() {
                self.command(side, Command::Hangup { call, reason: None });
            }
        }
        self.run(QUIET);
        for side in 0..2 {
            let (here, one) = (self.here(), &self.sides[side]);
            assert!(one.open.is_empty(), "{here}: {:?} never end: {:#?}", one.open, one.agent.calls);
            assert!(one.agent.calls.is_empty(), "{here}: {:#?}", one.agent.calls);
            // A keep-alive may have gone out a moment ago.
            let busy = one.agent.clients.values().filter(|client| client.purpose != Purpose::Probe).count();
            assert_eq!(busy, 0, "{here}: {:#?}", one.agent.clients);
            assert!(one.agent.servers.is_empty(), "{here}: {:#?}", one.agent.servers.keys());
            assert!(one.agent.stranded.is_empty(), "{here}");
            let waiting = (&one.holds, &one.offers, &one.transfers, one.infos, one.checks);
            let nobody = (&BTreeSet::new(), &BTreeSet::new(), &BTreeSet::new(), 0, 0);
            assert_eq!(waiting, nobody, "{here}: commands without an answer");
            assert!(one.agent.timers.len() <= TIMERS, "{here}");
        }
    }

    fn walk(mut self, steps: usize) -> BTreeMap<&'static str, usize> {
        while self.step < steps {
            self.step += 1;
            self.take_step();
            if self.step.is_multiple_of(CHAPTER) {
                self.end_chapter();
            }
        }
        self.end_chapter();
        for side in 0..2 {
            self.command(side, Command::Destroy);
            self.sides[side].destroyed = true;
        }
        self.run(QUIET);
        for side in 0..2 {
            self.command(side, Command::Connect);
        }
        self.run(QUIET);
        self.seen
    }
}

fn goes_everywhere(seen: &BTreeMap<&'static str, usize>) {
    for what in [
        "incoming",
        "confirmed",
        "held",
        "not held",
        "offer accepted",
        "offer failed",
        "reoffered",
        "reconnecting",
        "flow lost during setup",
        "referred",
        "replacing",
        "progress told",
        "transferred",
        "not transferred",
    ] {
        assert!(seen.get(what).is_some_and(|times| *times >= 10), "{what} happens too seldom: {seen:?}");
    }
}

#[test]
fn two_user_agents_on_a_bad_network_leave_nothing_behind() {
    let mut seen = BTreeMap::new();
    // Ten walks in parallel threads would be quicker; one after the other is easier to walk again.
    for seed in 0..10 {
        for (what, times) in World::new(seed).walk(STEPS / 10) {
            *seen.entry(what).or_default() += times;
        }
    }
    goes_everywhere(&seen);
}

#[test]
#[ignore = "a million steps: `cargo xtask soak`"]
fn soak_two_user_agents_on_a_bad_network() {
    let share: f64 = std::env::var("CODEX_SOAK_SHARE").ok().and_then(|share| share.parse().ok()).unwrap_or(1.0);
    let chapters = ((share.clamp(0.01, 1.0) * 10.0).ceil() as u64).max(1);
    for seed in 1000..1000 + chapters {
        println!("seed {seed}");
        goes_everywhere(&World::new(seed).walk(STEPS));
    }
}
