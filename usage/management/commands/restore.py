from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from usage.collecting import backup, keys
from usage.models import Operation


class Command(BaseCommand):
    help = "Give the embedded database the content of a backup, while it runs. What it holds now is kept beside it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *, file: Path, **options: object) -> None:
        try:
            kept = backup.restore(file, timezone.now())
        except backup.Refused as error:
            raise CommandError(str(error), returncode=2) from None
        except backup.Failed as error:
            raise CommandError(str(error), returncode=1) from None
        self.stdout.write(f"restored {file}; operations: {Operation.objects.count()}")
        if kept:
            self.stdout.write(f"what was there before is kept as {kept}")
        self.stdout.write("Polling goes on by itself within two minutes; the time since the backup becomes a gap.")
        if unreadable := keys.unreadable():
            self.stderr.write(keys.say_unreadable(unreadable))
