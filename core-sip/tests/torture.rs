//! One message for each property that RFC 4475 and RFC 5118 test, with the verdict that their texts ask for. The
//! messages are our own; the names are those of the RFCs' tests.

use bytes::Bytes;
use codex_core_sip::sip::lint::{Kind, examine};
use codex_core_sip::sip::{Limits, Message, MessageBuilder, StatusCode, message};

/// What a careful element makes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It can be read, and there is nothing to say about it.
    Plain,
    /// It can be read; the notes hold this.
    Note(&'static str),
    /// It is refused; the problem holds this.
    Refused(&'static str),
}
use Verdict::{Note, Plain, Refused};

const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0\r\n";

/// A request that is right. `changes` replace text in it, one after the other, each at its first occurrence.
fn request(method: &str, changes: &[(&str, &str)]) -> Vec<u8> {
    changed(
        &format!(
            "{method} sip:user@example.com SIP/2.0\r\nVia: SIP/2.0/UDP host.example.com;branch=z9hG4bK77\r\nMax-Forwards: 70\r\n\
             From: <sip:caller@example.net>;tag=1\r\nTo: <sip:user@example.com>\r\nCall-ID: one@host.example.com\r\n\
             CSeq: 8 {method}\r\nContact: <sip:caller@host.example.net>\r\nContent-Length: 0\r\n\r\n"
        ),
        changes,
    )
}

fn response(status: &str, changes: &[(&str, &str)]) -> Vec<u8> {
    changed(
        &format!(
            "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP host.example.com;branch=z9hG4bK77\r\nFrom: <sip:caller@example.net>;tag=1\r\n\
             To: <sip:user@example.com>;tag=2\r\nCall-ID: one@host.example.com\r\nCSeq: 8 INVITE\r\n\
             Contact: <sip:user@host.example.com>\r\nContent-Length: 0\r\n\r\n"
        ),
        changes,
    )
}

fn changed(text: &str, changes: &[(&str, &str)]) -> Vec<u8> {
    let mut text = text.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from:?} is not in {text}");
        text = text.replacen(from, to, 1);
    }
    text.into_bytes()
}

/// An INVITE with a session description, whose length is right until `changes` change it.
fn invite(changes: &[(&str, &str)]) -> Vec<u8> {
    let length = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}", SDP.len());
    let whole = request("INVITE", &[("Content-Length: 0\r\n\r\n", &length)]);
    changed(&String::from_utf8(whole).expect("text"), changes)
}

const REQUEST_URI: &str = "sip:user@example.com SIP";
const FROM: &str = "From: <sip:caller@example.net>;tag=1";
const TO: &str = "To: <sip:user@example.com>";
const VIA: &str = "Via: SIP/2.0/UDP host.example.com;branch=z9hG4bK77";
const CONTACT: &str = "Contact: <sip:caller@host.example.net>";
const CONTENT_LENGTH: &str = "Content-Length: 0";
const ODD_METHOD: &str = "!odd-Method.0123456789_*+`%and'~";

fn cases() -> Vec<(&'static str, Verdict, Vec<u8>)> {
    let mut cases = valid();
    cases.extend(invalid());
    cases.extend(beyond_syntax());
    cases.extend(addresses_of_ipv6());
    cases.extend(further());
    cases
}

/// RFC 4475 §3.1.1.
fn valid() -> Vec<(&'static str, Verdict, Vec<u8>)> {
    let tortuous = "INVITE sip:vera@example.net;odd SIP/2.0\r\ntO :\r\n sip:vera@example.net ;   tag    = 19\r\n\
        fRoM   : \"J \\\\\\\"\"       <sip:jo@example.net>\r\n  ;\r\n  tag = 98as\r\nmAx-FoRwArDs: 0068\r\n\
        Call-ID: wsinv.two@192.0.2.1\r\nContent-Length   : 5\r\ncseq: 0009\r\n  INVITE\r\n\
        Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=39skd\r\ns :\r\nFangled:   new\r\n more\r\n\
        Odd: ;;,,;;,;\r\nContent-Type: text/plain\r\nRoute:\r\n <sip:a.example.net;lr;with=value;without>\r\n\
        v:  SIP  / 2.0  / TCP     h.example.net   ;\r\n  branch  =   z9hG4bK9  ,\r\n SIP  /    2.0   / UDP  192.0.2.5   ; branch=\r\n z9hG4bK3\r\n\
        m:\"Quoted \\\"\\\"\" <sip:q@example.net> ; a =\r\n      b ;\r\n  flag ; q = 0.33\r\n\r\nhello";
    let odd_characters = [
        ("sip:user@", "sip:1_odd~(to-be!s)&isn't+it$/crazy?,/;;*:&it+has=1,pas$wo~d_too.(it's)@"),
        ("z9hG4bK77", "z9hG4bK-.!%66*_+`'~"),
        (TO, "To: \"BEL:\\\u{7} NUL:\\\0 DEL:\\\u{7f}\" <sip:1_odd~(to-be!s)&isn't+it$/crazy?,/;;*@example.com>"),
        (FROM, "From: t1~` t2'+_ t3*%!.- <sip:a@example.net>;p''~+*_!.-%=\"\u{440}\u{430}\u{431}\";tag=_t~1'+`*%!-."),
        ("one@host.example.com", "word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"),
        (CONTENT_LENGTH, "odd-Header-!.%*+_`'~: \u{feff}\u{5927}\u{505c}\u{96fb}\r\nContent-Length: 0"),
    ];
    let long = "long".repeat(60);
    let vias: String =
        (1..34).map(|n| format!("{}: SIP/2.0/TCP sip{n}.example.com\r\n", ["Via", "v", "V ", "vIa"][n % 4])).collect();
    let two = [request("REGISTER", &[]), b"\r\n".to_vec(), invite(&[])].concat();
    let parts =
        b"--7a9c\r\nContent-Type: text/plain\r\n\r\nHello\r\n--7a9c\r\nContent-Type: application/octet-stream\r\n\r\n\
        \x82\0\r\xff\n\x01\x7f\r\n--7a9c--\r\n";
    let head = format!(
        "Content-Transfer-Encoding: binary\r\nContent-Type: multipart/mixed;boundary=7a9c\r\nIdentity: kjOP4YVYHGUgVL7FQqTR4o=\r\n\
         Date: Sat, 15 Oct 2005 04:44:56 GMT\r\nContent-Length: {}\r\n\r\n",
        parts.len()
    );
    let mut multipart = request("MESSAGE", &[("Content-Length: 0\r\n\r\n", &head)]);
    multipart.extend_from_slice(parts);
    vec![
        ("wsinv", Note("RFC 2543"), tortuous.into()),
        ("intmeth", Note("405"), request(ODD_METHOD, &odd_characters)),
        (
            "esc01",
            Plain,
            invite(&[
                ("sip:user@example.com", "sip:sips%3Auser%40example.com@example.net"),
                (TO, "To: sip:%75se%72@example.com"),
                ("<sip:caller@example.net>", "<sip:I%20have%20spaces@example.net>"),
                (CONTACT, "Contact:\r\n  <sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>"),
            ]),
        ),
        (
            "escnull",
            Plain,
            request(
                "REGISTER",
                &[
                    (TO, "To: sip:n-%00-n@example.com"),
                    (CONTACT, "Contact: <sip:%00@h.example.com>\r\nContact: <sip:%00%00@h.example.com>"),
                ],
            ),
        ),
        (
            "esc02",
            Note("405"),
            request(
                "RE%47IST%45R",
                &[
                    ("<sip:user", "\"%Z%45\" <sip:user"),
                    ("bK77", "bK209%fzsnel"),
                    (CONTENT_LENGTH, "C%6Fntact: <sip:b@h.example.com>\r\nl: 0"),
                ],
            ),
        ),
        ("lwsdisp", Plain, request("OPTIONS", &[("From: <", "From: caller<")])),
        (
            "longreq",
            Note("RFC 2543"),
            invite(&[
                ("Via: SIP", &format!("{vias}Via: SIP")),
                (
                    "To: <sip:user",
                    &format!("Unknown-{long}-Name: {long}; {long} = {long}\r\nTo: \"{long}\"<sip:{long}"),
                ),
                ("tag=1", &format!("tag={long};{long}={long};{long}")),
            ]),
        ),
        ("dblreq", Note("next message"), two),
        (
            "semiuri",
            Plain,
            request(
                "OPTIONS",
                &[
                    ("sip:user@", "sip:user;par=u%40example.net@"),
                    (CONTENT_LENGTH, "Accept: application/sdp, multipart/mixed,\r\n        message/sip\r\nl: 0"),
                ],
            ),
        ),
        (
            "transports",
            Plain,
            request(
                "OPTIONS",
                &[(
                    "Max",
                    "Via: SIP/2.0/SCTP a.example.com;branch=z9hG4bK1\r\nVia: SIP/2.0/UNKNOWN b.example.com;branch=z9hG4bK2\r\nMax",
                )],
            ),
        ),
        ("mpart01", Plain, multipart),
        ("unreason", Plain, response("200 = 2**3 * 5**2 \u{43d}\u{43e} \u{441}\u{442}\u{43e}", &[])),
        ("noreason", Plain, response("100 ", &[])),
    ]
}

/// RFC 4475 §3.1.2.
fn invalid() -> Vec<(&'static str, Verdict, Vec<u8>)> {
    vec![
        ("badinv01", Refused("parameter"), invite(&[(VIA, "Via: SIP/2.0/UDP 192.0.2.15;;,;,,")])),
        ("badinv01, Contact", Refused("parameter"), invite(&[("net>\r\nContent", "net>;;;;\r\nContent")])),
        ("clerr", Refused("larger than the body"), invite(&[("Length: ", "Length: 99")])),
        ("ncl", Refused("not a number"), invite(&[("Length: ", "Length: -")])),
        ("scalar02", Refused("CSeq"), request("REGISTER", &[("CSeq: 8", "CSeq: 36893488147419103232")])),
        ("scalar02, Max-Forwards", Refused("Max-Forwards"), request("REGISTER", &[("70", "300")])),
        (
            "scalar02, Expires",
            Refused("seconds"),
            request(
                "REGISTER",
                &[("Content", "Expires: 10000000000000000000000000000000000000000000000000000\r\nContent")],
            ),
        ),
        (
            "scalar02, Contact",
            Refused("expires"),
            request("REGISTER", &[("net>\r\nContent", "net>;expires=280297596632815\r\nContent")]),
        ),
        (
            "scalarlg",
            Refused("CSeq"),
            response("503 Service Unavailable", &[("CSeq: 8", "CSeq: 9292394834772304023312")]),
        ),
        (
            "scalarlg, Retry-After",
            Refused("seconds"),
            response("503 No", &[("Content", "Retry-After: 949302838503028349304023988\r\nContent")]),
        ),
        (
            "scalarlg, Warning",
            Refused("three digits"),
            response("503 No", &[("Content", "Warning: 1812 overture \"In Progress\"\r\nContent")]),
        ),
        ("quotbal", Refused("no end"), invite(&[("To: ", "To: \"Mr. User ")])),
        ("ltgtruri", Refused("URI"), invite(&[(REQUEST_URI, "<sip:user@example.com> SIP")])),
        ("lwsruri", Refused("SIP/2.0"), invite(&[(REQUEST_URI, "sip:user@example.com; lr SIP")])),
        ("lwsstart", Refused(""), invite(&[(REQUEST_URI, " sip:user@example.com  SIP")])),
        ("trws", Refused("SIP/2.0"), request("OPTIONS", &[("SIP/2.0\r\n", "SIP/2.0  \r\n")])),
        (
            "escruri",
            Refused("no headers"),
            invite(&[(REQUEST_URI, "sip:user@example.com?Route=%3Csip:example.com%3E SIP")]),
        ),
        ("baddate", Refused("GMT"), invite(&[("Max", "Date: Fri, 01 Jan 2010 16:00:00 EST\r\nMax")])),
        (
            "regbadct",
            Refused("angle brackets"),
            request("REGISTER", &[(CONTACT, "Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E")]),
        ),
        (
            "badaspec",
            Refused("white space"),
            request("OPTIONS", &[(TO, "To: \"Watson, Thomas\" < sip:t.watson@example.org >")]),
        ),
        ("baddn", Refused("quoted"), request("OPTIONS", &[("From: ", "From: Bell, Alexander ")])),
        ("badvers", Refused("version"), request("OPTIONS", &[("SIP/2.0\r\nVia: SIP/2.0", "SIP/7.0\r\nVia: SIP/7.0")])),
        ("mismatch01", Refused("different methods"), request("OPTIONS", &[("CSeq: 8 OPTIONS", "CSeq: 8 INVITE")])),
        ("mismatch02", Refused("different methods"), request("NEWMETHOD", &[("CSeq: 8 NEWMETHOD", "CSeq: 8 INVITE")])),
        ("bigcode", Refused("status"), response("4294967301 better not break the receiver", &[])),
    ]
}

/// RFC 4475 §3.2 to §3.4: what can be read although an element may refuse it.
fn beyond_syntax() -> Vec<(&'static str, Verdict, Vec<u8>)> {
    let doubled = |line: &'static str| {
        (line, Refused("twice"), request("OPTIONS", &[("Content", &format!("{line}\r\nContent"))]))
    };
    let old = format!(
        "INVITE sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP gw.example.com\r\nFrom: <sip:+13035550111@gw.example.net;user=phone>\r\n\
         Record-Route: <sip:b@example.com;maddr=ss1.example.com>\r\nTo: sip:+16505550222@ss1.example.net;user=phone\r\n\
         Call-ID: inv2543.17@gw.example.com\r\nCSeq: 56 INVITE\r\nContent-Type: application/sdp\r\n\r\n{SDP}"
    );
    vec![
        ("badbranch", Note("magic cookie alone"), request("OPTIONS", &[("z9hG4bK77", "z9hG4bK")])),
        (
            "insuf",
            Refused("missing"),
            invite(&[("From: <sip:caller@example.net>;tag=1\r\n", ""), ("Call-ID: one@host.example.com\r\n", "")]),
        ),
        ("unkscm", Note("416"), request("OPTIONS", &[(REQUEST_URI, "nobodyKnowsThisScheme:opaque SIP")])),
        ("novelsc", Note("416"), request("OPTIONS", &[(REQUEST_URI, "soap.beep://192.0.2.103:3002 SIP")])),
        (
            "unksm2",
            Note("registrar"),
            request(
                "REGISTER",
                &[
                    (TO, "To: isbn:2983792873"),
                    (FROM, "From: <http://www.example.com>;tag=3"),
                    (CONTACT, "Contact: <name:John_Smith>"),
                ],
            ),
        ),
        (
            "bext01",
            Note("420"),
            request("OPTIONS", &[("Content", "Require: notThis, norThat\r\nProxy-Require: neitherThis\r\nContent")]),
        ),
        ("invut", Note("415"), invite(&[("application/sdp", "application/unknownformat")])),
        (
            "regaut01",
            Note("another scheme"),
            request("REGISTER", &[("Content", "Authorization: NoOneKnowsThisScheme opaque-data=here\r\nContent")]),
        ),
        doubled("CSeq: 59 OPTIONS"),
        doubled("Call-ID: two@host.example.com"),
        doubled("To: sip:other@example.net"),
        doubled("From: sip:caller@example.net;tag=29"),
        doubled("Max-Forwards: 5"),
        doubled("Content-Length: 0"),
        (
            "bcast",
            Note("discards"),
            response("200 OK", &[("From", "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1\r\nFrom")]),
        ),
        ("zeromf", Note("483"), request("OPTIONS", &[("70", "0")])),
        (
            "cparam01",
            Plain,
            request("REGISTER", &[(CONTACT, "Contact: sip:+19725550222@gw1.example.net;unknownparam")]),
        ),
        (
            "cparam02",
            Plain,
            request("REGISTER", &[(CONTACT, "Contact: <sip:+19725550222@gw1.example.net;unknownparam>")]),
        ),
        (
            "regescrt",
            Plain,
            request(
                "REGISTER",
                &[(CONTACT, "M: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>"), (CONTENT_LENGTH, "L:0")],
            ),
        ),
        ("sdp01", Note("406"), invite(&[("Max", "Accept: text/nobodyKnowsThis\r\nMax")])),
        ("inv2543", Note("before RFC 3261"), old.into_bytes()),
    ]
}

/// RFC 5118 §4.
fn addresses_of_ipv6() -> Vec<(&'static str, Verdict, Vec<u8>)> {
    let to = |uri: &'static str| {
        request("REGISTER", &[(REQUEST_URI, uri), (CONTACT, "Contact: \"C\" <sip:c@[2001:db8::1]>")])
    };
    let via = |value: &str| request("OPTIONS", &[(VIA, &format!("Via: SIP/2.0/UDP {value}"))]);
    let sdp = |from: &str, to: &str| {
        let body = SDP.replace(from, to);
        let length = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        request("INVITE", &[("Content-Length: 0\r\n\r\n", &length)])
    };
    // The archive of the RFC has LF alone, and lengths that were counted of other bytes.
    let text_copy = String::from_utf8(sdp("IP4 192.0.2.1", "IP6 2001:db8::20")).expect("text").replace("\r\n", "\n");
    let text_copy = text_copy.replace("Content-Length: ", "Content-Length: 9");
    let three_colons = request(
        "OPTIONS",
        &[(REQUEST_URI, "sip:user@[2001:db8:::192.0.2.1] SIP"), (TO, "To: sip:user@[2001:db8:::192.0.2.1]")],
    );
    let open = three_colons[..three_colons.len() - 2].to_vec();
    vec![
        ("ipv6-good", Plain, to("sip:[2001:db8::10] SIP")),
        ("ipv6-bad", Refused("port"), to("sip:2001:db8::10 SIP")),
        ("port-ambiguous", Plain, to("sip:[2001:db8::10:5070] SIP")),
        ("port-unambiguous", Plain, to("sip:[2001:db8::10]:5070 SIP")),
        (
            "via-received-param-with-delim",
            Plain,
            via("[2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111"),
        ),
        ("via-received-param-no-delim", Plain, via("[2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3")),
        ("ipv6-in-sdp", Plain, sdp("IP4 192.0.2.1", "IP6 2001:db8::20")),
        ("ipv6-in-sdp as a text copy", Note("text copy"), text_copy.into_bytes()),
        (
            "mult-ip-in-header",
            Plain,
            via(
                "[2001:db8::9:1]:6050;branch=z9hG4bKas3\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKj\r\nVia: SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200",
            ),
        ),
        (
            "mult-ip-in-sdp",
            Plain,
            sdp(
                "RTP/AVP 0\r\n",
                "RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\nm=video 6024 RTP/AVP 107\r\nc=IN IP6 2001:db8::1\r\n",
            ),
        ),
        ("ipv4-mapped-ipv6", Plain, via("[::ffff:192.0.2.10]:19823;branch=z9hG4bKbh19")),
        ("ipv6-bug-abnf-3-colons", Plain, three_colons),
        ("ipv6-bug-abnf-3-colons without its last line", Note("missing at the end"), open),
        (
            "ipv6-correct-abnf-2-colons",
            Plain,
            request("OPTIONS", &[(REQUEST_URI, "sip:user@[2001:db8::192.0.2.1] SIP")]),
        ),
    ]
}

/// What the RFCs' tests leave out.
fn further() -> Vec<(&'static str, Verdict, Vec<u8>)> {
    let line = |what: &'static str, problem: &'static str| {
        (what, Refused(problem), request("OPTIONS", &[("Content", &format!("{what}\r\nContent"))]))
    };
    let good = |what: &'static str| (what, Plain, request("OPTIONS", &[("Content", &format!("{what}\r\nContent"))]));
    vec![
        line("Expires: Thu, 01 Dec 1994 16:00:00 GMT", "seconds"),
        line("Expires: 60\r\nExpires: 60", "twice"),
        line("Date: Sun, 01 Jan 2010 16:00:00 GMT", "day of the week"),
        line("Supported: timer,,100rel", "empty"),
        line("Allow: INVITE, B[YE", "token"),
        line("Require: ", "empty"),
        line("Route: sip:p.example.com;lr", "angle brackets"),
        line("Route: <sip:p.example.com;lr>, ", "empty"),
        line("Record-Route: <sip:p.example.com", "no `>`"),
        line("Contact: *", "beside"),
        line("Accept: application/sdp;q=1.5", "q is not"),
        line("Min-SE: 4294967296", "seconds"),
        line("Session-Expires: 90;refresher=us", "refresher"),
        line("RAck: 1 INVITE", "CSeq number"),
        line("Replaces: a;to-tag=1", "both tags"),
        line("Refer-To: <sip:a@h.example.com>\r\nr: <sip:b@h.example.com>", "twice"),
        line("Reason: ;cause=16", "token"),
        line("MIME-Version: one", "decimal"),
        line("Timestamp: 1 2 3", "delay"),
        line("Content-Disposition: \"session\"", "token"),
        line("Authorization: Digest username=\"a\", realm=\"r\"", "credentials need"),
        line(
            "Proxy-Authorization: Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:h\", response=\"0\", nc=1",
            "eight",
        ),
        line("X-Bell: a\u{7}", "control character"),
        line("Subject: a\u{1b}[31m", "control character"),
        line("Via: SIP/2.0/UDP 256.1.2.3;branch=z9hG4bK1", "host name"),
        line("Via: SIP/2.0/UDP a..example.com;branch=z9hG4bK1", "host name"),
        line("Via: SIP/2.0/UDP h.example.com;branch=z9hG4bK1;ttl=256", "in range"),
        good("Expires: 4294967295\r\nSupported:\r\nAllow:\r\nAccept: */*;q=0.1, application/sdp"),
        good("Route: <sip:p1.example.com;lr>,\r\n <sip:p2.example.com;lr>\r\nTimestamp: 54.5 .1\r\nMIME-Version: 1.0"),
        good(
            "Warning: 370 [2001:db8::1]:5060 \"a, b\", 399 h.example.com \"c\"\r\nReason: SIP;cause=200;text=\"a, b\", Q.850;cause=16",
        ),
        good(
            "Retry-After: 5 (busy, really);duration=10\r\nSubject: \u{418}\u{432}\u{430}\u{43d}\r\nX-Path: C:\\new\r\nX-Quote: 5\" wide",
        ),
        good("User-Agent: a/1.0 (b; \"c\")\r\nEvent: presence;id=1\r\nAllow-Events: presence.winfo, refer"),
        ("REFER without Refer-To", Refused("Refer-To"), request("REFER", &[])),
        ("PRACK without RAck", Refused("RAck"), request("PRACK", &[])),
        ("`*` without Expires", Refused("`*`"), request("REGISTER", &[(CONTACT, "Contact: *")])),
        ("`*` in an INVITE", Refused("`*`"), request("INVITE", &[(CONTACT, "Contact: *\r\nExpires: 0")])),
        ("`*` to remove bindings", Plain, request("REGISTER", &[(CONTACT, "Contact: *\r\nExpires: 0")])),
        (
            "a display name in other letters",
            Plain,
            request("OPTIONS", &[("From: ", "From: \u{418}\u{432}\u{430}\u{43d} ")]),
        ),
        ("a display name with a parenthesis", Refused("quoted"), request("OPTIONS", &[("From: ", "From: (Bob) ")])),
        ("a tag that is no token", Refused("tag"), request("OPTIONS", &[("tag=1", "tag=\"1\"")])),
        ("a From that is no address", Refused(""), request("OPTIONS", &[(FROM, "From: *;tag=1")])),
        ("a From that is no URI", Refused("scheme"), request("OPTIONS", &[(FROM, "From: bob;tag=1")])),
        ("a broken escape in To", Refused("hexadecimal"), request("OPTIONS", &[("To: <sip:user", "To: <sip:%zz")])),
        (
            "a body without Content-Type",
            Note("without Content-Type"),
            request("OPTIONS", &[("Length: 0\r\n\r\n", "Length: 1\r\n\r\nx")]),
        ),
        ("a broken session description", Note("488"), invite(&[("v=0", "v=9")])),
        ("a broken multipart body", Note("multipart"), invite(&[("application/sdp", "multipart/mixed;boundary=x")])),
        ("status 99", Refused("status"), response("099 No", &[])),
        ("status 700", Refused("status"), response("700 No", &[])),
        ("a control character in the reason phrase", Refused("control"), response("200 O\u{7}K", &[])),
        (
            "an INVITE without Contact",
            Note("without Contact"),
            invite(&[("Contact: <sip:caller@host.example.net>\r\n", "")]),
        ),
        ("a request line without a version", Refused("three parts"), request("OPTIONS", &[(" SIP/2.0", "")])),
        ("a header line without a colon", Refused("`:`"), request("OPTIONS", &[("Max-Forwards:", "Max-Forwards")])),
        (
            "a header line that is cut off",
            Refused("empty line"),
            b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h".to_vec(),
        ),
        ("nothing", Refused("start line"), Vec::new()),
        ("empty lines", Refused("start line"), b"\r\n\r\n".to_vec()),
        ("another protocol", Refused("SIP/2.0"), b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n".to_vec()),
        ("too much", Refused("larger than allowed"), invite(&[("v=0", &"x".repeat(70_000))])),
    ]
}

#[test]
fn every_message_gets_its_verdict() {
    let mut wrong = Vec::new();
    for (name, verdict, bytes) in cases() {
        let report = examine(&Bytes::from(bytes), &Limits::DEFAULT);
        let right = match (verdict, &report.error) {
            (Plain, None) => report.notes.is_empty(),
            (Note(text), None) => report.notes.iter().any(|note| note.contains(text)),
            (Refused(text), Some(error)) => error.problem.contains(text) && error.rule.starts_with("RFC "),
            _ => false,
        };
        if !right {
            wrong.push(format!("{name}: expected {verdict:?}, found {:?} {:?}", report.error, report.notes));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn requests_and_responses_are_told_apart_even_where_they_are_wrong() {
    for (name, _, bytes) in cases() {
        let expected = match bytes.first() {
            None | Some(b'\r') => None,
            _ if bytes.starts_with(b"SIP/") => Some(Kind::Response),
            _ => Some(Kind::Request),
        };
        assert_eq!(examine(&Bytes::from(bytes), &Limits::DEFAULT).kind, expected, "{name}");
    }
}

#[test]
fn what_is_read_is_written_back_byte_for_byte_and_can_be_answered() {
    for (name, verdict, bytes) in cases() {
        let Ok(read) = Message::parse(Bytes::from(bytes.clone())) else { continue };
        assert_eq!(read.as_bytes(), &bytes, "{name}");
        if read.is_request() && !matches!(verdict, Refused(_)) {
            let answer = MessageBuilder::response(&read, StatusCode::OK, None).to_tag("x").build();
            let answer = Message::parse(answer).unwrap_or_else(|e| panic!("{name}: {e}"));
            answer.check().unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(answer.cseq(), read.cseq(), "{name}");
            assert_eq!(answer.vias().map(|v| v.len()), read.vias().map(|v| v.len()), "{name}");
        }
    }
}

#[test]
fn a_refused_request_is_answered_with_the_right_status() {
    for (name, status) in [("badvers", 505), ("clerr", 400), ("too much", 513), ("escruri", 400)] {
        let (_, _, bytes) = cases().into_iter().find(|(n, ..)| *n == name).expect("a case");
        let error = Message::parse(Bytes::from(bytes)).expect_err("refused");
        assert_eq!(message::rejection_status(&error).as_u16(), status, "{name}");
    }
}

/// How many changed messages are examined: 10⁵ unless the environment says otherwise, as a soak run does.
fn mutation_count() -> u64 {
    std::env::var("CODEX_SIP_MUTATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(100_000)
}

/// SplitMix64: the same seed gives the same messages.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }

    /// Changes one to four places, mostly by what parsers stumble over.
    fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        const PIECES: [&[u8]; 24] = [
            b"\r\n",
            b"\n",
            b"\r",
            b"\0",
            b" ",
            b"\t",
            b"\"",
            b"\\",
            b"<",
            b">",
            b";",
            b",",
            b"=",
            b":",
            b"@",
            b"%",
            b"%00",
            b"[",
            b"]",
            b"\xff",
            b"\r\n ",
            b"18446744073709551616",
            b"\r\n\r\n",
            b"SIP/2.0",
        ];
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(6)).min(bytes.len());
            match self.below(5) {
                0 => drop(bytes.splice(at..end, [])),
                1 => drop(bytes.splice(at..at, PIECES[self.below(PIECES.len())].iter().copied())),
                2 => drop(bytes.splice(at..end, PIECES[self.below(PIECES.len())].iter().copied())),
                3 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                _ => {
                    let from = self.below(other.len());
                    let to = (from + self.below(80)).min(other.len());
                    bytes.splice(at..at, other[from..to].iter().copied());
                }
            }
        }
    }
}

#[test]
fn changed_messages_do_no_harm() {
    let sources: Vec<Vec<u8>> =
        cases().into_iter().map(|(_, _, bytes)| bytes).filter(|bytes| bytes.len() < 10_000).collect();
    for seed in 0..mutation_count() {
        let mut random = Seeded(seed);
        let mut bytes = sources[random.below(sources.len())].clone();
        let other = random.below(sources.len());
        random.mutate(&mut bytes, &sources[other]);
        let bytes = Bytes::from(bytes);
        let report = examine(&bytes, &Limits::DEFAULT);
        let Ok(read) = Message::parse(bytes.clone()) else {
            assert!(report.error.is_some() || !report.notes.is_empty(), "seed {seed}");
            continue;
        };
        assert_eq!(read.as_bytes(), &bytes, "seed {seed}");
        let typed = read.top_via().is_ok() && read.from().is_ok() && read.to().is_ok() && read.call_id().is_ok();
        assert!(!report.is_ok() || typed && read.contacts().is_ok(), "seed {seed}: {report:?}");
        // What is written from it can be read as the same.
        let again = Message::parse(read.edit().build()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(again.header_lines_bytes().count(), read.header_lines_bytes().count(), "seed {seed}");
        assert_eq!((again.cseq(), again.body()), (read.cseq(), read.body()), "seed {seed}");
        if read.is_request() {
            let answer = MessageBuilder::response(&read, StatusCode::OK, None).to_tag("x").build();
            let answer = Message::parse(answer).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert_eq!(answer.cseq(), read.cseq(), "seed {seed}");
        }
    }
}
