//! The client's half: RFC 3261 §17.1, RFC 6026 §7.2.

use crate::sip::message::StatusCode;
use crate::time::Time;

use super::{TimerSettings, TransactionKind, TransactionState};

/// A client transaction.
#[derive(Debug, Clone)]
pub struct ClientTransaction {
    kind: TransactionKind,
    state: TransactionState,
    deadline: Option<Time>,
    timers: TimerSettings,
}

/// What a response means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientStep {
    /// The response goes to whoever sent the request.
    pub deliver: bool,
    /// The transaction itself has to send an ACK (RFC 3261 §17.1.1.3). The ACK of a 2xx is the user agent's.
    pub acknowledge: bool,
}

impl ClientStep {
    const ABSORB: Self = Self { deliver: false, acknowledge: false };
    const DELIVER: Self = Self { deliver: true, acknowledge: false };
}

impl ClientTransaction {
    /// The transaction of a request that is sent at `now`. Timer B or F runs.
    #[must_use]
    pub fn new(kind: TransactionKind, now: Time, timers: TimerSettings) -> Self {
        Self { kind, state: TransactionState::Trying, deadline: Some(now + timers.transaction_timeout()), timers }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> TransactionState {
        self.state
    }

    /// What it is for.
    #[must_use]
    pub fn kind(&self) -> TransactionKind {
        self.kind
    }

    /// When [`ClientTransaction::expire`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// A response has come.
    pub fn response(&mut self, now: Time, status: StatusCode) -> ClientStep {
        use TransactionState as S;
        match (self.kind, self.state) {
            (_, S::Trying | S::Proceeding) if status.is_provisional() => {
                self.state = S::Proceeding;
                if self.kind == TransactionKind::Invite {
                    // Timer B runs in `Calling` only; how long it may ring is the caller's decision.
                    self.deadline = None;
                }
                ClientStep::DELIVER
            }
            (TransactionKind::Invite, S::Trying | S::Proceeding) if status.is_success() => {
                self.state = S::Accepted;
                self.deadline = Some(now + self.timers.transaction_timeout());
                ClientStep::DELIVER
            }
            (TransactionKind::Invite, S::Trying | S::Proceeding) => {
                // Timer D is zero over a reliable transport: `Completed` is passed at once.
                self.terminate();
                ClientStep { deliver: true, acknowledge: true }
            }
            (TransactionKind::NonInvite, S::Trying | S::Proceeding) => {
                self.terminate();
                ClientStep::DELIVER
            }
            (TransactionKind::Invite, S::Accepted) if status.is_success() => ClientStep::DELIVER,
            _ => ClientStep::ABSORB,
        }
    }

    /// The deadline may have passed. True if the request got no answer in time; the transaction may have ended
    /// without that (timer M), so look at [`ClientTransaction::state`] too.
    pub fn expire(&mut self, now: Time) -> bool {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return false;
        }
        let unanswered = matches!(self.state, TransactionState::Trying | TransactionState::Proceeding);
        self.terminate();
        unanswered
    }

    fn terminate(&mut self) {
        self.state = TransactionState::Terminated;
        self.deadline = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What happens to a transaction: a response, or that so many milliseconds pass.
    #[derive(Debug, Clone, Copy)]
    enum Happening {
        Response(u16),
        Wait(u64),
    }

    use Happening::{Response, Wait};
    use TransactionKind::{Invite, NonInvite};
    use TransactionState::{Accepted, Proceeding, Terminated, Trying};

    const PASS: &str = "deliver";
    const PASS_AND_ACK: &str = "deliver, ack";
    const NOTHING: &str = "nothing";
    const TIMEOUT: &str = "timeout";

    fn run(kind: TransactionKind, steps: &[(Happening, &str, TransactionState)]) {
        let mut now = Time::from_micros(1_000);
        let mut transaction = ClientTransaction::new(kind, now, TimerSettings::default());
        for (index, (happening, outcome, state)) in steps.iter().enumerate() {
            let found = match happening {
                Response(status) => {
                    let step = transaction.response(now, StatusCode::new(*status).unwrap());
                    match (step.deliver, step.acknowledge) {
                        (true, true) => PASS_AND_ACK,
                        (true, false) => PASS,
                        (false, false) => NOTHING,
                        (false, true) => "ack without delivery",
                    }
                }
                Wait(millis) => {
                    now += Duration::from_millis(*millis);
                    if transaction.expire(now) { TIMEOUT } else { NOTHING }
                }
            };
            assert_eq!(
                (found, transaction.state()),
                (*outcome, *state),
                "step {index} of {steps:?} of a {kind:?} transaction"
            );
        }
    }

    #[test]
    fn invite_client_transaction() {
        let table: &[&[(Happening, &str, TransactionState)]] = &[
            &[(Wait(31_999), NOTHING, Trying), (Wait(1), TIMEOUT, Terminated), (Response(200), NOTHING, Terminated)],
            &[(Response(100), PASS, Proceeding), (Wait(600_000), NOTHING, Proceeding)],
            &[(Response(180), PASS, Proceeding), (Response(183), PASS, Proceeding), (Response(200), PASS, Accepted)],
            &[(Response(486), PASS_AND_ACK, Terminated), (Response(486), NOTHING, Terminated)],
            &[(Response(100), PASS, Proceeding), (Response(302), PASS_AND_ACK, Terminated)],
            &[(Response(100), PASS, Proceeding), (Response(699), PASS_AND_ACK, Terminated)],
            // RFC 6026: a 2xx may come again, from another branch too; what else comes then is absorbed.
            &[
                (Response(200), PASS, Accepted),
                (Response(200), PASS, Accepted),
                (Response(180), NOTHING, Accepted),
                (Response(486), NOTHING, Accepted),
                (Wait(31_999), NOTHING, Accepted),
                (Wait(1), NOTHING, Terminated),
                (Response(200), NOTHING, Terminated),
            ],
        ];
        for steps in table {
            run(Invite, steps);
        }
    }

    #[test]
    fn non_invite_client_transaction() {
        let table: &[&[(Happening, &str, TransactionState)]] = &[
            &[(Wait(31_999), NOTHING, Trying), (Wait(1), TIMEOUT, Terminated)],
            // Timer F runs on in `Proceeding`.
            &[(Response(100), PASS, Proceeding), (Wait(31_999), NOTHING, Proceeding), (Wait(1), TIMEOUT, Terminated)],
            &[(Response(200), PASS, Terminated), (Response(200), NOTHING, Terminated)],
            &[(Response(100), PASS, Proceeding), (Response(100), PASS, Proceeding), (Response(404), PASS, Terminated)],
            &[(Response(503), PASS, Terminated), (Wait(60_000), NOTHING, Terminated)],
        ];
        for steps in table {
            run(NonInvite, steps);
        }
    }

    /// The timer that it is about, the transaction, what it has got, after how many ms something is due, its state.
    type Case<'a> = (&'a str, TransactionKind, &'a [u16], Option<u64>, TransactionState);

    /// RFC 3261, table 4, over a reliable transport: A and E do not run, D and K are zero. M is RFC 6026's.
    #[test]
    fn of_the_timers_b_f_and_m_run() {
        let table: &[Case<'_>] = &[
            ("B", Invite, &[], Some(32_000), Trying),
            ("none: how long it may ring is the caller's decision", Invite, &[100, 180], None, Proceeding),
            ("M", Invite, &[180, 200], Some(32_000), Accepted),
            ("M", Invite, &[200, 200], Some(32_000), Accepted),
            ("D", Invite, &[180, 486], None, Terminated),
            ("F", NonInvite, &[], Some(32_000), Trying),
            ("F", NonInvite, &[100], Some(32_000), Proceeding),
            ("K", NonInvite, &[200], None, Terminated),
            ("K", NonInvite, &[100, 503], None, Terminated),
        ];
        let now = Time::from_micros(7);
        for (timer, kind, responses, expected, state) in table {
            let mut transaction = ClientTransaction::new(*kind, now, TimerSettings::default());
            for status in *responses {
                transaction.response(now, StatusCode::new(*status).unwrap());
            }
            let runs = transaction.deadline().map(|at| at.saturating_since(now));
            assert_eq!(runs, expected.map(Duration::from_millis), "timer {timer}: {kind:?} {responses:?}");
            assert_eq!(transaction.state(), *state, "timer {timer}: {kind:?} {responses:?}");
        }
    }
}
