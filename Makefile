# Shortcuts; each is one command that can be typed instead.
UV ?= uv
.PHONY: demo test check format ci lock

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

lock:    ## pin what development and the gate install (needs uv)
	$(UV) pip compile -q --no-emit-index-url --no-emit-find-links --no-annotate --universal --python-version 3.11 \
		--extra dev pyproject.toml -o requirements-dev.txt
