# Every target works on a fresh clone with Rust and Python 3.10; Node adds the TypeScript tests.
.DEFAULT_GOAL := help
.PHONY: help demo test check bench bench-models bench-policy bench-scale contracts conformance

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## build, start two real MCP servers and the gateway, register, list, call; serves until Ctrl-C
	@python3 demo/run.py

test: ## every test, with all set-up (ARGS="-p trunkline b14_" for some)
	@scripts/test.sh $(ARGS)

conformance: ## the official conformance suite through the gateway, beside the same servers without it
	@scripts/conformance-env.sh && cargo build -q -p trunkline && scripts/conformance.py

check: ## format, lints, dependency directions, licences, spelling
	@scripts/check.sh

bench: ## measure direct, gateway and nginx in one run, as published (two minutes after the build)
	@python3 bench/run.py

bench-models: ## measure chats with a model direct, through nginx and the gateway; big prompts, slow streams
	@python3 bench/models.py $(ARGS)

bench-policy: ## measure decisions among 1,000 servers, 10,000 keys and 100 conditions (built for release)
	@cargo bench -q -p trunkline-policy --bench decision -- $(ARGS)

bench-scale: ## time and memory of a start over 100,000 keys and 5,000 servers in PostgreSQL
	@scripts/with-postgres.sh python3 bench/scale.py $(ARGS)

contracts: ## write docs/openapi.json and docs/config.schema.json again
	@cargo xtask contracts
