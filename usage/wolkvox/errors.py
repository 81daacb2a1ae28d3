"""What can go wrong with a call to the vendor, each under a class of its own.

VendorError
├── NoAnswer                 nothing came back that could be read
│   ├── TimedOut             timed_out          the total deadline passed
│   ├── NotReached           not_reached        DNS, refused, reset
│   ├── TlsFailed            tls_failed         certificate or handshake
│   └── Redirected           redirected         any 3xx; none is followed
├── Refusal                  the vendor answered with an error
│   ├── TokenRefused         token_refused      401, or 403 PLEASE VALIDATE TOKEN
│   ├── QuotaExceeded        quota_exceeded     403 TOKEN LIMIT EXCEEDED
│   ├── TooManyAtOnce        too_many_at_once   403 EXCEEDS THE LIMIT OF SIMULTANEOUS REQUESTS
│   ├── UnderMaintenance     maintenance        403 with any other message
│   ├── RateLimited          rate_limited       429
│   ├── NoData               no_data            404, or an answer without rows: never zero usage
│   ├── RequestRefused       request_refused    400 and other 4xx
│   └── ServerFailed         server_failed      5xx
└── BadAnswer                an answer came back that can't be accepted
    ├── AnswerTooLarge       answer_too_large   bytes, rows or structure over the cap
    ├── AnswerUnreadable     answer_unreadable  not JSON, cut short, wrong type or shape
    └── AnswerRefused        answer_refused     the right shape, but a row can't be accepted
"""

from datetime import timedelta
from typing import ClassVar

from usage.wolkvox.blackening import blackened
from usage.wolkvox.text import _, cleaned

_MESSAGE_LENGTH = 500
_EXCERPT_LENGTH = 300
_CODE_LENGTH = 20
# A text is cut from this many bytes or characters, so that one of megabytes isn't decoded or cleaned for a line of it.
_QUOTED = 4096


class VendorError(Exception):
    """A call that gave no figures. Raised as one of the concrete classes in `OUTCOMES`, never as itself.

    `outcome` is the slug that is stored, `title` and `advice` are English and marked for translation. Whether it
    `passes` by itself is said before the advice, in one sentence for all. `message` is the vendor's words or ours,
    `code` the vendor's code as text. While `is_under_way`, the vendor may still be at work on the call, whose answer
    didn't come whole.
    """

    outcome: ClassVar[str]
    title: ClassVar[str]
    advice: ClassVar[str]
    passes: ClassVar[bool] = True

    def __init__(
        self,
        message: str = "",
        *,
        http_status: int | None = None,
        code: str = "",
        retry_after: timedelta | None = None,
        excerpt: str = "",
        token: str = "",
        is_under_way: bool = False,
    ) -> None:
        """All texts are cleaned, shortened, and have the token blacked out; it isn't kept."""
        self.message = _presentable(message, token, _MESSAGE_LENGTH)
        self.excerpt = _presentable(excerpt, token, _EXCERPT_LENGTH)
        self.code = _presentable(code, token, _CODE_LENGTH)
        self.http_status = http_status
        self.retry_after = retry_after
        self.is_under_way = is_under_way
        super().__init__(self.message)

    def quoting(self, body: bytes, token: str = "") -> "VendorError":
        """This error, with the beginning of a body as its excerpt, the token blacked out."""
        self.excerpt = _presentable(quotable(body), token, _EXCERPT_LENGTH)
        return self


class NoAnswer(VendorError):
    """Nothing came back that could be read."""


class TimedOut(NoAnswer):
    outcome = "timed_out"
    title = _("Timed out")
    advice = _("If it lasts, allow this server's IP address in wolkvox Manager: others get no answer.")


class NotReached(NoAnswer):
    outcome = "not_reached"
    title = _("Not reached")
    advice = _("If it lasts, check the server number and this server's network.")


class TlsFailed(NoAnswer):
    outcome = "tls_failed"
    title = _("Secure connection failed")
    advice = _("If it lasts, check this server's clock and wolkvox's certificate; no open connection is tried instead.")


class Redirected(NoAnswer):
    outcome = "redirected"
    title = _("Redirected")
    advice = _("The token was not sent on to the other address; if it lasts, check the server number.")


class Refusal(VendorError):
    """The vendor answered with an error of its own."""


class TokenRefused(Refusal):
    outcome = "token_refused"
    title = _("Token refused")
    advice = _("Paste a valid token for this operation.")
    passes = False


class QuotaExceeded(Refusal):
    outcome = "quota_exceeded"
    title = _("Daily calls used up")
    advice = _("Calls are free again when the vendor's day ends; if it comes back, poll fewer feeds, or less often.")


class TooManyAtOnce(Refusal):
    outcome = "too_many_at_once"
    title = _("Token in use elsewhere")
    advice = _("If it lasts, another program uses the same token: give each its own.")


class UnderMaintenance(Refusal):
    outcome = "maintenance"
    title = _("Under maintenance")
    advice = _("The vendor switches the API off now and then: there is nothing to do.")


class RateLimited(Refusal):
    outcome = "rate_limited"
    title = _("Asked too often")
    advice = _("The vendor asks for a pause; if it comes back, choose longer intervals.")


class NoData(Refusal):
    outcome = "no_data"
    title = _("No data")
    advice = _("The vendor has no figures for this month yet, which is not zero usage: there is nothing to do.")


class RequestRefused(Refusal):
    outcome = "request_refused"
    title = _("Request refused")
    advice = _("Check whether the vendor still offers this API: it did not understand the request.")
    passes = False


class ServerFailed(Refusal):
    outcome = "server_failed"
    title = _("Vendor's server failed")
    advice = _("The fault is the vendor's; if it lasts, ask its support.")


class BadAnswer(VendorError):
    """An answer came back that can't be accepted. No figure changes."""


class AnswerTooLarge(BadAnswer):
    outcome = "answer_too_large"
    title = _("Answer too large")
    advice = _("Nothing of it was used; if it lasts, tell the developers.")


class AnswerUnreadable(BadAnswer):
    outcome = "answer_unreadable"
    title = _("Answer unreadable")
    advice = _("Nothing of it was used; if it lasts, tell the developers.")


class AnswerRefused(BadAnswer):
    outcome = "answer_refused"
    title = _("Answer not accepted")
    advice = _("One bad row refuses the whole answer, so no figure changed; if it lasts, tell the developers.")


OUTCOMES: dict[str, type[VendorError]] = {
    error.outcome: error for group in VendorError.__subclasses__() for error in group.__subclasses__()
}

# The documented messages of a 403, by the part of each that won't change with its numbers.
_FORBIDDEN: dict[str, type[VendorError]] = {
    "TOKEN LIMIT": QuotaExceeded,
    "SIMULTANEOUS": TooManyAtOnce,
    "VALIDATE TOKEN": TokenRefused,
}
_BY_STATUS: dict[int, type[VendorError]] = {401: TokenRefused, 404: NoData, 429: RateLimited}


def refusal(
    status: int,
    error: str,
    message: str,
    *,
    http_status: int | None = None,
    code: str = "",
    retry_after: timedelta | None = None,
    excerpt: str = "",
    token: str = "",
) -> VendorError:
    """The error that a status (HTTP's, or the code in a body) and its texts stand for.

    `http_status` is the HTTP status where the two differ, `code` the code in the body where there was one.
    A status that stands for no error gives AnswerUnreadable.
    """
    words = ": ".join(text for text in (error, message) if text)
    return _class_of(status, words)(
        words or f"The vendor answered {status}.",
        http_status=status if http_status is None else http_status,
        code=code or str(status),
        retry_after=retry_after,
        excerpt=excerpt,
        token=token,
        is_under_way=status == 504,  # a gateway gave up waiting, which the vendor behind it needn't know
    )


def quotable(body: bytes) -> str:
    """The beginning of a body as text, for an excerpt."""
    return body[:_QUOTED].decode("utf-8", "replace")


def _class_of(status: int, words: str) -> type[VendorError]:
    if status == 403:
        known = (found for part, found in _FORBIDDEN.items() if part in cleaned(words).upper())
        return next(known, UnderMaintenance)
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 400 <= status < 500:
        return RequestRefused
    return ServerFailed if 500 <= status < 600 else AnswerUnreadable


def _presentable(text: str, token: str, length: int) -> str:
    """Cleaned, then without the token, then cut: in this order no part of the token is left."""
    shown = blackened(cleaned(text[:_QUOTED]), token)
    return shown if len(shown) <= length else shown[: length - 1] + "…"
