"""The HTTP service that the cases of cases/http.yaml call; it answers as the path says."""

from __future__ import annotations

import email.utils
import http.server
import json
import threading
import time
import urllib.parse
from typing import Any


class Answers(http.server.BaseHTTPRequestHandler):
    """`/status/CODE?header=value…`, `/echo`, `/text`, `/late`, `/cookie`, `/times/NAME/CODE/COUNT`."""

    protocol_version = "HTTP/1.1"
    # How often `/times/NAME` was asked.
    asked: dict[str, int] = {}
    lock = threading.Lock()

    def answer(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        first, *more = url.path.strip("/").split("/")
        headers = dict(urllib.parse.parse_qsl(url.query))
        sent = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        if first == "echo":
            said = {"method": self.command, "body": json.loads(sent) if sent else None, "query": headers}
            self.send(200, said, {})
        elif first == "text":
            self.send(200, "plain words", {})
        elif first == "cookie":
            self.send(200, {"cookie": self.headers.get("cookie")}, {"set-cookie": "session=alice"})
        elif first == "late":
            # Until the client has gone, or for as long as no test waits.
            self.connection.settimeout(20)
            try:
                self.connection.recv(1)
            except OSError:
                pass
            self.close_connection = True
        elif first == "times":
            name, code, count = more
            with self.lock:
                asked = self.asked.get(name, 0) + 1
                done = asked > int(count)
                self.asked[name] = 0 if done else asked
            self.send(200 if done else int(code), {"asked": asked}, {})
        else:
            if headers.get("retry-after") == "date":
                headers["retry-after"] = email.utils.formatdate(time.time() + 1000, usegmt=True)
            body = headers.pop("body", None)
            self.send(int(more[0]), None if body is None else json.loads(body), headers)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def send(self, code: int, body: Any, headers: dict[str, str]) -> None:
        text = (body if isinstance(body, str) else json.dumps(body)).encode() if body is not None else b""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if body is not None:
            self.send_header("content-type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class Service:
    """The service on a port of its own, until it is closed."""

    def __init__(self) -> None:
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
