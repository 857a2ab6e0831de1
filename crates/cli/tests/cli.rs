//! Runs the real command in folders of its own. Workers, where a case needs one, are Rust ones in this process.

mod common;

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Place, code, eventually};
use serde_json::{Value, json};
use tasker_worker::{StepError, StepOutcome, Worker, WorkerBuilder};

const PAIR: &str = "\
name: pair
namespace_name: math
input_schema: {type: object, properties: {n: {type: integer}}}
steps:
  - {name: first, handler: math.first}
  - {name: second, handler: math.second, dependencies: [first], retry: {max_attempts: 1}}
";

/// What these tests do in a project.
trait Pair {
    fn task(&self) -> String;
    fn worker(&self) -> Worker;
    fn status(&self, task: &str) -> String;
}

impl Pair for Place {
    /// Creates a task that no worker takes; its UUID.
    fn task(&self) -> String {
        let said = self.tasker(&["run", "pair", "-i", "n=6", "--no-wait"]);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        said.out.trim_end().to_string()
    }

    /// A worker whose second step fails for good when `n` is 13.
    fn worker(&self) -> Worker {
        Worker::builder(&self.url())
            .template("pair.yaml", PAIR)
            .handler("math.first", |c| async move { Ok(StepOutcome::from(c.get_input("n")?)) })
            .handler("math.second", |c| async move {
                match c.dependency::<i64>("first")? {
                    13 => Err(StepError::permanent("13 is not allowed\nat all").code("UNLUCKY")),
                    n => Ok(StepOutcome::from(json!({"double": n * 2}))),
                }
            })
            .start()
            .expect("a worker")
    }

    fn status(&self, task: &str) -> String {
        let said = self.tasker(&["show", task, "--json"]).json();
        said["task"]["status"].as_str().expect("a status").to_string()
    }
}

#[test]
fn validate_prints_every_diagnostic() {
    let place = Place::with(PAIR);
    let said = place.tasker(&["template", "validate", "workflows"]);
    assert_eq!((said.code, said.out.as_str()), (0, "1 file, 0 errors, 0 warnings\n"));
    place.write(
        "workflows/wrong.yaml",
        "name: wrong\nstpes: []\nsteps:\n  - name: a\n    handler: x\n    dependencies: [b]\n",
    );
    let said = place.tasker(&["template", "validate", "workflows"]);
    assert_eq!(said.code, 4);
    insta::assert_snapshot!(said.out, @r#"
    warning: unknown key `stpes` in template
     --> workflows/wrong.yaml:2:1
      |
    2 | stpes: []
      | ^
      = help: did you mean `steps`?

    error: `a` depends on `b`, which is no step of this template
     --> workflows/wrong.yaml:6:20
      |
    6 |     dependencies: [b]
      |                    ^

    2 files, 1 error, 1 warning
    "#);
    assert_eq!(said.err, "");
    let said = place.tasker(&["template", "validate", "workflows/wrong.yaml", "--json"]);
    let report = said.json();
    assert_eq!((said.code, &report["errors"], &report["warnings"]), (4, &json!(1), &json!(1)));
    let lines: Vec<&Value> =
        report["files"][0]["diagnostics"].as_array().expect("a list").iter().map(|d| &d["line"]).collect();
    assert_eq!(lines, [&json!(2), &json!(6)]);
    let strict = place.tasker(&["template", "validate", "--strict", "--json", "workflows/wrong.yaml"]);
    assert_eq!(strict.json()["errors"], json!(2));
}

#[test]
fn validate_finds_schemas_that_do_not_compile() {
    let place = Place::with(&PAIR.replace("{type: integer}", "{type: intgr}"));
    let said = place.tasker(&["template", "validate", "workflows"]);
    assert_eq!(said.code, 4, "{}", said.out);
    assert!(said.out.contains("the input_schema is not a valid JSON Schema"), "{}", said.out);
    assert!(said.out.ends_with("1 file, 1 error, 0 warnings\n"), "{}", said.out);
}

#[test]
fn templates_are_drawn_and_listed() {
    let place = Place::with(PAIR);
    let said = place.tasker(&["template", "show", "pair"]);
    insta::assert_snapshot!(said.out, @r#"
    math/pair 1.0.0  workflows/pair.yaml

    first     math.first
    └─second  math.second  1 attempt
    "#);
    place.task();
    let listed = place.tasker(&["template", "ls", "--json"]).json();
    assert_eq!(listed["templates"][0]["steps"], json!(["first", "second"]));
    assert!(place.tasker(&["template", "ls"]).out.contains("math/pair"));
    assert_eq!(code(&place.tasker(&["template", "show", "pear", "--json"])), (3, "template_not_found".into()));
}

#[test]
fn a_task_is_listed_and_shown() {
    let place = Place::with(PAIR);
    let task = place.task();
    let lines: Vec<Vec<String>> =
        place.tasker(&["ls"]).out.lines().map(|l| l.split_whitespace().map(str::to_string).collect()).collect();
    assert_eq!(lines[0], ["TASK", "NAME", "STATUS", "STEPS", "AGE", "DURATION"]);
    assert_eq!(lines[1][..4], [task.as_str(), "pair", "steps_in_process", "0/2"]);
    let listed = place.tasker(&["ls", "--json", "--status", "steps_in_process", "-q", &task[..8]]).json();
    assert_eq!((&listed["total"], &listed["tasks"][0]["context"]), (&json!(1), &json!({"n": 6})));
    let none = place.tasker(&["ls", "--status", "complete"]);
    assert_eq!((none.code, none.out.as_str()), (0, ""));
    assert!(none.err.starts_with("no such tasks in "), "{}", none.err);
    let said = place.tasker(&["show", &task]);
    assert!(said.out.contains("first  enqueued  0 of 3 attempts\n"), "{}", said.out);
    assert!(said.out.contains("second  pending  0 of 1 attempt  after first\n"), "{}", said.out);
    let one = place.tasker(&["show", &task[..18], "--step", "second", "--json"]).json();
    assert_eq!((&one["task"]["task_uuid"], &one["steps"][0]["name"]), (&json!(task), &json!("second")));
    assert_eq!(one["steps"].as_array().map(Vec::len), Some(1));
}

#[test]
fn operators_act_and_are_remembered() {
    let place = Place::with(PAIR);
    let (one, two) = (place.task(), place.task());
    let said = place.tasker(&["pause", &one]);
    assert_eq!((said.code, said.out), (0, format!("{one}  pair  paused\n")));
    assert_eq!(place.status(&one), "paused");
    assert_eq!(place.tasker(&["resume", &one, "--json"]).json()["tasks"][0]["status"], "steps_in_process");
    let said = place.tasker(&["complete", &one, "first", "--result", "{\"n\": 6.10}", "--reason", "by hand"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let shown = place.tasker(&["show", &one, "--json"]);
    assert!(shown.out.contains(r#""result":{"n":6.10}"#), "digits stay as sent: {}", shown.out);
    assert_eq!(place.tasker(&["resolve", &one, "second"]).code, 0);
    assert_eq!(place.status(&one), "complete");
    let audit = place.tasker(&["show", &one]).out;
    let audit: Vec<String> = audit
        .lines()
        .skip_while(|l| *l != "what operators did")
        .skip(1)
        .map(|l| l.split_whitespace().skip(1).collect::<Vec<_>>().join(" "))
        .collect();
    insta::assert_snapshot!(audit.join("\n"), @r#"
    pause by ann, steps_in_process → paused
    resume by ann, paused → steps_in_process
    complete_manually first by ann, steps_in_process → steps_in_process: by hand
    resolve_manually second by ann, steps_in_process → complete
    "#);
    let said = place.tasker(&["cancel", &one, &two, "--json"]);
    assert_eq!(code(&said), (4, "action_refused".into()));
    assert_eq!(said.json()["tasks"][0]["task_uuid"], json!(two), "the other one is cancelled all the same");
    assert_eq!(place.status(&two), "cancelled");
}

#[test]
fn run_follows_a_task_to_its_end() {
    let place = Place::with(PAIR);
    let worker = place.worker();
    let said = place.tasker(&["run", "pair", "-i", "n=21"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let lines: Vec<Vec<&str>> = said.out.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!((lines[0][..4].to_vec(), lines[0].last()), (vec!["first", "complete", "1", "attempt"], Some(&"21")));
    assert_eq!(lines[1].last(), Some(&r#"{"double":42}"#));
    assert_eq!((lines[2][..2].to_vec(), lines[2][3]), (vec!["complete", "pair"], "2/2"));
    let watched = place.tasker(&["run", "pair", "-i", "n=21", "--watch", "--json"]);
    let lines: Vec<Value> = watched.out.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let ended: Vec<&Value> = lines.iter().filter(|l| l["event"] == "attempt_ended").map(|l| &l["step"]).collect();
    assert_eq!(ended, [&json!("first"), &json!("second")]);
    assert_eq!(lines.last().map(|l| &l["task"]["status"]), Some(&json!("complete")));
    drop(worker);
}

const DRAINED: &str = "TASKER_TEST_DRAINED";

/// The worker that the test below lends; nothing by itself.
#[test]
fn child_that_takes_long_to_drain() {
    let Ok(file) = std::env::var(DRAINED) else { return };
    let begun = Arc::new(AtomicBool::new(false));
    let begins = begun.clone();
    let worker = WorkerBuilder::default()
        .template("pair.yaml", PAIR)
        .configure(|config| config.drain_timeout_ms = 30_000)
        .handler("math.first", move |_| {
            begins.store(true, Ordering::Release);
            std::future::pending()
        })
        .handler("math.second", |_| std::future::pending())
        .start()
        .expect("a worker");
    worker.run().expect("a drain");
    if begun.load(Ordering::Acquire) {
        std::fs::write(file, "").expect("a file");
    }
}

#[test]
fn a_run_whose_time_is_over_waits_for_no_drain_of_its_worker_and_its_steps_are_handed_back() {
    let place = Place::with(PAIR);
    place.write("handlers/math.rs", "");
    let exe = std::env::current_exe().expect("this binary");
    let script = format!("#!/bin/sh\nexec {} child_that_takes_long_to_drain --exact --nocapture\n", exe.display());
    let cargo = place.program("cargo", &script);
    let drained = place.dir.path().join("drained");
    let output = place
        .command(&["run", "pair", "-i", "n=6", "--timeout", "3", "--json"])
        .env("CARGO", &cargo)
        .env(DRAINED, &drained)
        .output()
        .expect("the command runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(!drained.exists(), "{said}");
    let task = place.tasker(&["ls", "--json"]).json()["tasks"][0]["task_uuid"].as_str().expect("a UUID").to_string();
    let _worker = place.worker();
    eventually(|| place.status(&task) == "complete");
    let step = &place.tasker(&["show", &task, "--step", "first", "--json"]).json()["steps"][0];
    assert_eq!((&step["crashes"], &step["attempts"]), (&json!(0), &json!(1)), "{step}");
}

/// Writes down its arguments, a line a word, and where it is told to work.
const NOTES_ARGUMENTS: &str = "#!/bin/sh\nprintf '%s\\n' \"$@\" >> arguments\necho \"$TASKER_URL\" >> urls\nexit 1\n";

#[test]
fn a_password_is_no_argument_of_what_a_command_starts() {
    let place = Place::with(PAIR);
    place.write("handlers/math.py", "");
    let python = place.program("python", NOTES_ARGUMENTS);
    let url = format!("{}?password=sesame", place.url());
    let run = ["run", "pair", "--timeout", "60", "--url", &url];
    let bench = ["bench", "--lang", "python", "--store", &url];
    for args in [&run[..], &bench] {
        place.command(args).env("TASKER_PYTHON", &python).output().expect("the command runs");
        let read = |file: &str| std::fs::read_to_string(place.dir.path().join(file)).expect("it was started");
        let (arguments, urls) = (read("arguments"), read("urls"));
        assert!(arguments.contains("tasker_core\n") && !arguments.contains("sesame"), "{args:?}: {arguments}");
        assert!(urls.lines().next() == Some(&url), "{args:?}: {urls}");
        for file in ["arguments", "urls"] {
            std::fs::remove_file(place.dir.path().join(file)).expect("a file");
        }
    }
}

/// A program in the place of `tasker-ruby`, whose worker does what `script` says, and ends.
fn stand_in(place: &Place, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let script = format!("#!/bin/sh\n[ \"$1\" = worker ] || {{ echo 0.0.0; exit 0; }}\n{script}\nexit 3\n");
    let path = place.write("tasker-ruby", &script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a program");
    path.display().to_string()
}

#[test]
fn handlers_in_folders_within_say_the_language_too() {
    let place = Place::with(PAIR);
    place.write("handlers/math/deep/first.rb", "");
    place.write("handlers/notes.txt", "");
    let ruby = stand_in(&place, "echo \"started: $*\" >&2");
    let output = place.command(&["run", "pair", "-i", "n=1"]).env("TASKER_RUBY", ruby).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("started: worker --handlers"), "{said}");
}

#[test]
fn run_warns_of_the_template_that_runs_once_and_of_no_other() {
    let place = Place::with(&PAIR.replace("name: pair\n", "name: pair\ncolour: red\n"));
    place.write("workflows/other.yaml", &PAIR.replace("name: pair\n", "name: other\nshape: round\n"));
    place.write("handlers/a.rb", "");
    // As workers do, it prints the warnings about its templates before it is ready.
    let script = "while [ $# -gt 0 ]; do [ \"$1\" = --templates ] && files=\"$files $2\"; shift; done\n\
                  echo 'tasker: warning: unknown key `colour` in template' >&2\necho \"given:$files\" >&2";
    let ruby = stand_in(&place, script);
    let output = place.command(&["run", "pair", "-i", "n=1"]).env("TASKER_RUBY", ruby).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("unknown key `colour`").count(), 1, "{said}");
    assert_eq!(said.matches("shape").count(), 0, "{said}");
    let given: Vec<&str> = said.lines().filter(|l| l.starts_with("given:")).collect();
    assert!(matches!(given.as_slice(), [one] if one.ends_with("pair.yaml") && !one.contains("other")), "{said}");
}

#[test]
fn a_failure_is_shown_and_tried_again() {
    let place = Place::with(PAIR);
    let worker = place.worker();
    let said = place.tasker(&["run", "pair", "-i", "n=13", "--tag", "unlucky", "--priority", "-5"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.out.contains("permanent_error UNLUCKY: 13 is not allowed at all\n"), "{}", said.out);
    let listed = place.tasker(&["ls", "--tag", "unlucky", "--json"]).json();
    let task = listed["tasks"][0]["task_uuid"].as_str().expect("a UUID").to_string();
    assert_eq!((&listed["tasks"][0]["priority"], &listed["tasks"][0]["initiator"]), (&json!(-5), &json!("ann")));
    let shown = place.tasker(&["show", &task]).out;
    assert!(
        shown.contains("  error       permanent_error UNLUCKY, permanent: 13 is not allowed\n              at all\n"),
        "{shown}"
    );
    let attempts = |step: usize| {
        let said = place.tasker(&["show", &task, "--json"]).json();
        said["steps"][step]["history"].as_array().map_or(0, Vec::len)
    };
    let uuid = task.parse().expect("a UUID");
    for (args, expected) in [(vec!["retry", &task], [1, 2]), (vec!["retry", &task, "--from", "first"], [2, 3])] {
        assert_eq!(place.tasker(&args).code, 0);
        // The task rests again once the retried steps have failed again.
        let rested = worker.engine().wait(uuid, Duration::from_secs(30)).expect("it rests");
        assert_eq!(rested.status, "blocked_by_failures");
        assert_eq!([attempts(0), attempts(1)], expected);
    }
    assert_eq!(place.tasker(&["give-up", &task]).code, 0);
    assert_eq!(place.status(&task), "error");
}

#[test]
fn keys_make_one_task() {
    let place = Place::with(PAIR);
    let run = |input: &str| place.tasker(&["run", "pair", "--key", "k", "--input", input, "--no-wait", "--json"]);
    let first = run(r#"{"n": 1}"#).json();
    let again = run(r#"{"n": 1}"#).json();
    assert_eq!((&first["existing"], &again["existing"]), (&json!(false), &json!(true)));
    assert_eq!(first["task"]["task_uuid"], again["task"]["task_uuid"]);
    assert_eq!(code(&run(r#"{"n": 2}"#)), (4, "task_exists".into()));
}

#[test]
fn input_comes_from_files_and_fields() {
    let place = Place::with(PAIR);
    place.write("in.json", r#"{"n": 1, "price": 1.50}"#);
    let args = [
        "run",
        "pair",
        "--input",
        "@in.json",
        "-i",
        "n=2",
        "-i",
        "name=Ann",
        "-i",
        "list=[1, 2]",
        "--no-wait",
        "--json",
    ];
    let said = place.tasker(&args);
    let context = r#""context":{"n":2,"price":1.50,"name":"Ann","list":[1,2]}"#;
    assert!(said.out.contains(context), "digits and order stay as sent: {}", said.out);
}

#[test]
fn every_kind_of_error_has_its_exit_code() {
    let place = Place::with(PAIR);
    let task = place.task();
    let missing = "01900000-0000-7000-8000-000000000000";
    let file = place.write("a-file", "");
    place.write("project/handlers/pair.py", "");
    let inside = format!("sqlite://{}/x.db", file.display());
    let cases: &[(&[&str], i32, &str)] = &[
        (&["frobnicate"], 2, "usage"),
        (&["run"], 2, "usage"),
        (&["run", "pair", "-i", "n"], 2, "usage"),
        (&["run", "pear"], 3, "template_not_found"),
        (&["run", "pair", "--namespace", "shop"], 3, "template_not_found"),
        (&["run", "pair", "--version", "9.9.9"], 3, "template_not_found"),
        (&["run", "pair", "--dir", "nowhere"], 3, "folder_not_found"),
        (&["dev", "nowhere"], 3, "folder_not_found"),
        (&["run", "pair", "--input", "@nowhere.json"], 3, "file_not_found"),
        (&["template", "validate", "nowhere.yaml"], 3, "file_not_found"),
        (&["show", missing], 3, "task_not_found"),
        (&["show", "ffff"], 3, "task_not_found"),
        (&["show", &task, "--step", "frist"], 3, "step_not_found"),
        (&["cancel", missing], 3, "task_not_found"),
        (&["show", "not-a-uuid"], 4, "invalid_request"),
        (&["ls", "--status", "fine"], 4, "invalid_request"),
        (&["run", "pair", "--input", "{n: 1}"], 4, "invalid_json"),
        (&["run", "pair", "--input", "-"], 4, "invalid_json"),
        (&["run", "pair", "--input", "[]"], 4, "invalid_request"),
        (&["run", "pair", "--input", "[]", "-i", "n=1"], 4, "invalid_request"),
        (&["run", "pair", "-i", "n=many"], 4, "context_violates_schema"),
        (&["run", "pair", "--priority", "101"], 4, "invalid_request"),
        (&["complete", &task, "first", "--result", "{"], 4, "invalid_json"),
        (&["resume", &task], 4, "action_refused"),
        (&["ls", "--url", "rabbit://localhost/x"], 4, "unsupported_url"),
        (&["ls", "--url", "postgres://127.0.0.1:1/x"], 6, "store_unreachable"),
        (&["new", "workflows"], 4, "folder_not_empty"),
        (&["run", "pair", "--timeout", "0"], 5, "timeout"),
        (&["ls", "--url", &inside], 6, "store_cannot_open"),
        (&["dev", "project"], 1, "python_unusable"),
    ];
    for (args, exit, name) in cases {
        let said = place.tasker(&[args, &["--json"][..]].concat());
        // Notes may stand before the error.
        let last = said.err.lines().last().unwrap_or_default().to_string();
        let error: Value = serde_json::from_str(&last).unwrap_or_else(|e| panic!("{args:?}: {e}: {}", said.err));
        assert_eq!((said.code, error["error"]["code"].as_str()), (*exit, Some(*name)), "{args:?}: {}", said.err);
        assert_eq!(
            said.out,
            if args[0] == "cancel" || args[0] == "resume" { "{\"tasks\":[]}\n" } else { "" },
            "{args:?}"
        );
    }
}

#[test]
fn errors_say_what_to_do() {
    let place = Place::with(PAIR);
    place.task();
    let said = place.tasker(&["run", "pear"]);
    insta::assert_snapshot!(said.err, @r#"
    error: there is no template named `pear`
      help: did you mean `pair`?
    "#);
    let said = place.tasker(&["run", "pair", "-i", "n=many", "--json"]).error();
    assert_eq!(said["error"]["details"][0]["pointer"], "/n");
}

#[test]
fn a_broken_template_stops_only_its_own_tasks() {
    let place = Place::with(PAIR);
    place.write("workflows/wrong.yaml", "name: wrong\n");
    let said = place.tasker(&["run", "pair", "--no-wait"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("--> workflows/wrong.yaml:1:1"), "{}", said.err);
    assert_eq!(place.tasker(&["run", "wrong", "--no-wait"]).code, 4);
}

#[test]
fn names_in_several_namespaces_are_told_apart() {
    let place = Place::with(PAIR);
    place.write("workflows/other.yaml", &PAIR.replace("namespace_name: math", "namespace_name: shop"));
    assert_eq!(code(&place.tasker(&["run", "pair", "--no-wait", "--json"])), (4, "ambiguous_template".into()));
    let said = place.tasker(&["run", "pair", "--namespace", "shop", "--no-wait", "--json"]);
    assert_eq!(said.json()["task"]["namespace"], "shop");
}

#[test]
fn doctor_finds_a_healthy_store() {
    let place = Place::with(PAIR);
    place.task();
    let said = place.tasker(&["doctor"]);
    assert_eq!((said.code, said.out.lines().last()), (0, Some("healthy")), "{}", said.out);
    assert!(said.out.contains("rows        1 task, 2 steps, 0 rejected reports\n"), "{}", said.out);
    assert!(said.out.contains("1 task not ended and nobody works"), "{}", said.out);
    let report = place.tasker(&["doctor", "--json"]).json();
    assert_eq!((&report["healthy"], &report["tasks"]), (&json!(true), &json!(1)));
    assert_eq!(report["environment"]["error"]["code"], "python_unusable");
}

#[test]
fn workers_are_listed() {
    let place = Place::with(PAIR);
    assert!(place.tasker(&["workers"]).err.starts_with("no worker has been seen"));
    let worker = place.worker();
    let listed = place.tasker(&["workers", "--json"]).json();
    assert_eq!(listed["workers"][0]["handlers"], json!(["math.first", "math.second"]));
    assert!(place.tasker(&["workers"]).out.contains("  alive  rust "));
    drop(worker);
}

#[test]
fn new_makes_a_valid_project_and_refuses_a_full_folder() {
    let place = Place::empty();
    let said = place.tasker(&["new", "shop"]);
    insta::assert_snapshot!(said.out, @r#"
    shop/workflows/order.yaml
    shop/.gitignore
    shop/handlers/order.py
    shop/tests/test_order.py
    shop/README.md
    "#);
    let readme = std::fs::read_to_string(place.dir.path().join("shop/README.md")).expect("a README");
    assert!(readme.starts_with("# shop\n"), "{readme}");
    let mut run = place.command(&["run", "order", "-i", "customer=Ada", "--no-wait"]);
    assert!(run.current_dir(place.dir.path().join("shop")).output().expect("the command runs").status.success());
    assert_eq!(place.tasker(&["template", "validate", "--strict", "shop"]).code, 0);
    let again = place.tasker(&["new", "shop"]);
    assert_eq!(again.code, 4);
    insta::assert_snapshot!(again.err, @r#"
    error: shop is not empty; nothing was written
      help: name a folder that is empty or not there yet
    "#);
}

#[test]
fn a_reader_that_leaves_ends_the_command_quietly() {
    let place = Place::empty();
    let mut child = place
        .command(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn help_and_completions_name_every_command() {
    let place = Place::empty();
    let help = place.tasker(&["--help"]);
    let script = place.tasker(&["completions", "zsh"]);
    for command in ["new", "dev", "run", "ls", "show", "cancel", "retry", "give-up", "template", "doctor", "bench"] {
        assert!(help.out.contains(&format!("\n  {command} ")), "{command}");
        assert!(script.out.contains(command), "{command}");
    }
    assert_eq!((help.code, script.code), (0, 0));
    assert!(!help.out.contains('\x1b'), "no colours without a terminal");
}
