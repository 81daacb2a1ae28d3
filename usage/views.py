"""Parse, ask `presenting`, render. What is wrong with an address is said in a sentence, as 400 or 404."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from datetime import date, datetime
from enum import StrEnum
from functools import wraps
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import Error as DatabaseFailure
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import Resolver404
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe

from usage.models import Operation, OperationQuerySet, Product
from usage.presenting import charts, days, feeds, filters, queries, words, years
from usage.presenting import reports as csv
from usage.presenting.comparing import Align, Comparison, Per
from usage.presenting.figures import Months, choose_month, month_before
from usage.presenting.operation import operation_page
from usage.presenting.overview import operation_months
from usage.presenting.products import api_totals, product_page

View = Callable[..., HttpResponse]
Choice = TypeVar("Choice", bound=StrEnum)

FORM_TOKEN = re.compile(rb'"csrfmiddlewaretoken" value="[^"]+')

NAMED_MONTHS = 12
"""How many of the months with figures a 404 names."""


# Who and which


def page(view: View) -> View:
    """A page for people with a role: compressed, and kept by nobody but their browser."""

    @wraps(view)
    def allowed(request: HttpRequest, **parts: Any) -> HttpResponse:
        require(request, "usage.view_pages")
        return view(request, **parts)

    return require_safe(cache_control(private=True, no_cache=True)(gzip_page(unless_unchanged(allowed))))


def unless_unchanged(view: View) -> View:
    """A page that the browser has already is a 304: what differs in it is at most the tokens of its forms.

    It is made all the same, so that no change can be missed; only their secret's change makes it another page.
    """

    @wraps(view)
    def answered(request: HttpRequest, **parts: Any) -> HttpResponse:
        response = view(request, **parts)
        content = FORM_TOKEN.sub(b"", response.content) + request.META.get("CSRF_COOKIE", "").encode()
        response["ETag"] = f'W/"{hashlib.sha256(content).hexdigest()}"'
        return get_conditional_response(request, etag=response["ETag"], response=response) or response

    return answered


def require(request: HttpRequest, permission: str) -> None:
    if request.user.has_perm(permission):
        return
    if permission == "usage.download_reports" and request.user.has_perm("usage.view_pages"):
        raise PermissionDenied(_("Reports are for the Finance role. Ask an administrator if you need them."))
    raise PermissionDenied(_("Your account has no role yet. Ask an administrator to give it one."))


def visible(request: HttpRequest) -> OperationQuerySet:
    return Operation.objects.visible_to(request.user)


def operation_with_months(request: HttpRequest, slug: str) -> tuple[Operation, list[date]]:
    found = queries.operation_with_months(visible(request), slug)
    if found is None:
        raise Http404(_("There is no operation at this address, or it is not open to you."))
    return found


def asked_year(request: HttpRequest) -> int | None:
    text = request.GET.get("year")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{4}", text) or text == "0000":
        raise BadRequest(_("A year in an address is four digits, such as ?year=2026."))
    return int(text)


def no_such_year(asked: int, known: Iterable[date]) -> str:
    return _("There are no figures for %(year)s. The years with figures: %(known)s.") % {
        "year": asked,
        "known": ", ".join(sorted({f"{month.year}" for month in known}, reverse=True)),
    }


def asked_month(request: HttpRequest, name: str = "month") -> date | None:
    text = request.GET.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", text) or text < "0001":
        raise BadRequest(_("A month in an address is a year and a month, such as ?%(name)s=2026-11.") % {"name": name})
    return date(int(text[:4]), int(text[5:]), 1)


def months(request: HttpRequest, known: Iterable[date], zone: ZoneInfo | None = None) -> Months:
    """The month of a page, which must be one with figures."""
    known = list(known)
    asked = asked_month(request)
    if asked and asked not in known:
        raise Http404(no_such_month(asked, known))
    return choose_month(asked, known, timezone.localdate(timezone=zone))


def one_of(choices: type[Choice], request: HttpRequest, name: str) -> Choice:
    """What the address says of `name`: the first choice where it says nothing."""
    text = request.GET.get(name)
    if text is None:
        return next(iter(choices))
    try:
        return choices(text)
    except ValueError:
        named = ", ".join(f"?{name}={choice}" for choice in choices if choice)
        raise BadRequest(_("What can be asked for here: %(choices)s.") % {"choices": named}) from None


def comparison(request: HttpRequest, months: Months) -> Comparison:
    """What a page's month is held against: the month before, unless another one is asked for.

    The month before the first one with figures is what that was held against, so an address may still name it.
    """
    against = asked_month(request, "against")
    if against and against not in (months.before, *map(month_before, months.known), *months.known):
        raise Http404(no_such_month(against, months.known))
    return Comparison(
        months.chosen,
        against if against in months.others else months.before,
        by_weekday=one_of(Align, request, "align") is Align.WEEKDAY,
        per_licence=one_of(Per, request, "per") is Per.LICENCE,
    )


def no_such_month(asked: date, known: Iterable[date]) -> str:
    names = [words.month_year(month) for month in sorted(known, reverse=True)]
    if not names:
        return _("There are no figures for %(month)s, nor for any other month yet.") % {
            "month": words.month_year(asked)
        }
    return _("There are no figures for %(month)s. The latest months with figures: %(known)s.") % {
        "month": words.month_year(asked),
        "known": ", ".join(names[:NAMED_MONTHS]),
    }


def show(request: HttpRequest, template: str, now: datetime, **context: Any) -> HttpResponse:
    return render(request, f"usage/{template}.html", {"now": now, "renews": True, **context})


# Pages


@page
def overview(request: HttpRequest) -> HttpResponse:
    now, operations = timezone.now(), visible(request)
    chosen = months(request, queries.months_of(operations))
    asked = filters.Asked(
        search=" ".join(request.GET.get("q", "").split()),
        show=one_of(filters.Show, request, "show"),
        sort=one_of(filters.Sort, request, "sort"),
    )
    found = filters.overview(operation_months(operations, chosen.chosen, now), asked)
    return show(request, "overview", now, months=chosen, overview=found)


@page
def operation(request: HttpRequest, slug: str) -> HttpResponse:
    now = timezone.now()
    its, known = operation_with_months(request, slug)
    chosen = months(request, known, its.zone)
    read = operation_page(its, chosen.chosen, now, comparison(request, chosen))
    return show(request, "operation", now, months=chosen, page=read, charts=charts.operation_charts(read))


@page
def year(request: HttpRequest, slug: str) -> HttpResponse:
    now = timezone.now()
    its, known = operation_with_months(request, slug)
    today = timezone.localdate(timezone=its.zone)
    default = choose_month(None, known, today).chosen.year
    asked = asked_year(request)
    if asked and asked not in {default, *(month.year for month in known)}:
        raise Http404(no_such_year(asked, known))
    read = years.operation_year(its, asked or default, known, now)
    return show(request, "year", now, page=read, charts=charts.year_charts(read))


@page
def day(request: HttpRequest, slug: str, pk: int, day: date) -> HttpResponse:
    now = timezone.now()
    found = days.feed_with_months(visible(request), slug, pk)
    if found is None:
        raise Http404(_("There is no such product in an operation that is open to you."))
    feed, known = found
    if day.replace(day=1) not in known:
        raise Http404(no_such_month(day.replace(day=1), known))
    chosen = choose_month(day.replace(day=1), known, timezone.localdate(timezone=feed.operation.zone))
    return show(request, "day", now, months=chosen, page=days.day_page(feed, pk, day, known, now))


@page
def products(request: HttpRequest) -> HttpResponse:
    now, operations = timezone.now(), visible(request)
    chosen = months(request, queries.months_of(operations))
    apis = api_totals(operations, chosen.chosen)
    return show(request, "products", now, months=chosen, apis=apis, operations=operations)


@page
def product(request: HttpRequest, pk: int) -> HttpResponse:
    now, operations = timezone.now(), visible(request)
    its = Product.objects.filter(pk=pk).first()
    known = queries.months_of(operations, its) if its else []
    if its is None or not known:
        raise Http404(_("There is no product at this address, or none that is open to you."))
    chosen = months(request, known)
    held = comparison(request, chosen)
    rows = product_page(its, operations, chosen.chosen, now, held)
    its = rows[0].product if rows else its  # as it was at the closing
    lines = charts.lines_of(rows)
    looks = {
        "is_unfinished": any(row.unfinished for row in lines),
        "is_reckoned": any(row.usage.reckoned_days for row in lines),
    }
    drawn = {"comparison": charts.comparison(lines)}
    parts = {"product": its, "rows": rows, "lines": lines, "comparison": held, "charts": drawn, **looks}
    return show(request, "product", now, months=chosen, **parts)


@page
def status(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    return show(request, "status", now, status=feeds.status(visible(request), now))


# Reports


@require_safe
@cache_control(private=True, no_cache=True)
@gzip_page
def reports(request: HttpRequest) -> HttpResponse:
    require(request, "usage.download_reports")
    now, operations = timezone.now(), visible(request)
    chosen = months(request, queries.months_of(operations))
    picked = asked_products(request, operations) or []
    return show(
        request,
        "reports",
        now,
        months=chosen,
        renews=False,
        reports=[words.report(name, columns) for name, columns in csv.COLUMNS.items()],
        operations=operations.only("name", "slug"),
        products=queries.products_with_figures(operations, chosen.chosen, picked),
        picked_operations={operation.slug for operation in asked_operations(request, operations)},
        picked_products=picked,
    )


@require_safe
def report_csv(request: HttpRequest, name: str) -> StreamingHttpResponse:
    require(request, "usage.download_reports")
    if name not in csv.COLUMNS:
        raise Http404(_("There is no such report. There are: %(names)s.") % {"names": ", ".join(csv.COLUMNS)})
    dialect = request.GET.get("dialect", "")
    if dialect not in csv.DIALECTS:
        raise BadRequest(_("A dialect is excel-es, or none at all for a plain CSV."))
    operations = visible(request)
    month = report_month(request, operations)
    stream = csv.stream(
        name,
        month=month,
        operations=asked_operations(request, operations),
        now=timezone.now(),
        products=asked_products(request, operations),
        dialect=dialect,
    )
    return StreamingHttpResponse(
        stream,
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{name}-{month:%Y-%m}.csv"',
            "Cache-Control": "private, no-store",
        },
    )


def report_month(request: HttpRequest, operations: OperationQuerySet) -> date:
    """The current month unless another one is asked for, which must have figures."""
    asked = asked_month(request)
    if asked is None:
        return timezone.localdate().replace(day=1)
    known = queries.months_of(operations)
    if asked not in known:
        raise Http404(no_such_month(asked, known))
    return asked


def asked_operations(request: HttpRequest, operations: OperationQuerySet) -> OperationQuerySet:
    """Those of ?operation=, else all."""
    slugs = set(request.GET.getlist("operation"))
    if not slugs:
        return operations
    picked = operations.filter(slug__in=[slug for slug in slugs if re.fullmatch(r"[-\w]{1,100}", slug, re.ASCII)])
    if picked.count() < len(slugs):
        raise Http404(_("An operation in this address does not exist, or is not open to you."))
    return picked


def asked_products(request: HttpRequest, operations: OperationQuerySet) -> list[int] | None:
    """The ids of ?product=; None stands for all."""
    texts = set(request.GET.getlist("product"))
    if not texts:
        return None
    if not all(re.fullmatch(r"[0-9]{1,18}", text) for text in texts):
        raise BadRequest(_("A product in an address is a number, such as ?product=12."))
    ids = {int(text) for text in texts}
    if queries.products_with_figures(operations).filter(pk__in=ids).count() < len(ids):
        raise Http404(_("A product in this address does not exist, or has no figures that are open to you."))
    return sorted(ids)


# Without a log-in


@login_not_required
@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """For a monitor: what is wrong, without a name in it."""
    try:
        wrong = feeds.what_is_wrong(timezone.now())
    except DatabaseFailure:
        wrong = _("The database does not answer.")
    return HttpResponse(wrong or "ok", status=503 if wrong else 200, content_type="text/plain; charset=utf-8")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    sentence = said(exception) if isinstance(exception, BadRequest) else ""
    return refuse(
        request, 400, _("This address can't be read"), sentence or _("Something in it is not as it should be.")
    )


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return refuse(request, 403, _("Not open to you"), said(exception) or _("Your role doesn't allow this."))


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    sentence = "" if isinstance(exception, Resolver404) else said(exception)
    return refuse(request, 404, _("Not found"), sentence or _("There is no page at this address."))


def refuse(request: HttpRequest, status: int, title: str, sentence: str) -> HttpResponse:
    return render(request, "error.html", {"title": title, "sentence": sentence}, status=status)


def said(exception: Exception) -> str:
    """The sentence that an exception was raised with."""
    return str(exception.args[0]) if exception.args and isinstance(exception.args[0], str) else ""
