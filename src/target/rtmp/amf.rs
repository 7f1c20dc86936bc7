//! AMF0, the value format of RTMP commands (Action Message Format 0, Adobe 2007).
//!
//! In: bytes of a command message, or values. Out: values, or bytes. Pure. It refuses depth and sizes that no command has, because the bytes come from
//! a stranger.

/// Objects in objects, at most.
const MAX_DEPTH: u8 = 8;
/// Values in one message, at most.
const MAX_VALUES: usize = 512;

const NUMBER: u8 = 0;
const BOOLEAN: u8 = 1;
const STRING: u8 = 2;
const OBJECT: u8 = 3;
const NULL: u8 = 5;
const UNDEFINED: u8 = 6;
const ECMA_ARRAY: u8 = 8;
const OBJECT_END: u8 = 9;
const STRICT_ARRAY: u8 = 10;
const DATE: u8 = 11;
const LONG_STRING: u8 = 12;

/// One value.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Number(f64),
    Boolean(bool),
    Text(String),
    /// Also what arrives as an array with names.
    Object(Vec<(String, Value)>),
    List(Vec<Value>),
    /// Also undefined.
    Null,
}

/// The bytes are no AMF0, or more than any command needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not AMF0, or too much of it")]
pub(super) struct AmfError;

impl Value {
    /// The number, if it is one.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of that name, if this is an object that has one.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

/// The values one after another. Texts are cut at 65 535 bytes.
pub(super) fn encode(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    values.iter().for_each(|value| put(&mut out, value));
    out
}

/// An array with names (ECMA array), which is how stream metadata are sent.
pub(super) fn encode_named_array(out: &mut Vec<u8>, members: &[(&str, Value)]) {
    out.push(ECMA_ARRAY);
    out.extend_from_slice(&(members.len() as u32).to_be_bytes());
    for (name, value) in members {
        put_name(out, name);
        put(out, value);
    }
    out.extend_from_slice(&[0, 0, OBJECT_END]);
}

/// All values of a message.
///
/// # Errors
/// [`AmfError`].
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Value>, AmfError> {
    let mut reader = Reader { rest: bytes, left: MAX_VALUES };
    let mut values = Vec::new();
    while !reader.rest.is_empty() {
        values.push(reader.value(0)?);
    }
    Ok(values)
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(number) => {
            out.push(NUMBER);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Boolean(is) => out.extend_from_slice(&[BOOLEAN, u8::from(*is)]),
        Value::Text(text) => {
            out.push(STRING);
            put_name(out, text);
        }
        Value::Object(members) => {
            out.push(OBJECT);
            for (name, value) in members {
                put_name(out, name);
                put(out, value);
            }
            out.extend_from_slice(&[0, 0, OBJECT_END]);
        }
        Value::List(values) => {
            out.push(STRICT_ARRAY);
            out.extend_from_slice(&(values.len() as u32).to_be_bytes());
            values.iter().for_each(|value| put(out, value));
        }
        Value::Null => out.push(NULL),
    }
}

fn put_name(out: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

struct Reader<'a> {
    rest: &'a [u8],
    /// Values that may still come.
    left: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: u8) -> Result<Value, AmfError> {
        self.left = self.left.checked_sub(1).ok_or(AmfError)?;
        let deeper = if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(AmfError) };
        Ok(match self.byte()? {
            NUMBER => Value::Number(f64::from_be_bytes(self.array()?)),
            BOOLEAN => Value::Boolean(self.byte()? != 0),
            STRING => {
                let length = self.short()?;
                Value::Text(self.text(length)?)
            }
            LONG_STRING => {
                let length = u32::from_be_bytes(self.array()?) as usize;
                Value::Text(self.text(length)?)
            }
            OBJECT => Value::Object(self.members(deeper?)?),
            ECMA_ARRAY => {
                // The count is a hint that senders get wrong; the end is marked.
                self.array::<4>()?;
                Value::Object(self.members(deeper?)?)
            }
            STRICT_ARRAY => {
                let count = u32::from_be_bytes(self.array()?);
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(deeper?)?);
                }
                Value::List(values)
            }
            DATE => {
                let date = f64::from_be_bytes(self.array()?);
                self.array::<2>()?;
                Value::Number(date)
            }
            NULL | UNDEFINED => Value::Null,
            _ => return Err(AmfError),
        })
    }

    fn members(&mut self, depth: u8) -> Result<Vec<(String, Value)>, AmfError> {
        let mut members = Vec::new();
        loop {
            let length = self.short()?;
            let name = self.text(length)?;
            if name.is_empty() && self.rest.first() == Some(&OBJECT_END) {
                self.byte()?;
                return Ok(members);
            }
            members.push((name, self.value(depth)?));
        }
    }

    fn text(&mut self, length: usize) -> Result<String, AmfError> {
        // Servers send names in odd encodings; nothing that we act on needs those letters.
        self.take(length).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    fn short(&mut self) -> Result<usize, AmfError> {
        Ok(usize::from(u16::from_be_bytes(self.array()?)))
    }

    fn byte(&mut self) -> Result<u8, AmfError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], AmfError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(AmfError)?;
        self.rest = rest;
        Ok(*head)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], AmfError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(AmfError)?;
        self.rest = rest;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_is_encoded_as_the_specification_says() {
        let values = [
            "connect".into(),
            1.0.into(),
            Value::Object(vec![("app".into(), "live".into()), ("fpad".into(), Value::Boolean(false))]),
            Value::Null,
        ];
        let expected =
            b"\x02\x00\x07connect\x00\x3f\xf0\0\0\0\0\0\0\x03\x00\x03app\x02\x00\x04live\x00\x04fpad\x01\x00\x00\x00\x09\x05";
        assert_eq!(encode(&values), expected);
        assert_eq!(decode(expected).unwrap(), values);
    }

    #[test]
    fn what_servers_send_beside_is_understood() {
        // ECMA array with a wrong count, strict array, date, long string, undefined.
        let bytes = b"\x08\0\0\0\x63\0\x01a\x05\0\0\x09\x0a\0\0\0\x02\x06\x01\x01\x0b\x40\0\0\0\0\0\0\0\0\0\x0c\0\0\0\x02hi";
        let values = decode(bytes).unwrap();
        let list = Value::List(vec![Value::Null, Value::Boolean(true)]);
        assert_eq!(values, [Value::Object(vec![("a".into(), Value::Null)]), list, 2.0.into(), "hi".into()]);
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let deep = [OBJECT, 0, 1, b'a'].repeat(100);
        assert_eq!(decode(&deep), Err(AmfError));
        assert_eq!(decode(&[NULL; 513]), Err(AmfError));
        assert_eq!(decode(&[STRICT_ARRAY, 0xff, 0xff, 0xff, 0xff]), Err(AmfError));
        assert_eq!(decode(&[LONG_STRING, 0xff, 0xff, 0xff, 0xff, 0]), Err(AmfError));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<f64>().prop_filter("equal to itself", |number| !number.is_nan()).prop_map(Value::Number),
            any::<bool>().prop_map(Value::Boolean),
            "[a-z]{0,20}".prop_map(Value::Text),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(("[a-z]{1,8}", inner.clone()), 0..5).prop_map(Value::Object),
                proptest::collection::vec(inner, 0..5).prop_map(Value::List),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_come_back(values in proptest::collection::vec(any_value(), 0..5)) {
            prop_assert_eq!(decode(&encode(&values)).unwrap(), values);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(prop_oneof![0_u8..13, any::<u8>()], 0..400)) {
            let _ = decode(&bytes);
        }
    }
}
