"""Valkey and PostgreSQL that go away and come back, under a worker, a beat and a web server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.faults.conftest import TOKEN, HoldingVendor, Site, set_up, sign_in
from tests.installation import Valkey
from tests.with_postgres import Cluster, running_cluster
from usage.wolkvox.simulator import SimulatorServer

pytestmark = pytest.mark.process


@pytest.fixture
def postgres() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def site_on_postgres(postgres: Cluster, tmp_path: Path, address: SimulatorServer, valkey: Valkey) -> Site:
    valkey.flush()
    places = {"DATABASE_URL": postgres.url, "REDIS_URL": valkey.url}
    site = Site(tmp_path, address.url, places, DJANGO_SETTINGS_MODULE="tests.faults.settings")
    set_up(site)
    return site


def test_polling_goes_on_after_valkey_was_flushed_stopped_and_started(
    site: Site, simulator: HoldingVendor, valkey: Valkey
) -> None:
    with site.running("web", "worker", "beat"):
        site.until("the first polls", lambda: site.count("poll") == 2)
        valkey.flush()
        site.make_due()
        site.until("polls after the flush", lambda: site.count("poll") == 4)
        valkey.stop()
        site.until("the worker's noticing", lambda: site.says("Connection to broker lost"))
        site.make_due()
        try:
            assert_pages_work(site)
        finally:
            valkey.start()
        site.make_due()
        site.until("polls after the return", lambda: site.count("poll") == 8)
    assert simulator.most_at_once[TOKEN] == 1


def assert_pages_work(site: Site) -> None:
    """And so does “Poll now”, which needs no worker."""
    session = sign_in(site)
    page = f"http://127.0.0.1:{site.port}"
    for path in ("/", "/operations/bogota/", "/status/", "/reports/monthly.csv", "/admin/usage/operation/1/change/"):
        assert session.get(page + path).status_code == 200, path
    change = f"{page}/admin/usage/operation/1"
    form = {"csrfmiddlewaretoken": session.cookies["csrftoken"]}
    said = session.post(f"{change}/poll/", form, headers={"Referer": change}).text
    assert said.count('class="success"') == 2, said
    assert site.count("poll") == 6
    assert site.is_healthy()


def test_a_poll_waits_for_postgres_and_all_goes_on_when_it_is_back(
    site_on_postgres: Site, postgres: Cluster, simulator: HoldingVendor
) -> None:
    site = site_on_postgres
    with site.running("web", "worker", "beat"):
        site.until("the pages", site.is_healthy)
        session = sign_in(site)
        site.make_due()
        site.until("the first polls", lambda: site.count("poll") == 2 and not site.is_claimed)
        simulator.hold()
        site.make_due()
        site.until("a call", lambda: simulator.at_work == 1)
        postgres.stop()
        simulator.let_go()
        site.until("the worker's noticing", lambda: site.says("what was heard waits for it"))
        site.until("a tick without a database", lambda: site.says("Task usage.tasks.dispatch"))
        assert what_is_wrong(site) == "The database does not answer."
        assert simulator.calls[TOKEN] == 3, "no call is sent that couldn't be recorded"
        postgres.start()
        site.until("the answer's record and the next feed's", lambda: site.count("poll", "outcome = 'good'") == 4)
        assert simulator.calls[TOKEN] == 4, "what was heard was not asked for again"
        site.until("the claim's return", lambda: not site.is_claimed)
        assert session.get(f"http://127.0.0.1:{site.port}/status/").status_code == 200
        assert site.is_healthy()
    assert simulator.most_at_once[TOKEN] == 1
    assert site.manage("rebuild", "--check") == "0 differences\n"


def what_is_wrong(site: Site) -> str:
    with pytest.raises(HTTPError) as refused:
        site.get("/healthz", **{"Accept-Language": "en"})
    assert refused.value.code == 503
    return refused.value.read().decode()
