//! What all rockets of a list, or of a stream of events, have in common, read from the query string.

use serde::{Deserialize, Serialize};

use super::params::{BadParameter, Params};
use super::public::PublicStatus;
use super::view::Entry;
use crate::domain::MessageTime;
use crate::domain::time::Instant;

/// What all rockets of a list have in common; nothing where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Their status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<PublicStatus>,
    /// Their type, exactly.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub rocket_type: Option<String>,
    /// Their mission, exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mission: Option<String>,
    /// Their lowest speed, that one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_speed: Option<i64>,
    /// Their highest speed, that one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_speed: Option<i64>,
    /// They were launched later than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launched_after: Option<Moment>,
    /// They were launched earlier than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launched_before: Option<Moment>,
}

/// An instant; as text in a cursor, because no JSON number is sure to hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(pub Instant);

impl Filter {
    /// The parameters that make one.
    pub const PARAMETERS: [&str; 7] =
        ["status", "type", "mission", "minSpeed", "maxSpeed", "launchedAfter", "launchedBefore"];

    /// Reads it from a query.
    pub fn of(params: &Params) -> Result<Self, BadParameter> {
        let text = |name| params.text(name).map(str::to_owned);
        Ok(Self {
            status: params.one_of("status")?,
            rocket_type: text("type"),
            mission: text("mission"),
            min_speed: speed_of(params, "minSpeed")?,
            max_speed: speed_of(params, "maxSpeed")?,
            launched_after: moment_of(params, "launchedAfter")?,
            launched_before: moment_of(params, "launchedBefore")?,
        })
    }

    /// Whether a rocket is in the list.
    pub fn matches(&self, entry: &Entry) -> bool {
        let (rocket, launched) = (&entry.rocket, Moment(entry.rocket.launch_time.instant()));
        self.status.is_none_or(|status| status == PublicStatus::from(&rocket.status))
            && self.rocket_type.as_ref().is_none_or(|rocket_type| *rocket_type == rocket.rocket_type)
            && self.mission.as_ref().is_none_or(|mission| *mission == rocket.mission)
            && self.min_speed.is_none_or(|speed| rocket.speed >= speed)
            && self.max_speed.is_none_or(|speed| rocket.speed <= speed)
            && self.launched_after.is_none_or(|moment| launched > moment)
            && self.launched_before.is_none_or(|moment| launched < moment)
    }

    /// Whether a rocket may enter or leave the list with any message: with its speed.
    pub fn depends_on_speed(&self) -> bool {
        self.min_speed.is_some() || self.max_speed.is_some()
    }

    /// Whether everything that it names is in another one.
    pub fn agrees_with(&self, other: &Self) -> bool {
        fn agrees<T: PartialEq>(named: &Option<T>, other: &Option<T>) -> bool {
            named.is_none() || named == other
        }
        agrees(&self.status, &other.status)
            && agrees(&self.rocket_type, &other.rocket_type)
            && agrees(&self.mission, &other.mission)
            && agrees(&self.min_speed, &other.min_speed)
            && agrees(&self.max_speed, &other.max_speed)
            && agrees(&self.launched_after, &other.launched_after)
            && agrees(&self.launched_before, &other.launched_before)
    }
}

fn speed_of(params: &Params, name: &str) -> Result<Option<i64>, BadParameter> {
    let Some(text) = params.text(name) else { return Ok(None) };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let speed = text.parse().ok().filter(|_| digits);
    speed.map(Some).ok_or_else(|| BadParameter::new(name, "must be an integer from 0 to 9223372036854775807"))
}

fn moment_of(params: &Params, name: &str) -> Result<Option<Moment>, BadParameter> {
    let Some(text) = params.text(name) else { return Ok(None) };
    let may_be =
        "must be a time of RFC 3339 such as 2022-02-02T19:39:05Z (in a URL, the + of an offset is written %2B)";
    let time = MessageTime::parse(text).ok_or_else(|| BadParameter::new(name, may_be))?;
    Ok(Some(Moment(time.instant())))
}

impl TryFrom<String> for Moment {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self).map_err(|_| "must be nanoseconds since 1970")
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::Sample;
    use super::*;

    fn filter(query: &str) -> Result<Filter, String> {
        Params::parse(query, &Filter::PARAMETERS).and_then(|params| Filter::of(&params)).map_err(|bad| bad.to_string())
    }

    #[test]
    fn a_filter_wants_every_part_of_it() {
        // Launched at 19:39:05.5+01:00, speed 500.
        let rocket = Sample { times: [0; 3], ..Sample::new(1) }.entry();
        for (query, expected) in [
            ("", true),
            ("type=Falcon-9&mission=ARTEMIS&status=active", true),
            ("status=exploded", false),
            ("type=falcon-9", false),
            ("type=Falcon", false),
            ("mission=ARTEMIS+", false),
            ("mission=", false),
            ("minSpeed=500&maxSpeed=500", true),
            ("minSpeed=501", false),
            ("maxSpeed=499", false),
            ("minSpeed=501&maxSpeed=499", false),
            ("launchedAfter=2022-02-02T18:39:05Z&launchedBefore=2022-02-02T18:39:06Z", true),
            ("launchedAfter=2022-02-02T18:39:05.5Z", false),
            ("launchedBefore=2022-02-02T19:39:05.5%2B01:00", false),
        ] {
            assert_eq!(filter(query).unwrap().matches(&rocket), expected, "{query}");
        }
    }

    #[test]
    fn what_is_no_speed_and_no_time_is_named() {
        for wrong in ["", "-1", "+1", "1.0", "x", "9223372036854775808"] {
            let problem = filter(&format!("minSpeed={}", wrong.replace('+', "%2B"))).unwrap_err();
            assert_eq!(problem, "minSpeed: must be an integer from 0 to 9223372036854775807", "{wrong}");
        }
        for wrong in ["", "now", "2022-02-02", "2022-02-02T19:39:05+01:00"] {
            let problem = filter(&format!("launchedAfter={wrong}")).unwrap_err();
            assert!(problem.starts_with("launchedAfter: must be a time of RFC 3339"), "{wrong}: {problem}");
        }
    }

    #[test]
    fn a_cursor_carries_all_of_it() {
        let all = "status=active&type=a&mission=b&minSpeed=1&maxSpeed=2&launchedAfter=2022-02-02T18:39:05Z";
        let filter = filter(&format!("{all}&launchedBefore=2022-02-02T18:39:06Z")).unwrap();
        let json = serde_json::to_string(&filter).unwrap();
        assert_eq!(serde_json::from_str::<Filter>(&json).unwrap(), filter);
        assert!(Filter::default().agrees_with(&filter) && !filter.agrees_with(&Filter::default()));
    }
}
