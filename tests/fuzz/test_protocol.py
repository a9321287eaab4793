"""The protocol's state machine, for as long as a test may take."""

from hypothesis import HealthCheck, settings

from tests.fuzz.protocol import ProtocolMachine

TestProtocol = ProtocolMachine.TestCase
TestProtocol.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
