# Shortcuts; each is one command that can be typed instead.
UV ?= uv
.PHONY: demo test check format ci lock schema proto

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

proto:   ## halo_receiver/pb and proto/otlp.protoset, from proto/ and the installed opentelemetry-proto
	.venv/bin/python -m grpc_tools.protoc -Ihalo_receiver/pb=proto/halo/v1 --python_out=. --pyi_out=. halo_receiver/pb/segments.proto
	.venv/bin/python -m tests.protoset > proto/otlp.protoset

lock:    ## pin what development and the gate install (needs uv)
	$(UV) pip compile -q --no-emit-index-url --no-emit-find-links --no-annotate --universal --python-version 3.11 \
		--extra dev pyproject.toml -o requirements-dev.txt
