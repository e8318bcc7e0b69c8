//! Steps to a ticket: one ticket a call, what comes later as notes on it.

use std::collections::HashMap;
use std::collections::VecDeque;

use codex_core_sip::metadata::CustomerData;
use serde_json::Value;
use tokio::sync::Mutex;

use super::port::{CustomerSearch, DeliveryFault, FaultScope, NewTicket, TicketNote, Zammad};
use super::settings::ZammadSettings;
use crate::call_book::{Channel, Direction, Step, StepSet};
use crate::record::{Note, note, one_line, ticket_body, ticket_mark, ticket_title};
use crate::store::{DueDelivery, TicketId};

/// How many customers are remembered, so that one who calls twice at once is not made twice while Zammad's search still
/// lags behind.
const CUSTOMERS_REMEMBERED: usize = 1000;

/// What came of a step that Zammad has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filed {
    pub(super) ticket: TicketId,
    /// The other steps that were told with it.
    pub(super) also: StepSet,
}

/// Customers found or made lately. Locked while one is looked for, so that two calls of one customer do not make two.
#[derive(Debug, Default)]
pub(super) struct Customers {
    known: Mutex<(HashMap<String, i64>, VecDeque<String>)>,
}

impl Customers {
    /// The customer that a trusted caller is; `None` if there is none, or more than one.
    async fn of(
        &self,
        zammad: &dyn Zammad,
        settings: &ZammadSettings,
        data: &CustomerData,
    ) -> Result<Option<i64>, DeliveryFault> {
        let field = settings.customer_lookup.field.as_str();
        let Some(value) = lookup_value(field, data) else { return Ok(None) };
        let mut known = self.known.lock().await;
        if let Some(id) = known.0.get(&value) {
            return Ok(Some(*id));
        }
        let found = match zammad.find_customer(field, &value).await? {
            CustomerSearch::One(id) => Some(id),
            CustomerSearch::Nobody if settings.customer_lookup.create => {
                let name = data.client_name.as_deref().map(one_line).filter(|name| !name.is_empty());
                Some(zammad.create_customer(field, &value, name.as_deref()).await?)
            }
            CustomerSearch::Nobody => None,
            CustomerSearch::Several => {
                tracing::warn!(zammad = %settings.name, field, "several customers are alike; a ticket gets none of them");
                None
            }
        };
        if let Some(id) = found {
            if known.1.len() >= CUSTOMERS_REMEMBERED
                && let Some(oldest) = known.1.pop_front()
            {
                known.0.remove(&oldest);
            }
            known.0.insert(value.clone(), id);
            known.1.push_back(value);
        }
        Ok(found)
    }
}

/// What is compared with the user's field: `customFields.email` and `customFields.phone` for those, else `clientId`.
fn lookup_value(field: &str, data: &CustomerData) -> Option<String> {
    let custom = |name: &str| match data.custom_fields.as_ref()?.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let value = match field {
        "email" | "phone" | "mobile" => custom(field).or_else(|| custom("phone").filter(|_| field == "mobile")),
        _ => data.client_id.clone(),
    };
    value.map(|value| one_line(&value)).filter(|value| !value.is_empty() && !names_nobody(value))
}

/// What programs write where they know nobody: all who are called so are not one person.
fn names_nobody(value: &str) -> bool {
    const NOBODY: [&str; 8] = ["anonymous", "unknown", "guest", "undefined", "null", "none", "nan", "restricted"];
    let value = value.trim().trim_start_matches("sip:");
    let user = value.split('@').next().unwrap_or_default();
    NOBODY.iter().any(|nobody| user.eq_ignore_ascii_case(nobody))
}

/// Makes the ticket, or writes the next note. `may_be_there` says whether an earlier try may have arrived.
pub(super) async fn file(
    zammad: &dyn Zammad,
    settings: &ZammadSettings,
    customers: &Customers,
    due: &DueDelivery,
    may_be_there: bool,
) -> Result<Filed, DeliveryFault> {
    match due.ticket {
        Some(ticket) if due.step != Step::OpenTicket => write_note(zammad, settings, due, ticket, may_be_there).await,
        _ => open(zammad, settings, customers, due).await,
    }
}

async fn open(
    zammad: &dyn Zammad,
    settings: &ZammadSettings,
    customers: &Customers,
    due: &DueDelivery,
) -> Result<Filed, DeliveryFault> {
    let record = &due.record;
    let mark = ticket_mark(record);
    // Always looked for: whether an earlier try arrived cannot be known for certain.
    if let Some(ticket) = zammad.find_ticket(&mark).await? {
        return Ok(Filed { ticket, also: StepSet::EMPTY });
    }
    let customer = match &record.customer_data {
        Some(data) if settings.trust_customer_data => match customers.of(zammad, settings, data).await {
            Ok(customer) => customer,
            // A customer that Zammad will not take (an address that is none) costs the link, not the ticket.
            Err(fault) if fault.scope == FaultScope::Poison => {
                tracing::warn!(zammad = %settings.name, tag = %record.tag(), %fault, "no customer for a ticket");
                None
            }
            Err(fault) => return Err(fault),
        },
        _ => None,
    };
    let ticket = NewTicket {
        title: ticket_title(record, settings.language),
        group: settings.ticket_group.clone(),
        customer: customer.map_or_else(|| format!("guess:{}", settings.ticket_customer), |id| id.to_string()),
        body: ticket_body(record, settings.trust_customer_data, settings.language),
        mark,
        from_customer: record.direction != Some(Direction::Outbound),
    };
    let ticket = zammad.create_ticket(&ticket).await?;
    // Its text tells everything that is known now.
    Ok(Filed { ticket, also: due.pending.of(Channel::Ticket) })
}

/// One note for all that is to be told: what happened last, and the whole course.
async fn write_note(
    zammad: &dyn Zammad,
    settings: &ZammadSettings,
    due: &DueDelivery,
    ticket: TicketId,
    may_be_there: bool,
) -> Result<Filed, DeliveryFault> {
    let kind = match due.pending.iter().last() {
        Some(Step::NoteAnswered) => Note::Answered,
        Some(Step::NoteTaken) => Note::Taken,
        _ => Note::Ended,
    };
    let (subject, body) = note(&due.record, kind, settings.language);
    if !(may_be_there && zammad.has_note(ticket, &subject).await?) {
        zammad.add_note(&TicketNote { ticket, subject, body }).await?;
    }
    Ok(Filed { ticket, also: due.pending.of(Channel::Ticket) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_nobody_is_not_looked_for() {
        let with_id = |id: &str| lookup_value("login", &CustomerData::new("webcall").client_id(id));
        for id in
            ["anonymous", "Anonymous", " unknown ", "guest", "undefined", "null", "anonymous@anonymous.invalid", ""]
        {
            assert_eq!(with_id(id), None, "{id}");
        }
        for id in ["user_1", "anonymouse", "0"] {
            assert_eq!(with_id(id).as_deref(), Some(id));
        }
        let data = CustomerData::new("webcall").client_id("user_1").custom_field("email", "a@example.com");
        assert_eq!(lookup_value("email", &data).as_deref(), Some("a@example.com"));
        assert_eq!(lookup_value("phone", &data), None);
    }
}
