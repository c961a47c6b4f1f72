"What may leave, what is at stake, when to halt"
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .day import Day
    from .exposure import Exposure, Exposures, mark_price
    from .halts import RULES, Halt, Halts
    from .limits import Limits, check_order

__all__ = ["RULES", "Day", "Exposure", "Exposures", "Halt", "Halts", "Limits", "check_order", "mark_price"]


def __getattr__(name: str) -> object:
    if name not in __all__: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import day, exposure, halts, limits

    return getattr(next(room for room in (exposure, limits, day, halts) if name in room.__all__), name)


def __dir__() -> list[str]: return __all__
