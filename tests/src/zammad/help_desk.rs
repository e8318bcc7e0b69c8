//! Tickets, articles and users: the part of Zammad's REST API that a record of calls needs. No I/O, no clock.

use serde_json::{Value, json};
use url::form_urlencoded;

use super::caller_log::{CallerLog, Known, Parameters, SHOWN_ROWS, numbers_in, text, time};
use super::http::{Answer, Request};

/// What the owner of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    /// `ticket.agent`
    pub ticket_agent: bool,
    /// `cti.agent`
    pub cti_agent: bool,
    /// `admin.group`, which alone lists groups.
    pub admin_group: bool,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Zammad's number.
    pub id: u64,
    /// Unique, since Zammad changes a second one.
    pub login: String,
    /// First name.
    pub firstname: String,
    /// Last name.
    pub lastname: String,
    /// Unique in lower case, or empty.
    pub email: String,
    /// Phone number as it was written.
    pub phone: String,
    /// Note.
    pub note: String,
}

impl User {
    fn json(&self) -> Value {
        json!({
            "id": self.id, "login": self.login, "firstname": self.firstname, "lastname": self.lastname,
            "email": self.email, "phone": self.phone, "mobile": "", "note": self.note, "active": true,
            "organization_id": null, "role_ids": [3],
        })
    }
}

/// A ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Zammad's number.
    pub id: u64,
    /// Title.
    pub title: String,
    /// Name of the group.
    pub group: String,
    /// Name of the state.
    pub state: String,
    /// The user whose history it is in.
    pub customer_id: u64,
    /// When it was made, in seconds since 1970.
    pub created_at: u64,
}

/// An article of a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Article {
    /// Zammad's number.
    pub id: u64,
    /// The ticket.
    pub ticket_id: u64,
    /// `phone`, `note` …
    pub kind: String,
    /// `Customer`, `Agent`, `System`
    pub sender: String,
    /// Whether customers do not see it.
    pub internal: bool,
    /// `text/plain`, `text/html`
    pub content_type: String,
    /// Subject, often empty.
    pub subject: String,
    /// The text.
    pub body: String,
    /// When it was made, in seconds since 1970.
    pub created_at: u64,
}

impl Article {
    fn json(&self) -> Value {
        json!({
            "id": self.id, "ticket_id": self.ticket_id, "type": self.kind, "sender": self.sender,
            "internal": self.internal, "content_type": self.content_type, "subject": self.subject, "body": self.body,
            "created_at": time(Some(self.created_at)), "updated_at": time(Some(self.created_at)),
        })
    }
}

/// Groups, states and priorities by number, from 1.
const GROUPS: [&str; 2] = ["Users", "Calls"];
const STATES: [&str; 4] = ["new", "open", "pending reminder", "closed"];
/// The user whose token is used; customers come after it.
const AGENT_ID: u64 = 3;

pub(super) struct HelpDesk {
    pub(super) api_token: String,
    pub(super) permissions: Permissions,
    /// Groups in which the agent may do everything.
    pub(super) groups_of_agent: Vec<String>,
    pub(super) users: Vec<User>,
    pub(super) tickets: Vec<Ticket>,
    pub(super) articles: Vec<Article>,
    /// Searches find only what was there when this was set, as with a search index that lags: tickets, users.
    pub(super) indexed: Option<(usize, usize)>,
}

impl HelpDesk {
    pub(super) fn new(api_token: &str) -> Self {
        let agent = User {
            id: AGENT_ID,
            login: "agent@example.com".to_owned(),
            firstname: "Call".to_owned(),
            lastname: "Agent".to_owned(),
            email: "agent@example.com".to_owned(),
            phone: String::new(),
            note: String::new(),
        };
        Self {
            api_token: api_token.to_owned(),
            permissions: Permissions { ticket_agent: true, cti_agent: true, admin_group: false },
            groups_of_agent: GROUPS.map(str::to_owned).to_vec(),
            users: vec![agent],
            tickets: Vec::new(),
            articles: Vec::new(),
            indexed: None,
        }
    }

    /// Who is known by which numbers: everything in a user's text attributes that looks like one.
    pub(super) fn known(&self) -> Vec<Known> {
        self.users
            .iter()
            .map(|user| Known {
                name: format!("{} {}", user.firstname, user.lastname).trim().to_owned(),
                numbers: [&user.login, &user.firstname, &user.lastname, &user.email, &user.phone, &user.note]
                    .into_iter()
                    .flat_map(|text| numbers_in(text))
                    .collect(),
            })
            .filter(|known| !known.numbers.is_empty())
            .collect()
    }

    /// A request to `/api/v1/…`, the CTI endpoint apart.
    pub(super) fn receive(
        &mut self,
        request: &Request,
        parameters: Option<&Parameters>,
        log: &mut CallerLog,
        maintenance: bool,
        now: u64,
    ) -> Answer {
        let error = |status: u16, error: &str| error_answer(request, status, error);
        let Some(parameters) = parameters else {
            let opaque = log.opaque(500);
            return error(500, opaque.body["error"].as_str().unwrap_or_default());
        };
        match request.header("authorization") {
            None => return error(403, "Authentication required"),
            Some(value) => {
                let token = value.strip_prefix("Token token=").map(|token| token.trim_matches('"'));
                if token != Some(self.api_token.as_str()) {
                    return error(401, "Can't find User for Token");
                }
            }
        }
        if maintenance {
            return error(403, "Maintenance mode enabled!");
        }
        let path = request.path();
        let parts: Vec<&str> = path.trim_matches('/').split('/').skip(2).collect();
        let method = request.method.as_str();
        // Who is no agent gets a list of tickets all the same: an empty one, of the tickets that may be seen.
        let is_open = matches!((method, parts.as_slice()), (_, ["users", "me"]) | ("GET", ["tickets"]));
        let is_allowed = match parts.as_slice() {
            ["cti", ..] => self.permissions.cti_agent,
            ["groups", ..] => self.permissions.admin_group,
            _ => is_open || self.permissions.ticket_agent,
        };
        if !is_allowed {
            return error(403, "Not authorized");
        }
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        match (method, parts.as_slice()) {
            ("GET", ["users", "me"]) => Answer::json(200, &self.me(is_set(request.query(), "expand"))),
            ("GET", ["users", "search"]) => self.search_users(request.query()),
            ("GET", ["users", id]) => match self.users.iter().find(|user| user.id == number(id)) {
                Some(user) => Answer::json(200, &user.json()),
                None => not_found(request, "User", id),
            },
            ("POST", ["users"]) => self.make_user(request, parameters),
            ("PUT", ["users", id]) => match self.users.iter_mut().find(|user| user.id == number(id)) {
                Some(user) => {
                    update_user(user, parameters);
                    Answer::json(200, &user.json())
                }
                None => not_found(request, "User", id),
            },
            ("GET", ["groups"]) => {
                let group = |(at, name): (usize, &&str)| json!({"id": at + 1, "name": name, "active": true});
                Answer::json(200, &GROUPS.iter().enumerate().map(group).collect())
            }
            ("GET", ["tickets"]) => self.list_tickets(request.query()),
            ("GET", ["tickets", "search"]) => self.search_tickets(request.query()),
            ("POST", ["tickets"]) => self.make_ticket(request, parameters, now),
            ("GET", ["tickets", id]) => match self.tickets.iter().find(|ticket| ticket.id == number(id)) {
                Some(ticket) => Answer::json(200, &self.ticket_json(ticket, is_set(request.query(), "expand"))),
                None => not_found(request, "Ticket", id),
            },
            ("PUT", ["tickets", id]) => self.update_ticket(request, number(id), parameters, now),
            ("POST", ["ticket_articles"]) => {
                let ticket_id = text(parameters, "ticket_id").unwrap_or_default();
                if !self.tickets.iter().any(|ticket| ticket.id == number(&ticket_id)) {
                    return not_found(request, "Ticket", &ticket_id);
                }
                self.make_article(request, number(&ticket_id), parameters, now)
            }
            ("GET", ["ticket_articles", "by_ticket", id]) => {
                let own = self.articles.iter().filter(|article| article.ticket_id == number(id));
                Answer::json(200, &own.map(Article::json).collect())
            }
            ("GET", ["cti", "log"]) => {
                let rows: Vec<Value> = log.rows().iter().rev().take(SHOWN_ROWS).map(|row| row.json()).collect();
                let backends = json!([{"name": "CTI (generic)", "enabled": true, "url": "#system/integration/cti"}]);
                Answer::json(200, &json!({"list": rows, "assets": {}, "backends": backends}))
            }
            ("POST", ["cti", "done", id]) => match log.row_by_id_mut(number(id)) {
                Some(row) => {
                    row.done = parameters.get("done").and_then(Value::as_bool).unwrap_or(false);
                    Answer::json(200, &json!({}))
                }
                None => not_found(request, "Cti::Log", id),
            },
            _ => error(404, &format!("No route matches [{method}] {path}")),
        }
    }

    /// The token's user; with `expand` with the names of roles and with the rights in groups that are the user's own.
    fn me(&self, expand: bool) -> Value {
        let mut me = self.users[0].json();
        if expand {
            me["roles"] = json!(["Agent"]);
            me["groups"] = self.groups_of_agent.iter().map(|group| (group.clone(), json!(["full"]))).collect();
        }
        me
    }

    /// `GET /api/v1/tickets`: all that may be seen, oldest first, by pages.
    fn list_tickets(&self, query: &str) -> Answer {
        let page = query_value(query, "page").and_then(|page| page.parse::<usize>().ok()).unwrap_or(1).max(1);
        let (size, expand) = (limit(query), is_set(query, "expand"));
        let seen = if self.permissions.ticket_agent { self.tickets.as_slice() } else { &[] };
        let shown = seen.iter().skip((page - 1).saturating_mul(size)).take(size);
        Answer::json(200, &shown.map(|ticket| self.ticket_json(ticket, expand)).collect())
    }

    fn search_users(&self, query: &str) -> Answer {
        let wanted = wanted(query);
        let indexed = self.indexed.map_or(self.users.len(), |(_, users)| users.min(self.users.len()));
        let found: Vec<Value> = self.users[..indexed]
            .iter()
            .filter(|user| {
                [&user.login, &user.firstname, &user.lastname, &user.email]
                    .into_iter()
                    .any(|text| text.to_lowercase().contains(&wanted))
            })
            .take(limit(query))
            .map(User::json)
            .collect();
        Answer::json(200, &Value::from(found))
    }

    fn make_user(&mut self, request: &Request, parameters: &Parameters) -> Answer {
        let id = AGENT_ID + self.users.len() as u64;
        let mut user = User {
            id,
            login: String::new(),
            firstname: String::new(),
            lastname: String::new(),
            email: String::new(),
            phone: String::new(),
            note: String::new(),
        };
        update_user(&mut user, parameters);
        if user.login.is_empty() && user.email.is_empty() && user.firstname.is_empty() && user.lastname.is_empty() {
            return error_answer(
                request,
                422,
                "At least one identifier (firstname, lastname, phone, mobile or email) for user is required.",
            );
        }
        if !user.email.is_empty() && self.users.iter().any(|own| own.email == user.email) {
            let error = format!("Email address '{}' is already used for another user.", user.email);
            return error_answer(request, 422, &error);
        }
        if user.login.is_empty() {
            user.login = if user.email.is_empty() { format!("auto-{id}") } else { user.email.clone() };
        }
        // A login that is taken is changed without a word.
        while self.users.iter().any(|own| own.login == user.login) {
            user.login.push_str(&id.to_string());
        }
        self.users.push(user.clone());
        Answer::json(201, &user.json())
    }

    fn search_tickets(&self, query: &str) -> Answer {
        let wanted = wanted(query);
        let indexed = self.indexed.map_or(self.tickets.len(), |(tickets, _)| tickets.min(self.tickets.len()));
        let found: Vec<&Ticket> = self.tickets[..indexed]
            .iter()
            .rev()
            .filter(|ticket| {
                ticket.title.to_lowercase().contains(&wanted)
                    || self.articles.iter().any(|article| {
                        article.ticket_id == ticket.id
                            && (article.body.to_lowercase().contains(&wanted)
                                || article.subject.to_lowercase().contains(&wanted))
                    })
            })
            .take(limit(query))
            .collect();
        if is_set(query, "expand") {
            return Answer::json(200, &found.iter().map(|ticket| self.ticket_json(ticket, true)).collect());
        }
        let ids: Vec<u64> = found.iter().map(|ticket| ticket.id).collect();
        let assets: Parameters =
            found.iter().map(|ticket| (ticket.id.to_string(), self.ticket_json(ticket, false))).collect();
        let count = ids.len();
        Answer::json(200, &json!({"tickets": ids, "tickets_count": count, "assets": {"Ticket": assets}}))
    }

    fn make_ticket(&mut self, request: &Request, parameters: &Parameters, now: u64) -> Answer {
        let error = |told: &str| error_answer(request, 422, told);
        let title = text(parameters, "title").unwrap_or_default();
        let group = match named(parameters, "group", &GROUPS) {
            Ok(Some(group)) => group,
            Ok(None) => return error("Attribute 'group_id\" of relation \"tickets' required!"),
            Err(told) => return error(&told),
        };
        let state = match named(parameters, "state", &STATES) {
            Ok(state) => state.unwrap_or_else(|| STATES[0].to_owned()),
            Err(told) => return error(&told),
        };
        let customer_id = match text(parameters, "customer_id") {
            Some(guess) if guess.starts_with("guess:") => {
                let email = guess["guess:".len()..].to_lowercase();
                let is_email = email.split_once('@').is_some_and(|(local, domain)| {
                    !local.is_empty() && domain.contains('.') && !email.contains(char::is_whitespace)
                });
                if !is_email {
                    return error(&format!("Invalid email '{email}' of customer"));
                }
                self.user_by_email(&email)
            }
            Some(id) => match id.parse() {
                Ok(id) if self.users.iter().any(|user| user.id == id) => id,
                _ => return error("Invalid value \"customer_id\"!"),
            },
            None => return error("Attribute 'customer_id\" of relation \"tickets' required!"),
        };
        let id = self.tickets.len() as u64 + 1;
        let article = match parameters.get("article") {
            None | Some(Value::Null) => None,
            Some(Value::Object(article)) => Some(article),
            Some(_) => return error("Invalid 'article'!"),
        };
        if article.is_some_and(|article| text(article, "body").unwrap_or_default().is_empty()) {
            return error("Need at least an 'article body' field.");
        }
        let ticket = Ticket { id, title, group, state, customer_id, created_at: now };
        self.tickets.push(ticket.clone());
        if let Some(article) = article {
            self.make_article(request, id, article, now);
        }
        Answer::json(201, &self.ticket_json(&ticket, is_set(request.query(), "expand")))
    }

    fn update_ticket(&mut self, request: &Request, id: u64, parameters: &Parameters, now: u64) -> Answer {
        let state = match named(parameters, "state", &STATES) {
            Ok(state) => state,
            Err(told) => return error_answer(request, 422, &told),
        };
        let Some(ticket) = self.tickets.iter_mut().find(|ticket| ticket.id == id) else {
            return not_found(request, "Ticket", &id.to_string());
        };
        ticket.state = state.unwrap_or_else(|| ticket.state.clone());
        ticket.title = text(parameters, "title").unwrap_or_else(|| ticket.title.clone());
        if let Some(customer) = text(parameters, "customer_id").and_then(|id| id.parse().ok()) {
            ticket.customer_id = customer;
        }
        let ticket = ticket.clone();
        if let Some(Value::Object(article)) = parameters.get("article") {
            self.make_article(request, id, article, now);
        }
        Answer::json(200, &self.ticket_json(&ticket, is_set(request.query(), "expand")))
    }

    fn make_article(&mut self, request: &Request, ticket_id: u64, parameters: &Parameters, now: u64) -> Answer {
        let body = text(parameters, "body").unwrap_or_default();
        if body.is_empty() {
            return error_answer(request, 422, "Need at least an 'article body' field.");
        }
        const KINDS: [&str; 4] = ["note", "phone", "email", "web"];
        const SENDERS: [&str; 3] = ["Agent", "Customer", "System"];
        let (kind, sender) = match (named(parameters, "type", &KINDS), named(parameters, "sender", &SENDERS)) {
            (Ok(kind), Ok(sender)) => (kind, sender),
            (Err(told), _) | (_, Err(told)) => return error_answer(request, 422, &told),
        };
        let article = Article {
            id: self.articles.len() as u64 + 1,
            ticket_id,
            kind: kind.unwrap_or_else(|| "note".to_owned()),
            sender: sender.unwrap_or_else(|| "Agent".to_owned()),
            internal: parameters.get("internal").and_then(Value::as_bool).unwrap_or(false),
            content_type: text(parameters, "content_type").unwrap_or_else(|| "text/plain".to_owned()),
            subject: text(parameters, "subject").unwrap_or_default(),
            body,
            created_at: now,
        };
        self.articles.push(article.clone());
        Answer::json(201, &article.json())
    }

    fn user_by_email(&mut self, email: &str) -> u64 {
        if let Some(user) = self.users.iter().find(|user| user.email == email) {
            return user.id;
        }
        let id = AGENT_ID + self.users.len() as u64;
        self.users.push(User {
            id,
            login: email.to_owned(),
            firstname: String::new(),
            lastname: String::new(),
            email: email.to_owned(),
            phone: String::new(),
            note: String::new(),
        });
        id
    }

    fn ticket_json(&self, ticket: &Ticket, expand: bool) -> Value {
        let position = |names: &[&str], name: &str| names.iter().position(|own| *own == name).map(|at| at + 1);
        let articles: Vec<u64> =
            self.articles.iter().filter(|article| article.ticket_id == ticket.id).map(|article| article.id).collect();
        let mut json = json!({
            "id": ticket.id, "number": (10_000 + ticket.id).to_string(), "title": ticket.title,
            "group_id": position(&GROUPS, &ticket.group), "state_id": position(&STATES, &ticket.state),
            "priority_id": 2, "owner_id": 1, "customer_id": ticket.customer_id, "note": null,
            "article_count": articles.len(), "article_ids": articles, "created_at": time(Some(ticket.created_at)),
            "updated_at": time(Some(ticket.created_at)),
        });
        if expand {
            json["group"] = ticket.group.as_str().into();
            json["state"] = ticket.state.as_str().into();
            let customer = self.users.iter().find(|user| user.id == ticket.customer_id);
            json["customer"] = customer.map_or(Value::Null, |user| user.login.as_str().into());
        }
        json
    }
}

fn update_user(user: &mut User, parameters: &Parameters) {
    let set = |name: &str, own: &mut String| {
        if let Some(value) = text(parameters, name) {
            *own = value;
        }
    };
    set("login", &mut user.login);
    set("firstname", &mut user.firstname);
    set("lastname", &mut user.lastname);
    set("email", &mut user.email);
    set("phone", &mut user.phone);
    set("note", &mut user.note);
    user.login = user.login.to_lowercase();
    user.email = user.email.to_lowercase();
}

/// A value that is given by its name (`group`) or its number (`group_id`).
fn named(parameters: &Parameters, name: &str, names: &[&str]) -> Result<Option<String>, String> {
    if let Some(value) = text(parameters, name) {
        let known = names.contains(&value.as_str());
        return if known { Ok(Some(value)) } else { Err(format!("No lookup value found for '{name}': {value:?}")) };
    }
    match text(parameters, &format!("{name}_id")) {
        None => Ok(None),
        Some(id) => {
            let at = id.parse::<usize>().ok().and_then(|id| id.checked_sub(1));
            match at.and_then(|at| names.get(at)) {
                Some(own) => Ok(Some((*own).to_owned())),
                None => Err(format!("Invalid value for param '{name}_id': {id:?}")),
            }
        }
    }
}

fn query_value(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(own, _)| own == name).map(|(_, value)| value.into_owned())
}

fn is_set(query: &str, name: &str) -> bool {
    query_value(query, name).is_some_and(|value| value == "true" || value == "1")
}

/// What is searched for: without a search server a plain text, wildcards and quotes taken off.
fn wanted(query: &str) -> String {
    query_value(query, "query").unwrap_or_default().replace(['*', '"'], "").to_lowercase()
}

fn limit(query: &str) -> usize {
    const DEFAULT_LIMIT: usize = 50;
    let asked = query_value(query, "limit").or_else(|| query_value(query, "per_page"));
    asked.and_then(|limit| limit.parse().ok()).unwrap_or(DEFAULT_LIMIT)
}

fn not_found(request: &Request, what: &str, id: &str) -> Answer {
    error_answer(request, 404, &format!("Couldn't find {what} with 'id'={id}"))
}

/// An error that was raised: a web page for who does not ask for JSON.
pub(super) fn error_answer(request: &Request, status: u16, error: &str) -> Answer {
    if request.accepts_json() {
        return Answer::json(status, &json!({"error": error, "error_human": error}));
    }
    Answer::html(
        status,
        format!(
            "<!DOCTYPE html>\n<html lang=\"en-us\">\n<head><title>{status}: An error occurred</title></head>\n\
             <body><h1>{status}: An error occurred</h1><p>{error}</p></body>\n</html>\n"
        ),
    )
}
