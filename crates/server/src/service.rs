//! The two calls of the protocol.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use subtle::ConstantTimeEq;
use tasker_store::remote::shapes::{self, ASK, Ask, BytesCodec, MESSAGE_MAX, SESSION};
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};

use crate::{Shared, session};

type Answering<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;
type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// Messages that wait to be sent to a worker; with more, the session waits.
const UNSENT: usize = 16;

#[derive(Clone)]
pub(crate) struct Service(Arc<Shared>);

impl Service {
    pub(crate) fn new(shared: Arc<Shared>) -> Service {
        Service(shared)
    }
}

fn is_welcome<T>(shared: &Shared, request: &http::Request<T>) -> bool {
    let Some(token) = &shared.token else { return true };
    let given = request.headers().get(http::header::AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
    given.ct_eq(format!("Bearer {token}").as_bytes()).into()
}

impl tower_service::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shared = self.0.clone();
        if !is_welcome(&shared, &request) {
            return Box::pin(async { Ok(Status::unauthenticated("wrong or missing token").into_http()) });
        }
        let mut grpc =
            Grpc::new(BytesCodec).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX);
        match request.uri().path() {
            SESSION => Box::pin(async move { Ok(grpc.streaming(Converse(shared), request).await) }),
            ASK => Box::pin(async move { Ok(grpc.unary(Answer(shared), request).await) }),
            _ => Box::pin(async { Ok(Status::unimplemented("no such call").into_http()) }),
        }
    }
}

struct Converse(Arc<Shared>);

impl StreamingService<Bytes> for Converse {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Answering<Messages>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move {
            let (down, mut messages) = mpsc::channel(UNSENT);
            // Not a part of the answer: a session ends in good order after its connection is gone.
            tokio::spawn(session::run(shared, request.into_inner(), down));
            let messages = futures_util::stream::poll_fn(move |cx| messages.poll_recv(cx).map(|m| m.map(Ok)));
            Ok(Response::new(Box::pin(messages) as Messages))
        })
    }
}

struct Answer(Arc<Shared>);

impl UnaryService<Bytes> for Answer {
    type Response = Bytes;
    type Future = Answering<Bytes>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let shared = self.0.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let engine = &shared.engine;
            let asked = shapes::read(request.get_ref());
            let answer = match asked {
                Ok(Ask::IsConnected { worker }) if shared.workers.lock().contains_key(&worker) => {
                    Ok(tasker_wire::json_of(&Some(true)))
                }
                Ok(ask) => shapes::answer(&*engine.shared_store(), ask, engine.now()),
                Err(error) => Err(error.into()),
            };
            shapes::bytes(&answer)
        });
        Box::pin(async move {
            answer.await.map(Response::new).map_err(|_| Status::internal("the question could not be answered"))
        })
    }
}
