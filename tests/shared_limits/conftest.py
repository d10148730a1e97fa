"""What the tests of shared limits have in common."""

from tests.services import own_redis
from tests.shared_limits.workers import account_of

__all__ = ["account_of", "own_redis"]
