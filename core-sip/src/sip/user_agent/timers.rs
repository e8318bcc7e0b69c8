//! What is due when.

use std::sync::Arc;

use crate::ordered::OrderedMap;
use crate::time::Time;

use super::CallHandle;

/// Something that is due at a time. Each of them runs at most once at the same time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A client transaction, by its branch.
    Client(Arc<str>),
    /// A server transaction, by its key.
    Server(Arc<str>),
    /// An outgoing call is still not answered.
    NoAnswer(CallHandle),
    /// A cancelled call is still not over.
    CancelGiveUp(CallHandle),
    /// An incoming call is still not answered.
    Ring(CallHandle),
    /// A reliable provisional response is still not acknowledged.
    Provisional(CallHandle),
    /// A 2xx is still not acknowledged.
    Resend(CallHandle),
    /// A request of this call is still waiting for a flow.
    FlowWait(CallHandle),
    /// A change of this call is still not made.
    Change(CallHandle),
    /// A change of this call that was put off is to be tried again.
    ChangeRetry(CallHandle),
    /// The program has still not answered an offer in this call.
    Asked(CallHandle),
    /// A transfer of this call is still not done.
    Transfer(CallHandle),
    /// A REFER of the far end in this call is still not followed, or not to its end.
    Referral(CallHandle),
    /// This call's session is to be refreshed, or ends (RFC 4028).
    Session(CallHandle),
    /// A call that is over is forgotten.
    Forget(CallHandle),
    /// The flow has still not opened.
    FlowOpen,
    /// The flow is to be opened again.
    Reconnect,
    /// The flow is to be probed.
    KeepAlive,
    /// The probe is still not answered.
    Pong,
    /// The registration is to be refreshed.
    Refresh,
    /// REGISTER is to be tried again.
    RegisterRetry,
    /// A REGISTER that refreshes is still not answered.
    RegisterAnswer,
    /// The registrar's binding has expired (server role).
    Binding,
}

/// All timers of a user agent.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: OrderedMap<(Time, Timer), ()>,
    by_timer: OrderedMap<Timer, Time>,
}

impl Timers {
    /// Lets `timer` be due at `at`, and not when it was due before.
    pub(super) fn set(&mut self, timer: Timer, at: Time) {
        self.stop(&timer);
        self.by_time.insert((at, timer.clone()), ());
        self.by_timer.insert(timer, at);
    }

    /// Lets `timer` run until `at`, or not at all.
    pub(super) fn set_or_stop(&mut self, timer: Timer, at: Option<Time>) {
        match at {
            Some(at) => self.set(timer, at),
            None => self.stop(&timer),
        }
    }

    pub(super) fn stop(&mut self, timer: &Timer) {
        if let Some((timer, at)) = self.by_timer.remove_entry(timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    /// Lets `timer` be due at `at` if it runs for longer.
    pub(super) fn advance(&mut self, timer: &Timer, at: Time) {
        if self.by_timer.get(timer).is_some_and(|due| *due > at) {
            self.set(timer.clone(), at);
        }
    }

    pub(super) fn is_running(&self, timer: &Timer) -> bool {
        self.by_timer.contains_key(timer)
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.by_time.first_key_value().map(|((at, _), ())| *at)
    }

    /// Takes out the first timer that is due at `now`.
    pub(super) fn pop(&mut self, now: Time) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let ((_, timer), ()) = self.by_time.pop_first()?;
        self.by_timer.remove(&timer);
        Some(timer)
    }

    pub(super) fn clear(&mut self) {
        self.by_time.clear();
        self.by_timer.clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_time.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_once() {
        let at = Time::from_micros;
        let mut timers = Timers::default();
        timers.set(Timer::KeepAlive, at(30));
        timers.set(Timer::Refresh, at(10));
        timers.set(Timer::Refresh, at(20));
        timers.set(Timer::Pong, at(5));
        timers.stop(&Timer::Pong);
        assert_eq!(timers.next(), Some(at(20)));
        assert_eq!(timers.pop(at(19)), None);
        assert_eq!(timers.pop(at(40)), Some(Timer::Refresh));
        assert_eq!(timers.pop(at(40)), Some(Timer::KeepAlive));
        assert_eq!((timers.pop(at(40)), timers.len()), (None, 0));
    }
}
