//! Which code answers to which name.

use std::collections::HashMap;
use std::sync::Arc;

use tasker_core::template::Handler;

use super::{StepError, StepHandler};

/// Turns a callable's name into a handler.
pub trait Resolver: Send + Sync + 'static {
    /// Name templates use as `handler.resolver`.
    fn name(&self) -> &str;

    /// The lowest is asked first.
    fn priority(&self) -> i32 {
        50
    }

    /// The handler; `None` if the name is not this resolver's business.
    fn resolve(&self, handler: &Handler) -> Option<Arc<dyn StepHandler>>;
}

/// Names that were registered one by one, each with its methods.
#[derive(Default)]
pub struct ExplicitMapping {
    handlers: HashMap<String, HashMap<String, Arc<dyn StepHandler>>>,
}

/// Asks resolvers in order of priority; the first that has an answer wins. Registered names come first.
#[derive(Default)]
pub struct ResolverChain {
    explicit: ExplicitMapping,
    others: Vec<Arc<dyn Resolver>>,
}

/// All handlers of a worker.
pub type HandlerRegistry = ResolverChain;

const EXPLICIT: &str = "explicit_mapping";

impl ResolverChain {
    /// Registers a handler for a method of a name; `call` is the one templates mean when they name none.
    pub fn register(&mut self, callable: &str, method: &str, handler: Arc<dyn StepHandler>) {
        self.explicit.handlers.entry(callable.into()).or_default().insert(method.into(), handler);
    }

    /// Adds a resolver.
    pub fn add_resolver(&mut self, resolver: Arc<dyn Resolver>) {
        self.others.push(resolver);
        self.others.sort_by_key(|r| r.priority());
    }

    /// Whether a name was registered.
    pub fn is_registered(&self, callable: &str) -> bool {
        self.explicit.handlers.contains_key(callable)
    }

    /// Registered names, in order.
    pub fn list_handlers(&self) -> Vec<String> {
        let mut names: Vec<String> = self.explicit.handlers.keys().cloned().collect();
        names.sort();
        names
    }

    /// The handler a template asks for; `None` if nobody has it. A resolver or method that is not there is an error.
    pub fn resolve(&self, asked: &Handler) -> Result<Option<Arc<dyn StepHandler>>, StepError> {
        let wrong = |message: String| Err(StepError::configuration(message).error_type("handler_resolution_error"));
        let only = asked.resolver.as_deref();
        if let Some(name) = only.filter(|name| *name != EXPLICIT && !self.others.iter().any(|r| r.name() == *name)) {
            let known: Vec<&str> = [EXPLICIT].into_iter().chain(self.others.iter().map(|r| r.name())).collect();
            return wrong(format!("there is no resolver `{name}`; the chain has {}", known.join(", ")));
        }
        if only.is_none_or(|name| name == EXPLICIT)
            && let Some(methods) = self.explicit.handlers.get(&asked.callable)
        {
            return match methods.get(&asked.method) {
                Some(handler) => Ok(Some(handler.clone())),
                None => {
                    let mut known: Vec<&str> = methods.keys().map(String::as_str).collect();
                    known.sort_unstable();
                    let (callable, method) = (&asked.callable, &asked.method);
                    wrong(format!("handler {callable} has no method `{method}`; it has {}", known.join(", ")))
                }
            };
        }
        let asked_ones = self.others.iter().filter(|r| only.is_none_or(|name| name == r.name()));
        Ok(asked_ones.filter_map(|r| r.resolve(asked)).next())
    }
}
