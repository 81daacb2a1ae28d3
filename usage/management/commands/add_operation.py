import sys
from getpass import getpass

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser, no_translations
from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from usage.collecting import operations
from usage.models import Operation
from usage.wolkvox.catalogue import APIS


class Command(BaseCommand):
    help = "Add an operation. Its token is read from standard input, so that no history or process list shows it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--server", required=True, metavar="0012", help="four digits")
        parser.add_argument("--slug", help="its name in addresses and CSV (from the name)")
        parser.add_argument("--time-zone", default="America/Bogota", metavar="Z", help="where its months begin")
        parser.add_argument(
            "--api", action="append", choices=APIS, metavar="A", help="poll this API; repeatable (the usual two)"
        )

    @no_translations
    def handle(
        self, *, name: str, server: str, slug: str | None, time_zone: str, api: list[str] | None, **options: object
    ) -> None:
        operation = Operation(
            name=name.strip(), server=server, slug=slugify(name) if slug is None else slug, time_zone=time_zone
        )
        try:
            operation.full_clean(exclude=["token_encrypted", "token_fingerprint"])
            operations.set_token(operation, read_token())
        except ValidationError as error:
            lines = [f"{field}: {' '.join(said)}" for field, said in error.message_dict.items()]
            hint = "" if operation.slug else "; give a --slug of letters, digits and hyphens"
            raise CommandError("; ".join(lines) + hint, returncode=2) from None
        except (ValueError, operations.TokenTaken) as error:
            raise CommandError(str(error), returncode=2) from None
        with transaction.atomic():
            operation.save()
            operations.add_feeds(operation, timezone.now(), api or operations.DEFAULT_INTERVALS)
        self.stdout.write(f"{operation.slug} added; it is polled from now on")


def read_token() -> str:
    """Typed unseen, or the first line of what is piped in. Raises CommandError where nothing comes."""
    token = ""
    try:
        if sys.stdin:
            token = getpass("Token: ") if sys.stdin.isatty() else sys.stdin.readline()
    except EOFError:
        pass
    except UnicodeDecodeError:
        raise CommandError("what came on standard input is no text, let alone a token", returncode=2) from None
    if not token.strip():
        raise CommandError("no token came on standard input; pipe it in, or type it when asked", returncode=2)
    return token.strip()
