import re

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter


class Discreet(SafeExceptionReporterFilter):
    """Leaves tokens out of the error pages of development too, and addresses, in which a password may stand."""

    hidden_settings = re.compile("API|AUTH|TOKEN|KEY|SECRET|PASS|SIGNATURE|HTTP_COOKIE|URL|PROXY", re.IGNORECASE)

    def is_active(self, request: HttpRequest | None) -> bool:
        return True
