"""Joining or starting Ray, quietly."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sfv.errors import SfvError
from sfv.ray.settings import Spread

STORE = 256 << 20
"""Bytes of shared memory for a Ray that is started here; it holds names and reports, never pictures."""

NO_TOKEN = (
    "the Ray cluster wants its token and was given none, or another; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or "
    "RAY_AUTH_TOKEN_PATH) as they are on the cluster's machines"
)


@contextmanager
def cluster(spread: Spread) -> Iterator[Any]:
    """Ray, joined or started here and then stopped; one that this process already has is used and left running."""
    ray = quiet_ray()
    if ray.is_initialized():
        yield ray
        return
    local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE}
    try:
        ray.init(
            spread.ray_address,
            logging_level=logging.ERROR,
            log_to_driver=False,
            **({} if spread.ray_address else local),
        )
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        if _token_refused(error):
            raise SfvError(f"{_place(spread)}: {NO_TOKEN}") from error
        reason = str(error).strip().splitlines()[0]
        what = f"{_place(spread)}: no Ray cluster answers" if spread.ray_address else "Ray cannot be started here"
        raise SfvError(f"{what} ({reason}); `ray start --head` starts one") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _place(spread: Spread) -> str:
    return f"--ray-address {spread.ray_address}" if spread.ray_address else "--ray"


def _token_refused(error: BaseException | None) -> bool:
    """Whether Ray's own authentication, which newer versions have, is behind an error, however deep."""
    while error is not None:
        if type(error).__name__ == "AuthenticationError":
            return True
        error = error.__cause__ or error.__context__
    return False


def quiet_ray() -> Any:
    """Ray without usage statistics, progress bars or chatter; SfvError if it is not installed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its files under /tmp/ray keep what matters
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SfvError(f'--ray needs Ray Data ({error.name} is missing): pip install "sfv[ray]"') from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # what a dead worker leaves is reported in the end
    return ray


def share(ray: Any, spread: Spread, device: str) -> tuple[int, dict[str, float]]:
    """How many workers (a GPU each where there are GPUs), and what Ray sets aside for each."""
    has = ray.cluster_resources()
    if device.startswith("cuda") or (device == "auto" and has.get("GPU", 0) >= 1):
        return spread.ray_workers or max(1, int(has.get("GPU", 0))), {"num_gpus": 1, "num_cpus": 1}
    return spread.ray_workers or max(1, int(has.get("CPU", 1)) // spread.ray_threads), {"num_cpus": spread.ray_threads}
