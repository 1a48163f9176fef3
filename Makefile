# Short names for the project's own commands.
.PHONY: demo test lint format doctor clean
PYTHON := .venv/bin/python

demo: ## draw the demo dataset, train on it, make the submission
	bash train.sh

test: ## set up and run the tests
	bash tools/run_tests.sh

lint: ## what CI checks besides the tests; needs one `make test` before
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

doctor: ## what this machine has of what the project needs
	$(PYTHON) -m tools.doctor

clean: ## removes the environment, not Jittor's cache in your home
	rm -rf .venv .venv.lock .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
