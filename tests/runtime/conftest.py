from tests.nets import nets

__all__ = ["nets"]
