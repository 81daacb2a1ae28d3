from django.core.management.base import BaseCommand, CommandError, CommandParser

from usage.collecting.rebuilding import rebuild


class Command(BaseCommand):
    help = "Make daily and monthly usage again from the snapshots. A closed month is compared, never rewritten."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="only compare; exit 1 where something differs")

    def handle(self, *, check: bool, **options: object) -> None:
        differences = 0
        for difference in rebuild(write=not check):
            differences += 1
            self.stdout.write(
                f"{difference.column} of {difference.row}: {difference.stands}, should be {difference.should}"
            )
        if check and differences:
            raise CommandError(f"{differences} differences", returncode=1)
        self.stdout.write(f"{differences} differences")
