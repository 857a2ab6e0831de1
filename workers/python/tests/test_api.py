"""Handlers that call HTTP services, against a real server."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Iterator
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from conftest import Bench, one_step
from tasker_core.step_handler.api import ApiHandler, ApiResponse
from tasker_core.step_handler.functional import api_handler


class Server:
    """Answers every request as it is told to and remembers it."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.seen: list[dict[str, Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                server.seen.append({"method": self.command, "path": self.path, "body": body, "headers": self.headers})
                status, headers, text = server.answers.pop(0) if server.answers else (200, {}, b"{}")
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        self.answers.append((status, named, json.dumps(body).encode()))


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def fetching(url: str) -> type[ApiHandler]:
    class Fetch(ApiHandler):
        handler_name = "h"
        base_url = url
        default_headers = {"x-token": "t"}

        def call(self, context: Any) -> Any:
            response = self.get("/thing", params={"n": context.get_input("n")})
            return self.api_success(response) if response.ok else self.api_failure(response)

    return Fetch


def waits_ms(step: dict[str, Any]) -> list[int]:
    def ms(text: str) -> float:
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000

    return [round(ms(a["next_retry_at"]) - ms(a["completed_at"])) for a in step["history"] if a.get("next_retry_at")]


def test_every_method_sends_what_it_is_given(server: Server) -> None:
    class Plain(ApiHandler):
        base_url = server.url

        def call(self, context: Any) -> Any: ...

    api = Plain()
    api.get("/a", params={"q": "x y"})
    api.post("/b", json={"n": 1})
    api.put("/c", json=[1])
    api.patch("/d", json=None, content=b"raw")
    api.delete("/e")
    api.request("POST", "/f", data={"k": "v"}, headers={"x-one": "1"})
    assert [(s["method"], s["path"]) for s in server.seen] == [
        ("GET", "/a?q=x+y"),
        ("POST", "/b"),
        ("PUT", "/c"),
        ("PATCH", "/d"),
        ("DELETE", "/e"),
        ("POST", "/f"),
    ]
    assert [s["body"] for s in server.seen] == [b"", b'{"n":1}', b"[1]", b"raw", b"", b"k=v"]
    assert server.seen[-1]["headers"]["x-one"] == "1"
    assert api.client is api.client and Plain().client is not api.client


def test_an_answer_is_a_result(server: Server, bench: Bench) -> None:
    server.answer(200, {"price": 5})
    bench.registry.register(fetching(server.url))
    task = bench.run(one_step(), {"n": 3})
    assert (task["status"], task["by_name"]["s"]["result"]) == ("complete", {"price": 5})
    assert task["by_name"]["s"]["metadata"]["custom"]["status_code"] == 200
    assert (server.seen[0]["path"], server.seen[0]["headers"]["x-token"]) == ("/thing?n=3", "t")


@pytest.mark.parametrize(
    ("status", "error_type", "retryable"),
    [
        (400, "client_error", False),
        (401, "authentication_error", False),
        (403, "authorization_error", False),
        (404, "not_found_error", False),
        (408, "timeout", True),
        (418, "client_error", False),
        (425, "client_error", True),
        (429, "rate_limit_error", True),
        (500, "server_error", True),
        (501, "server_error", False),
        (502, "server_error", True),
        (503, "service_unavailable_error", True),
        (504, "timeout", True),
        (505, "server_error", False),
        (302, "client_error", False),
    ],
)
def test_a_status_decides_about_another_attempt(
    server: Server, bench: Bench, status: int, error_type: str, retryable: bool
) -> None:
    server.answer(status, {"why": "so"})
    bench.registry.register(fetching(server.url))
    error = bench.run(one_step(retry="{max_attempts: 1}"))["by_name"]["s"]["error"]
    assert (error["error_type"], error["retryable"]) == (error_type, retryable)
    assert (error["error_code"], error["status_code"]) == (f"HTTP_{status}", status)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_reaches_the_scheduler(server: Server, bench: Bench, status: int) -> None:
    server.answer(status, None, retry_after="1")
    server.answer(200, {"ok": True})
    bench.registry.register(fetching(server.url))
    task = bench.run(one_step(retry="{backoff_base_ms: 1}"))
    assert task["status"] == "complete"
    assert waits_ms(task["by_name"]["s"]) == [1000]


def test_retry_after_may_be_a_date_and_counts_for_429_and_503_only(server: Server) -> None:
    class Plain(ApiHandler):
        base_url = server.url

        def call(self, context: Any) -> Any: ...

    def answered(status: int, value: str) -> ApiResponse:
        server.answer(status, None, retry_after=value)
        return Plain().get("/")

    date = format_datetime(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=90), usegmt=True)
    after = answered(503, date).retry_after
    assert after is not None and 60 < after <= 90
    assert answered(429, "nonsense").retry_after is None
    assert answered(500, "5").retry_after is None


def test_a_server_that_is_not_there_is_tried_again(server: Server, bench: Bench) -> None:
    server.http.shutdown()
    server.http.server_close()
    bench.registry.register(fetching(server.url))
    step = bench.run(one_step(retry="{max_attempts: 2, backoff: none}"))["by_name"]["s"]
    assert (step["attempts"], step["error"]["retryable"]) == (2, True)


def test_errors_as_failures(server: Server) -> None:
    api = fetching(server.url)()
    assert api.connection_error(OSError("no route"), "pay").error_message == "no connection (pay): no route"
    failure = api.timeout_error(TimeoutError("5 s"))
    assert (failure.error_type, failure.retryable) == ("timeout", True)
    server.answer(418, {"short": "and stout"})
    said = api.api_failure(api.get("/"), "no coffee")
    assert (said.error_message, said.metadata["body"]) == ("no coffee", {"short": "and stout"})
    server.answer(200, [1])
    assert api.api_success(api.get("/"), include_response=True).metadata["headers"]["content-length"] == "3"


def test_a_function_that_gets_an_api(server: Server, bench: Bench) -> None:
    @api_handler("h", server.url, timeout=5, default_headers={"x-token": "f"})
    def fetch(api: Any, context: Any) -> Any:
        return api.post("/orders", json={"n": context.get_input("n")})

    bench.registry.register("h", fetch._handler_class)  # type: ignore[attr-defined]
    server.answer(201, {"id": 9})
    server.answer(404)
    bench.start(one_step())
    task = bench.task({"n": 1})
    assert task["by_name"]["s"]["result"] == {"id": 9}
    assert json.loads(server.seen[0]["body"]) == {"n": 1}
    assert bench.task({"n": 1})["by_name"]["s"]["error"]["error_code"] == "HTTP_404"
