"""The three roles that the migration makes, and what admin as a whole offers."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from django.urls import reverse

from tests.admin.conftest import page
from tests.conftest import make_operation, make_user, text
from usage.models import Operation

pytestmark = pytest.mark.django_db


def test_the_roles_may_what_they_should(db: None) -> None:
    roles = {
        group.name: {f"{one.content_type.app_label}.{one.codename}" for one in group.permissions.all()}
        for group in Group.objects.prefetch_related("permissions__content_type")
    }
    assert roles["Managers"] == {"usage.view_pages"}
    assert roles["Finance"] == {"usage.view_pages", "usage.download_reports"}
    own = {f"usage.{one.codename}" for one in Permission.objects.filter(content_type__app_label="usage")}
    people = {f"auth.{act}_user" for act in ("view", "add", "change", "delete")} | {
        f"auth.{act}_group" for act in ("view", "add", "change")
    }
    assert roles["Administrators"] == own | people
    assert roles["Finance"] < own


@pytest.mark.django_db(transaction=True)
def test_the_roles_come_and_go_with_their_migration_and_stand_what_is_there() -> None:
    def migrate(to: str, *, fake: bool = False) -> set[str]:
        MigrationExecutor(connection).migrate([("usage", to)], fake=fake)
        return set(Group.objects.values_list("name", flat=True))

    roles = {"Managers", "Finance", "Administrators"}
    migrate("0001_initial", fake=True)
    Permission.objects.filter(content_type__app_label="usage").delete()  # as before the first migration
    assert migrate("0002_roles") == roles
    assert Group.objects.get(name="Managers").permissions.get().codename == "view_pages"
    migrate("0001_initial", fake=True)
    assert migrate("0002_roles") == roles
    assert not migrate("0001_initial")
    assert migrate("0002_roles") == roles


def test_admin_leads_back_to_the_pages(admin: Client) -> None:
    html = admin.get("/admin/").content.decode()
    assert "Billing Dashboard" in html
    assert f'href="{reverse("overview")}"' in html
    assert admin.get("/admin/usage/operation/?token_encrypted__startswith=g").status_code == 400


def test_no_address_of_the_admins_tells_of_an_operation_that_is_kept_to_others(client: Client) -> None:
    kept = make_operation("Secreta", groups=["Others"])
    manager = make_user("manager", "Managers")
    manager.is_staff = True
    manager.save()
    client.force_login(manager)
    assert client.get(f"/admin/r/{ContentType.objects.get_for_model(Operation).pk}/{kept.pk}/").status_code == 404
    client.force_login(make_user("administrator", "Administrators"))
    assert f'href="{kept.get_absolute_url()}"' in text(client.get(page(kept)))
