//! Proof, by the compiler, that the SDK members named in `members.txt` exist.

use serde_json::Value;
use tasker_runtime::Engine;
use tasker_worker::testing::Harness;
use tasker_worker::{
    ApiHandler, ApiResponse, BatchAggregationScenario, BatchOutcome, BatchWorkerContext, BatchWorkerOutcome,
    DecisionOutcome, EventPublisher, EventSubscriber, ExplicitMapping, HandlerRegistry, Resolver, ResolverChain,
    StepContext, StepError, StepHandler, StepOutcome, Worker, WorkerBuilder, WorkerCore, error_types,
};

use crate::program::Program;
use crate::{Listener, Wrap};

macro_rules! members {
    ($($name:literal => $proof:expr;)+) => {
        /// Names of the members, each beside an expression that compiles only if it exists.
        pub(crate) fn names() -> Vec<&'static str> {
            vec![$({
                let _ = || {
                    let _ = $proof;
                };
                $name
            }),+]
        }
    };
}

members! {
    "StepHandler" => size_of::<Box<dyn StepHandler>>;
    "StepHandler::call" => <Program as StepHandler>::call;
    "StepOutcome::success" => || StepOutcome::success(0);
    "StepOutcome::failure" => || StepOutcome::failure("");
    "WorkerBuilder::handler" => |b: WorkerBuilder| b.handler("", |_| async { StepOutcome::failure("") });
    "StepOutcome::checkpoint" => || StepOutcome::checkpoint(0, 0, 0);
    "error_types" => error_types::PERMANENT_ERROR;
    "StepContext" => size_of::<StepContext>;
    "StepContext::task_uuid" => StepContext::task_uuid;
    "StepContext::step_uuid" => StepContext::step_uuid;
    "StepContext::step_name" => StepContext::step_name;
    "StepContext::namespace_name" => StepContext::namespace_name;
    "StepContext::input" => StepContext::input::<Value>;
    "StepContext::step_inputs" => StepContext::step_inputs;
    "StepContext::config" => StepContext::config;
    "StepContext::retry_count" => StepContext::retry_count;
    "StepContext::max_retries" => StepContext::max_retries;
    "StepContext::get_input" => StepContext::get_input;
    "StepContext::get_input_or" => |c: StepContext| c.get_input_or("", 0);
    "StepContext::get_config" => StepContext::get_config;
    "StepContext::get_dependency_result" => StepContext::get_dependency_result;
    "StepContext::get_dependency_field" => StepContext::get_dependency_field;
    "StepContext::get_all_dependency_results" => StepContext::get_all_dependency_results;
    "StepContext::get_dependency_result_keys" => StepContext::get_dependency_result_keys;
    "StepContext::is_retry" => StepContext::is_retry;
    "StepContext::is_last_retry" => StepContext::is_last_retry;
    "StepContext::checkpoint" => StepContext::checkpoint;
    "StepContext::checkpoint_cursor" => StepContext::checkpoint_cursor;
    "StepContext::checkpoint_items_processed" => StepContext::checkpoint_items_processed;
    "StepContext::accumulated_results" => StepContext::accumulated_results;
    "StepContext::has_checkpoint" => StepContext::has_checkpoint;
    "StepContext::is_cancelled" => StepContext::is_cancelled;
    "StepContext::idempotency_key" => StepContext::idempotency_key;
    "ApiHandler" => size_of::<ApiHandler>;
    "ApiHandler::get" => ApiHandler::get;
    "ApiHandler::post" => ApiHandler::post;
    "ApiHandler::put" => ApiHandler::put;
    "ApiHandler::patch" => ApiHandler::patch;
    "ApiHandler::delete" => ApiHandler::delete;
    "ApiHandler::api_success" => ApiHandler::api_success;
    "ApiHandler::api_failure" => ApiHandler::api_failure;
    "ApiHandler::client" => ApiHandler::client;
    "ApiResponse" => size_of::<ApiResponse>;
    "ApiResponse::ok" => ApiResponse::ok;
    "ApiResponse::is_client_error" => ApiResponse::is_client_error;
    "ApiResponse::is_server_error" => ApiResponse::is_server_error;
    "ApiResponse::is_retryable" => ApiResponse::is_retryable;
    "ApiResponse::retry_after" => ApiResponse::retry_after;
    "DecisionOutcome" => size_of::<DecisionOutcome>;
    "DecisionOutcome::create_steps" => || DecisionOutcome::create_steps([""]);
    "DecisionOutcome::no_branches" => DecisionOutcome::no_branches;
    "DecisionOutcome::skip" => DecisionOutcome::skip;
    "DecisionOutcome::into_outcome" => DecisionOutcome::into_outcome;
    "BatchOutcome" => size_of::<BatchOutcome>;
    "BatchOutcome::create_cursor_ranges" => BatchOutcome::create_cursor_ranges;
    "BatchOutcome::create_cursor_configs" => BatchOutcome::create_cursor_configs;
    "BatchOutcome::no_batches" => BatchOutcome::no_batches;
    "BatchOutcome::create_batches" => BatchOutcome::create_batches;
    "BatchWorkerContext::from_context" => BatchWorkerContext::from_context;
    "BatchWorkerContext::no_op_result" => BatchWorkerContext::no_op_result;
    "BatchWorkerOutcome::into_outcome" => BatchWorkerOutcome::into_outcome;
    "BatchAggregationScenario::detect" => BatchAggregationScenario::detect;
    "BatchAggregationScenario::aggregate" => BatchAggregationScenario::aggregate;
    "BatchWorkerContext::start_cursor" => BatchWorkerContext::start_cursor;
    "BatchWorkerContext::end_cursor" => BatchWorkerContext::end_cursor;
    "BatchWorkerContext::has_checkpoint" => BatchWorkerContext::has_checkpoint;
    "BatchWorkerContext::checkpoint_cursor" => BatchWorkerContext::checkpoint_cursor;
    "BatchWorkerContext::accumulated_results" => BatchWorkerContext::accumulated_results;
    "BatchAggregationScenario::is_no_batches" => BatchAggregationScenario::is_no_batches;
    "BatchAggregationScenario::worker_count" => BatchAggregationScenario::worker_count;
    "HandlerRegistry" => size_of::<HandlerRegistry>;
    "HandlerRegistry::register" => HandlerRegistry::register;
    "HandlerRegistry::resolve" => HandlerRegistry::resolve;
    "HandlerRegistry::is_registered" => HandlerRegistry::is_registered;
    "HandlerRegistry::list_handlers" => HandlerRegistry::list_handlers;
    "ResolverChain" => size_of::<ResolverChain>;
    "ResolverChain::add_resolver" => ResolverChain::add_resolver;
    "ResolverChain::resolve" => ResolverChain::resolve;
    "ExplicitMapping" => size_of::<ExplicitMapping>;
    "Resolver" => size_of::<Box<dyn Resolver>>;
    "WorkerBuilder::method" => |b: WorkerBuilder, p: Program| b.method("", "", p);
    "StepError" => size_of::<StepError>;
    "StepError::retryable" => || StepError::retryable("");
    "StepError::permanent" => || StepError::permanent("");
    "StepError::validation" => || StepError::validation("");
    "StepError::not_found" => || StepError::not_found("");
    "StepError::timeout" => || StepError::timeout("");
    "StepError::network" => || StepError::network("");
    "StepError::rate_limit" => || StepError::rate_limit("");
    "StepError::service_unavailable" => || StepError::service_unavailable("");
    "StepError::resource_contention" => || StepError::resource_contention("");
    "StepError::authentication" => || StepError::authentication("");
    "StepError::authorization" => || StepError::authorization("");
    "StepError::configuration" => || StepError::configuration("");
    "StepError::business_logic" => || StepError::business_logic("");
    "StepError::from" => |e: std::io::Error| StepError::from(e);
    "EventPublisher" => size_of::<Box<dyn EventPublisher>>;
    "EventPublisher::should_publish" => <Wrap as EventPublisher>::should_publish;
    "EventPublisher::transform_payload" => <Wrap as EventPublisher>::transform_payload;
    "EventPublisher::additional_metadata" => <Wrap as EventPublisher>::additional_metadata;
    "EventPublisher::before_publish" => <Wrap as EventPublisher>::before_publish;
    "EventPublisher::after_publish" => <Wrap as EventPublisher>::after_publish;
    "EventPublisher::on_publish_error" => <Wrap as EventPublisher>::on_publish_error;
    "EventSubscriber" => size_of::<Box<dyn EventSubscriber>>;
    "EventSubscriber::handle" => <Listener as EventSubscriber>::handle;
    "EventSubscriber::matches" => <Listener as EventSubscriber>::matches;
    "WorkerBuilder::publisher" => |b: WorkerBuilder, p: Wrap| b.publisher(p);
    "WorkerBuilder::subscriber" => |b: WorkerBuilder, l: Listener| b.subscriber(l);
    "WorkerCore::take_events" => WorkerCore::take_events;
    "WorkerBuilder::start" => WorkerBuilder::start;
    "Worker::stop" => Worker::stop;
    "Worker::run" => Worker::run;
    "WorkerBuilder::templates" => WorkerBuilder::templates;
    "Engine" => size_of::<Engine>;
    "Engine::create" => Engine::create;
    "Engine::task" => Engine::task;
    "Engine::tasks" => Engine::tasks;
    "Engine::act" => Engine::act;
    "Engine::steps" => Engine::steps;
    "Engine::step" => Engine::step;
    "Engine::wait" => Engine::wait;
    "Engine::act_all" => Engine::act_all;
    "Engine::dead_letters" => Engine::dead_letters;
    "Engine::settle_all" => Engine::settle_all;
    "Engine::events" => Engine::events;
    "Engine::read_events" => Engine::read_events;
    "Engine::acknowledge_events" => Engine::acknowledge_events;
    "Engine::replay_events" => Engine::replay_events;
    "Engine::doctor" => Engine::doctor;
    "WorkerCore::try_take" => WorkerCore::try_take;
    "WorkerCore::finish" => WorkerCore::finish;
    "WorkerCore::status" => WorkerCore::status;
    "client_call" => tasker_worker::client_call;
    "WorkerCore::config" => WorkerCore::config;
    "testing::Harness" => size_of::<Harness>;
    "testing::Harness::run" => Harness::run;
    "testing::Harness::fail" => Harness::fail;
    "testing::Harness::events" => Harness::events;
}
