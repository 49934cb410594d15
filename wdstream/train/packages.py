"""Packages that a configuration asks for, looked for before anything is loaded."""

import torch

from wdstream.config.schema import Config
from wdstream.train.model.kernels import require_kernel_device, require_kernels
from wdstream.train.optimizer.optimizer import require_package
from wdstream.train.watch.trackers import check_trackers


def require_packages(config: Config, device: torch.device) -> None:
    """Refuse trackers, optimizers and kernels whose package is absent, and kernels that this device does not run.

    Raises:
        WdstreamError: says what to install.
    """
    check_trackers(config.train)
    require_package(config.train)
    require_kernels(config.model)
    require_kernel_device(config.model, device)
