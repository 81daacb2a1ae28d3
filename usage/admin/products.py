from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from usage.collecting import rebuilding
from usage.forms import ProductForm
from usage.models import Feed, Product


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What products are called and held against. Polls make them, and figures stand on them."""

    form = ProductForm
    fields = ("api", "description", "name", "unit", "kind", "licensed_by", "is_counted")
    readonly_fields = ("api", "description")
    list_display = ("name", "api", "description", "kind", "its_unit", "licensed_by", "is_counted")
    list_filter = ("kind", "is_counted", "api")
    list_select_related = ("licensed_by",)
    search_fields = ("name", "description")

    @admin.display(description=_("unit"))
    def its_unit(self, product: Product) -> str:
        return gettext(product.unit) if product.unit else "-"

    def view_on_site(self, product: Product) -> str:
        return product.get_absolute_url()

    def save_model(self, request: HttpRequest, obj: Product, form: ProductForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if "kind" in form.changed_data:
            for feed in Feed.objects.filter(api=obj.api).select_related("operation"):
                rebuilding.refold(feed)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Product | None = None) -> bool:
        return False
