from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from usage.collecting import closing


class Command(BaseCommand):
    help = "Close the months that have ended and whose figures are final."

    def handle(self, **options: object) -> None:
        try:
            closed = closing.close_months(timezone.now())
        except closing.NotClosed as error:
            raise CommandError(str(error), returncode=1) from None
        self.stdout.write(f"{closed} months of feeds closed")
