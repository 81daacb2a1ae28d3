from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from usage.collecting import keys


class Command(BaseCommand):
    help = "Encrypt every token again, with the first key of TOKEN_ENCRYPTION_KEYS, so that the others can go."

    def handle(self, **options: object) -> None:
        done = keys.rotate()
        self.stdout.write(f"tokens encrypted with the first key of TOKEN_ENCRYPTION_KEYS: {done.rotated}")
        if done.refreshed:
            self.stdout.write(f"of them, with a new fingerprint, since SECRET_KEY has changed: {done.refreshed}")
        for one, other in done.shared:
            self.stderr.write(f"{one.slug} has the same token as {other.slug}: paste the right one into one of them")
        if done.unreadable:
            self.stderr.write(keys.say_unreadable(done.unreadable))
        if done.unreadable or done.shared:
            raise CommandError("not every token is as it should be; keep all keys until it is", returncode=1)
        if len(settings.TOKEN_ENCRYPTION_KEYS) > 1:
            self.stdout.write(
                "The other keys can be taken out of it now, if every process was restarted with this one first before. "
                "Keep them where the backups are: those made until now need them."
            )
