from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from usage.collecting import claims, pacing, polling
from usage.disk import DiskFull
from usage.models import Operation
from usage.wolkvox.catalogue import APIS


class Command(BaseCommand):
    help = "Poll in the foreground: a line a call, exit 1 if one failed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--operation", metavar="SLUG", action="append", help="this operation only; repeatable")
        parser.add_argument("--api", metavar="A", action="append", choices=APIS, help="this API only; repeatable")
        parser.add_argument("--due", action="store_true", help="only the feeds that are due")

    def handle(self, *, operation: list[str] | None, api: list[str] | None, due: bool, **options: object) -> None:
        operations = Operation.objects.filter(is_active=True)
        if operation:
            operations = operations.filter(slug__in=operation)
            missing = set(operation) - set(operations.values_list("slug", flat=True))
            if missing:
                known = ", ".join(Operation.objects.filter(is_active=True).values_list("slug", flat=True))
                raise CommandError(
                    f"there is no active operation {', '.join(sorted(missing))}; there is: {known or 'none yet'}",
                    returncode=2,
                )
        if not operations:
            self.stdout.write("there is no active operation to poll; add_operation adds one")
        failed = False
        for one in operations:
            failed |= not self.poll(one, api, due)
        if failed:
            raise CommandError("not every poll was good", returncode=1)

    def poll(self, operation: Operation, apis: list[str] | None, due: bool) -> bool:
        try:
            polls = polling.poll_operation(operation.pk, client=polling.vendor(), apis=apis, is_due=due, at_pace=True)
        except claims.TokenInUse:
            self.stdout.write(f"{operation.slug}: another poll is using the token; try again in a minute")
            return False
        except claims.ClaimLost:
            self.stdout.write(f"{operation.slug}: the claim on the token ran out; nothing was recorded")
            return False
        except DiskFull as error:
            self.stdout.write(f"{operation.slug}: {error}")
            return False
        if not polls:
            self.stdout.write(f"{operation.slug}: {self.why_nothing(operation, apis, due)}")
        for poll in polls:
            seconds = (poll.ended_at - poll.started_at).total_seconds()
            said = f" {poll.message}" if poll.message else ""
            self.stdout.write(
                f"{operation.slug} {poll.feed.api}: {poll.outcome}, {poll.rows} rows, {seconds:.2f} s{said}"
            )
        return all(poll.is_good for poll in polls)

    def why_nothing(self, operation: Operation, apis: list[str] | None, due: bool) -> str:
        if due:
            return "nothing is due"
        polled = operation.feeds.filter(is_enabled=True, api__in=apis or APIS)
        now = timezone.now()
        if any(pacing.free_at(feed, now) <= now for feed in polled):
            return "the day's calls run short, so nothing is called out of turn"
        return "polled less than 5 minutes ago, the vendor's pace" if polled else "nothing of it is polled"
