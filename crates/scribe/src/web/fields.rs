//! The fields of a JSON object, each read with its range; whatever is wrong is named.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::ApiError;

/// Deepest nesting of a request's JSON.
const DEPTH_MAX: usize = 64;

/// A JSON object of a request, and where it stands in it.
///
/// Fields that nobody asks for are ignored; `null` is the same as absent.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: String,
}

/// Reads the body of a request, which is a JSON object.
///
/// # Errors
///
/// 400 if it is not, or nests deeper than anybody needs.
pub(super) fn parse(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if depth(body) > DEPTH_MAX {
        return Err(ApiError::bad_json(format!(
            "The body nests deeper than {DEPTH_MAX} levels. Send flatter JSON."
        )));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::bad_json("The body must be a JSON object.")),
        Err(error) => Err(ApiError::bad_json(format!("The body is not valid JSON: {error}."))),
    }
}

/// How deep the brackets of a JSON text nest, without parsing it.
fn depth(body: &[u8]) -> usize {
    let (mut now, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for &byte in body {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => now += 1,
            b'}' | b']' => now = now.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(now);
    }
    deepest
}

impl<'a> Fields<'a> {
    /// The fields of the body itself.
    #[must_use]
    pub(super) fn new(object: &'a Map<String, Value>) -> Self {
        Self { object, path: String::new() }
    }

    /// The fields of `value`, which stands at `path`.
    ///
    /// # Errors
    ///
    /// 400 if it is no object.
    pub(super) fn of(value: &'a Value, path: String) -> Result<Self, ApiError> {
        match value {
            Value::Object(object) => Ok(Self { object, path }),
            _ => Err(wrong(path, "must be an object", value)),
        }
    }

    /// The full name of a field, as errors tell it.
    #[must_use]
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The value, if there is one.
    #[must_use]
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// A number within `range`.
    ///
    /// # Errors
    ///
    /// 400 if it is no number or out of range.
    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<f32>,
    ) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        #[expect(clippy::cast_possible_truncation, reason = "sampling computes in f32")]
        let number = value.as_f64().map(|number| number as f32);
        match number {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (least, most) = range.into_inner();
                Err(wrong(
                    self.path(name),
                    &format!("must be a number from {least} to {most}"),
                    value,
                ))
            }
        }
    }

    /// A whole number within `range`.
    ///
    /// # Errors
    ///
    /// 400 if it is no whole number or out of range.
    pub(super) fn count(
        &self,
        name: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_u64().and_then(|number| usize::try_from(number).ok()) {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (least, most) = range.into_inner();
                let must = format!("must be a whole number from {least} to {most}");
                Err(wrong(self.path(name), &must, value))
            }
        }
    }

    /// Any whole number of 64 bits, as its bits.
    ///
    /// # Errors
    ///
    /// 400 if it is none.
    pub(super) fn seed(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let bits = value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned));
        match bits {
            Some(bits) => Ok(Some(bits)),
            None => Err(wrong(self.path(name), "must be a whole number of 64 bits", value)),
        }
    }

    /// True or false; false where it is absent.
    ///
    /// # Errors
    ///
    /// 400 if it is neither.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.choice(name)?.unwrap_or(false))
    }

    /// True or false, or absent.
    ///
    /// # Errors
    ///
    /// 400 if it is neither.
    pub(super) fn choice(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(value) => Err(wrong(self.path(name), "must be true or false", value)),
        }
    }

    /// A string.
    ///
    /// # Errors
    ///
    /// 400 if it is something else.
    pub(super) fn string(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(wrong(self.path(name), "must be a string", value)),
        }
    }

    /// A list.
    ///
    /// # Errors
    ///
    /// 400 if it is something else.
    pub(super) fn list(&self, name: &str) -> Result<Option<&'a [Value]>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(value) => Err(wrong(self.path(name), "must be a list", value)),
        }
    }

    /// An object.
    ///
    /// # Errors
    ///
    /// 400 if it is something else.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, ApiError> {
        self.get(name).map(|value| Self::of(value, self.path(name))).transpose()
    }

    /// A string, or a list of at most `most` strings; each of 1 to `bytes` bytes.
    ///
    /// # Errors
    ///
    /// 400 if it is something else.
    pub(super) fn strings(
        &self,
        name: &str,
        most: usize,
        bytes: usize,
    ) -> Result<Vec<String>, ApiError> {
        let values = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        let short = |value: &Value| {
            value.as_str().filter(|text| (1..=bytes).contains(&text.len())).map(str::to_owned)
        };
        let strings: Option<Vec<String>> = values.iter().map(short).collect();
        strings.filter(|strings| strings.len() <= most).ok_or_else(|| {
            let path = self.path(name);
            let message = format!(
                "'{path}' must be a string of 1 to {bytes} bytes or a list of at most {most} such \
                 strings."
            );
            ApiError::invalid(path, message)
        })
    }

    /// The error for a field that must be there.
    #[must_use]
    pub(super) fn missing(&self, name: &str) -> ApiError {
        let path = self.path(name);
        let message = format!("'{path}' is missing.");
        ApiError::invalid(path, message)
    }
}

/// The error for a value that is not what it must be.
#[must_use]
pub(super) fn wrong(path: String, must: &str, found: &Value) -> ApiError {
    let found = match found {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(values) => format!("a list of {}", values.len()),
        Value::Object(_) => "an object".to_owned(),
    };
    let message = format!("'{path}' {must}, not {found}.");
    ApiError::invalid(path, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(result: Result<impl std::fmt::Debug, ApiError>) -> String {
        result.map(|value| format!("{value:?}")).unwrap_or_else(|error| error.body().to_string())
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert_eq!(depth(br#"{"a":[[1]]}"#), 3);
        assert_eq!(depth(br#"{"a":"[[[[\"[["}"#), 1);
        assert_eq!(depth(b"]]]["), 1);
    }

    #[test]
    fn bombs_and_broken_bodies_are_refused() {
        let bomb = format!("{}1{}", "[".repeat(65), "]".repeat(65));
        assert!(message(parse(bomb.as_bytes())).contains("deeper"));
        assert!(message(parse(b"[1]")).contains("must be a JSON object"));
        assert!(message(parse(b"{\"a\":")).contains("not valid JSON"));
        assert!(parse(b"{\"a\":{\"b\":[1]}}").is_ok());
    }

    #[test]
    fn each_kind_of_field_names_itself_when_it_is_wrong() {
        let object = json!({ "a": { "n": -1, "x": 3.5, "s": 1, "f": "yes", "list": {} } });
        let root = object.as_object().unwrap();
        let fields = Fields::new(root).object("a").unwrap().unwrap();
        assert!(
            message(fields.count("n", 0..=5)).contains("'a.n' must be a whole number from 0 to 5")
        );
        assert!(message(fields.number("x", 0.0..=2.0)).contains("\"param\":\"a.x\""));
        assert!(message(fields.string("s")).contains("'a.s' must be a string, not 1"));
        assert!(message(fields.flag("f")).contains("must be true or false"));
        assert!(message(fields.list("list")).contains("must be a list, not an object"));
        assert!(fields.number("x", 0.0..=4.0).unwrap().is_some());
        assert!(fields.seed("n").unwrap() == Some(u64::MAX));
    }

    #[test]
    fn null_is_absent_and_unknown_fields_are_ignored() {
        let object = json!({ "a": null, "future": 1 });
        let fields = Fields::new(object.as_object().unwrap());
        assert_eq!(fields.string("a").unwrap(), None);
        assert!(!fields.flag("a").unwrap());
    }

    #[test]
    fn stop_strings_are_few_and_short() {
        let read = |value: Value| {
            let object = json!({ "stop": value });
            Fields::new(object.as_object().unwrap()).strings("stop", 2, 3)
        };
        assert_eq!(read(json!("ab")).unwrap(), ["ab"]);
        assert_eq!(read(json!(["a", "b"])).unwrap(), ["a", "b"]);
        for wrong in [json!(["a", "b", "c"]), json!("abcd"), json!(""), json!([1]), json!(1)] {
            assert!(message(read(wrong)).contains("at most 2 such strings"));
        }
    }
}
