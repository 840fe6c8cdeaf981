"""What computes a bundle on a device, side by side: parity, times, and why one is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiles.numbers.statistics import Spread
from profiles.numbers.summary import summarise
from profiles.schema import Profile
from runtimes.frames import is_frame
from runtimes.measures import IOU, MASKS, PSNR, find_misses

HEAD = ("bundle", "placement", "parity", "graphs, ms", "click, ms", "first mask, ms", "refused")


@dataclass(frozen=True)
class Verdict:
    """One bundle, computed by one delegate.

    Attributes:
        parity: the masks' least IoU and PSNR, or how many floors are missed; `-` if nothing ran.
        graphs: name -> the spread of its calls in ms; empty if nothing was timed.
        refused: why it is not used; empty if it agrees.
        fastest: whether no other of the bundle that agrees has a faster image and click.
    """

    bundle: str
    device_class: str
    placement: str
    parity: str
    graphs: dict[str, Spread]
    click_ms: Spread | None
    first_mask_ms: Spread | None
    refused: str
    fastest: bool = False

    @property
    def ms(self) -> float:
        """Of an image and a click: every graph's median; infinite if that is not known."""
        return sum(each.p50 for each in self.graphs.values()) or float("inf")


def verdicts(profiles: Sequence[Profile]) -> list[Verdict]:
    """Judge the placements of one device, if a bundle has several or one was refused.

    Args:
        profiles: of one device.
    """
    found: dict[str, list[Verdict]] = {}
    for profile in profiles:
        found.setdefault(profile.bundle.name, []).append(_verdict(profile))
    shown: list[Verdict] = []
    for rows in found.values():
        if len({row.placement for row in rows}) < 2 and not any(row.refused for row in rows):
            continue
        best = min((r.ms for r in rows if not r.refused), default=float("inf"))
        for row in rows:
            fastest = not row.refused and row.ms == best < float("inf")
            shown.append(Verdict(**{**vars(row), "fastest": fastest}))
    return shown


def _verdict(profile: Profile) -> Verdict:
    summary = summarise(profile)
    return Verdict(
        bundle=profile.bundle.name,
        device_class=profile.device.device_class,
        placement=profile.method.delegate,
        parity=_parity(profile),
        graphs={g.graph: g.ms for g in summary.graphs if g.ms and not is_frame(g.graph)},
        click_ms=summary.click_ms,
        first_mask_ms=summary.first_mask_ms,
        refused=profile.refused,
    )


def _parity(profile: Profile) -> str:
    if not profile.parity:
        return "-" if profile.refused else "not checked"
    missed = len(find_misses(profile.parity))
    told = [f"{missed} of its floors missed" if missed else "reaches its floors"]
    for measure, text in ((IOU, "masks IoU {:.4f}"), (PSNR, "{:.3g} dB")):
        values = [f.value for f in profile.parity if (f.output, f.measure) == (MASKS, measure.name)]
        told += [text.format(measure.worst(values))] if values else []
    return ", ".join(told)
