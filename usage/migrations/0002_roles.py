"""The three roles. A role's permissions may be changed in admin afterwards: no later migration resets them."""

from typing import Any

from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Q

ROLES = {
    "Managers": Q(content_type__app_label="usage", codename="view_pages"),
    "Finance": Q(content_type__app_label="usage", codename__in=["view_pages", "download_reports"]),
    "Administrators": Q(content_type__app_label="usage")
    | Q(content_type__app_label="auth", content_type__model="user")
    | Q(content_type__app_label="auth", codename__in=["add_group", "change_group", "view_group"]),
}


def make_permissions(apps: Any, alias: str) -> None:
    """Those of `usage` and `auth`: Django itself makes them only after the last migration."""
    for label in ("usage", "auth"):
        config = apps.get_app_config(label)
        config.models_module = True
        create_permissions(config, apps=apps, using=alias, verbosity=0)
        config.models_module = None


def add_roles(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    alias = schema_editor.connection.alias
    make_permissions(apps, alias)
    groups = apps.get_model("auth", "Group").objects.using(alias)
    permissions = apps.get_model("auth", "Permission").objects.using(alias)
    for name, granted in ROLES.items():
        groups.get_or_create(name=name)[0].permissions.add(*permissions.filter(granted))


def remove_roles(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("auth", "Group").objects.using(schema_editor.connection.alias).filter(name__in=ROLES).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(add_roles, remove_roles)]
