//! The server's half: RFC 3261 §17.2, RFC 6026 §7.1.

use crate::sip::message::StatusCode;
use crate::time::Time;

use super::{TimerSettings, TransactionKind, TransactionState};

/// A server transaction.
#[derive(Debug, Clone)]
pub struct ServerTransaction {
    kind: TransactionKind,
    state: TransactionState,
    deadline: Option<Time>,
    timers: TimerSettings,
}

/// What a request means that belongs to a transaction already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerStep {
    /// A repetition: the last response goes out again.
    Resend,
    /// Nothing is to be done.
    Absorb,
    /// The ACK of a 2xx: it goes to the dialog (RFC 6026 §7.1).
    Deliver,
}

impl ServerTransaction {
    /// The transaction of a request that has just come.
    #[must_use]
    pub fn new(kind: TransactionKind, timers: TimerSettings) -> Self {
        Self { kind, state: TransactionState::Trying, deadline: None, timers }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> TransactionState {
        self.state
    }

    /// When [`ServerTransaction::expire`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// A response is about to be sent. False if it may not be sent any more: a final one is on its way, and only a
    /// 2xx may follow a 2xx.
    pub fn respond(&mut self, now: Time, status: StatusCode) -> bool {
        use TransactionState as S;
        match (self.kind, self.state) {
            (_, S::Trying | S::Proceeding) if status.is_provisional() => self.state = S::Proceeding,
            (TransactionKind::Invite, S::Trying | S::Proceeding) => {
                // Timer L after a 2xx (RFC 6026), timer H after a failure: the time in which the ACK must come.
                self.state = if status.is_success() { S::Accepted } else { S::Completed };
                self.deadline = Some(now + self.timers.transaction_timeout());
            }
            // Timer J is zero over a reliable transport.
            (TransactionKind::NonInvite, S::Trying | S::Proceeding) => self.terminate(),
            (TransactionKind::Invite, S::Accepted) if status.is_success() => {}
            _ => return false,
        }
        true
    }

    /// The request has come again.
    #[must_use]
    pub fn repetition(&self) -> ServerStep {
        match self.state {
            TransactionState::Proceeding | TransactionState::Completed => ServerStep::Resend,
            _ => ServerStep::Absorb,
        }
    }

    /// An ACK has come.
    pub fn acknowledge(&mut self) -> ServerStep {
        match self.state {
            TransactionState::Completed => {
                // Timer I is zero over a reliable transport: `Confirmed` is passed at once.
                self.terminate();
                ServerStep::Absorb
            }
            TransactionState::Accepted => ServerStep::Deliver,
            _ => ServerStep::Absorb,
        }
    }

    /// The deadline may have passed. True if a failure was never acknowledged (timer H).
    pub fn expire(&mut self, now: Time) -> bool {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return false;
        }
        let unacknowledged = self.state == TransactionState::Completed;
        self.terminate();
        unacknowledged
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

    #[derive(Debug, Clone, Copy)]
    enum Happening {
        Respond(u16),
        Repetition,
        Ack,
        Wait(u64),
    }

    use Happening::{Ack, Repetition, Respond, Wait};
    use TransactionKind::{Invite, NonInvite};
    use TransactionState::{Accepted, Completed, Proceeding, Terminated, Trying};

    fn run(kind: TransactionKind, steps: &[(Happening, &str, TransactionState)]) {
        let mut now = Time::ZERO;
        let mut transaction = ServerTransaction::new(kind, TimerSettings::default());
        for (index, (happening, outcome, state)) in steps.iter().enumerate() {
            let step_name = |step| match step {
                ServerStep::Resend => "resend",
                ServerStep::Absorb => "absorb",
                ServerStep::Deliver => "deliver",
            };
            let found = match happening {
                Respond(status) => {
                    if transaction.respond(now, StatusCode::new(*status).unwrap()) {
                        "send"
                    } else {
                        "refuse"
                    }
                }
                Repetition => step_name(transaction.repetition()),
                Ack => step_name(transaction.acknowledge()),
                Wait(millis) => {
                    now += Duration::from_millis(*millis);
                    if transaction.expire(now) { "unacknowledged" } else { "nothing" }
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
    fn invite_server_transaction() {
        let table: &[&[(Happening, &str, TransactionState)]] = &[
            &[(Respond(100), "send", Proceeding), (Repetition, "resend", Proceeding), (Ack, "absorb", Proceeding)],
            &[
                (Respond(180), "send", Proceeding),
                (Respond(183), "send", Proceeding),
                (Wait(600_000), "nothing", Proceeding),
            ],
            &[
                (Respond(486), "send", Completed),
                (Repetition, "resend", Completed),
                (Respond(200), "refuse", Completed),
                (Ack, "absorb", Terminated),
                (Ack, "absorb", Terminated),
                (Repetition, "absorb", Terminated),
            ],
            &[
                (Respond(603), "send", Completed),
                (Wait(31_999), "nothing", Completed),
                (Wait(1), "unacknowledged", Terminated),
            ],
            &[
                (Respond(100), "send", Proceeding),
                (Respond(200), "send", Accepted),
                (Repetition, "absorb", Accepted),
                (Respond(200), "send", Accepted),
                (Respond(180), "refuse", Accepted),
                (Respond(500), "refuse", Accepted),
                (Ack, "deliver", Accepted),
                (Ack, "deliver", Accepted),
                (Wait(32_000), "nothing", Terminated),
            ],
        ];
        for steps in table {
            run(Invite, steps);
        }
    }

    #[test]
    fn non_invite_server_transaction() {
        let table: &[&[(Happening, &str, TransactionState)]] = &[
            &[(Repetition, "absorb", Trying), (Respond(200), "send", Terminated), (Respond(200), "refuse", Terminated)],
            &[
                (Respond(100), "send", Proceeding),
                (Repetition, "resend", Proceeding),
                (Respond(404), "send", Terminated),
                (Repetition, "absorb", Terminated),
            ],
        ];
        for steps in table {
            run(NonInvite, steps);
        }
    }

    /// The timer that it is about, the transaction, what it has sent, whether an ACK has come, after how many ms something is
    /// due, its state.
    type Case<'a> = (&'a str, TransactionKind, &'a [u16], bool, Option<u64>, TransactionState);

    /// RFC 3261, table 4, over a reliable transport: G does not run, I and J are zero. L is RFC 6026's.
    #[test]
    fn of_the_timers_h_and_l_run() {
        let table: &[Case<'_>] = &[
            ("none", Invite, &[], false, None, Trying),
            ("none", Invite, &[100, 183], false, None, Proceeding),
            ("H", Invite, &[180, 486], false, Some(32_000), Completed),
            ("I", Invite, &[486], true, None, Terminated),
            ("L", Invite, &[200], false, Some(32_000), Accepted),
            ("L", Invite, &[200], true, Some(32_000), Accepted),
            ("none", NonInvite, &[], false, None, Trying),
            ("none", NonInvite, &[100], false, None, Proceeding),
            ("J", NonInvite, &[200], false, None, Terminated),
        ];
        let now = Time::from_micros(7);
        for (timer, kind, responses, acknowledged, expected, state) in table {
            let mut transaction = ServerTransaction::new(*kind, TimerSettings::default());
            for status in *responses {
                assert!(transaction.respond(now, StatusCode::new(*status).unwrap()));
            }
            if *acknowledged {
                transaction.acknowledge();
            }
            let runs = transaction.deadline().map(|at| at.saturating_since(now));
            assert_eq!(runs, expected.map(Duration::from_millis), "timer {timer}: {kind:?} {responses:?}");
            assert_eq!(transaction.state(), *state, "timer {timer}: {kind:?} {responses:?}");
        }
    }
}
