"""A device with the runner on it, whatever tool reaches it: `runtimes.device.Device`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from exporter.errors import DeviceError, RequestError, SamExportError
from exporter.printable import printable
from exporter.signals import uninterrupted
from ios_harness import units
from ios_harness.answers import RunnerAnswer
from ios_harness.bench import WAY, IosBench
from ios_harness.device_class import facts_of, listed_facts
from ios_harness.errors import LowPowerError, NoRunnerError
from ios_harness.exchange import CLEAN, LOOK, Exchange
from ios_harness.program import demand_name
from ios_harness.transports import (
    NO_RUNNER,
    RUNNER,
    Identity,
    Transport,
    runner_app,
    use_runner,
)
from runtimes.device import AUTO, Bench, DeviceFacts, KindOption, Listed, Method
from runtimes.remote.errors import AmbiguousError, UnknownDeviceError
from runtimes.remote.lock import locked

LOG = logging.getLogger("sam_export.device")
WAYS = (WAY,)
OPTIONS = (
    KindOption(
        "runner",
        "FILE",
        f"the signed iOS runner, .app or .ipa, installed if it is missing (default: ${RUNNER})",
        use_runner,
    ),
)
T = TypeVar("T")


def _nothing() -> None:
    """Leave the device as it is."""


@dataclass
class IosDevice:
    """One device. See `Device`.

    Attributes:
        transport: to it.
        name: as a user names it.
        leave: called after a measurement: a simulator that was booted for it is shut down.

    What it is does not change, so that is asked once; its state is asked each time.
    """

    transport: Transport
    name: str
    leave: Callable[[], None] = _nothing
    _facts: DeviceFacts | None = None

    def facts(self) -> DeviceFacts:
        """Read what the device is, by a first start of the runner. UnusableError says why not."""
        if self._facts is None:
            with self._named(), locked(self.transport.identity.udid), self._undone():
                self._facts = self._known(self._look(self._exchange()))
        return self._facts

    def open(self, method: Method) -> AbstractContextManager[Bench]:
        """Make it ready. The runner is ended if anything goes wrong.

        Raises:
            RequestError: a way, mode or core that it does not have; low-power mode is on.
            DeviceError: it went away.
        """
        return self._opened(method)

    def clean(self) -> int:
        """Remove everything of ours from it but the app; the bytes that were freed."""
        with self._named(), locked(self.transport.identity.udid), self._undone():
            exchange = self._exchange()
            exchange.demand_runner()
            freed = exchange.ask(CLEAN).answer.freed_bytes
        self.leave()
        return freed or 0

    @contextmanager
    def _opened(self, method: Method) -> Iterator[Bench]:
        check_method(method)
        with locked(self.transport.identity.udid):
            try:
                with self._undone():
                    exchange = self._exchange()
                    look = self._look(exchange)
                    if look.state.low_power:
                        raise LowPowerError(
                            "low-power mode is on, so its clocks are held back: turn it off in "
                            "Settings > Battery"
                        )
                    self._facts = self._known(look)
                    yield IosBench(exchange, self._facts, method, look)
            finally:
                with uninterrupted():
                    self.leave()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Put the device's name before an error, as `collect` does after `open`."""
        try:
            yield
        except (DeviceError, RequestError) as error:
            raise type(error)(f"{self.name}: {error}") from None

    def _exchange(self) -> Exchange:
        return Exchange(self.transport, self.name)

    def _look(self, exchange: Exchange) -> RunnerAnswer:
        exchange.demand_runner()
        return exchange.ask(LOOK).answer

    def _known(self, look: RunnerAnswer) -> DeviceFacts:
        return facts_of(look.facts, self.transport.identity, self.name)

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """End the runner if the block fails: nothing of ours goes on computing."""
        try:
            yield
        except BaseException:
            with uninterrupted():
                try:
                    self.transport.stop()
                except (DeviceError, RequestError) as error:
                    LOG.debug("the runner was not ended: %s", error)
                self.leave()
            raise


def listed_row(transport: Transport, name: str, device_class: str) -> Listed:
    """Make a row of `sam-bench devices`: asks whether it can be used, and starts nothing."""
    facts = listed_facts(transport.identity, name, device_class)
    try:
        transport.demand_ready()
        if not transport.is_installed() and runner_app() is None:
            raise NoRunnerError(NO_RUNNER)
    except SamExportError as error:
        return Listed(name, facts, None, str(error))
    return Listed(name, facts, None)


def check_method(method: Method) -> None:
    """RequestError for a way, unit, core or mode that an Apple device does not have."""
    if method.way not in (AUTO, *WAYS):
        raise RequestError(
            f"an Apple device has no way {method.way!r}; choose from {', '.join((AUTO, *WAYS))}"
        )
    if method.delegate not in units.EVERY:
        raise RequestError(
            f"an Apple device has no delegate {method.delegate!r}; choose from "
            f"{', '.join(units.EVERY)}"
        )
    if method.cores not in ("fast", "all"):
        raise RequestError("Apple's systems choose the cores themselves: leave --cores out")
    if method.modes:
        raise RequestError(f"an Apple device has no mode --{method.modes[0]}: leave it out")


def choose(
    kind: str,
    identifier: str,
    found: Sequence[T],
    identity: Callable[[T], Identity],
    problem: Callable[[T], str],
) -> T:
    """Choose the device called `identifier` (UDID or name), or the only one that can be used.

    Raises:
        UnknownDeviceError: there is none, or it cannot be used; says why.
        AmbiguousError: several, and none was chosen.
    """
    if identifier:
        demand_name(identifier)
        named = [r for r in found if identifier in (identity(r).udid, identity(r).name)]
        if not named:
            known = _names(kind, found, identity) or "none is connected"
            raise UnknownDeviceError(
                f"no device {printable(identifier)!r} of kind {kind}; choose from {known}"
            )
    else:
        named = [row for row in found if not problem(row)] or list(found)
    if not named:
        raise UnknownDeviceError(
            f"no {kind} device: connect one, unlock it and let it trust this computer"
        )
    if len(named) > 1:
        raise AmbiguousError(
            f"several devices are connected; choose from {_names(kind, named, identity)}"
        )
    if problem(named[0]):
        raise UnknownDeviceError(f"{kind}:{identity(named[0]).udid}: {problem(named[0])}")
    return named[0]


def _names(kind: str, found: Sequence[T], identity: Callable[[T], Identity]) -> str:
    return ", ".join(printable(f"{kind}:{identity(row).udid}") for row in found)
