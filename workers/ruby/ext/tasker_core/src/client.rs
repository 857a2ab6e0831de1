//! The client's surface: one call, JSON in and out.

use magnus::{Error, Module, Object, RModule, Ruby, function, method};
use tasker_runtime::{Engine, Options, default_url};
use tasker_wire::{Error as Fault, Kind};
use tasker_worker::client::{call, is_near};
use tasker_worker::sync::Mutex;

use crate::error::{foreign, guarded, interruptible, raise, released, without_gvl};

/// A client of the engine at a URL; shares the engine of a worker on the same URL in this process.
#[magnus::wrap(class = "TaskerCore::Native::NativeClient", free_immediately)]
pub struct NativeClient {
    // Set at creation, taken by `close`.
    engine: Mutex<Option<Engine>>,
}

impl NativeClient {
    pub fn on(engine: Engine) -> NativeClient {
        NativeClient { engine: Mutex::new(Some(engine)) }
    }

    fn new(ruby: &Ruby, url: Option<String>) -> Result<NativeClient, Error> {
        guarded(ruby, || {
            let url = url.unwrap_or_else(default_url);
            let near = is_near(&url);
            let open = move || Engine::open(&url, Options::default());
            let engine = if near { released(ruby, open)? } else { interruptible(ruby, open)? };
            Ok(NativeClient::on(engine))
        })
    }

    fn call(ruby: &Ruby, client: &NativeClient, op: String, args: String) -> Result<String, Error> {
        guarded(ruby, || {
            let engine = client.engine.lock().clone();
            let Some(engine) = engine else {
                let fault = Fault::new(Kind::Conflict, "client_closed", "the client has been closed");
                return Err(raise(ruby, &fault.hint("make a new one")));
            };
            if engine.is_foreign() {
                std::mem::forget(engine);
                return Err(foreign(ruby, "client"));
            }
            let near = is_near(engine.url());
            let work = move || call(&engine, &op, &args);
            if near { released(ruby, work) } else { interruptible(ruby, work) }
        })
    }

    fn close(ruby: &Ruby, client: &NativeClient) -> Result<(), Error> {
        guarded(ruby, || {
            let engine = client.engine.lock().take();
            match engine {
                Some(engine) if engine.is_foreign() => std::mem::forget(engine),
                engine => without_gvl(|| drop(engine))?,
            }
            Ok(())
        })
    }
}

impl Drop for NativeClient {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.lock().take().filter(Engine::is_foreign) {
            std::mem::forget(engine);
        }
    }
}

pub fn define(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    let class = native.define_class("NativeClient", ruby.class_object())?;
    class.define_singleton_method("new", function!(NativeClient::new, 1))?;
    class.define_method("call", method!(NativeClient::call, 2))?;
    class.define_method("close", method!(NativeClient::close, 0))?;
    Ok(())
}
