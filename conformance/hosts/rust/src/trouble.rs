//! The kinds of trouble of classification.yaml that Rust has, as handlers meet them: most by `?`.

use std::collections::BTreeMap;
use std::io::{Error as IoError, ErrorKind};
use std::time::Duration;

use serde_json::Value;
use tasker_worker::{StepError, StepOutcome};

pub(crate) fn trouble(kind: &str) -> Result<StepOutcome, StepError> {
    let no = "no";
    let value: Value = match kind {
        "permanent" => return Err(StepError::permanent(no).code("E1")),
        "retryable" => return Err(StepError::retryable(no).code("E1")),
        "validation" => return Err(StepError::validation(no)),
        "not_found" => return Err(StepError::not_found(no)),
        "authentication" => return Err(StepError::authentication(no)),
        "authorization" => return Err(StepError::authorization(no)),
        "configuration" => return Err(StepError::configuration(no)),
        "business_logic" => return Err(StepError::business_logic(no)),
        "timeout_said" => return Err(StepError::timeout(no)),
        "network_said" => return Err(StepError::network(no)),
        "rate_limit" => return Err(StepError::rate_limit(no)),
        "service_unavailable" => return Err(StepError::service_unavailable(no)),
        "resource_contention" => return Err(StepError::resource_contention(no)),
        "permanent_that_may_be_tried_again" => {
            let mut error = StepError::permanent(no);
            error.retryable = true;
            return Err(error);
        }
        "own_class" => return Err(StepError::retryable(no).error_type("UnheardOf")),
        "own_type_in_pascal_case" => return Err(StepError::permanent(no).error_type("ValidationError")),
        "wrong_value" => "x".parse::<i32>()?.into(),
        "wrong_fraction" => "x".parse::<f64>()?.into(),
        "missing_key" => std::env::var("TASKER_NO_SUCH_VARIABLE")?.into(),
        "overflow" => u8::try_from(300)?.into(),
        "bad_json" => serde_json::from_str("{")?,
        "bad_uri" => "http://[".parse::<ureq::http::Uri>()?.to_string().into(),
        "bad_address" => "x.1".parse::<std::net::IpAddr>()?.to_string().into(),
        "bad_encoding" => String::from_utf8(vec![0xff])?.into(),
        "result_that_is_no_json" => return StepOutcome::success(BTreeMap::from([(vec![1], 1)])),
        "connection_refused" => std::net::TcpStream::connect("127.0.0.1:9")?.nodelay()?.into(),
        "connection_reset" => return Err(IoError::new(ErrorKind::ConnectionReset, no).into()),
        "broken_pipe" => return Err(IoError::new(ErrorKind::BrokenPipe, no).into()),
        "host_unreachable" => return Err(IoError::new(ErrorKind::HostUnreachable, no).into()),
        "no_such_host" => return Err(ureq::Error::HostNotFound.into()),
        "tls" => return Err(ureq::Error::Tls(no).into()),
        "http_client_without_answer" => ureq::get("http://127.0.0.1:9/").call()?.status().as_u16().into(),
        "timeout_of_the_system" => return Err(IoError::new(ErrorKind::TimedOut, no).into()),
        "timeout_of_the_library" => {
            let (_sender, receiver) = std::sync::mpsc::channel::<u8>();
            receiver.recv_timeout(Duration::from_millis(1))?.into()
        }
        "no_such_file" => std::fs::read("/nowhere/at/all")?.into(),
        "no_permission" => return Err(IoError::new(ErrorKind::PermissionDenied, no).into()),
        "full_disk" => return Err(IoError::new(ErrorKind::StorageFull, no).into()),
        "end_of_file" => return Err(IoError::new(ErrorKind::UnexpectedEof, no).into()),
        "out_of_memory" => {
            Vec::<u8>::new().try_reserve(usize::MAX)?;
            Value::Null
        }
        #[allow(clippy::panic)]
        "panic" => panic!("no"),
        other => return Err(StepError::configuration(format!("this host knows no trouble `{other}`"))),
    };
    Ok(StepOutcome::from(value))
}
