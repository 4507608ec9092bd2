from tests.netlab import lab

__all__ = ["lab"]
