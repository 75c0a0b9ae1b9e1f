//! The state machine of one rocket: what a message does to it, or why it makes no sense there.

use super::{Kind, Message, MessageTime};

/// A rocket that was launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rocket {
    /// Type, such as `Falcon-9`.
    pub rocket_type: String,
    /// Mission, such as `ARTEMIS`.
    pub mission: String,
    /// Speed now, 0 or more.
    pub speed: i64,
    /// Whether it still flies.
    pub status: Status,
    /// Message time of the launch.
    pub launch_time: MessageTime,
    /// Message time of the last message that changed it.
    pub last_updated: MessageTime,
}

/// Whether a rocket still flies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It flies.
    Active,
    /// It is gone, for this reason; nothing changes it any more.
    Exploded {
        /// Reason, such as `PRESSURE_VESSEL_FAILURE`.
        reason: String,
    },
}

/// Why a well-formed message makes no sense in a rocket's state. It is applied in the sequence and changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Anything but a launch, before a launch.
    #[error("the rocket has not been launched")]
    NotLaunched,
    /// A second launch.
    #[error("the rocket was launched before")]
    LaunchedBefore,
    /// Anything but a launch, after an explosion.
    #[error("the rocket has exploded")]
    Exploded,
    /// A speed above what 63 bits hold.
    #[error("the speed would be above {}", i64::MAX)]
    SpeedOverflow,
}

impl Rocket {
    /// The rocket after a message, or why the message is refused.
    pub fn after(rocket: Option<&Self>, message: &Message) -> Result<Self, Refusal> {
        match (rocket, &message.kind) {
            (None, Kind::Launched { rocket_type, speed, mission }) => Ok(Self {
                rocket_type: rocket_type.clone(),
                mission: mission.clone(),
                speed: *speed,
                status: Status::Active,
                launch_time: message.time.clone(),
                last_updated: message.time.clone(),
            }),
            (None, _) => Err(Refusal::NotLaunched),
            (Some(_), Kind::Launched { .. }) => Err(Refusal::LaunchedBefore),
            (Some(rocket), change) => rocket.changed(change, &message.time),
        }
    }

    fn changed(&self, change: &Kind, time: &MessageTime) -> Result<Self, Refusal> {
        if self.status != Status::Active {
            return Err(Refusal::Exploded);
        }
        let mut rocket = Self { last_updated: time.clone(), ..self.clone() };
        match change {
            Kind::SpeedIncreased(by) => rocket.speed = self.speed.checked_add(*by).ok_or(Refusal::SpeedOverflow)?,
            Kind::SpeedDecreased(by) => rocket.speed = (self.speed - by).max(0),
            Kind::MissionChanged(mission) => rocket.mission.clone_from(mission),
            Kind::Exploded(reason) => {
                rocket.speed = 0;
                rocket.status = Status::Exploded { reason: reason.clone() };
            }
            Kind::Launched { .. } => return Err(Refusal::LaunchedBefore),
        }
        Ok(rocket)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Channel, MessageNumber};
    use super::*;

    fn message(kind: Kind) -> Message {
        Message {
            channel: Channel::parse("193270a9-c9cf-404a-8f83-838e71d9ae67").unwrap(),
            number: MessageNumber::FIRST,
            time: MessageTime::parse("2022-02-02T19:39:05Z").unwrap(),
            kind,
        }
    }

    fn launch(speed: i64) -> Kind {
        Kind::Launched { rocket_type: "Falcon-9".into(), speed, mission: "ARTEMIS".into() }
    }

    fn fold(kinds: &[Kind]) -> (Option<Rocket>, Option<Refusal>) {
        kinds.iter().fold((None, None), |(rocket, _), kind| {
            match Rocket::after(rocket.as_ref(), &message(kind.clone())) {
                Ok(rocket) => (Some(rocket), None),
                Err(refusal) => (rocket, Some(refusal)),
            }
        })
    }

    #[test]
    fn speed_follows_the_changes() {
        let rows = [
            (vec![launch(500)], 500, None),
            (vec![launch(500), Kind::SpeedIncreased(0)], 500, None),
            (vec![launch(500), Kind::SpeedIncreased(3000)], 3500, None),
            (vec![launch(500), Kind::SpeedDecreased(200)], 300, None),
            (vec![launch(500), Kind::SpeedDecreased(501)], 0, None),
            (vec![launch(1), Kind::SpeedDecreased(i64::MAX)], 0, None),
            (vec![launch(500), Kind::SpeedIncreased(i64::MAX - 500)], i64::MAX, None),
            (vec![launch(500), Kind::SpeedIncreased(i64::MAX - 499)], 500, Some(Refusal::SpeedOverflow)),
            (vec![launch(500), launch(7)], 500, Some(Refusal::LaunchedBefore)),
            (vec![launch(500), Kind::Exploded("X".into())], 0, None),
            (vec![launch(500), Kind::Exploded("X".into()), launch(7)], 0, Some(Refusal::LaunchedBefore)),
            (vec![launch(500), Kind::Exploded("X".into()), Kind::SpeedIncreased(7)], 0, Some(Refusal::Exploded)),
            (vec![Kind::SpeedIncreased(7), launch(500)], 500, None),
        ];
        for (kinds, speed, refusal) in rows {
            let (rocket, refused) = fold(&kinds);
            assert_eq!((rocket.unwrap().speed, refused), (speed, refusal), "{kinds:?}");
        }
    }

    #[test]
    fn nothing_but_a_launch_makes_a_rocket() {
        for kind in [
            Kind::SpeedIncreased(1),
            Kind::SpeedDecreased(1),
            Kind::MissionChanged("M".into()),
            Kind::Exploded("R".into()),
        ] {
            assert_eq!(fold(&[kind]), (None, Some(Refusal::NotLaunched)));
        }
    }

    #[test]
    fn an_explosion_is_final_and_keeps_its_reason() {
        let exploded = [launch(500), Kind::MissionChanged("SHUTTLE".into()), Kind::Exploded("FIRST".into())];
        for later in [Kind::Exploded("SECOND".into()), Kind::MissionChanged("LATE".into()), Kind::SpeedDecreased(1)] {
            let (rocket, refusal) = fold(&[&exploded[..], &[later]].concat());
            let rocket = rocket.unwrap();
            assert_eq!(refusal, Some(Refusal::Exploded));
            assert_eq!(rocket.status, Status::Exploded { reason: "FIRST".into() });
            assert_eq!((rocket.mission.as_str(), rocket.speed), ("SHUTTLE", 0));
        }
    }
}
