from siwatsystem.usage import UsageMeter


def test_usages_are_percentages_and_a_missing_gpu_is_none():
    meter = UsageMeter()
    for usage in (meter.read(), meter.read()):
        assert 0 <= usage.cpu <= 100
        assert 0 < usage.memory <= 100
        for value in (usage.gpu, usage.gpu_memory):
            assert value is None or 0 <= value <= 100
