"""So many operations polled at once, as a worker does it, and the most memory that the process held:
python -m tests.faults.at_once 5
"""

import os
import sys
from datetime import timedelta

import django

from tests.faults.peak import megabytes


def poll(count: int) -> None:
    from django.utils import timezone

    from usage import tasks
    from usage.collecting import operations
    from usage.models import Operation, Poll

    now = timezone.now()
    tomorrow = now + timedelta(days=1)  # else the vendor would be asked for its limit too
    for number in range(count):
        operation = Operation(name=f"Lima {number}", slug=f"lima-{number}", server="0012", limit_due_at=tomorrow)
        operation.token = f"{number:052x}"
        operation.save()
        operations.add_feeds(operation, now, ["interactions"])
    tasks.poll_operations(list(Operation.objects.filter(slug__startswith="lima").values_list("pk", flat=True)))
    tasks.pollers.shutdown()
    for outcome in Poll.objects.values_list("outcome", flat=True):
        print(f"outcome: {outcome}")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_dashboard.settings")
    django.setup()
    poll(int(sys.argv[1]))
    print(f"peak: {megabytes()} MB")
