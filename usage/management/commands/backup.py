from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, CommandParser

from usage.collecting import backup


class Command(BaseCommand):
    help = "Write the embedded database to a file, while it runs. The keys in .env are not in it: keep them besides."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--force", action="store_true", help="overwrite the file if it is there")

    def handle(self, *, file: Path, force: bool, **options: object) -> None:
        try:
            backup.back_up(file, overwrite=force)
        except backup.Refused as error:
            raise CommandError(str(error), returncode=2) from None
        except backup.Failed as error:
            raise CommandError(str(error), returncode=1) from None
        self.stdout.write(f"wrote {file}, {file.stat().st_size:,} bytes, checked")
        self.stdout.write(
            "The keys are not in it. Keep .env besides: without its TOKEN_ENCRYPTION_KEYS the tokens are lost, "
            "the figures are not."
        )
