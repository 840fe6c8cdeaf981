"""What kind of thing one of Apple's systems runs on, by what the runner itself says."""

from __future__ import annotations

from collections.abc import Mapping

from ios_harness.answers import RunnerFacts
from ios_harness.transports import Identity
from runtimes.device import (
    PHONE,
    SIMULATED,
    SIMULATOR,
    UNKNOWN,
    Cluster,
    Condition,
    DeviceFacts,
)

_HELD = ("iPhone", "iPad", "iPod")


def judge(evidence: Mapping[str, str]) -> tuple[str, str]:
    """Judge by the facts: the class of the device, and the reason in a few words."""
    kind, model = evidence.get("kind", ""), evidence.get("model", "")
    if kind == "simulated":
        return SIMULATED, "the runner's build for tests"
    if kind == "simulator":
        return SIMULATOR, "Core ML on the Mac, in Xcode's simulator"
    if kind == "device" and model.startswith(_HELD):
        return PHONE, f"{model}, an app on the device"
    return UNKNOWN, f"{model or 'no model told'}, {kind or 'no kind told'}"


def judge_row(facts: DeviceFacts, condition: Condition | None) -> tuple[str, str]:
    """`judge` for a stored row; one without evidence stays as it is."""
    del condition
    if not facts.evidence:
        return facts.device_class, facts.class_reason
    return judge(facts.evidence)


def facts_of(told: RunnerFacts, identity: Identity, device: str) -> DeviceFacts:
    """Put what the runner and the listing say into the words of measuring."""
    evidence = {"kind": told.kind, "model": told.model, "system": told.system}
    found, reason = judge(evidence)
    listed = identity.model if identity.model != told.model else ""
    return DeviceFacts(
        device=device,
        device_class=found,
        manufacturer="Apple",
        model=f"{listed} ({told.model})" if listed else told.model,
        soc="",
        system=f"{told.system} {told.version}",
        build=told.build,
        abi=told.abi,
        clusters=(Cluster(tuple(range(told.cores)), None),) if told.cores else (),
        memory_mb=told.memory_bytes // 2**20,
        page_size=told.page_bytes,
        evidence=evidence,
        class_reason=reason,
    )


def listed_facts(identity: Identity, device: str, device_class: str) -> DeviceFacts:
    """Say what a listing tells of a device, without starting anything on it."""
    return DeviceFacts(
        device=device,
        device_class=device_class,
        manufacturer="Apple",
        model=identity.model,
        soc="",
        system=identity.system,
        build=identity.build,
        abi=identity.abi,
        clusters=(),
    )
