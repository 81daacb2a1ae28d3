"""The vendor's 27 billing APIs, in the order of its documents (`vendor-api.md`, "The 27 billing APIs")."""

from dataclasses import dataclass
from enum import StrEnum

from usage.wolkvox.text import _


class Kind(StrEnum):
    """What an API's figures are: a count that grows through the month, or a gauge."""

    USAGE = "usage"
    LICENCES = "licences"
    ACTIVE_COUNT = "active count"


@dataclass(frozen=True)
class Api:
    """One billing API. `title` and `unit` are English and marked for translation.

    `unit` is that of the parsed items, so a duration's is seconds. `licensed_by` names the API whose licences
    the vendor holds this one's usage against; None where its documents name none.
    """

    name: str
    title: str
    kind: Kind
    unit: str
    licensed_by: str | None


def _usage(name: str, title: str, unit: str, licensed_by: str | None = None) -> Api:
    return Api(name, title, Kind.USAGE, unit, licensed_by)


def _licences(name: str, title: str) -> Api:
    return Api(name, title, Kind.LICENCES, _("licences"), None)


def _connectors(name: str, title: str) -> Api:
    return Api(name, title, Kind.ACTIVE_COUNT, _("connectors"), None)


APIS: dict[str, Api] = {
    api.name: api
    for api in (
        _licences("agent_script", _("Agent Script licences")),
        _licences("intelligent_dial", _("Smart-dial licences")),
        _licences("gamification", _("Gamification licences")),
        _usage("ivr_minutes", _("IVR minutes"), _("minutes")),
        _usage("rec_minutes", _("IVR recording minutes"), _("minutes")),
        _licences("amazon_s3", _("S3 storage licences")),
        _licences("rsync", _("External storage licences")),
        _usage("rsync_s3_mp3", _("Audios copied to S3"), _("audios")),
        _usage("rec_screen", _("Screen recording time"), _("seconds")),
        _usage("interactions", _("Omnibox interactions"), _("interactions"), "interaction_licenses"),
        _usage("rec_screen_on_demand", _("On-demand screen recording time"), _("seconds")),
        _usage("speech_analytics", _("On-demand voice analysis time"), _("seconds")),
        _connectors("wp_connectors", _("WhatsApp mobile connectors")),
        _usage("sentiment_analysis", _("Sentiment analyses"), _("analyses")),
        _licences("chat_licenses", _("Chat licences")),
        _licences("interaction_licenses", _("Interaction licences")),
        _licences("video_call", _("Video call licences")),
        _licences("pbx_licenses", _("PBX licences")),
        _usage("ivr_calls", _("IVR calls"), _("calls")),
        _usage("asr_calls", _("Speech recognition plays"), _("plays")),
        _usage("vision", _("Studio Vision uses"), _("uses")),
        _usage("tts_chars", _("Text-to-speech characters"), _("characters")),
        _connectors("wp_connectors_official", _("WhatsApp Business connectors")),
        _licences("contact_center_licenses", _("Contact centre licences")),
        _usage("amd_ai", _("AI answering machine detections"), _("detections")),
        _usage("stereo_rec", _("Stereo recording minutes"), _("minutes")),
        _usage("nlp_ai", _("NLP uses"), _("uses")),
    )
}
