//! The parameters of a list, out of a query string: each known, each at most once, each with a value that it may have.
//!
//! What they mean is the business of the list that they are for. A client that misspells a parameter is told so: an
//! answer that ignores it would look right and be wrong.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use strum::VariantNames;

use super::{Answer, cursor};

/// Most entries that one page may have.
pub const LIMIT_MAX: usize = 1_000;

/// Characters of an unknown parameter's name that are said back.
const NAME_SAID_CHARS_MAX: usize = 64;

/// A parameter that is not what it must be, in words for whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{parameter}: {problem}")]
pub struct BadParameter {
    parameter: String,
    problem: String,
}

impl BadParameter {
    /// What is wrong with one parameter, and what it may be.
    pub fn new(parameter: &str, problem: impl fmt::Display) -> Self {
        let parameter = parameter.chars().take(NAME_SAID_CHARS_MAX).collect();
        Self { parameter, problem: problem.to_string() }
    }

    /// A cursor that is none of this list.
    pub fn cursor() -> Self {
        Self::new("cursor", "is not a cursor of this list")
    }

    /// A cursor that disagrees with the other parameters.
    pub fn cursor_of_another_list(what_differs: &str) -> Self {
        Self::new("cursor", format_args!("was made for another list ({what_differs})"))
    }
}

impl From<BadParameter> for Answer {
    fn from(bad: BadParameter) -> Self {
        Self::bad_request(bad.to_string())
    }
}

/// The parameters that a query string names.
#[derive(Debug)]
pub struct Params {
    values: Vec<(String, String)>,
}

impl Params {
    /// Reads a query string (`a=1&b=x%20y`, without the question mark) in which these parameters may be named.
    pub fn parse(query: &str, known: &[&str]) -> Result<Self, BadParameter> {
        let mut params = Self { values: Vec::new() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !known.contains(&&*name) {
                let problem = format!("is not a parameter of this route, which has {}", known.join(", "));
                return Err(BadParameter::new(&name, problem));
            }
            if params.text(&name).is_some() {
                return Err(BadParameter::new(&name, "is given twice"));
            }
            params.values.push((name.into_owned(), value.into_owned()));
        }
        Ok(params)
    }

    /// A parameter that may be any text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is one of a few names.
    pub fn one_of<T: FromStr + VariantNames>(&self, name: &str) -> Result<Option<T>, BadParameter> {
        let must_be = || BadParameter::new(name, format_args!("must be one of {}", T::VARIANTS.join(", ")));
        self.text(name).map(|text| text.parse().map_err(|_| must_be())).transpose()
    }

    /// A parameter that is yes or no, and no where it is not named.
    pub fn flag(&self, name: &str) -> Result<bool, BadParameter> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(BadParameter::new(name, "must be true or false")),
        }
    }

    /// The parameter `cursor`, for where a page begins: what [`cursor::write()`] has written of the same list.
    pub fn cursor<T: Serialize + DeserializeOwned>(&self) -> Result<Option<T>, BadParameter> {
        self.text("cursor").map(|text| cursor::read(text).ok_or_else(BadParameter::cursor)).transpose()
    }

    /// The parameter `limit`, for how many entries a page may have.
    pub fn limit(&self) -> Result<Option<usize>, BadParameter> {
        let Some(text) = self.text("limit") else { return Ok(None) };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(limit) if digits && (1..=LIMIT_MAX).contains(&limit) => Ok(Some(limit)),
            _ => Err(BadParameter::new("limit", format_args!("must be an integer from 1 to {LIMIT_MAX}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 2] = ["limit", "mission"];

    fn error(query: &str) -> String {
        Params::parse(query, &KNOWN).unwrap_err().to_string()
    }

    #[test]
    fn values_are_decoded() {
        let rows = [
            ("", None),
            ("&&", None),
            ("mission", Some("")),
            ("mission=", Some("")),
            ("mission=a+b%20c%2Bd", Some("a b c+d")),
            ("mission=%F0%9F%9A%80&limit=1", Some("\u{1F680}")),
            ("%6Dission=a=b", Some("a=b")),
        ];
        for (query, expected) in rows {
            assert_eq!(Params::parse(query, &KNOWN).unwrap().text("mission"), expected, "{query}");
        }
    }

    #[test]
    fn what_is_unknown_or_given_twice_is_named() {
        assert_eq!(error("limit=1&Limit=2"), "Limit: is not a parameter of this route, which has limit, mission");
        assert_eq!(error("=7"), ": is not a parameter of this route, which has limit, mission");
        assert_eq!(error("limit=1&mission=a&limit=1"), "limit: is given twice");
        let long = error(&format!("{}=1", "é".repeat(10_000)));
        assert!(long.starts_with(&"é".repeat(64)) && long.chars().count() < 200);
    }

    #[test]
    fn a_flag_is_true_or_false() {
        let flag = |query: &str| Params::parse(query, &KNOWN).unwrap().flag("limit").map_err(|error| error.to_string());
        assert_eq!((flag(""), flag("limit=false"), flag("limit=true")), (Ok(false), Ok(false), Ok(true)));
        for text in ["limit", "limit=", "limit=1", "limit=TRUE", "limit=yes"] {
            assert_eq!(flag(text), Err("limit: must be true or false".into()), "{text}");
        }
    }

    #[test]
    fn a_limit_is_a_number_within_bounds() {
        let limit = |query: &str| Params::parse(query, &KNOWN).unwrap().limit().map_err(|error| error.to_string());
        assert_eq!((limit(""), limit("limit=1"), limit("limit=1000")), (Ok(None), Ok(Some(1)), Ok(Some(1_000))));
        for text in ["", "0", "1001", "-1", "+1", "%2B1", "1.0", "1e2", "%201", "x", "99999999999999999999999"] {
            let problem = limit(&format!("limit={text}"));
            assert_eq!(problem, Err("limit: must be an integer from 1 to 1000".into()), "{text}");
        }
    }
}
