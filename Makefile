# Short names for the project's commands.
.PHONY: demo test lint format doctor clean
PYTHON := .venv/bin/python

demo: ## generate the demo dataset, train on it, make the submission
	bash train.sh

test: ## set up and run the tests
	bash tools/run_tests.sh

lint: ## run the checks of CI except the tests; needs `make test` once before
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports

format: ## fix style
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

doctor: ## check the requirements of this machine
	$(PYTHON) -m tools.doctor

clean: ## remove the environment, but not Jittor's cache in your home folder
	rm -rf .venv .venv.lock .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
