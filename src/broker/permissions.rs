//! What each process may do at a broker with users: exactly what it does, as lists of what is allowed.
//!
//! Nothing is allowed and then denied again, because wildcards that overlap get past that. A process says only what its user
//! may; what it may not, it is never answered, and the broker complains (`the broker complains` in our log). What lists of
//! subjects cannot keep apart is in docs/operations.md.

use std::fmt;

use serde_json::{Value, json};
use strum::{IntoStaticStr, VariantArray};

use super::topology::{
    BUCKET_STREAM, BUCKET_SUBJECTS, CHECKPOINT_STREAM, CHECKPOINT_SUBJECTS, DEAD_LETTER_STREAM, DEAD_LETTER_SUBJECTS,
    FORGOTTEN_SUBJECTS, MESSAGE_SUBJECTS, OUTCOME_STREAM, OUTCOME_SUBJECTS, REPLAY_SUBJECTS, STORED_SUBJECTS, STREAM,
    TRACKER_ASKS, TRACKER_PINGS, TRACKER_WORDS,
};

const STREAMS: [&str; 5] = [STREAM, DEAD_LETTER_STREAM, OUTCOME_STREAM, CHECKPOINT_STREAM, BUCKET_STREAM];

/// A user of the broker, for one kind of process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum User {
    /// `rockets ingest`.
    Ingest,
    /// `rockets track`.
    Track,
    /// `rockets query`.
    Query,
    /// `rockets up`, with any roles.
    Up,
    /// The tools with which an operator looks, and mends single rockets.
    Operator,
    /// `rockets init`, `trim`, `forget`, `backup`, `restore`, and every other tool.
    Admin,
}

/// What a user may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    publish: Vec<String>,
    subscribe: Vec<String>,
    /// Whether it may answer whoever asks it.
    answers: bool,
}

/// All users with what they may do, as the `authorization` of a server's configuration has it. Replies come to subjects that
/// begin with this and the user's name.
pub struct Authorization<'a> {
    /// Such as `_INBOX`.
    pub inbox_prefix: &'a str,
}

impl User {
    /// Its name at the broker.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What the broker's configuration has in the place of its password.
    pub fn password_variable(self) -> String {
        format!("NATS_{}_PASSWORD", self.name().to_uppercase())
    }

    /// What runs as this user.
    fn runs(self) -> &'static str {
        match self {
            Self::Ingest => "rockets ingest",
            Self::Track => "rockets track",
            Self::Query => "rockets query",
            Self::Up => "rockets up, with any roles: it makes what is missing, and changes nothing",
            Self::Operator => "rockets top, list, partitions, doctor, gaps, skip, dlq, history, rebuild",
            Self::Admin => {
                "rockets init, trim, forget, backup, restore, and all that operator runs; no process that stays"
            }
        }
    }

    /// What it may do, where replies come to subjects that begin so.
    pub fn permissions(self, inbox_prefix: &str) -> Permissions {
        let mut permissions = Permissions::default();
        permissions.looks();
        match self {
            Self::Ingest => permissions.ingests(),
            Self::Track => permissions.tracks(),
            Self::Query => permissions.queries(),
            Self::Up => {
                permissions.ingests();
                permissions.tracks();
                permissions.queries();
                permissions.makes();
                permissions.repairs();
            }
            Self::Operator => permissions.operates(),
            Self::Admin => {
                permissions.operates();
                permissions.makes();
                permissions.administers();
            }
        }
        let inbox = format!("{inbox_prefix}_{}.>", self.name());
        permissions.subscribe.push(inbox.clone());
        // A tracker ends its pulls with messages to itself.
        permissions.publish.extend(matches!(self, Self::Track | Self::Up).then_some(inbox));
        permissions.sorted()
    }
}

impl Permissions {
    /// Every process sees whether the broker is as it should be, and whether the log has lost its end.
    fn looks(&mut self) {
        let of_stream = |stream| {
            let direct = ["$JS.API.DIRECT.GET.", "$JS.API.STREAM.MSG.GET.", "$JS.API.STREAM.INFO."];
            direct.map(|call| format!("{call}{stream}"))
        };
        self.publish.extend(STREAMS.into_iter().flat_map(of_stream));
        self.publish.extend(STREAMS.map(|stream| format!("$JS.API.DIRECT.GET.{stream}.>")));
        self.publish.extend([format!("$JS.API.CONSUMER.INFO.{STREAM}.*"), format!("$JS.API.CONSUMER.LIST.{STREAM}")]);
    }

    fn ingests(&mut self) {
        self.publishes(&[MESSAGE_SUBJECTS]);
    }

    /// Follows messages, stores what becomes of them, and keeps the log in its bounds.
    fn tracks(&mut self) {
        self.publish.push(format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.*"));
        // Later servers put the domain and the account before the stream.
        self.publish.extend([format!("$JS.ACK.{STREAM}.>"), format!("$JS.ACK.*.*.{STREAM}.>")]);
        self.publishes(&[BUCKET_SUBJECTS, OUTCOME_SUBJECTS, DEAD_LETTER_SUBJECTS, CHECKPOINT_SUBJECTS]);
        // A gap that is skipped by its age.
        self.publishes(&[MESSAGE_SUBJECTS, TRACKER_WORDS, TRACKER_PINGS, TRACKER_ASKS]);
        self.subscribes(&[TRACKER_WORDS, TRACKER_PINGS, TRACKER_ASKS]);
        self.answers = true;
        self.removes_messages();
    }

    /// Follows the bucket and outcomes, and does what an operator asks for over HTTP.
    fn queries(&mut self) {
        self.follows_records();
        self.subscribes(&[OUTCOME_SUBJECTS, BUCKET_SUBJECTS]);
        self.publishes(&[MESSAGE_SUBJECTS, REPLAY_SUBJECTS]);
        self.publish.push(format!("$JS.API.STREAM.MSG.DELETE.{DEAD_LETTER_STREAM}"));
    }

    /// The same from the command line, asks the trackers, and writes records that were found to be wrong.
    fn operates(&mut self) {
        self.queries();
        self.repairs();
    }

    fn repairs(&mut self) {
        self.publishes(&[TRACKER_PINGS, BUCKET_SUBJECTS, OUTCOME_SUBJECTS, DEAD_LETTER_SUBJECTS]);
    }

    fn makes(&mut self) {
        self.publish.extend(STREAMS.map(|stream| format!("$JS.API.STREAM.CREATE.{stream}")));
        self.publish.push(format!("$JS.API.CONSUMER.CREATE.{STREAM}.*.{STORED_SUBJECTS}"));
    }

    /// Changes and removes whole streams, and what is in them.
    fn administers(&mut self) {
        let calls = ["UPDATE", "DELETE", "SNAPSHOT", "RESTORE"];
        let of_stream = |stream| calls.map(|call| format!("$JS.API.STREAM.{call}.{stream}"));
        self.publish.extend(STREAMS.into_iter().flat_map(of_stream));
        let pieces = |stream| ["ACK", "RESTORE"].map(|way| format!("$JS.SNAPSHOT.{way}.{stream}.>"));
        self.publish.extend(STREAMS.into_iter().flat_map(pieces));
        self.publishes(&[CHECKPOINT_SUBJECTS, FORGOTTEN_SUBJECTS]);
        self.removes_messages();
    }

    /// What is trimmed, and dead letters that are dropped.
    fn removes_messages(&mut self) {
        let calls = ["PURGE", "MSG.DELETE"];
        let of_stream = |stream| calls.map(|call| format!("$JS.API.STREAM.{call}.{stream}"));
        self.publish.extend(STREAMS.into_iter().flat_map(of_stream));
    }

    /// A push consumer with a name, of the bucket alone: without the subject in it, it could be of anything.
    fn follows_records(&mut self) {
        self.publish.extend([
            format!("$JS.API.CONSUMER.CREATE.{BUCKET_STREAM}.*.{BUCKET_SUBJECTS}"),
            format!("$JS.API.CONSUMER.INFO.{BUCKET_STREAM}.*"),
            format!("$JS.API.CONSUMER.DELETE.{BUCKET_STREAM}.*"),
            format!("$JS.FC.{BUCKET_STREAM}.>"),
            format!("$JS.FC.*.*.{BUCKET_STREAM}.>"),
        ]);
    }

    fn publishes(&mut self, subjects: &[&str]) {
        self.publish.extend(subjects.iter().map(|subject| (*subject).to_owned()));
    }

    fn subscribes(&mut self, subjects: &[&str]) {
        self.subscribe.extend(subjects.iter().map(|subject| (*subject).to_owned()));
    }

    fn sorted(mut self) -> Self {
        for subjects in [&mut self.publish, &mut self.subscribe] {
            subjects.sort_unstable();
            subjects.dedup();
        }
        self
    }

    /// As a server's configuration has it.
    pub fn to_json(&self) -> Value {
        let Self { publish, subscribe, answers } = self;
        let mut json = json!({ "publish": { "allow": publish }, "subscribe": { "allow": subscribe } });
        if *answers {
            json["allow_responses"] = true.into();
        }
        json
    }
}

impl fmt::Display for Authorization<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "authorization {{")?;
        writeln!(f, "    # Who has not said within so many seconds who it is, is disconnected.")?;
        writeln!(f, "    timeout: 2")?;
        writeln!(f, "    users: [")?;
        for user in User::VARIANTS {
            let Permissions { publish, subscribe, answers } = user.permissions(self.inbox_prefix);
            writeln!(f, "        # {}", user.runs())?;
            writeln!(f, "        {{")?;
            writeln!(f, "            user: {}, password: ${}", user.name(), user.password_variable())?;
            writeln!(f, "            permissions {{")?;
            write_list(f, "publish", &publish)?;
            write_list(f, "subscribe", &subscribe)?;
            if answers {
                writeln!(f, "                allow_responses: true")?;
            }
            writeln!(f, "            }}")?;
            writeln!(f, "        }}")?;
        }
        writeln!(f, "    ]")?;
        writeln!(f, "}}")
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, what: &str, subjects: &[String]) -> fmt::Result {
    writeln!(f, "                {what} {{ allow: [")?;
    subjects.iter().try_for_each(|subject| writeln!(f, "                    \"{subject}\""))?;
    writeln!(f, "                ] }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_may_do_everything_of_a_kind() {
        for user in User::VARIANTS {
            let Permissions { publish, subscribe, .. } = user.permissions("_INBOX");
            for subject in publish.iter().chain(&subscribe) {
                assert!(![">", "*", "_INBOX.>", "$JS.>", "$JS.API.>", "$SYS.>"].contains(&&**subject), "{subject}");
                assert!(!subject.starts_with('*'), "{subject}");
            }
        }
    }

    #[test]
    fn replies_are_each_user_s_own() {
        for user in User::VARIANTS {
            let inboxes = user.permissions("_X").subscribe;
            let inboxes: Vec<_> = inboxes.iter().filter(|subject| subject.starts_with("_X")).collect();
            assert_eq!(inboxes, [&format!("_X_{}.>", user.name())]);
        }
    }
}
