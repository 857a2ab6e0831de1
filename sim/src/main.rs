//! `tasker-sim`: runs seeds; a seed that breaks an invariant is made smaller and told.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tasker_sim::report::{Totals, story};
use tasker_sim::world::{Fault, Ground, Setup, run};

const USAGE: &str = "tasker-sim [--seeds N] [--from N] [--seed N [--trace]] [--without FAULT] [--store STORE]

  --seeds N        run N seeds (default 1000)
  --from N         the first of them (default 1)
  --seed N         run one seed
  --trace          with --seed: print everything that happens
  --without FAULT  leave out a kind of fault: crash, freeze, channel, outage, clock, parting, release, operator
  --store STORE    sqlite, in memory (default), or postgres: the server that TASKER_TEST_POSTGRES names (scripts/with-postgres
                   starts one), in schemas that are made for this and stay";

/// Seeds that share one store, after which all of it is checked.
const SEEDS_A_STORE: u64 = 25;

struct Arguments {
    seeds: u64,
    from: u64,
    trace: bool,
    without: Vec<Fault>,
    /// A PostgreSQL server instead of SQLite in memory.
    server: Option<String>,
}

impl Arguments {
    fn ground(&self, grounds: &mut u64) -> Result<Ground> {
        *grounds += 1;
        Ok(match &self.server {
            Some(server) => Ground::postgres(server, &format!("sim_{:x}_{grounds}", std::process::id()))?,
            None => Ground::new()?,
        })
    }
}

fn arguments() -> Result<Option<Arguments>> {
    use lexopt::prelude::*;
    let mut found = Arguments { seeds: 1_000, from: 1, trace: false, without: Vec::new(), server: None };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seeds") => found.seeds = parser.value()?.parse()?,
            Long("from") => found.from = parser.value()?.parse()?,
            Long("seed") => (found.from, found.seeds) = (parser.value()?.parse()?, 1),
            Long("trace") => found.trace = true,
            Long("without") => {
                let name = parser.value()?.string()?;
                let fault = Fault::ALL.into_iter().find(|f| f.name() == name);
                found.without.push(fault.ok_or_else(|| anyhow::anyhow!("there is no fault `{name}`\n\n{USAGE}"))?);
            }
            Long("store") => match parser.value()?.string()?.as_str() {
                "sqlite" => found.server = None,
                "postgres" => {
                    let server = std::env::var("TASKER_TEST_POSTGRES");
                    found.server =
                        Some(server.context("TASKER_TEST_POSTGRES names no server: scripts/with-postgres does")?);
                }
                other => bail!("there is no store `{other}`\n\n{USAGE}"),
            },
            Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(found))
}

#[allow(clippy::print_stdout)] // what was found is what the command is for
fn main() -> Result<ExitCode> {
    let Some(arguments) = arguments()? else {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    };
    let started = Instant::now();
    let mut totals = Totals::default();
    let mut grounds = 0;
    let mut ground = arguments.ground(&mut grounds)?;
    for (done, seed) in (arguments.from..arguments.from + arguments.seeds).enumerate() {
        let done = done as u64;
        if done > 0 && done.is_multiple_of(SEEDS_A_STORE) {
            ground = arguments.ground(&mut grounds)?;
        }
        let setup = Setup { trace: arguments.trace, without: arguments.without.clone(), ..Setup::new(seed) };
        let mut outcome = run(&ground, &setup);
        if outcome.violation.is_none() && (done + 1).is_multiple_of(SEEDS_A_STORE) {
            outcome.violation = ground.doctor().err();
        }
        totals.add(&outcome);
        if arguments.trace {
            outcome
                .trace
                .iter()
                .for_each(|(task, text)| println!("{:>3} {text}", task.map_or(String::new(), |t| format!("#{t}"))));
        }
        if outcome.violation.is_some() {
            println!("{}", story(&setup, &outcome));
            // What is left of it would disturb the next.
            ground = arguments.ground(&mut grounds)?;
        }
    }
    println!("{}", totals.line(started.elapsed()));
    Ok(if totals.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
