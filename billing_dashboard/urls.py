from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth import views as auth
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import include, path
from django.views.i18n import set_language


def is_without_accounts() -> bool:
    return not get_user_model().objects.exists()


def nowhere(request: HttpRequest, rest: str) -> HttpResponse:
    raise Http404


log_in = auth.LoginView.as_view(
    redirect_authenticated_user=True, extra_context={"is_without_accounts": is_without_accounts}
)

urlpatterns = [
    path("", include("usage.urls")),
    path("admin/r/<path:rest>", nowhere),  # Django's would tell the addresses of what one may not see
    path("admin/", admin.site.urls),
    path("accounts/login/", log_in, name="login"),
    path("accounts/logout/", auth.LogoutView.as_view(), name="logout"),
    path("accounts/language/", login_not_required(set_language), name="set_language"),
]

handler400 = "usage.views.bad_request"
handler403 = "usage.views.permission_denied"
handler404 = "usage.views.page_not_found"
