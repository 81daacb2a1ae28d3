from datetime import date

from django.urls import path, register_converter

from . import views


class Day:
    """A day in an address, such as 2026-11-05."""

    regex = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
    to_python = staticmethod(date.fromisoformat)
    to_url = staticmethod(date.isoformat)


register_converter(Day, "day")

urlpatterns = [
    path("", views.overview, name="overview"),
    path("operations/<slug:slug>/", views.operation, name="operation"),
    path("operations/<slug:slug>/year/", views.year, name="year"),
    path("operations/<slug:slug>/products/<int:pk>/<day:day>/", views.day, name="day"),
    path("products/", views.products, name="products"),
    path("products/<int:pk>/", views.product, name="product"),
    path("reports/", views.reports, name="reports"),
    path("reports/<slug:name>.csv", views.report_csv, name="report_csv"),
    path("status/", views.status, name="status"),
    path("healthz", views.healthz, name="healthz"),
]
