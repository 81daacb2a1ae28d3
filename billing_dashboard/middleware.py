from collections.abc import Callable

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _


def refuse_nul(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """A NUL in an address of the admin is a 400: Django would hand it to PostgreSQL, which takes none in a text."""

    def respond(request: HttpRequest) -> HttpResponse:
        is_admin = request.path.startswith(reverse("admin:index"))
        if is_admin and any("\0" in text for values in request.GET.lists() for text in (values[0], *values[1])):
            raise BadRequest(_("An address can't hold a NUL character."))
        return get_response(request)

    return respond
