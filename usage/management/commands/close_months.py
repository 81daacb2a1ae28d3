from django.core.management.base import BaseCommand
from django.utils import timezone

from usage.collecting import closing


class Command(BaseCommand):
    help = "Close the months that have ended and whose figures are final."

    def handle(self, **options: object) -> None:
        closed = closing.close_months(timezone.now())
        self.stdout.write(f"{closed} months of feeds closed")
