//! SIPp scenarios put together from steps, for tests where what goes over the wire, and in which order, is the point.
//!
//! ```
//! use codex_e2e::peers::{Sdp, SippScript};
//!
//! let script = SippScript::callee("declines")
//!     .receives_call()
//!     .replies("180 Ringing", &[], Sdp::None)
//!     .replies("603 Decline", &[], Sdp::None)
//!     .receives("ACK");
//! assert!(script.xml().contains("SIP/2.0 603 Decline"));
//! ```
//!
//! A call goes as the steps say, or SIPp ends with an error that tells the step. What the far end has to have said is
//! written as a POSIX regular expression ([`SippScript::says`]).

use std::fmt::Write as _;
use std::time::Duration;

/// What a message says of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sdp {
    /// Nothing.
    None,
    /// PCMU and telephone-event 101, both ways.
    Talk,
    /// The same, but the far end is not heard: it is on hold.
    Hold,
    /// The same, but nothing is sent: the answer to hold.
    Listen,
}

impl Sdp {
    fn direction(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Talk => Some("sendrecv"),
            Self::Hold => Some("sendonly"),
            Self::Listen => Some("recvonly"),
        }
    }
}

const DESCRIPTION: &str = "Content-Type: application/sdp
Content-Length: [len]

v=0
o=script 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
";
const CALLER: &str = "From: <sip:script@sip.example.test>;tag=[pid]caller[call_number]";
const OWN_TAG: &str = ";tag=[pid]bot[call_number]";
const VIA: &str = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=";

/// A scenario for SIPp.
#[derive(Debug, Clone)]
pub struct SippScript {
    name: String,
    steps: String,
    variables: Vec<String>,
    is_caller: bool,
    /// The number of the last request that was sent.
    sequence: u32,
    /// What came last is the INVITE that makes the dialog.
    call_came_last: bool,
    /// What is kept is that INVITE.
    call_is_kept: bool,
    /// The far end has answered the call that was placed.
    answered: bool,
}

impl SippScript {
    /// One that is called. It begins with [`SippScript::receives_call`].
    #[must_use]
    pub fn callee(name: &str) -> Self {
        Self::new(name, false)
    }

    /// One that calls the user that it is started for. It begins with [`SippScript::invites`].
    #[must_use]
    pub fn caller(name: &str) -> Self {
        Self::new(name, true)
    }

    fn new(name: &str, is_caller: bool) -> Self {
        Self {
            name: name.to_owned(),
            steps: String::new(),
            variables: Vec::new(),
            is_caller,
            sequence: 0,
            call_came_last: false,
            call_is_kept: false,
            answered: false,
        }
    }

    /// Whether it places the call.
    pub(super) fn is_caller(&self) -> bool {
        self.is_caller
    }

    // ---- what comes -----------------------------------------------------------------------------------------------

    /// Wants an INVITE that makes the dialog, the first one or one after a refusal.
    #[must_use]
    pub fn receives_call(mut self) -> Self {
        self.steps.push_str("<recv request=\"INVITE\" rrs=\"true\"></recv>\n");
        self.call_came_last = true;
        self.keeps("From:", "far_end").keeps("To:", "own")
    }

    /// Wants a request next.
    #[must_use]
    pub fn receives(mut self, method: &str) -> Self {
        let _ = writeln!(self.steps, "<recv request=\"{method}\"></recv>");
        self.call_came_last = false;
        self
    }

    /// Wants this answer next.
    #[must_use]
    pub fn expects(mut self, status: &str) -> Self {
        let routes = if self.is_caller && !self.answered { " rrs=\"true\"" } else { "" };
        self.answered = true;
        let _ = writeln!(self.steps, "<recv response=\"{status}\"{routes}></recv>");
        self.call_came_last = false;
        self
    }

    /// Wants what came last to have a header that matches a POSIX regular expression.
    #[must_use]
    pub fn says(self, header: &str, expression: &str) -> Self {
        self.looks(&format!("search_in=\"hdr\" header=\"{header}\""), expression)
    }

    /// Wants what came last to hold something anywhere.
    #[must_use]
    pub fn holds(self, expression: &str) -> Self {
        self.looks("search_in=\"msg\"", expression)
    }

    fn looks(mut self, place: &str, expression: &str) -> Self {
        let name = format!("seen_{}", self.variables.len());
        let expression = expression.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        self.act(&format!("<ereg regexp=\"{expression}\" {place} check_it=\"true\" assign_to=\"{name}\"/>"));
        self.variables.push(name);
        self
    }

    /// Keeps the value of a header of what came last as `[$name]`.
    #[must_use]
    pub fn keeps(self, header: &str, name: &str) -> Self {
        self.keeps_nth(header, 1, name)
    }

    fn keeps_nth(mut self, header: &str, nth: u32, name: &str) -> Self {
        self.act(&format!(
            "<ereg regexp=\".*\" search_in=\"hdr\" header=\"{header}\" occurence=\"{nth}\" assign_to=\"{name}\"/>"
        ));
        if !self.variables.iter().any(|known| known == name) {
            self.variables.push(name.to_owned());
        }
        self
    }

    /// Keeps what an answer to the request that came last needs, for [`SippScript::replies_to_kept`] after other messages.
    #[must_use]
    pub fn keeps_request(mut self) -> Self {
        self.call_is_kept = self.call_came_last;
        // By way of one edge: its Via and ours; between WebSocket and UDP it puts itself into the route twice.
        let kept = self.keeps_nth("Via:", 1, "via_1").keeps_nth("Via:", 2, "via_2").keeps("CSeq:", "cseq");
        if !kept.call_is_kept {
            return kept;
        }
        kept.keeps_nth("Record-Route:", 1, "route_1").keeps_nth("Record-Route:", 2, "route_2")
    }

    /// Puts an action into the `recv` before.
    fn act(&mut self, action: &str) {
        const END: &str = "</recv>";
        let Some(at) = self.steps.rfind(END) else { return };
        if self.steps[..at].ends_with("</action>") {
            self.steps.insert_str(at - "</action>".len(), action);
        } else {
            self.steps.insert_str(at, &format!("<action>{action}</action>"));
        }
    }

    // ---- what is sent ---------------------------------------------------------------------------------------------

    /// Answers what came last.
    #[must_use]
    pub fn replies(mut self, status: &str, headers: &[&str], sdp: Sdp) -> Self {
        // The INVITE has no tag in its To yet; later requests have it.
        let tag = if self.call_came_last { OWN_TAG } else { "" };
        let head = format!(
            "SIP/2.0 {status}\n[last_Via:]\n[last_From:]\n[last_To:]{tag}\n[last_Call-ID:]\n[last_CSeq:]\n[last_Record-Route:]\n"
        );
        self.send("", &head, headers, sdp);
        self
    }

    /// Answers what [`SippScript::keeps_request`] kept.
    #[must_use]
    pub fn replies_to_kept(mut self, status: &str, headers: &[&str], sdp: Sdp) -> Self {
        let routes = if self.call_is_kept { "Record-Route:[$route_1]\nRecord-Route:[$route_2]\n" } else { "" };
        let head = format!(
            "SIP/2.0 {status}\nVia:[$via_1]\nVia:[$via_2]\nFrom:[$far_end]\nTo:[$own]{OWN_TAG}\nCall-ID: [call_id]\nCSeq:[$cseq]\n{routes}"
        );
        self.send("", &head, headers, sdp);
        self
    }

    /// Places the call.
    #[must_use]
    pub fn invites(mut self, headers: &[&str]) -> Self {
        self.sequence = 1;
        let to = "To: <sip:[service]@sip.example.test>";
        let head = format!(
            "INVITE sip:[service]@sip.example.test SIP/2.0\n{VIA}[branch]\n{CALLER}\n{to}\nCall-ID: [call_id]\nCSeq: 1 INVITE\nMax-Forwards: 70\n"
        );
        self.send(" retrans=\"500\"", &head, headers, Sdp::Talk);
        self.may_try()
    }

    /// Sends a request in the call.
    #[must_use]
    pub fn requests(mut self, method: &str, headers: &[&str], sdp: Sdp) -> Self {
        self.sequence += 1;
        let head = self.head(method, self.sequence, "[branch]");
        self.send("", &head, headers, sdp);
        if method == "INVITE" { self.may_try() } else { self }
    }

    /// Says how a transfer goes: a status line such as `180 Ringing`, and the state of the subscription.
    #[must_use]
    pub fn notifies(mut self, status: &str, state: &str) -> Self {
        self.sequence += 1;
        let head = self.head("NOTIFY", self.sequence, "[branch]");
        let _ = write!(
            self.steps,
            "<send><![CDATA[\n{head}Contact: <sip:script@[local_ip]:[local_port]>\nEvent: refer\nSubscription-State: {state}\nContent-Type: message/sipfrag;version=2.0\nContent-Length: [len]\n\nSIP/2.0 {status}\n\n]]></send>\n"
        );
        self.expects("200")
    }

    /// Acknowledges a 2xx to the INVITE with this number.
    #[must_use]
    pub fn acknowledges(mut self, sequence: u32) -> Self {
        let head = self.head("ACK", sequence, "[branch]");
        self.send("", &head, &[], Sdp::None);
        self
    }

    /// Acknowledges a refusal of the INVITE that was sent last, the answer just before.
    #[must_use]
    pub fn acknowledges_refusal(mut self) -> Self {
        // Its branch: the INVITE, 100, the refusal, and this.
        let mut head = self.head("ACK", self.sequence, "[branch-3]");
        if self.is_caller {
            head = head.replace("ACK [next_url]", "ACK sip:[service]@sip.example.test").replace("[routes]\n", "");
        }
        self.send("", &head, &[], Sdp::None);
        self
    }

    /// Lets so much time pass.
    #[must_use]
    pub fn waits(mut self, pause: Duration) -> Self {
        let _ = writeln!(self.steps, "<pause milliseconds=\"{}\"/>", pause.as_millis());
        self
    }

    /// The edge says that it is at it.
    fn may_try(mut self) -> Self {
        self.steps.push_str("<recv response=\"100\" optional=\"true\"></recv>\n");
        self
    }

    fn head(&self, method: &str, sequence: u32, branch: &str) -> String {
        let parties = if self.is_caller {
            format!("{CALLER}\nTo: <sip:[service]@sip.example.test>[peer_tag_param]")
        } else {
            format!("From:[$own]{OWN_TAG}\nTo:[$far_end]")
        };
        format!(
            "{method} [next_url] SIP/2.0\n{VIA}{branch}\n[routes]\n{parties}\nCall-ID: [call_id]\nCSeq: {sequence} {method}\nMax-Forwards: 70\n"
        )
    }

    fn send(&mut self, how: &str, head: &str, headers: &[&str], sdp: Sdp) {
        let _ = write!(self.steps, "<send{how}><![CDATA[\n{head}");
        if !headers.iter().any(|header| header.starts_with("Contact:")) {
            self.steps.push_str("Contact: <sip:script@[local_ip]:[local_port]>\n");
        }
        for header in headers {
            let _ = writeln!(self.steps, "{header}");
        }
        match sdp.direction() {
            Some(direction) => {
                let _ = writeln!(self.steps, "{DESCRIPTION}a={direction}");
            }
            None => self.steps.push_str("Content-Length: 0\n"),
        }
        self.steps.push_str("\n]]></send>\n");
    }

    /// The scenario as SIPp reads it.
    #[must_use]
    pub fn xml(&self) -> String {
        // SIPp does not start if a variable is set and never used.
        let references = match self.variables.as_slice() {
            [] => String::new(),
            variables => format!("<Reference variables=\"{}\"/>\n", variables.join(",")),
        };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<!DOCTYPE scenario SYSTEM \"sipp.dtd\">\n<scenario name=\"{}\">\n{}{references}</scenario>\n",
            self.name, self.steps
        )
    }
}
