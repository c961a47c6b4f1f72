"The exchange's REST side, and where the exchange is"
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .budget import Budget
    from .credentials import Credentials
    from .order_groups import Breaker
    from .rest import Client, PublicClient
    from .transport import Ambiguous, ApiError
    from .venue import Venue, find_venue

_ROOMS = {
    "Ambiguous": "transport", "ApiError": "transport", "Breaker": "order_groups", "Budget": "budget", "Client": "rest",
    "Credentials": "credentials", "PublicClient": "rest", "Venue": "venue", "find_venue": "venue",
}
__all__ = ["Ambiguous", "ApiError", "Breaker", "Budget", "Client", "Credentials", "PublicClient", "Venue", "find_venue"]


def __getattr__(name: str) -> object:
    if name not in _ROOMS: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)


def __dir__() -> list[str]: return __all__
