from django.urls import path

from . import views

urlpatterns = [
    path("", views.overview, name="overview"),
    path("operations/<slug:slug>/", views.operation, name="operation"),
    path("products/", views.products, name="products"),
    path("products/<int:pk>/", views.product, name="product"),
    path("reports/", views.reports, name="reports"),
    path("reports/<slug:name>.csv", views.report_csv, name="report_csv"),
    path("status/", views.status, name="status"),
    path("healthz", views.healthz, name="healthz"),
]
