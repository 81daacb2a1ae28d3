from __future__ import annotations

import os
import sys

from tests.bench import polling, recording, serving
from tests.bench.figures import make_figures, session_cookie
from tests.bench.measuring import database, start_django


def bench_serving() -> None:
    from django.core.management import call_command
    from django.db import connection

    with database() as url:
        start_django(url)
        call_command("collectstatic", interactive=False, verbosity=0)
        make_figures()
        cookie = session_cookie()
        try:
            with serving.served("billing_dashboard.wsgi", cookie) as server:
                serving.bench_long_report(server, url)
                serving.bench_pages(server, cookie)
        finally:
            connection.close()


BENCHES = {"serving": bench_serving, "recording": recording.bench, "polling": polling.bench}


def main() -> None:
    server = os.environ.get("DATABASE_URL", "")
    database_server = "postgresql" if server else "sqlite"
    print(f"\n{'':<52} {'':>9}   goal                 ({database_server}, {os.cpu_count()} cores)")
    for name in sys.argv[1:] or BENCHES:
        os.environ["DATABASE_URL"] = server  # the bench before pointed it at a database of its own
        BENCHES[name]()


if __name__ == "__main__":
    main()
