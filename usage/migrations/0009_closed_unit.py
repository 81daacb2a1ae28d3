from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import OuterRef, Subquery


def keep_units(apps: Apps, _: BaseDatabaseSchemaEditor) -> None:
    """Months that are closed already keep the unit that they are shown in now."""
    months, products = apps.get_model("usage", "MonthlyUsage"), apps.get_model("usage", "Product")
    unit = products.objects.filter(pk=OuterRef("product")).values("unit")
    months.objects.filter(state="closed").update(closed_unit=Subquery(unit))


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0008_polls_that_left"),
    ]

    operations = [
        migrations.AddField(
            model_name="monthlyusage",
            name="closed_unit",
            field=models.CharField(blank=True, max_length=40),
        ),
        migrations.RunPython(keep_units, migrations.RunPython.noop, elidable=True),
    ]
