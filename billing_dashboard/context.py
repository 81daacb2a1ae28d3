from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _


def notice(request: HttpRequest) -> dict[str, str]:
    """The line that stands on every page, in the reader's language where it is one of ours."""
    return {"notice": _(settings.NOTICE) if settings.NOTICE else ""}
