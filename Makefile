PYTHON ?= python3
export PORT ?= 8000

bin := .venv/bin
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.PHONY: help run start test check bench audit screenshots soak lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s%s\n", $$1, $$2 }' Makefile

run: .venv/installed data/static/staticfiles.json ## the demo: simulated operations, figures at once (PORT=8000)
	@$(bin)/python -m billing_dashboard.launch --demo

start: .venv/installed data/static/staticfiles.json ## the dashboard of your own operations (PORT=8000)
	@$(bin)/python -m billing_dashboard.launch

# Packages

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; another one is chosen so: make PYTHON=python3.12 run" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { $(call apt-install,python3-venv); }
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt | .venv/bin/pip
	$(pip-install)

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(pip-install)

define pip-install
$(bin)/python -m pip install --disable-pip-version-check --require-hashes -r $<
@touch $@
endef

# $(call apt-install,PACKAGES), of which there may be none
apt-install = $(if $(strip $(1)),$(call apt-get,$(strip $(1))),:)
define apt-get
if ! command -v apt-get >/dev/null || ! { [ "$$(id -u)" = 0 ] || command -v sudo >/dev/null; }; then \
	echo "Please install $(1) (on Debian, as root: apt-get install $(1))" >&2; exit 2; \
fi; \
echo "Installing $(1) through apt-get"; \
sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); \
$$sudo apt-get -q update \
&& $$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q install --yes --no-install-recommends $(1)
endef
chromium = $(if $(shell command -v chromium 2>/dev/null),,chromium fonts-liberation)
gettext = $(if $(shell command -v msgfmt 2>/dev/null),,gettext)
postgresql = $(if $(shell command -v initdb 2>/dev/null || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null),,postgresql)

# The settings ask for secrets; these are nobody's.
no-secrets := SECRET_KEY=long-enough-for-the-deployment-check-and-nobody-uses-it \
	TOKEN_ENCRYPTION_KEYS=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

data/static/staticfiles.json: .venv/installed $(shell find static)
	@$(no-secrets) $(bin)/python manage.py collectstatic --no-input

# Work on it

# Neither a developer's .env nor the shell may lead the tests to real data.
test bench soak: export DATABASE_URL =
test bench soak: export REDIS_URL =

test: .venv/installed-dev data/static/staticfiles.json ## every test, on SQLite and PostgreSQL, in Chromium
	@$(call apt-install,$(chromium) $(postgresql) $(gettext))
	$(bin)/python -m pytest -m "not browser and not process" -n auto
	$(bin)/python -m pytest -m "browser or process" -n 2 --dist loadfile
	$(bin)/python tests/with_postgres.py $(bin)/python -m pytest -m "database and not browser and not process" -n auto

check: production := $(no-secrets) DEBUG= DATABASE_URL=sqlite:///data/checked.sqlite3 REDIS_URL= \
	ALLOWED_HOSTS=dashboard.example.com CSRF_TRUSTED_ORIGINS=https://dashboard.example.com
check: .venv/installed-dev ## style, types, migrations, settings, translations, images, locks
	@$(call apt-install,$(gettext))
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(no-secrets) $(bin)/mypy
	$(production) $(bin)/python manage.py makemigrations --check --dry-run
	$(production) $(bin)/python manage.py check --deploy --fail-level WARNING
	$(production) $(bin)/python tests/check_translations.py
	$(bin)/hadolint Dockerfile
	$(bin)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	@scratch=$$(mktemp -d) && trap 'rm -r "$$scratch"' EXIT && cp pyproject.toml requirements*.txt "$$scratch" \
	&& (cd "$$scratch" && $(compile)) \
	&& diff requirements.txt "$$scratch" && diff requirements-dev.txt "$$scratch" \
	|| { echo "The locks are not in step with pyproject.toml: make lock" >&2; exit 1; }

bench: .venv/installed-dev data/static/staticfiles.json ## the figures to reach, measured on PostgreSQL
	@$(call apt-install,$(postgresql))
	$(bin)/python tests/with_postgres.py $(bin)/python -m tests.bench

audit: .venv/installed-dev ## what a browser finds on the pages of a running `make run`: axe, Lighthouse, weight, speed
	@$(call apt-install,$(chromium))
	$(bin)/python -m tests.audit

screenshots: .venv/installed-dev ## the pictures of docs/guides again, from a running `make run`
	@$(call apt-install,$(chromium))
	$(bin)/python -m tests.screenshots

soak: .venv/installed-dev data/static/staticfiles.json ## 24 months x 50 operations, faults, kills and all: docs/soak.md
	@$(call apt-install,$(postgresql))
	ROLLOVERS=10000 $(bin)/python -m pytest tests/collecting/test_turns.py -n auto
	$(bin)/python -m tests.soak
	$(bin)/python tests/with_postgres.py $(bin)/python -m tests.soak

lock: | .venv/installed-dev ## requirements.txt and requirements-dev.txt from pyproject.toml; pins stay where they can
	$(compile)

uv-compile := "$(CURDIR)/$(bin)/uv" pip compile pyproject.toml --quiet --universal --generate-hashes --no-emit-index-url \
	--python "$(CURDIR)/$(bin)/python" --python-version 3.11 --custom-compile-command "make lock"
compile := $(uv-compile) -o requirements.txt && $(uv-compile) --group dev -c requirements.txt -o requirements-dev.txt
