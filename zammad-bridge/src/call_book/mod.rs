//! The call book: facts of a call in, one merged record out, and what of it is to be told to Zammad, in which order.
//!
//! Pure: no I/O, no clock. The result of a call's facts does not depend on how often each of them came, and as far as the
//! facts allow not on their order. [`CallRecord::apply`] takes a fact in; [`wanted_steps`] says what Zammad should know.
//!
//! | what | where |
//! |---|---|
//! | what a receiver learned: one event of one leg | [`CallFact`] |
//! | what is known of a call, legs made by `dial` folded in | [`CallRecord`] |
//! | the steps in which Zammad learns of it | [`Step`], [`StepSet`], [`wanted_steps`] |
//! | why it ended, in Zammad's words | [`EndCause`] |

mod call_record;
mod end_cause;
mod fact;
mod steps;
#[cfg(test)]
mod tests;

pub use call_record::{
    AnsweredBy, Applied, CallEnd, CallRecord, CallState, Leg, MAX_LEGS, MAX_TIMELINE_ENTRIES, TimelineEntry,
};
pub use end_cause::EndCause;
pub use fact::{CallAlias, CallFact, CallStatus, Direction, FactSource, MAX_FACT_TEXT_CHARS};
pub use steps::{Channel, Step, StepSet, TicketMode, wanted_steps};
