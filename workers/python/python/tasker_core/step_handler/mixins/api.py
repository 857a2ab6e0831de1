"""Calls of HTTP services, for any handler."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Optional
from urllib.request import getproxies

from tasker_core.types.results import StepHandlerResult, seconds, status_is_retryable

if TYPE_CHECKING:
    import httpx

__all__ = ["APIMixin", "ApiResponse"]

#: Statuses whose Retry-After header counts.
RETRY_AFTER = frozenset({429, 503})
#: Fields of an answer's body that may say what went wrong, the first that is there.
MESSAGE_FIELDS = ("error", "message", "detail", "error_message", "msg")
#: What stands in the place of a header's value that must not be stored.
MASKED = "[masked]"
#: Seconds an idle connection is kept.
KEEPALIVE = 30.0
_TYPES = {
    401: "authentication_error",
    403: "authorization_error",
    404: "not_found",
    408: "timeout",
    429: "rate_limited",
    503: "service_unavailable",
    504: "timeout",
}
# Connections outlive handlers, or each attempt would open its own: one pool a process, which knows no cookies and no
# default headers. What a handler sets lives in its client, and ends with it. A fork makes a pool of its own.
_pools: dict[int, Any] = {}
_pools_lock = threading.Lock()


def _pool() -> Any:
    """The process's connections as a transport that outlives the clients using it."""
    import httpx

    class Shared(httpx.BaseTransport):
        def __init__(self) -> None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=KEEPALIVE)
            self._inner = httpx.HTTPTransport(limits=limits)

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return self._inner.handle_request(request)

        def close(self) -> None:
            """Closing a client leaves the connections to the others."""

    with _pools_lock:
        pid = os.getpid()
        if pid not in _pools:
            _pools[pid] = Shared()
        return _pools[pid]


def shown_headers(headers: dict[str, str]) -> dict[str, str]:
    """Headers as they may be stored: without cookies, credentials and tokens."""

    def secret(name: str) -> bool:
        return name in ("set-cookie", "authorization") or name.startswith("proxy-") or name.endswith("-token")

    return {name: MASKED if secret(name.lower()) else value for name, value in headers.items()}


class ApiResponse:
    """An answer of any status; the body is JSON where the server says so, else text.

    Args:
        response: Of httpx.
        body: In place of the response's own.
    """

    def __init__(self, response: httpx.Response, body: Any = None) -> None:
        self.raw_response = response
        self.status_code = response.status_code
        #: By lower-case name.
        self.headers: dict[str, str] = {k.lower(): v for k, v in response.headers.items()}
        self.body: Any = body
        if body is None:
            self.body = response.text
            if "json" in self.headers.get("content-type", ""):
                try:
                    self.body = response.json()
                except ValueError:
                    pass

    @property
    def raw(self) -> httpx.Response:
        """The response of httpx."""
        return self.raw_response

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status_code < 300

    @property
    def is_client_error(self) -> bool:
        """Whether the status is 4xx."""
        return 400 <= self.status_code < 500

    @property
    def is_server_error(self) -> bool:
        """Whether the status is 5xx."""
        return 500 <= self.status_code < 600

    @property
    def is_retryable(self) -> bool:
        """Whether another attempt may help: 408, 425, 429 and 5xx except 501 and 505."""
        return status_is_retryable(self.status_code)

    @property
    def retry_after(self) -> Optional[float]:
        """Seconds asked for by a 429 or 503, as a number or as a date; ``None`` if that says no usable time."""
        return seconds(self.headers.get("retry-after")) if self.status_code in RETRY_AFTER else None

    @property
    def error_type(self) -> str:
        """The type a failure with this status has."""
        return _TYPES.get(self.status_code, "server_error" if self.is_server_error else "client_error")

    @property
    def error_message(self) -> str:
        """The status with what the body says went wrong, or else the reason phrase."""
        said: Any = None
        if isinstance(self.body, dict):
            said = next((self.body[name] for name in MESSAGE_FIELDS if self.body.get(name)), None)
            if isinstance(said, dict):
                said = said.get("message") or said
        said = said or self.raw_response.reason_phrase
        return f"HTTP {self.status_code}: {said}" if said else f"HTTP {self.status_code}"

    def to_dict(self) -> dict[str, Any]:
        """Status, headers and body."""
        return {"status_code": self.status_code, "headers": self.headers, "body": self.body}


class APIMixin:
    """An HTTP client and results made of its answers; mix it into any handler.

    A request that gets no answer raises an ``httpx`` error, which is tried again like any other network error.
    """

    #: Put before paths.
    base_url: str = ""
    #: Seconds.
    default_timeout: float = 30.0
    default_headers: dict[str, str] = {}
    _client: Optional[httpx.Client] = None

    @property
    def api_capabilities(self) -> list[str]:
        """What the mixin adds to a handler's capabilities."""
        return ["http", "api"]

    @property
    def client(self) -> httpx.Client:
        """The ``httpx`` client of this handler object, made when first used.

        Cookies and headers it is given are seen by no other attempt; connections are shared underneath.
        """
        if self._client is None:
            import httpx

            # A transport of one's own switches httpx's proxies off: where the environment names some it has none.
            shared = {} if getproxies() else {"transport": _pool()}
            self._client = httpx.Client(
                base_url=self.base_url, timeout=self.default_timeout, headers=dict(self.default_headers), **shared
            )
        return self._client

    def close(self) -> None:
        """Closes the client; it is made again when needed."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def request(self, method: str, path: str, **options: Any) -> ApiResponse:
        """Sends a request; options are those of ``httpx``: ``params json data content headers timeout``."""
        return ApiResponse(self.client.request(method, path, **options))

    def get(
        self,
        path: str,
        params: Optional[dict[str, Any]] = None,
        headers: Optional[dict[str, str]] = None,
        **options: Any,
    ) -> ApiResponse:
        """Sends a GET request."""
        return self.request("GET", path, params=params, headers=headers, **options)

    def post(
        self, path: str, json: Any = None, data: Any = None, headers: Optional[dict[str, str]] = None, **options: Any
    ) -> ApiResponse:
        """Sends a POST request."""
        return self.request("POST", path, json=json, data=data, headers=headers, **options)

    def put(
        self, path: str, json: Any = None, data: Any = None, headers: Optional[dict[str, str]] = None, **options: Any
    ) -> ApiResponse:
        """Sends a PUT request."""
        return self.request("PUT", path, json=json, data=data, headers=headers, **options)

    def patch(
        self, path: str, json: Any = None, data: Any = None, headers: Optional[dict[str, str]] = None, **options: Any
    ) -> ApiResponse:
        """Sends a PATCH request."""
        return self.request("PATCH", path, json=json, data=data, headers=headers, **options)

    def delete(self, path: str, headers: Optional[dict[str, str]] = None, **options: Any) -> ApiResponse:
        """Sends a DELETE request."""
        return self.request("DELETE", path, headers=headers, **options)

    def api_success(
        self, response: ApiResponse, result: Any = None, include_response: bool = True
    ) -> StepHandlerResult:
        """A success with ``result``, or the body (``{"data": body}`` unless it is a mapping).

        Args:
            include_response: Keeps status and headers as metadata; cookies, credentials and tokens are masked.
        """
        if result is None:
            result = response.body if isinstance(response.body, dict) else {"data": response.body}
        kept = {"status_code": response.status_code, "headers": shown_headers(response.headers)}
        return StepHandlerResult.success(result, kept if include_response else {})

    def api_failure(self, response: ApiResponse, message: Optional[str] = None) -> StepHandlerResult:
        """A failure that is tried again as the status says; Retry-After of a 429 or 503 is kept to."""
        body = response.body if isinstance(response.body, (dict, list)) else str(response.body)[:1000]
        metadata: dict[str, Any] = {"status_code": response.status_code, "headers": shown_headers(response.headers)}
        if response.retry_after is not None:
            metadata["retry_after_seconds"] = response.retry_after
        if body:
            metadata.update(response_body=body, body=body)
        return StepHandlerResult.failure(
            message or response.error_message,
            response.error_type,
            response.is_retryable,
            metadata,
            f"HTTP_{response.status_code}",
            response.retry_after,
            response.status_code,
        )

    def connection_error(self, error: BaseException, context: Optional[str] = None) -> StepHandlerResult:
        """A failure for a connection that could not be made; tried again."""
        where = f" ({context})" if context else ""
        about = {"exception_type": type(error).__name__}
        return StepHandlerResult.failure(f"no connection{where}: {error}", "connection_error", True, about)

    def timeout_error(self, error: BaseException, context: Optional[str] = None) -> StepHandlerResult:
        """A failure for an answer that did not come in time; tried again."""
        where = f" ({context})" if context else ""
        about = {"exception_type": type(error).__name__}
        return StepHandlerResult.failure(f"no answer in time{where}: {error}", "timeout", True, about)
