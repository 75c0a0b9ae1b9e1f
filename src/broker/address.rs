//! Addresses of brokers, `nats://host:port`: whether a text is one, who logs in by it, and how it is shown.
//!
//! An address may hold a user and password, `nats://user:password@host`, or a token, `nats://token@host`, as the `nats`
//! tools take them. Those are for the broker alone: a log or an error never has them.

use async_nats::{Auth, ServerAddr};

/// Whether a text is an address that can be connected to.
pub fn is_address(text: &str) -> bool {
    text.parse::<ServerAddr>().is_ok()
}

/// The host of an address.
pub fn host(text: &str) -> Option<String> {
    text.parse::<ServerAddr>().ok().map(|address| address.host().trim_matches(['[', ']']).to_owned())
}

/// An address without its login. The client library logs the addresses that it is given.
pub(super) fn without_login(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host)),
        None => text.rsplit_once('@').map_or(text, |(_, host)| host).to_owned(),
    }
}

/// The user that an address names with a password.
pub(super) fn user_of(urls: &[String]) -> Option<String> {
    let addresses = urls.iter().filter_map(|url| url.parse::<ServerAddr>().ok());
    let address = addresses.into_iter().find(ServerAddr::has_user_pass)?;
    address.password().and(address.username()).map(decoded)
}

/// Addresses as they may be told to anybody; any other text stays as it is.
pub fn without_secrets(text: &str) -> String {
    let shown = text.split(',').map(|address| match address.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://***@{host}"),
            None => address.to_owned(),
        },
        None => address.rsplit_once('@').map_or_else(|| address.to_owned(), |(_, host)| format!("***@{host}")),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// The login of the first address that has one. The client library looks past what an address holds.
pub(super) fn login_in(urls: &[String]) -> Auth {
    let addresses = urls.iter().filter_map(|url| url.parse::<ServerAddr>().ok());
    let mut login = Auth::new();
    let Some(address) = addresses.into_iter().find(ServerAddr::has_user_pass) else { return login };
    let user = Some(decoded(address.username().unwrap_or_default()));
    match address.password() {
        Some(password) => (login.username, login.password) = (user, Some(decoded(password))),
        None => login.token = user,
    }
    login
}

/// A part of an address without its escapes, `%40` for `@`.
fn decoded(text: &str) -> String {
    // As the value of a form's only field, in which a plus and an ampersand mean themselves.
    let form = format!("={}", text.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(form.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_has_no_secrets() {
        let rows = [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://user:pass@a:4222", "nats://***@a:4222"),
            ("nats://user:p@ss@a,nats://token@b", "nats://***@a,nats://***@b"),
            ("a:4222, tls://u:p@b", "a:4222, tls://***@b"),
            ("user:pass@a:4222", "***@a:4222"),
            ("", ""),
        ];
        for (text, shown) in rows {
            assert_eq!(without_secrets(text), shown);
        }
    }

    #[test]
    fn the_library_is_given_no_secrets() {
        let rows = [
            ("nats://user:p@ss@a:4222", "nats://a:4222"),
            ("tls://token@[::1]:4222", "tls://[::1]:4222"),
            ("user:pass@a:4222", "a:4222"),
            ("a:4222", "a:4222"),
        ];
        for (text, expected) in rows {
            assert_eq!(without_login(text), expected);
        }
    }

    #[test]
    fn escapes_are_taken_out() {
        for (text, expected) in [("", ""), ("user", "user"), ("p%40ss+w%3D%26", "p@ss+w=&"), ("a%3Db", "a=b")] {
            assert_eq!(decoded(text), expected);
        }
    }
}
