//! What waits to be written is written together, and answered when it is on disk: one task asks a [`Ledger`], so that the
//! rate of the disk does not limit how many facts are taken in.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::lane::Lane;
use super::{Committed, DeliveryReport, Forgotten, Shelf, Swept};
use crate::call_book::CallFact;
use crate::clock::UnixMillis;
use crate::error::{Error, Result};

/// How many facts and reports may wait to be written; who comes then waits to be let in.
pub(super) const MAX_WAITING: usize = 1024;

/// How many facts and reports are written in one transaction at most.
const MAX_BATCH: usize = 256;

/// How long a batch waits for company if the one before had any: callers that were answered together come back
/// together, and one write to the disk serves them all.
const LINGER: Duration = Duration::from_millis(1);

/// How many records one chore changes in one transaction.
pub(super) const CHORE_RECORDS: usize = 256;

pub(super) type Answer<T> = oneshot::Sender<Result<T>>;

/// What is asked of the writer.
pub(super) enum Op {
    Fact(Box<CallFact>, Answer<Committed>),
    Report(DeliveryReport, Answer<bool>),
    Chore(Chore),
}

/// What is done by itself, not with others.
pub(super) enum Chore {
    Shelf(Shelf, ShelfChange, UnixMillis, Answer<u64>),
    Reap { silent_since: UnixMillis, now: UnixMillis, limit: usize, answer: Answer<u64> },
    Sweep { ended_before: UnixMillis, limit: usize, answer: Answer<Swept> },
    Forget(String, Answer<Forgotten>),
    Probe(Answer<()>),
    Close(oneshot::Sender<()>),
}

/// What becomes of shelved steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShelfChange {
    Replay,
    Discard,
}

impl ShelfChange {
    /// Changes a lane. Whether it had anything on the shelf.
    pub(super) fn apply(self, lane: &mut Lane, now: UnixMillis) -> bool {
        match self {
            Self::Replay => lane.replay(now),
            Self::Discard => lane.discard(now),
        }
    }
}

/// What the writer's task writes to.
#[async_trait]
pub(super) trait Ledger: Send {
    /// Takes facts in and notes reports, all of them or none. `false` for a report whose lease is another's.
    async fn transact(&mut self, facts: &[CallFact], reports: &[DeliveryReport])
    -> Result<(Vec<Committed>, Vec<bool>)>;

    /// Changes shelved lanes; how many.
    async fn change_shelf(&mut self, shelf: Shelf, change: ShelfChange, now: UnixMillis) -> Result<u64>;

    /// As [`CallStore::reap`](super::CallStore::reap).
    async fn reap(&mut self, silent_since: UnixMillis, now: UnixMillis, limit: usize) -> Result<u64>;

    /// As [`CallStore::sweep`](super::CallStore::sweep).
    async fn sweep(&mut self, ended_before: UnixMillis, limit: usize) -> Result<Swept>;

    /// As [`CallStore::forget`](super::CallStore::forget).
    async fn forget(&mut self, client_id: &str) -> Result<Forgotten>;

    /// As [`CallStore::probe`](super::CallStore::probe).
    async fn probe(&mut self) -> Result<()>;

    /// The end.
    async fn close(self);
}

/// Who asks: the other end of the writer's queue.
#[derive(Debug, Clone)]
pub(super) struct Queue(mpsc::Sender<Op>);

impl Queue {
    /// Starts the writer's task. To be called inside a tokio runtime.
    pub(super) fn start(ledger: impl Ledger + 'static) -> Self {
        let (ops, received) = mpsc::channel(MAX_WAITING);
        tokio::spawn(run(ledger, received));
        Self(ops)
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask<T>(&self, op: impl FnOnce(Answer<T>) -> Op) -> Result<T> {
        let closed = || Error::StoreRefuses { reason: "closing" };
        let (answer, answered) = oneshot::channel();
        self.0.send(op(answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// Finishes what waits and ends the task.
    pub(super) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.0.send(Op::Chore(Chore::Close(answer))).await.is_ok() {
            let _ = answered.await;
        }
    }
}

async fn run(mut ledger: impl Ledger, mut ops: mpsc::Receiver<Op>) {
    let mut company = false;
    while let Some(first) = ops.recv().await {
        if company && ops.len() < MAX_BATCH / 2 && !matches!(first, Op::Chore(_)) {
            tokio::time::sleep(LINGER).await;
        }
        let (mut facts, mut reports, mut chore) = (Vec::new(), Vec::new(), None);
        let mut next = Some(first);
        while let Some(op) = next.take() {
            match op {
                Op::Fact(fact, answer) => facts.push((*fact, answer)),
                Op::Report(report, answer) => reports.push((report, answer)),
                Op::Chore(one) => chore = Some(one),
            }
            if chore.is_none() && facts.len() + reports.len() < MAX_BATCH {
                next = ops.try_recv().ok();
            }
        }
        company = facts.len() + reports.len() > 1;
        if facts.len() + reports.len() > 0 {
            write(&mut ledger, facts, reports).await;
        }
        match chore {
            None => {}
            Some(Chore::Shelf(shelf, change, now, answer)) => {
                let _ = answer.send(ledger.change_shelf(shelf, change, now).await);
            }
            Some(Chore::Reap { silent_since, now, limit, answer }) => {
                let _ = answer.send(ledger.reap(silent_since, now, limit).await);
            }
            Some(Chore::Sweep { ended_before, limit, answer }) => {
                let _ = answer.send(ledger.sweep(ended_before, limit).await);
            }
            Some(Chore::Forget(client_id, answer)) => {
                let _ = answer.send(ledger.forget(&client_id).await);
            }
            Some(Chore::Probe(answer)) => {
                let _ = answer.send(ledger.probe().await);
            }
            Some(Chore::Close(answer)) => {
                ledger.close().await;
                let _ = answer.send(());
                return;
            }
        }
    }
}

/// Writes facts and reports in one transaction and answers. If that fails for a reason that may lie in one of them, each
/// is written by itself.
async fn write(
    ledger: &mut impl Ledger,
    facts: Vec<(CallFact, Answer<Committed>)>,
    reports: Vec<(DeliveryReport, Answer<bool>)>,
) {
    let (facts, fact_answers): (Vec<_>, Vec<_>) = facts.into_iter().unzip();
    let (reports, report_answers): (Vec<_>, Vec<_>) = reports.into_iter().unzip();
    match ledger.transact(&facts, &reports).await {
        Ok((committed, reported)) => {
            for (answer, committed) in fact_answers.into_iter().zip(committed) {
                let _ = answer.send(Ok(committed));
            }
            for (answer, reported) in report_answers.into_iter().zip(reported) {
                let _ = answer.send(Ok(reported));
            }
        }
        Err(error) if facts.len() + reports.len() == 1 || !may_lie_in_one(&error) => {
            for answer in fact_answers {
                let _ = answer.send(Err(error.clone()));
            }
            for answer in report_answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
        Err(error) => {
            tracing::warn!(%error, waiting = facts.len() + reports.len(), "written one by one after a failure");
            for (fact, answer) in facts.into_iter().zip(fact_answers) {
                let result = ledger.transact(std::slice::from_ref(&fact), &[]).await;
                let committed = result.and_then(|(committed, _)| committed.into_iter().next().ok_or(error.clone()));
                let _ = answer.send(committed);
            }
            for (report, answer) in reports.into_iter().zip(report_answers) {
                let result = ledger.transact(&[], std::slice::from_ref(&report)).await;
                let _ = answer.send(result.map(|(_, reported)| reported.first().copied().unwrap_or(false)));
            }
        }
    }
}

/// Whether a transaction may have failed for one of the things in it.
const fn may_lie_in_one(error: &Error) -> bool {
    !matches!(error, Error::StoreDiskFull { .. } | Error::StoreAway { .. })
}
