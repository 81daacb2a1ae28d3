from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0010_midnights_of_a_day_count"),
    ]

    operations = [
        migrations.AddField(
            model_name="snapshot",
            name="ends_silence",
            field=models.BooleanField(default=False),
        ),
    ]
