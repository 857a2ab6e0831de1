//! `tasker doctor`: is the store sound, and can this machine run handlers?

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use tasker_wire::{DoctorReport, TaskFilter};

use crate::args::Doctor;
use crate::output::{self, Colour};
use crate::{Context, project};

/// The store's report and what is around it.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    report: &'a DoctorReport,
    environment: Value,
}

/// Checks and prints. What is wrong with the environment is said, but only the store decides the exit code.
pub(crate) fn run(args: &Doctor, ctx: &Context) -> Result<i32> {
    let engine = ctx.engine()?;
    output::progress("checking the store …");
    let report = engine.doctor()?;
    let workers = engine.workers()?.into_iter().filter(|w| project::lives(engine.url(), w)).count();
    let mut running = 0;
    for status in ["pending", "steps_in_process", "waiting_for_retry", "waiting_for_dependencies"] {
        let filter = TaskFilter { status: Some(status.into()), limit: Some(1), ..TaskFilter::default() };
        running += engine.tasks(&filter)?.total;
    }
    let python = project::tasker_of_python(&args.dir);
    let code = i32::from(!report.healthy);
    if ctx.json {
        let environment = match &python {
            Ok((path, version)) => json!({"python": path, "tasker_core": version, "workers_alive": workers}),
            Err(error) => json!({"python": null, "error": error.body(), "workers_alive": workers}),
        };
        output::json(&Whole { report: &report, environment });
        return Ok(code);
    }
    print(&report);
    let found = match &python {
        Ok((path, version)) => format!("{path}, tasker_core {version}"),
        Err(error) => format!("{}\n            {}", error.message, error.hint.as_deref().unwrap_or_default()),
    };
    output::line(&format!("python      {found}"));
    output::line(&format!("workers     {workers} alive"));
    if running > 0 && workers == 0 {
        output::line(&format!(
            "            {} not ended and nobody works; start `tasker dev`",
            output::count(running, "task")
        ));
    }
    let broken = report.findings.iter().filter(|f| f.violations > 0).count();
    output::line(&match broken {
        0 => output::paint(Colour::Green, "healthy"),
        _ => output::paint(Colour::Red, &format!("not healthy: {} failed", output::count(broken as u64, "check"))),
    });
    Ok(code)
}

fn print(report: &DoctorReport) {
    output::line(&format!("store       {}", report.url));
    output::line(&format!("durability  {}", report.durability));
    let counts = [("task", report.tasks), ("step", report.steps), ("rejected report", report.rejected)];
    let counts: Vec<String> = counts.map(|(what, count)| output::count(count, what)).to_vec();
    output::line(&format!("rows        {}", counts.join(", ")));
    for duty in &report.duties {
        output::line(&format!("duty        {}, last at {}", duty.name, duty.last_ran_at));
    }
    for finding in &report.findings {
        let well = finding.violations == 0;
        let mark = match (output::styled(), well) {
            (true, true) => output::paint(Colour::Green, "✓"),
            (true, false) => output::paint(Colour::Red, "✗"),
            (false, true) => "ok  ".into(),
            (false, false) => "FAIL".into(),
        };
        let many = if well { String::new() } else { format!(": {}", output::count(finding.violations, "row")) };
        output::line(&format!("{mark} {}{many}", finding.check));
        finding.examples.iter().for_each(|example| output::line(&format!("       {example}")));
    }
}
