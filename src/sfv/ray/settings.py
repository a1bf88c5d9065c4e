"""What is asked of Ray."""

from pydantic import BaseModel, ConfigDict, Field


class Spread(BaseModel):
    """How many pictures are spread over processes and machines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ray_address: str | None = None
    """A running Ray cluster: auto, HOST:PORT or ray://HOST:PORT; one is started here if none is given."""
    ray_workers: int | None = Field(default=None, gt=0, le=10_000)
    """Processes that hold a model; as many as there are CPUs for (or GPUs, if they are used) if not given."""
    ray_threads: int = Field(default=1, gt=0, le=1024)
    """CPU threads of each worker."""
