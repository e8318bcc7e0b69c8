//! As much of `serde_json`'s values as is used here, without doubles and without hashes.

use core::fmt;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// A JSON value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Map<String, Value>),
}

/// A number as JSON writes it. Two are equal if they are written alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(String);

impl Number {
    /// The number written so, which must be a number as JSON has it.
    pub(crate) fn from_token(token: &str) -> Self {
        Self(token.to_owned())
    }

    /// A double; `None` if JSON has no number for it.
    #[must_use]
    pub fn from_f64(double: f64) -> Option<Self> {
        double.is_finite().then(|| Self(double.to_string()))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

macro_rules! from_integers {
    ($($integer:ty)*) => {
        $(
            impl From<$integer> for Number {
                fn from(number: $integer) -> Self {
                    Self(number.to_string())
                }
            }

            impl From<$integer> for Value {
                fn from(number: $integer) -> Self {
                    Self::Number(number.into())
                }
            }
        )*
    };
}

from_integers!(i32 i64 u16 u32 u64);

/// An object's members in the order in which they came. Equality does not look at the order.
#[derive(Clone, Debug)]
pub struct Map<K, V>(Vec<(K, V)>);

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Map<K, V> {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Their keys.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }
}

impl Map<String, Value> {
    /// The value of this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// Sets a member, and gives what it was before. A new one comes last.
    pub fn insert(&mut self, key: String, value: Value) -> Option<Value> {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, before)) => Some(core::mem::replace(before, value)),
            None => {
                self.0.push((key, value));
                None
            }
        }
    }
}

impl PartialEq for Map<String, Value> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

impl<K, V> IntoIterator for Map<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, K, V> IntoIterator for &'a Map<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = core::iter::Map<core::slice::Iter<'a, (K, V)>, fn(&'a (K, V)) -> (&'a K, &'a V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

impl Serialize for Map<String, Value> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Number(Number(token)) => match (token.parse::<u64>(), token.parse::<i64>()) {
                (Ok(number), _) => serializer.serialize_u64(number),
                (_, Ok(number)) => serializer.serialize_i64(number),
                _ => serializer.serialize_f64(token.parse().unwrap_or(f64::NAN)),
            },
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(elements) => elements.serialize(serializer),
            Self::Object(map) => map.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_are_replaced_where_they_stand() {
        let mut map = Map::new();
        for (key, value) in [("b", 1), ("a", 2), ("b", 3)] {
            map.insert(key.to_owned(), Value::from(value));
        }
        assert_eq!(map.keys().collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!((map.get("b"), map.get("c")), (Some(&Value::from(3)), None));
        let mut other = Map::new();
        other.insert("a".to_owned(), Value::from(2));
        assert_ne!(map, other);
        other.insert("b".to_owned(), Value::from(3));
        assert_eq!(map, other);
    }

    #[test]
    fn serde_json_writes_them_as_its_own() {
        let mut map = Map::new();
        map.insert("text".to_owned(), Value::from("Ж\""));
        let double = Value::Number(Number::from_token("-1.25"));
        map.insert("list".to_owned(), Value::Array(vec![Value::Null, Value::from(true), Value::from(-7), double]));
        map.insert("most".to_owned(), Value::from(u64::MAX));
        let json = serde_json::to_string(&Value::Object(map)).unwrap();
        assert_eq!(json, r#"{"text":"Ж\"","list":[null,true,-7,-1.25],"most":18446744073709551615}"#);
    }
}
