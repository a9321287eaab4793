from siwatsystem import errors


def family(cls: type[errors.SiwatError] = errors.SiwatError) -> list[type[errors.SiwatError]]:
    """The classes of the module; rooms that other tests load may have made some of their own."""
    subclasses = [sub for sub in cls.__subclasses__() if sub.__module__ == errors.__name__]
    return [cls, *(found for sub in subclasses for found in family(sub))]


def test_every_error_has_a_code_of_the_closed_list_and_a_default_message():
    for cls in family():
        assert cls.code in errors.ERROR_CODES
        assert cls.__doc__ is not None
        message = cls().message
        assert message
        assert not message.endswith(".")


def test_every_code_of_the_contract_is_there():
    promised = """invalid_json invalid_message unknown_type unknown_subscription max_streams_reached
        stream_unreachable stream_unauthorized stream_lost model_download_failed model_invalid
        model_refused action_failed outbox_full overloaded"""
    assert set(promised.split()) <= set(errors.ERROR_CODES)
    assert {cls.code for cls in family()} == set(errors.ERROR_CODES)


def test_what_rests_and_what_is_tried_again():
    assert errors.StreamUnauthorized.permanent
    assert errors.StreamNotFound.permanent
    assert errors.ModelRefused.permanent
    assert not errors.StreamUnreachable.permanent
    assert not errors.StreamLost.permanent
    assert not errors.ModelDownloadFailed.permanent


def test_half_characters_are_shown_escaped():
    error = errors.SiwatError("no branch '\udfff' of ที่จอดรถ")
    assert error.message == r"no branch '\udfff' of ที่จอดรถ"
    assert str(error).encode()


def test_a_text_that_is_too_long_is_cut():
    assert len(errors.SiwatError("x" * 100_000).message) == errors.MOST_TEXT + 1
