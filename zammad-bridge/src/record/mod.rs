//! What an agent sees of a call, in English and Russian. Pure.
//!
//! | what | where |
//! |---|---|
//! | From, To, the one-line record and the cause in the caller log | [`CallerLogTexts`] |
//! | the record in full, for a ticket or note | [`ticket_title`], [`ticket_body`], [`note`] |
//! | the language | [`RecordLanguage`] |

mod caller_log;
mod full_record;
mod phrases;
#[cfg(test)]
mod tests;
mod text;

pub use caller_log::{CallerLogTexts, FromStyle, caller_number, one_line_record, zammad_call_id};
pub use full_record::{Note, note, ticket_body, ticket_mark, ticket_title};
pub use phrases::RecordLanguage;
pub use text::{cut_characters, one_line, with_foreign_digits};
