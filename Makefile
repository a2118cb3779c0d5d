# Shortcuts; each is one command that can be typed instead.
UV ?= uv
.PHONY: demo test check format ci lock schema

demo:    ## a realistic day of agent traffic, received, analysed and reported
	sh deploy/start.sh demo

test:    ## all tests
	sh deploy/test.sh

check:   ## lint, types, import contracts
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format:  ## put the code in shape
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

ci:      ## everything the gate asks
	.ci/run

schema:  ## proto/report.schema.json, from the model
	.venv/bin/python -c "from halo_worker.report.model import schema; print(schema(), end=str())" > proto/report.schema.json

lock:    ## pin what development and the gate install (needs uv)
	$(UV) pip compile -q --no-emit-index-url --no-emit-find-links --no-annotate --universal --python-version 3.11 \
		--extra dev pyproject.toml -o requirements-dev.txt
