"""Calls of HTTP services, for any handler."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Optional

from tasker_core.types.results import StepHandlerResult, seconds

if TYPE_CHECKING:
    import httpx

__all__ = ["APIMixin", "ApiResponse"]

#: Statuses other than 5xx that are worth another attempt.
RETRYABLE = frozenset({408, 425, 429})


#: Server errors that are not.
PERMANENT = frozenset({501, 505})


#: Statuses whose Retry-After header counts.
RETRY_AFTER = frozenset({429, 503})


# Making a client costs more than most requests, and a kept one keeps its connections. A fork makes its own.
_clients: dict[tuple[Any, ...], httpx.Client] = {}


_TYPES = {
    401: "authentication_error",
    403: "authorization_error",
    404: "not_found",
    408: "timeout",
    429: "rate_limited",
    503: "service_unavailable",
    504: "timeout",
}


class ApiResponse:
    """An answer of any status; the body is JSON where the server says so, else text."""

    def __init__(self, response: httpx.Response) -> None:
        self.raw = response
        self.status_code = response.status_code
        #: By lower-case name.
        self.headers: dict[str, str] = {k.lower(): v for k, v in response.headers.items()}
        self.body: Any = response.text
        if "json" in self.headers.get("content-type", ""):
            try:
                self.body = response.json()
            except ValueError:
                pass

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
        return self.status_code in RETRYABLE or (self.is_server_error and self.status_code not in PERMANENT)

    @property
    def retry_after(self) -> Optional[float]:
        """Seconds asked for by a 429 or 503, as a number or as a date."""
        return seconds(self.headers.get("retry-after")) if self.status_code in RETRY_AFTER else None

    @property
    def error_type(self) -> str:
        """The type a failure with this status has."""
        return _TYPES.get(self.status_code, "server_error" if self.is_server_error else "client_error")

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

    @property
    def client(self) -> httpx.Client:
        """An ``httpx`` client, shared by all attempts with the same settings: it may be used from several threads."""
        settings = (os.getpid(), self.base_url, self.default_timeout, tuple(sorted(self.default_headers.items())))
        client = _clients.get(settings)
        if client is None:
            import httpx

            made = httpx.Client(
                base_url=self.base_url, timeout=self.default_timeout, headers=dict(self.default_headers)
            )
            client = _clients.setdefault(settings, made)
        return client

    def request(self, method: str, path: str, **options: Any) -> ApiResponse:
        """Sends a request; options are those of ``httpx``: ``params json data content headers timeout``."""
        return ApiResponse(self.client.request(method, path, **options))

    def get(self, path: str, params: Optional[dict[str, Any]] = None, **options: Any) -> ApiResponse:
        """Sends a GET request."""
        return self.request("GET", path, params=params, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> ApiResponse:
        """Sends a POST request."""
        return self.request("POST", path, json=json, **options)

    def put(self, path: str, json: Any = None, **options: Any) -> ApiResponse:
        """Sends a PUT request."""
        return self.request("PUT", path, json=json, **options)

    def patch(self, path: str, json: Any = None, **options: Any) -> ApiResponse:
        """Sends a PATCH request."""
        return self.request("PATCH", path, json=json, **options)

    def delete(self, path: str, **options: Any) -> ApiResponse:
        """Sends a DELETE request."""
        return self.request("DELETE", path, **options)

    def api_success(
        self, response: ApiResponse, result: Any = None, include_response: bool = False
    ) -> StepHandlerResult:
        """A success with ``result``, or the body; ``include_response`` keeps status and headers as metadata."""
        metadata: dict[str, Any] = {"status_code": response.status_code}
        if include_response:
            metadata["headers"] = response.headers
        return StepHandlerResult.success(response.body if result is None else result, metadata)

    def api_failure(self, response: ApiResponse, message: Optional[str] = None) -> StepHandlerResult:
        """A failure that is tried again as the status says; Retry-After of a 429 or 503 is kept to."""
        said = message or f"the server answered {response.status_code} {response.raw.reason_phrase}".rstrip()
        body = response.body if isinstance(response.body, (dict, list)) else str(response.body)[:1000]
        return StepHandlerResult.failure(
            said,
            response.error_type,
            response.is_retryable,
            {"status_code": response.status_code, "body": body},
            f"HTTP_{response.status_code}",
            response.retry_after,
            response.status_code,
        )

    def connection_error(self, error: BaseException, context: Optional[str] = None) -> StepHandlerResult:
        """A failure for a connection that could not be made; tried again."""
        where = f" ({context})" if context else ""
        return StepHandlerResult.failure(f"no connection{where}: {error}", "network_error", True)

    def timeout_error(self, error: BaseException, context: Optional[str] = None) -> StepHandlerResult:
        """A failure for an answer that did not come in time; tried again."""
        where = f" ({context})" if context else ""
        return StepHandlerResult.failure(f"no answer in time{where}: {error}", "timeout", True)
