//! A received message with changes, written anew.

use bytes::Bytes;

use super::builder::push_number;
use super::{Line, Message};
use crate::header_field::HeaderValue;
use crate::sip::header::{FieldName, Name};

/// Writes a received message with some headers changed, as an element does that passes it on. What is not changed is
/// copied byte for byte, folds and compact names included, in one piece from change to change; the result is written
/// into memory of exactly its size.
///
/// ```
/// # use bytes::Bytes;
/// use codex_core_sip::header_field::HeaderValue;
/// use codex_core_sip::sip::{Message, Name};
///
/// # let bytes = Bytes::from_static(b"OPTIONS sip:b@example.com SIP/2.0\r\nv: SIP/2.0/WSS a.invalid;branch=z9hG4bK1\r\n\
/// # Max-Forwards: 70\r\nf: <sip:a@example.com>;tag=1\r\nt: <sip:b@example.com>\r\ni: c\r\nCSeq: 1 OPTIONS\r\n\r\n");
/// let received = Message::parse(bytes)?;
/// let forwarded = received
///     .edit()
///     .insert_first(Name::Via, HeaderValue::from_static("SIP/2.0/WSS edge.example.com;branch=z9hG4bK2"))
///     .set(Name::MaxForwards, HeaderValue::from_static("69"))
///     .build();
/// let forwarded = Message::parse(forwarded)?;
/// assert_eq!(forwarded.vias()?.len(), 2);
/// assert_eq!(forwarded.number(Name::MaxForwards, 255), Some(Ok(69)));
/// # Ok::<(), codex_core_sip::ParseError>(())
/// ```
#[derive(Debug, Clone)]
pub struct MessageEdit<'a> {
    message: &'a Message,
    changes: Vec<Change>,
    body: Option<Bytes>,
}

#[derive(Debug, Clone)]
enum Change {
    /// In the place of the first line of that name, or at the end; other lines of that name go.
    Set(FieldName, HeaderValue),
    /// Before all headers.
    InsertFirst(FieldName, HeaderValue),
    /// All lines of that name go.
    Remove(Name),
    /// The first element of the list in the first line of that name goes, as a Via does from a response.
    RemoveFirst(Name),
}

impl Message {
    /// Begins to write this message with changes.
    #[must_use]
    pub fn edit(&self) -> MessageEdit<'_> {
        MessageEdit { message: self, changes: Vec::new(), body: None }
    }
}

impl MessageEdit<'_> {
    /// Puts one header in the place of all headers of that name, where the first of them stands, or at the end.
    /// `Content-Length` is not set by this but by [`MessageEdit::body`].
    #[must_use]
    pub fn set(self, name: impl Into<FieldName>, value: HeaderValue) -> Self {
        self.change(Change::Set(name.into(), value))
    }

    /// Adds a header before all others, as every hop does with its Via and Record-Route.
    #[must_use]
    pub fn insert_first(self, name: impl Into<FieldName>, value: HeaderValue) -> Self {
        self.change(Change::InsertFirst(name.into(), value))
    }

    /// Leaves out all headers of that name.
    #[must_use]
    pub fn remove(self, name: Name) -> Self {
        self.change(Change::Remove(name))
    }

    /// Leaves out the first element of the lists in all headers of that name: the topmost Via of a response, the first
    /// Route of a request.
    #[must_use]
    pub fn remove_first(self, name: Name) -> Self {
        self.change(Change::RemoveFirst(name))
    }

    /// Puts another body in the place of the body. `Content-Type` stays as it is.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    fn change(mut self, change: Change) -> Self {
        let length = match &change {
            Change::Set(name, _) | Change::InsertFirst(name, _) => *name == FieldName::Known(Name::ContentLength),
            Change::Remove(name) | Change::RemoveFirst(name) => *name == Name::ContentLength,
        };
        if !length {
            self.changes.push(change);
        }
        self
    }

    /// The message. What followed the received one behind its body is not part of it.
    #[must_use]
    pub fn build(self) -> Bytes {
        let mut size = Size(0);
        self.write(&mut size);
        let mut bytes = Vec::with_capacity(size.0);
        self.write(&mut bytes);
        Bytes::from(bytes)
    }

    fn write(&self, out: &mut impl Output) {
        let all: &[u8] = &self.message.bytes;
        let lines = &self.message.lines;
        let head_end = self.message.body.0 as usize;
        let headers = lines.first().map_or(head_end - 2, |line| line.name_start as usize);
        out.put(&all[..headers]);
        for change in self.changes.iter().rev() {
            if let Change::InsertFirst(name, value) = change {
                put_field(out, name, value);
            }
        }
        // What was not changed since is copied when something is.
        let mut copied = headers;
        for (i, line) in lines.iter().enumerate() {
            let (start, end) = (line.name_start as usize, line.value_end as usize + 2);
            if line.name == Some(Name::ContentLength) && self.body.is_some() {
                out.put(&all[copied..start]);
                copied = end;
                continue;
            }
            let Some(change) = self.changes.iter().rev().find(|change| change.concerns(self.message, line)) else {
                continue;
            };
            let first = !lines[..i].iter().any(|earlier| change.concerns(self.message, earlier));
            match change {
                Change::RemoveFirst(_) if !first => continue,
                _ => {}
            }
            out.put(&all[copied..start]);
            copied = end;
            match change {
                Change::Set(name, value) if first => put_field(out, name, value),
                Change::RemoveFirst(name) => self.put_rest(out, *name, line),
                _ => {}
            }
        }
        out.put(&all[copied..head_end - 2]);
        for (i, change) in self.changes.iter().enumerate() {
            if let Change::Set(name, value) = change
                && !lines.iter().any(|line| change.concerns(self.message, line))
                && !self.changes[i + 1..].iter().any(|later| later.overrides(name))
            {
                put_field(out, name, value);
            }
        }
        if let Some(body) = &self.body {
            out.put(b"Content-Length: ");
            out.put_number(body.len() as u64);
            out.put(b"\r\n\r\n");
            out.put(body);
        } else {
            out.put(b"\r\n");
            out.put(self.message.body());
        }
    }

    /// What follows the first element of a list.
    fn put_rest(&self, out: &mut impl Output, name: Name, line: &Line) {
        let value = self.message.value_bytes(line);
        let text = String::from_utf8_lossy(&value);
        let end = crate::sip::header::element_end(text.as_bytes(), 0);
        if let Some(rest) = text.get(end + 1..).map(str::trim_ascii).filter(|rest| !rest.is_empty()) {
            out.put(name.as_str().as_bytes());
            out.put(b": ");
            out.put(rest.as_bytes());
            out.put(b"\r\n");
        }
    }
}

impl Change {
    /// Whether the change takes the place of `line`.
    fn concerns(&self, message: &Message, line: &Line) -> bool {
        match self {
            Self::Set(FieldName::Known(name), _) | Self::Remove(name) | Self::RemoveFirst(name) => {
                line.name == Some(*name)
            }
            Self::Set(FieldName::Other(name), _) => {
                line.name.is_none() && name.as_str().eq_ignore_ascii_case(message.name_str(line))
            }
            Self::InsertFirst(..) => false,
        }
    }

    fn overrides(&self, earlier: &FieldName) -> bool {
        match (self, earlier) {
            (Self::Set(name, _), _) => name == earlier,
            (Self::Remove(name), FieldName::Known(earlier)) => name == earlier,
            _ => false,
        }
    }
}

fn put_field(out: &mut impl Output, name: &FieldName, value: &HeaderValue) {
    out.put(name.as_str().as_bytes());
    out.put(b": ");
    out.put(value.as_str().as_bytes());
    out.put(b"\r\n");
}

trait Output {
    fn put(&mut self, bytes: &[u8]);
    fn put_number(&mut self, n: u64);
}

impl Output for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn put_number(&mut self, n: u64) {
        push_number(self, n);
    }
}

/// Counts what would be written.
struct Size(usize);

impl Output for Size {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn put_number(&mut self, n: u64) {
        self.0 += n.checked_ilog10().map_or(1, |digits| digits as usize + 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::header_field::HeaderName;

    const TEXT: &str = "INVITE sip:b@example.com SIP/2.0\r\nv: SIP/2.0/WSS a.invalid;branch=z9hG4bK1,\r\n SIP/2.0/WSS b.invalid;branch=z9hG4bK2\r\n\
        Via: SIP/2.0/WSS c.invalid;branch=z9hG4bK3\r\nMax-Forwards: 70\r\nf: <sip:a@example.com>;tag=1\r\nt: <sip:b@example.com>\r\n\
        i: c\r\nCSeq: 1 INVITE\r\nX-One: 1\r\nContent-Type: text/plain\r\nx-one: 2\r\nl: 4\r\n\r\nbodyand more";

    fn edited(edit: impl FnOnce(MessageEdit<'_>) -> MessageEdit<'_>) -> String {
        let message = Message::parse(Bytes::from_static(TEXT.as_bytes())).unwrap();
        let bytes = edit(message.edit()).build();
        assert!(Message::parse(bytes.clone()).is_ok());
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn value(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    #[test]
    fn what_is_not_changed_stays_byte_for_byte() {
        let whole = TEXT.strip_suffix("and more").unwrap();
        assert_eq!(edited(|edit| edit), whole);
        assert_eq!(edited(|edit| edit.set(Name::MaxForwards, value("69"))), whole.replace("70", "69"));
        assert_eq!(edited(|edit| edit.remove(Name::MaxForwards)), whole.replace("Max-Forwards: 70\r\n", ""));
        assert_eq!(edited(|edit| edit.remove(Name::Route).set(Name::ContentLength, value("9"))), whole);
    }

    #[test]
    fn headers_are_changed_in_their_place_or_added() {
        let whole = TEXT.strip_suffix("and more").unwrap();
        let one = HeaderName::from_static("X-ONE");
        assert_eq!(
            edited(|edit| edit.set(one.clone(), value("3"))),
            whole.replace("X-One: 1", "X-ONE: 3").replace("x-one: 2\r\n", "")
        );
        assert_eq!(
            edited(|edit| edit.set(Name::Subject, value("0")).set(Name::Subject, value("1"))),
            whole.replace("l: 4\r\n", "l: 4\r\nSubject: 1\r\n")
        );
        assert_eq!(edited(|edit| edit.set(Name::Subject, value("0")).remove(Name::Subject)), whole);
        assert_eq!(
            edited(|edit| edit.insert_first(Name::Via, value("SIP/2.0/WSS d.invalid")).insert_first(one, value("0"))),
            whole.replacen("v: ", "X-ONE: 0\r\nVia: SIP/2.0/WSS d.invalid\r\nv: ", 1)
        );
    }

    #[test]
    fn lists_lose_their_first_element() {
        let whole = TEXT.strip_suffix("and more").unwrap();
        assert_eq!(
            edited(|edit| edit.remove_first(Name::Via)),
            whole.replace("v: SIP/2.0/WSS a.invalid;branch=z9hG4bK1,\r\n SIP", "Via: SIP")
        );
        assert_eq!(
            edited(|edit| edit.remove_first(Name::ContentType)),
            whole.replace("Content-Type: text/plain\r\n", "")
        );
    }

    #[test]
    fn another_body_has_its_own_length() {
        let whole = TEXT.strip_suffix("l: 4\r\n\r\nbodyand more").unwrap();
        assert_eq!(edited(|edit| edit.body("")), format!("{whole}Content-Length: 0\r\n\r\n"));
        assert_eq!(edited(|edit| edit.body("0123456789")), format!("{whole}Content-Length: 10\r\n\r\n0123456789"));
    }

    proptest! {
        #[test]
        fn the_size_is_right(body in proptest::option::of("[a-z]{0,1200}"), names in proptest::collection::vec(0..Name::ALL.len(), 0..6)) {
            let message = Message::parse(Bytes::from_static(TEXT.as_bytes())).unwrap();
            let mut edit = message.edit();
            for (i, name) in names.iter().map(|i| Name::ALL[*i]).enumerate() {
                edit = match i % 4 {
                    0 => edit.set(name, value("1")),
                    1 => edit.insert_first(name, value("2")),
                    2 => edit.remove(name),
                    _ => edit.remove_first(name),
                };
            }
            if let Some(body) = body {
                edit = edit.body(body);
            }
            let mut size = Size(0);
            edit.write(&mut size);
            prop_assert_eq!(edit.build().len(), size.0);
        }
    }
}
