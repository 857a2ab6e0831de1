//! `tasker serve`: the store for workers and clients on other machines.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tasker_server::Server;
use tasker_wire::{Error, Kind};

use crate::args::Serve;
use crate::{Context, interrupt, output};

fn address(listen: &str) -> Result<SocketAddr> {
    let bad = |why: String| {
        Error::new(Kind::Invalid, "invalid_address", format!("`{listen}` is not an address to listen at: {why}"))
            .hint("use HOST:PORT, for example 127.0.0.1:7420 or 0.0.0.0:7420")
    };
    let mut found = listen.to_socket_addrs().map_err(|e| bad(e.to_string()))?;
    Ok(found.next().ok_or_else(|| bad("no such host".into()))?)
}

/// Serves until told to stop.
pub(crate) fn run(args: &Serve, ctx: &Context) -> Result<i32> {
    let address = address(&args.listen)?;
    let token = args.token.clone().filter(|token| !token.is_empty());
    interrupt::watch().context("cannot listen for signals")?;
    if ctx.url.starts_with("tasker:") {
        return Err(Error::new(Kind::Invalid, "invalid_url", "a server needs a store of its own, not another server")
            .hint("use sqlite:///path/to/file.db or postgres://host/database")
            .into());
    }
    let is_open = token.is_none() && !address.ip().is_loopback();
    if is_open && !args.insecure {
        let message = format!("without a token, whoever reaches {address} could do everything");
        return Err(Error::new(Kind::Invalid, "open_server", message)
            .hint("set TASKER_TOKEN here and where it is used, or say --insecure")
            .into());
    }
    let engine = ctx.engine()?;
    let store = engine.url().to_string();
    let mut server = Server::start(engine, address, token)?;
    let url = format!("tasker://{}", server.address());
    if ctx.json {
        output::write(&format!("{}\n", json!({"listening": server.address().to_string(), "url": url, "store": store})));
    } else {
        output::line(&format!("{url} serves {store}"));
    }
    if is_open {
        output::note("anybody who reaches this address can do everything; set TASKER_TOKEN here and where it is used");
    }
    while interrupt::asked() == 0 {
        if server.has_ended() {
            return Err(Error::new(Kind::Bug, "server_failed", format!("the server at {url} has ended by itself"))
                .hint("see the log above for the cause, and start it again")
                .into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let drain = std::thread::spawn(move || server.drain());
    while !drain.is_finished() {
        if interrupt::asked() > 1 {
            return Ok(130);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(0)
}
