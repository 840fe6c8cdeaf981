"""Bundles that were made, in a line for people or as data for scripts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from exporter.bundle.manifest import Evaluation, Manifest

if TYPE_CHECKING:
    from exporter.budget import Measured
    from exporter.bundle.folder import Bundle


def summary(bundle: Bundle) -> str:
    """Sum a bundle up in one line: systems, graph sizes and the main parity figures."""
    # A precision may need a later iOS than was asked for.
    systems = f"{bundle.manifest.platform}; " if "iOS" in bundle.manifest.platform else ""
    degraded = " (degraded)" if bundle.manifest.degraded else ""
    others = {f.graph: f.arithmetic for f in bundle.manifest.parity if f.arithmetic}
    names = [graph.spec.name for graph in bundle.manifest.graphs if graph.spec.name in others]
    computed = f"; {', '.join(names)} checked in {others[names[0]]} arithmetic" if names else ""
    video = bundle.manifest.video
    departs = f"; {video.departure}" if video is not None and video.departure else ""
    return f"{bundle.path}{degraded}: {systems}{_figures(bundle.manifest)}{computed}{departs}"


def _figures(manifest: Manifest) -> str:
    sizes = ", ".join(f"{g.spec.name} {g.bytes / 1e6:.1f} MB" for g in manifest.graphs)
    names = {graph.spec.name for graph in manifest.graphs}
    own = [figure for figure in manifest.parity if figure.graph in names]
    values = {f.measure: f.value for f in own if f.output == "low_res_masks"}
    if not values:
        shown = (f"{f.output} PSNR {f.value:.1f} dB" for f in own if f.measure == "psnr_db")
        return f"{sizes}; {', '.join(shown)}"
    judged = {f.measure: f.value for f in manifest.parity if f.output == "masks"}
    if "mean_mask_iou" in judged:
        return (
            f"{sizes}; IoU with the float32 masks {judged['mean_mask_iou']:.4f}, "
            f"1 % under {judged['p1_mask_iou']:.3f}, another mask chosen in "
            f"{judged['other_mask_share']:.1%} of the cases"
        )
    return (
        f"{sizes}; low_res_masks PSNR {values['psnr_db']:.1f} dB, "
        f"worst error {values['worst_error']:.1e}, mask IoU {values['mask_iou']:.4f}, "
        f"prompt sensitivity {values['prompt_sensitivity']:.3f}"
    )


def as_data(bundle: Bundle, trials: Sequence[Measured]) -> dict[str, object]:
    """Take what `--json` prints of a bundle."""
    data = {"path": str(bundle.path), "manifest": json.loads(bundle.manifest.to_json())}
    return data | ({"trials": [dataclasses.asdict(each) for each in trials]} if trials else {})


def found(evaluation: Evaluation | None) -> Iterator[str]:
    """Say in a line a kind of prompt how good a bundle's masks are on the user's pictures."""
    for each in evaluation.figures if evaluation is not None else ():
        said = f"{each.prompts}: IoU with torch {each.agreement:.4f} (worst "
        said += f"{each.worst_agreement:.3f}) in {each.cases} cases"
        if each.exported_iou is not None and each.torch_iou is not None:
            said += f"; with the labels {each.exported_iou:.4f}, torch {each.torch_iou:.4f}"
        yield said
