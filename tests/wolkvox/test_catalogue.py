from usage.wolkvox.catalogue import APIS, Kind

IN_THE_VENDORS_ORDER = [
    "agent_script",
    "intelligent_dial",
    "gamification",
    "ivr_minutes",
    "rec_minutes",
    "amazon_s3",
    "rsync",
    "rsync_s3_mp3",
    "rec_screen",
    "interactions",
    "rec_screen_on_demand",
    "speech_analytics",
    "wp_connectors",
    "sentiment_analysis",
    "chat_licenses",
    "interaction_licenses",
    "video_call",
    "pbx_licenses",
    "ivr_calls",
    "asr_calls",
    "vision",
    "tts_chars",
    "wp_connectors_official",
    "contact_center_licenses",
    "amd_ai",
    "stereo_rec",
    "nlp_ai",
]


def test_the_catalogue_holds_the_vendors_27_apis_in_its_order() -> None:
    assert list(APIS) == IN_THE_VENDORS_ORDER
    assert [api.name for api in APIS.values()] == IN_THE_VENDORS_ORDER
    assert len(APIS) == 27


def test_ten_apis_tell_licences_two_active_counts_and_fifteen_usage() -> None:
    kinds = [api.kind for api in APIS.values()]
    assert {kind: kinds.count(kind) for kind in Kind} == {
        Kind.USAGE: 15,
        Kind.LICENCES: 10,
        Kind.ACTIVE_COUNT: 2,
    }


def test_only_interactions_are_known_to_be_licensed_by_another_api() -> None:
    licensed = {api.name: api.licensed_by for api in APIS.values() if api.licensed_by}
    assert licensed == {"interactions": "interaction_licenses"}
    assert APIS["interaction_licenses"].kind is Kind.LICENCES


def test_each_api_has_a_title_of_its_own_and_a_unit() -> None:
    assert len({api.title for api in APIS.values()}) == 27
    assert all(api.unit for api in APIS.values())


def test_kinds_are_the_words_of_the_pages_and_the_csv() -> None:
    assert [str(kind) for kind in Kind] == ["usage", "licences", "active count"]
