"""Where operations live: their tokens, what is polled of them, and what came of it."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from . import operations, polls, products

__all__ = ["operations", "polls", "products"]

admin.site.site_title = admin.site.site_header = _("Billing Dashboard")
admin.site.index_title = _("Administration")
