from __future__ import annotations

import pytest
import torch

from tests.unit.targets.tflite.network import Network, inputs


@pytest.fixture(scope="session")
def single(tmp_path_factory):
    """The network in float32, as the converter writes it; shared, so no test may change it."""
    import litert_torch

    path = tmp_path_factory.mktemp("single") / "network.tflite"
    given = tuple(map(torch.from_numpy, inputs()))
    litert_torch.convert(Network().eval(), given).export(str(path))
    return path
