# Everything a newcomer needs: make demo, make test. Builds and caches live outside the checkout.
cache ?= $(or $(TASKER_CACHE),$(HOME)/.cache/tasker)
export CARGO_TARGET_DIR ?= $(cache)/target
export TASKER_PYTHON ?= $(cache)/venv/bin/python
export TASKER_RUBY ?= $(CURDIR)/workers/ruby/exe/tasker-ruby
# The demo runs the command that the Python package carries; the other targets the same command as a program of its own.
installed := $(cache)/venv/bin/tasker
tasker := $(CARGO_TARGET_DIR)/release/tasker
demo_store := $(cache)/demo/demo.db

.PHONY: help demo demo-languages test sim chaos parity bench lint prepare fmt package

help:
	@echo "make demo    install what is missing, build, run an order through the embedded store"
	@echo "make demo-languages  one task whose steps run in Python, Ruby and Rust"
	@echo "make test    install what is missing, run every suite"
	@echo "make sim     simulate engines, store and workers under faults: 10,000 seeds (seeds=N from=N)"
	@echo "make chaos   kill workers, servers and PostgreSQL under load, account for every step (tasks=N kills=N)"
	@echo "make parity  run every language through the same cases, write docs/parity.md"
	@echo "make lint    formatting and lints, as CI runs them"
	@echo "make package build what is published: wheel, gem, crates and their sources"
	@echo "make bench   latency and throughput of this machine, embedded and on PostgreSQL"

prepare:
	@scripts/prepare test

demo:
	@scripts/prepare demo
	@mkdir -p $(dir $(demo_store))
	@echo "==> tasker run order_fulfillment --input @examples/order_fulfillment/order.json" >&2
	@$(installed) --url sqlite://$(demo_store) run order_fulfillment --dir examples/order_fulfillment \
		--input @examples/order_fulfillment/order.json
	@echo "==> the same store, looked at afterwards: $(installed) --url sqlite://$(demo_store) ls" >&2
	@$(installed) --url sqlite://$(demo_store) ls --limit 3
	@echo "==> next: \`make demo-languages\` runs one task in Python, Ruby and Rust; it builds those first (about 5 minutes)" >&2

demo-languages: prepare
	@echo "==> examples/polyglot: one task whose steps run in Python, Ruby, Rust and Python" >&2
	@examples/polyglot/run $(tasker) $(CARGO_TARGET_DIR)/release/polyglot

test: prepare
	@scripts/test

package: prepare
	@scripts/package wheel sdist gem source-gem crates

sim: seeds ?= 10000
sim: from ?= 1
sim: prepare
	@$(CARGO_TARGET_DIR)/release/tasker-sim --seeds $(seeds) --from $(from)

chaos: tasks ?= 20000
chaos: kills ?= 200
chaos: prepare
	@TASKER_BIN=$(tasker) TASKER_RUST_HOST=$(CARGO_TARGET_DIR)/release/tasker-conformance-host \
		scripts/with-postgres --durable $(TASKER_PYTHON) conformance/chaos/run.py --tasks $(tasks) --kills $(kills)

parity: prepare
	@TASKER_BIN=$(tasker) TASKER_RUST_HOST=$(CARGO_TARGET_DIR)/release/tasker-conformance-host \
		scripts/with-postgres $(TASKER_PYTHON) conformance/parity.py

lint: prepare
	cargo fmt --all --check
	. scripts/environment && LIBCLANG_PATH="$$(libclang)" cargo clippy --locked --release --workspace --all-targets -- -D warnings
	$(cache)/venv/bin/ruff check workers/python examples conformance
	$(cache)/venv/bin/ruff format --check workers/python examples conformance
	cd workers/python && $(cache)/venv/bin/mypy
	@# Only one Python runs the tests; that its oldest has all that is used is looked up.
	oldest=$$(sed -n 's/^requires-python = ">=\(.*\)"/\1/p' workers/python/pyproject.toml) && \
		$(cache)/venv/bin/vermin --target=$$oldest- --eval-annotations --no-tips --violations --quiet workers/python/python
	rubocop --format quiet workers/ruby conformance/hosts/ruby examples crates/cli/scaffold

fmt:
	cargo fmt --all
	$(cache)/venv/bin/ruff check --fix workers/python examples conformance
	$(cache)/venv/bin/ruff format workers/python examples conformance

bench: prepare
	@for lang in rust python ruby; do for workload in linear-4 diamond-4; do \
		$(tasker) bench --lang $$lang --workload $$workload; echo; done; \
		$(tasker) bench --lang $$lang --workload fan-out-10000 --tasks 1; echo; done
	@TASKER_BIN=$(tasker) scripts/with-postgres --durable scripts/bench-postgres
