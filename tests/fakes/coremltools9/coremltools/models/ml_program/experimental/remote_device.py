from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.fakes.apple.world import World


@dataclass(frozen=True)
class AppSigningCredentials:
    development_team: str | None = ""
    provisioning_profile_uuid: str | None = None
    bundle_identifier: str | None = None


class _Session:
    def __init__(self, udid: str) -> None:
        self.udid = udid
        _note(f"session {udid} begins")

    def stop(self) -> None:
        _note(f"session {self.udid} ends")


class DeviceCtlError(Exception):
    """As of a call of devicectl that fails."""


@dataclass(frozen=True)
class Device:
    name: str
    udid: str
    session: Any

    @staticmethod
    def get_devices() -> "list[Device]":
        phones = [d for d in World.here().devices() if d.kind == "phone" and d.connected]
        return [Device(d.name, d.udid, None) for d in phones]

    async def prepare_for_model_debugging(
        self,
        credentials: AppSigningCredentials | None = None,
        working_directory: Path | None = None,
        clean: bool = False,
    ) -> "Device":
        assert working_directory is not None
        assert working_directory.is_dir()
        if credentials is None or credentials.development_team != "TEAM123456":
            raise DeviceCtlError("[Error Code 65] signing failed")
        return replace(self, session=_Session(self.udid))


def _note(line: str) -> None:
    World.here().note(["coremltools", line])
