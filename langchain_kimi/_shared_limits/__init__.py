"""Rate limits that many processes share by a Redis server.

The counting is one Lua script, `exchange.lua`, which Redis runs as one step: a process reports what it did since its
last call, and the script starts those of its requests whose turn it is. One thread of each process calls it, so that
tasks of all event loops and threads only wait for events of their own process.
"""

from langchain_kimi._shared_limits.redis_server import RedisServer
from langchain_kimi._shared_limits.shared_limits import SharedLimits
from langchain_kimi._shared_limits.shared_slot import SharedSlot
from langchain_kimi._shared_limits.timing import Timing

__all__ = ["RedisServer", "SharedLimits", "SharedSlot", "Timing"]
