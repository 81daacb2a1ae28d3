from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class UsageConfig(AppConfig):
    name = "usage"
    verbose_name = _("Operations and usage")

    def ready(self) -> None:
        from . import checks, connections  # noqa: F401  registers what they hold
