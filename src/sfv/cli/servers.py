"""Commands that listen on a port."""

from typing import Annotated

from pydantic import Field
from tyro.conf import arg

from sfv.cli.flags import Flags, ray_spread
from sfv.errors import FlagError, SfvError
from sfv.ray.settings import Spread
from sfv.serve.settings import ServeSettings
from sfv.settings import Speed


class Demo(Flags, Speed):
    """Serve a page that animates pictures: drop one, race the models, play live; opens a browser."""

    models: tuple[str, ...] = ("sticker", "sticker-teacher")
    """MODEL[@PROFILE[/BACKEND]][:STEPS]; the first animates, all of them race."""
    host: str = "127.0.0.1"
    """Address to listen at; with any other than this machine's own, others can use the page."""
    port: int = Field(default=7860, ge=0, le=65535)
    """Port, or the next free one; 0 is any."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    max_steps: int = Field(default=50, ge=1, le=1000)
    """Network calls that one clip may ask for."""
    open: bool = True
    """Open a browser once the model is loaded."""

    def run(self) -> int:
        """Exit code."""
        try:
            from sfv.demo.server import run_demo
        except ModuleNotFoundError as error:
            raise SfvError(f'the page needs {error.name}; install it with: pip install "sfv[serve]"') from error
        speed = self.fill(Speed)
        run_demo(self.models, self.host, self.port, self.device, speed, self.open, self.max_steps)
        return 0


class Serve(Flags, ServeSettings, Spread):
    """Animate pictures over HTTP: a queue that outlives restarts, one worker process per device (docs/serve.md)."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every network, which wants --keys and a proxy with TLS in front."""
    port: int = Field(default=8000, ge=1, le=65535)
    """Port to listen on."""
    new_key: Annotated[str | None, arg(metavar="NAME")] = None
    """Add an API key to the file of --keys, print it once, and stop."""
    ray: bool = False
    """Run it as a Ray Serve deployment whose replicas, up to --ray-workers, come and go with the load."""

    def run(self) -> int:
        """Exit code."""
        if self.new_key is not None:
            return self._make_key(self.new_key)
        settings = self.fill(ServeSettings)
        spread = ray_spread(self, self.ray)
        if self.ray:
            from sfv.ray.serving import serve_on_ray

            serve_on_ray(settings, self.host, self.port, spread)
            return 0
        from sfv.serve import serve

        serve(settings, self.host, self.port)
        return 0

    def _make_key(self, name: str) -> int:
        from sfv.serve.keys import new_key

        if self.keys is None:
            raise FlagError("--new-key: name the file of keys with --keys FILE")
        print(new_key(self.keys, name))
        return 0
