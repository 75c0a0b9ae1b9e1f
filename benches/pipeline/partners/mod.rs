//! What ours is compared with: each does as much of the same work as its name says, and nothing else, as small as it can be.
//!
//! Servers are this program once more, as a process of its own: [`noop`], [`naive`], [`postgres`]. The others work in this
//! process, at the same broker as ours: [`publish`], [`consume`], [`chain`], [`bucket`]. [`quiet_tracker`] is our own tracker
//! without one of its duties.

pub mod bucket;
pub mod chain;
pub mod consume;
pub mod naive;
pub mod noop;
pub mod postgres;
pub mod publish;
pub mod quiet_tracker;

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;

use crate::process::{self, Process};

/// Does what this program does as a server: its first argument is one of those below.
pub async fn serve(arguments: &[&str]) -> anyhow::Result<bool> {
    match arguments {
        [noop::ARGUMENT, port] => noop::serve(addr(port)?).await,
        [naive::ARGUMENT, port, url] => naive::serve(addr(port)?, url).await?,
        [postgres::ARGUMENT, port, database] => postgres::serve(addr(port)?, database).await?,
        [quiet_tracker::ARGUMENT, port, url, outcomes] => quiet_tracker::run(addr(port)?, url, outcomes).await?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Starts this program as a server; the arguments follow its port.
async fn start(argument: &str, more: &[String]) -> anyhow::Result<Process> {
    let port = process::free_port()?;
    let arguments = [&[argument.to_owned(), port.to_string()][..], more].concat();
    Process::start(&std::env::current_exe()?, &arguments, port).await
}

fn addr(port: &str) -> anyhow::Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, port.parse().context("the port")?).into())
}
