"""What people may write, and the sentence they get where it can't be taken."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.renderers import BaseRenderer
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import slugify
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from .collecting import operations
from .models import Operation, Product, validate_server
from .tokens import TokenUnreadable

TIME_ZONES = (
    "America/Bogota",
    "America/Argentina/Buenos_Aires",
    "America/Asuncion",
    "America/Caracas",
    "America/Costa_Rica",
    "America/El_Salvador",
    "America/Guatemala",
    "America/Guayaquil",
    "America/La_Paz",
    "America/Lima",
    "America/Managua",
    "America/Mexico_City",
    "America/Montevideo",
    "America/New_York",
    "America/Panama",
    "America/Puerto_Rico",
    "America/Santiago",
    "America/Santo_Domingo",
    "America/Sao_Paulo",
    "America/Tegucigalpa",
    "Europe/Madrid",
)
"""Offered while one types; any other name of a zone is taken too."""

TOKEN_COLUMNS = ("token_encrypted", "token_fingerprint", "vendor_name", "other_vendor_name")
"""What a new token writes: the operation's name at the vendor is learned again with it."""

RESET_COLUMNS = ("reset_after", "reset_before")
"""What a new time zone writes: when the vendor begins its months was seen from the old one's midnight."""


class TimeZoneInput(forms.TextInput):
    """A text field that offers the usual zones."""

    def __init__(self) -> None:
        super().__init__({"list": "time-zones", "class": "vTextField"})

    def render(
        self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: BaseRenderer | None = None
    ) -> SafeString:
        field = super().render(name, value, attrs, renderer)
        offered = format_html_join("", '<option value="{}">', ((zone,) for zone in TIME_ZONES))
        return format_html('{}<datalist id="time-zones">{}</datalist>', field, offered)


class GroupsShown(forms.MultipleHiddenInput):
    """The groups that a page showed, with a word for none: where it stood for nothing, a page that is shown again for
    an error elsewhere would take what was just chosen for what it had shown, and not save it.
    """

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        return super().get_context(name, value or [""], attrs)

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[str]:
        return [group for group in super().value_from_datadict(data, files, name) or () if group]


def describe_token(operation: Operation) -> str:
    """A token as far as it may be shown: its last four."""
    try:
        return gettext("It ends in …%(end)s.") % {"end": operation.token[-4:]}
    except TokenUnreadable:
        return gettext(
            "No key in TOKEN_ENCRYPTION_KEYS opens the stored token, so nothing is polled: "
            "paste the token again, or bring its key back."
        )


class OperationForm(forms.ModelForm):  # type: ignore[type-arg]
    """An operation; its token goes in and never comes out."""

    token = forms.CharField(
        label=_("Token"),
        # A browser that is told `off` still fills in the administrator's own password here.
        widget=forms.PasswordInput({"autocomplete": "new-password", "class": "vTextField", "spellcheck": "false"}),
        help_text=_(
            "Make it in wolkvox Manager (Configuration > Integrations > Tokens), allow this server's IP address there "
            "and paste it here. It is stored encrypted and never shown again."
        ),
    )

    class Meta:
        model = Operation
        fields = ("name", "slug", "server", "time_zone", "is_active", "groups")
        widgets = {"time_zone": TimeZoneInput, "groups": forms.CheckboxSelectMultiple}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "token" in self.fields:
            kept = gettext("Leave it empty to keep it.")
            self.fields["token"].required = False
            self.fields["token"].help_text = f"{describe_token(self.instance)} {kept}"
        is_orphaned = self.instance.pk and self.instance.is_kept_to_groups and not self.instance.groups.exists()
        if "groups" in self.fields and is_orphaned:
            self.fields["groups"].help_text = gettext(
                "Its groups were deleted, so administrators alone see it: choose others. To open it to everyone with a "
                "role, save it with any group, and then with none."
            )
        if "server" in self.fields:  # one sentence, not a second one of its length
            self.fields["server"].validators = [validate_server]
            # Above a password field, a browser would take it for the name of an account.
            self.fields["server"].widget.attrs["autocomplete"] = "off"
        for name in ("name", "slug", "server", "time_zone", "is_active", "groups"):
            if self.instance.pk and name in self.fields:  # what another changed meanwhile is no change of this page's
                self.fields[name].show_hidden_initial = True
        if "groups" in self.fields:
            self.fields["groups"].hidden_widget = GroupsShown
        if not self.instance.pk:
            self.fields["slug"].required = False
            self.fields["slug"].help_text = gettext(
                "Its name in addresses and in CSV, for good: made from the name where this is empty."
            )

    def clean_slug(self) -> str:
        slug: str = self.cleaned_data["slug"] or slugify(self.cleaned_data.get("name", ""))
        if not slug and "name" in self.cleaned_data:
            raise ValidationError(gettext("The name has no letters for it: write one of letters, digits and hyphens."))
        return slug

    def clean_time_zone(self) -> str:
        if "time_zone" in self.changed_data:
            self.instance.reset_after = self.instance.reset_before = None
        return str(self.cleaned_data["time_zone"])

    @sensitive_variables("token")
    def clean_token(self) -> str:
        token: str = self.cleaned_data["token"]
        if token:
            try:
                operations.set_token(self.instance, token)
            except (ValueError, operations.TokenTaken) as error:
                raise ValidationError(str(error)) from None
        return token

    def _save_m2m(self) -> None:
        if "groups" in self.changed_data:
            super()._save_m2m()  # type: ignore[misc]

    @property
    def columns(self) -> list[str]:
        """The columns that a change writes: none but its own, since a worker writes the others meanwhile."""
        changed = [name for name in self.changed_data if name not in ("token", "groups")]
        changed += TOKEN_COLUMNS if self.cleaned_data.get("token") else ()
        return [*changed, *(RESET_COLUMNS if "time_zone" in changed else ())]


class ProductForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Product
        fields = ("name", "unit", "kind", "licensed_by", "is_counted")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("licensed_by") and cleaned.get("kind") != Product.Kind.USAGE:
            self.add_error("licensed_by", gettext("Only usage is held against licences: leave this empty."))
        if self.instance.kind == Product.Kind.LICENCES != cleaned.get("kind") and self.instance.licenses.exists():
            said = gettext("Usage is held against it: choose other licences for %(products)s first.")
            names = ", ".join(self.instance.licenses.values_list("name", flat=True))
            self.add_error("kind", said % {"products": names})
        return cleaned
