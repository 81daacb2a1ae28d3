#!/usr/bin/env python
import os
import sys

from django.core.management import execute_from_command_line
from django.db import DatabaseError, DataError, IntegrityError

from billing_dashboard.environment import stop


def main(arguments: list[str]) -> None:
    """A database that can't be used is a line and exit code 2 here too; --traceback shows all of it."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            stop(f"the argument {argument!a} is not UTF-8; write it again.")
    try:
        execute_from_command_line(arguments)
    except DatabaseError as error:
        if "--traceback" in arguments or isinstance(error, IntegrityError | DataError):
            raise
        reason = str(error).strip().splitlines()[0]
        stop(f"the database can't be used: {reason}. Check DATABASE_URL, and run manage.py migrate if it is new.")
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_dashboard.settings")
    main(sys.argv)
