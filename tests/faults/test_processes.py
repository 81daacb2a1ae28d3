"""Processes that are killed, paused, told to stop, and that are many."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest
from celery import Celery

from tests.faults.conftest import TOKEN, HoldingVendor, Site, sign_in

pytestmark = pytest.mark.process


def test_a_worker_killed_during_a_call_leaves_no_poll_and_the_token_claimed(
    site: Site, simulator: HoldingVendor
) -> None:
    simulator.hold()
    with site.running("worker", "beat") as [worker, _]:
        site.until("a call", lambda: simulator.at_work == 1)
        worker.kill()
    assert not any(site.figures())
    refused = site.try_to("poll")
    assert "another poll is using the token" in refused.stdout
    site.age_claim(60)
    refused = site.try_to("poll")
    assert "another poll is using the token" in refused.stdout
    assert simulator.calls[TOKEN] == 1
    simulator.let_go()
    site.until("the vendor's letting go", lambda: simulator.at_work == 0)
    site.age_claim(30)
    site.manage("poll")
    assert site.count("poll", "outcome = 'good'") == 2
    assert simulator.most_at_once[TOKEN] == 1


def test_all_threads_of_a_worker_keep_to_one_core(site: Site, simulator: HoldingVendor) -> None:
    simulator.hold()
    with site.running("worker", "beat") as [worker, _]:
        site.until("a call", lambda: simulator.at_work == 1)
        threads = [int(thread.name) for thread in Path(f"/proc/{worker.pid}/task").iterdir()]
        [cores] = {frozenset(os.sched_getaffinity(thread)) for thread in threads}
        simulator.let_go()
    assert len(threads) > 1
    assert len(cores) == 1


def test_a_worker_killed_while_it_records_leaves_nothing_of_the_poll(site: Site, simulator: HoldingVendor) -> None:
    count = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 1000000000) SELECT count(x) FROM c"
    site.sql(f"CREATE TRIGGER slow BEFORE INSERT ON usage_monthlyusage BEGIN {count}; END")
    with site.running("worker", "beat") as [worker, _]:
        site.until("a recording", lambda: simulator.calls[TOKEN] > 0 and is_locked(site))
        worker.kill()
        worker.wait()
    site.sql("DROP TRIGGER slow")
    assert not any(site.figures())
    assert site.is_claimed
    site.age_claim(90)
    site.manage("poll")
    assert site.count("poll", "outcome = 'good'") == 2
    assert site.manage("rebuild", "--check") == "0 differences\n"


def is_locked(site: Site) -> bool:
    """Somebody has been writing for a second."""
    until = time.monotonic() + 1
    with closing(sqlite3.connect(site.folder / "data" / "billing.sqlite3", timeout=0)) as file:
        while time.monotonic() < until:
            with suppress(sqlite3.OperationalError):
                file.execute("BEGIN IMMEDIATE")
                file.rollback()
                return False
            time.sleep(0.05)
    return True


def test_a_paused_worker_that_wakes_up_late_neither_commits_nor_sends(site: Site, simulator: HoldingVendor) -> None:
    simulator.hold()
    with site.running("worker", "beat") as [worker, _]:
        site.until("a call", lambda: simulator.at_work == 1)
        worker.send_signal(signal.SIGSTOP)
        simulator.let_go()
        site.until("the vendor's letting go", lambda: simulator.at_work == 0)
        site.age_claim(90)
        site.manage("poll")
        after = site.figures()
        worker.send_signal(signal.SIGCONT)
        site.until("its noticing", lambda: site.says("the claim on its token ran out, nothing was recorded"))
        worker.terminate()
        assert worker.wait(30) == 0
    assert site.figures() == after
    assert simulator.calls[TOKEN] == 3, "its own, and two of the command's"
    assert simulator.most_at_once[TOKEN] == 1


def test_a_worker_told_to_stop_finishes_its_poll(site: Site, simulator: HoldingVendor) -> None:
    simulator.hold()
    with site.running("worker", "beat") as [worker, _]:
        site.until("a call", lambda: simulator.at_work == 1)
        worker.terminate()
        site.until("its hearing that", lambda: site.says("Warm shutdown"))
        simulator.let_go()
        assert worker.wait(30) == 0
    assert site.count("poll", "outcome = 'good'") == 2
    assert not site.is_claimed


def test_a_launcher_told_to_stop_ends_in_its_time_and_leaves_the_claim(site: Site, simulator: HoldingVendor) -> None:
    simulator.hold()
    launcher = site.start()
    try:
        site.until("a call", lambda: simulator.at_work == 1)
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(30) == 0, site.output.read_text()
    finally:
        launcher.kill()
    assert site.says("worker did not stop within 10 s and is killed")
    assert not any(site.figures())
    assert site.is_claimed


def test_many_callers_use_a_token_one_at_a_time(site: Site, simulator: HoldingVendor) -> None:
    """Two beats, three workers, ten times their messages, two people with a button, and a command."""
    enough = threading.Event()

    def over_and_over(act: Callable[[], object]) -> None:
        while not enough.wait(0.1):
            act()

    with site.running("web", "beat", "beat", "worker", "worker", "worker"):
        site.until("the pages", site.is_healthy)
        messages = Celery(broker=site.database["REDIS_URL"])
        acts = [
            site.make_due,
            partial(messages.send_task, "usage.tasks.dispatch"),
            partial(messages.send_task, "usage.tasks.poll_operations", ([1],)),
            button(site),
            button(site),
            partial(site.try_to, "poll", "--due"),
        ]
        crowd = [threading.Thread(target=over_and_over, args=(act,)) for act in acts]
        for one in crowd:
            one.start()
        try:
            site.until("fifty calls", lambda: simulator.calls[TOKEN] >= 50)
        finally:
            enough.set()
            for one in crowd:
                one.join()
        site.until("the end of it", lambda: not site.is_claimed and site.count("feed", "failures > 0") == 0)
        messages.close()
    assert simulator.most_at_once[TOKEN] == 1
    assert site.count("poll", "outcome = 'good'") == simulator.calls[TOKEN]
    assert site.manage("rebuild", "--check") == "0 differences\n"


def button(site: Site) -> Callable[[], object]:
    """“Poll now”, for somebody who is signed in."""
    page = f"http://127.0.0.1:{site.port}/admin/usage/operation/1"
    session = sign_in(site)

    def press() -> None:
        answer = session.post(
            f"{page}/poll/", {"csrfmiddlewaretoken": session.cookies["csrftoken"]}, headers={"Referer": page}
        )
        assert answer.status_code == 200, answer.text

    return press
