"What may leave, what is at stake, when to halt"
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .halts import RULES, Halt, Halts
    from .limits import Day, Exposure, Limits, check_order, mark_price

__all__ = ["RULES", "Day", "Exposure", "Halt", "Halts", "Limits", "check_order", "mark_price"]


def __getattr__(name: str) -> object:
    if name not in __all__: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import halts, limits

    return getattr(halts if name in halts.__all__ else limits, name)


def __dir__() -> list[str]: return __all__
