"""``python -m tasker_core``: run a worker, or the benchmark."""

from __future__ import annotations

import argparse
import sys
from typing import Optional


def main(arguments: Optional[list[str]] = None) -> int:
    """Runs a command; gives its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tasker_core")
    commands = parser.add_subparsers(dest="command", required=True)
    worker = commands.add_parser("worker", help="run a worker until SIGINT or SIGTERM")
    worker.add_argument("--url", help="where work comes from (TASKER_URL)")
    worker.add_argument("--templates", action="append", help="file or folder of templates; may be repeated")
    worker.add_argument("--handlers", action="append", help="package, file or folder of handlers; may be repeated")
    worker.add_argument("--namespace", action="append", help="queue to take from; may be repeated")
    worker.add_argument("--slots", type=int, default=10, help="handlers run at once")
    worker.add_argument(
        "--lease-ms", type=int, default=20_000, help="how long it may be silent before others take it for gone"
    )
    worker.add_argument(
        "--drain-timeout",
        type=float,
        help="seconds a drain waits for running handlers (TASKER_DRAIN_TIMEOUT), 20 by default",
    )
    worker.add_argument("--worker-id", help="unique name")
    bench = commands.add_parser("bench", help="measure latency and throughput")
    bench.add_argument("--url", help="where work comes from (TASKER_URL)")
    bench.add_argument("--workload", default="linear-4")
    bench.add_argument("--tasks", type=int, default=2000)
    bench.add_argument("--slots", type=int, default=64)
    bench.add_argument("--warm-up", type=int, default=20, help="tasks run before measuring")
    bench.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    return _worker(given) if given.command == "worker" else _bench(given)


def _worker(given: argparse.Namespace) -> int:
    from tasker_core.errors import TaskerError
    from tasker_core.worker import Worker, WorkerConfig

    config = WorkerConfig(worker_id=given.worker_id, max_concurrent_handlers=given.slots, lease_ms=given.lease_ms)
    if given.drain_timeout is not None:
        config.drain_timeout_ms = int(given.drain_timeout * 1000)
    try:
        worker = Worker.start(
            given.handlers, config, url=given.url, namespaces=given.namespace, templates=given.templates
        )
    except (TaskerError, OSError) as error:
        print(f"tasker: {error}", file=sys.stderr)
        return 1
    for warning in worker.info["warnings"]:
        print(f"tasker: {warning}", file=sys.stderr)
    print(
        f"tasker worker ready: {len(worker.info['templates'])} templates, {worker.registry.handler_count()} handlers, "
        f"slots {given.slots}, url {worker.url}",
        file=sys.stderr,
        flush=True,
    )
    return worker.run()


def _bench(given: argparse.Namespace) -> int:
    from tasker_core import bench
    from tasker_core.worker import default_url

    url = given.url or default_url()
    figures = bench.run(given.workload, given.tasks, url, given.slots, given.warm_up)
    bench.print_figures(figures, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
