"""Finds the network in a file that contains more: a larger model, another head, a loss or a metric."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from se_spec import Architecture
from se_weights.dialects import Dialect
from se_weights.errors import AmbiguousPrefix, WeightMismatch
from se_weights.families import network_prefixes
from se_weights.reading.recognition import DialectMatch, closest_matches
from se_weights.reading.unreadable import describe
from se_weights.reading.wrappers import Unwrapped

OUTSIDE = re.compile(
    r"head|^fc|class|arc|margin|loss|crit|metric|acc|auroc|auc|f1|proj|pred|logit|cos|linear|mlp|aux|decoder|embed|center",
    re.IGNORECASE,
)
"""What the name of a module contains that is outside a network: a head, a loss, a metric."""

INSIDE = re.compile(r"norm|bn|pool|drop", re.IGNORECASE)
"""What it contains if the module is applied before the classifier, such as timm's `fc_norm`. A module whose name tells
neither may be a part of the network too, which computes another function without it."""

MAX_SEARCHED, MAX_PREFIXES = 20_000, 16
"""Tensors of a larger model in which a network is looked for, and the number of prefixes that are tried."""


def network_inside(
    path: Path,
    unwrapped: Unwrapped,
    dialects: Sequence[Dialect],
    find: Callable[[Unwrapped], list[DialectMatch]],
    known: Callable[[Unwrapped], Architecture | str | None],
    mismatch: WeightMismatch,
) -> tuple[Unwrapped, list[DialectMatch]]:
    """Finds a complete network beside modules that are outside it, or under a prefix.

    Args:
        path: The file, for messages.
        unwrapped: Its tensors.
        dialects: The dialects to try.
        find: Returns the matches of tensors.
        known: Returns the architecture of tensors, or its name, if it is known.
        mismatch: How the tensors differ from the closest network.

    Returns:
        The tensors of the network, and its matches.

    Raises:
        AmbiguousPrefix: There are several networks.
        WeightMismatch: There is none; the differences are those of `mismatch`.
    """
    if network := _without_other_modules(unwrapped, dialects, known(unwrapped)):
        return network, find(network)
    inner = {} if _is_close(mismatch, unwrapped) else _networks_under_prefixes(unwrapped, dialects, find)
    if len(inner) > 1:
        raise AmbiguousPrefix(str(path), inner) from mismatch
    if inner:
        (found,) = inner.values()
        return found
    kind = describe(unwrapped.tensors)
    raise WeightMismatch(f"{mismatch.what}: {kind}", mismatch.differences) if kind else mismatch


def _without_other_modules(
    unwrapped: Unwrapped, dialects: Iterable[Dialect], known: Architecture | str | None
) -> Unwrapped | None:
    """The tensors of a complete network without those of modules outside it, or None if other tensors differ."""
    for match in closest_matches(unwrapped.shapes, dialects, known):
        if not all(line.startswith("+ ") for line in match.differences):
            continue
        places = match.dialect.places(match.architecture).values()
        modules = {name.partition(".")[0] for place in places for name in place.names}
        others = {name: tensor for name, tensor in unwrapped.tensors.items() if _is_outside(name, modules)}
        if len(others) == len(match.differences) and any(len(tensor.shape) > 1 for tensor in others.values()):
            tensors = {name: tensor for name, tensor in unwrapped.tensors.items() if name not in others}
            left = {name.partition(".")[0] for name in others}
            return Unwrapped(tensors, unwrapped.wrappers, tuple(sorted({*unwrapped.ignored, *left})))
    return None


def _is_outside(name: str, modules: Collection[str]) -> bool:
    """Whether a tensor belongs to a module that is by its name a head, a loss or a metric, and not to one of these."""
    module, dot, _ = name.partition(".")
    return bool(dot and module not in modules and OUTSIDE.search(module) and not INSIDE.search(module))


def _is_close(mismatch: WeightMismatch, unwrapped: Unwrapped) -> bool:
    """Whether most tensors match: the file is then a damaged network, and not a larger model that contains one."""
    return 2 * len(mismatch.differences) < len(unwrapped.tensors)


def _networks_under_prefixes(
    unwrapped: Unwrapped, dialects: Iterable[Dialect], find: Callable[[Unwrapped], list[DialectMatch]]
) -> dict[str, tuple[Unwrapped, list[DialectMatch]]]:
    """The complete networks inside a larger model, by their prefixes."""
    names = unwrapped.tensors.keys()
    if len(names) > MAX_SEARCHED:
        return {}
    prefixes = dict.fromkeys(prefix for dialect in dialects for prefix in network_prefixes(names, dialect))
    found = {}
    for prefix in list(prefixes)[:MAX_PREFIXES]:
        inner = unwrapped.under(prefix)
        with suppress(WeightMismatch):
            found[prefix] = inner, find(inner)
    return found
