from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0004_quota"),
    ]

    operations = [
        migrations.AddField(
            model_name="operation",
            name="clock_skew",
            field=models.IntegerField(default=0, editable=False),
        ),
    ]
