"""How a service holds under load, beside the bare generate loop on the same machine in the same run.

python runs/benches/load_service.py OUT.json            # about five minutes on two cores; the machine must be idle
python runs/benches/load_service.py OUT.json --quick    # about one minute: does it run, not a figure

Measured on the embedded model (one worker, CPU, no batching unless --max-batch says so):
1. clips per second of `animate_files` over a folder of pictures (files to files, written while the next is made), and
   of the service when enough clients keep its queue filled, in turns, so that both see the same machine;
2. latency of single requests to the idle service (the service time), and at 80 % of the capacity just measured: paced
   (gaps of 0.5 to 1.5 times their mean, as load tools with a rate send) and at random (Poisson, as strangers come). No
   single server can hold p95 under about 5 service times for the latter at that load, so the least possible is given;
3. two hundred clients that together ask five times the capacity: answers by status, memory of all processes over time.
Random arrivals are seeded. Ratios are what matters; seconds belong to the machine.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

import sfv
from sfv.batch.animate import animate_files
from sfv.batch.compare import example
from sfv.settings import Settings

EXAMPLES = sorted(example().parent.glob("*.png"))
Result = dict[str, Any]
NO_ANSWER = 0
"""Counted among the statuses: the connection was refused or broke."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--max-batch", type=int, default=0)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--loop", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop:
        bare_loop(options.loop)
        return
    with tempfile.TemporaryDirectory(prefix="sfv-load-") as folder:
        result = asyncio.run(measure(Path(folder), options.port, options.quick, options.max_batch))
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))


def bare_loop(folder: Path) -> None:
    """Body of the bare loop's process: for every line on stdin, that many clips; clips per second on stdout.

    The clock runs from the first report to the last, so loading is not counted; a report comes when its clip is
    written and the next is made, so between them lie two clips fewer than there are.
    """
    sfv.keep_memory()
    for line in sys.stdin:
        count, times = int(line) + 2, []
        pictures = [folder / f"{i}.png" for i in range(count)]
        for picture, source in zip(pictures, itertools.cycle(EXAMPLES), strict=False):
            picture.write_bytes(source.read_bytes())
        for report in animate_files(pictures, "sticker", Settings(), folder / "clips", device="cpu"):
            assert "error" not in report, report
            times.append(time.perf_counter())
        print((count - 2) / (times[-1] - times[0]), flush=True)


class Loop:
    """The bare loop in a process of its own, as the service's worker is."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, __file__, os.devnull, "--loop", str(folder)]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, text=True, **pipes)

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def run(self, clips: int) -> float:
        """Clips per second."""
        assert self.process.stdin
        self.process.stdin.write(f"{clips}\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """End it."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(60)


async def measure(folder: Path, port: int, quick: bool, max_batch: int) -> Result:
    """All three measurements on one server."""
    command = [sys.executable, "-m", "sfv", "serve", "--data", str(folder / "data"), "--port", str(port)]
    command += ["--max-batch", str(max_batch)]
    (folder / "loop").mkdir()
    loop = Loop(folder / "loop")
    server = subprocess.Popen(command)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=300, limits=limits) as client:
            await ready(client, server)
            result: Result = {"machine": machine(), "quick": quick, "max_batch": max_batch}
            result["throughput"] = await throughput(client, loop, 2 if quick else 3, 8 if quick else 40)
            loop.close()
            capacity = result["throughput"]["service"]
            result["latency"] = await latency(client, capacity, 15 if quick else 200)
            result["overload"] = await overload(client, server.pid, capacity, 40 if quick else 200, 10 if quick else 60)
            return result
    finally:
        server.terminate()
        server.wait(120)
        loop.process.kill()


async def ready(client: httpx.AsyncClient, server: subprocess.Popen[bytes]) -> None:
    """Until the server takes jobs, and has made its first clips."""
    while server.poll() is None:
        try:
            if (await client.get("/readyz")).status_code == 200:
                await asyncio.gather(*(animate(client, i) for i in range(4)))
                return
        except httpx.ConnectError:
            pass
        await asyncio.sleep(0.1)
    raise SystemExit("the server did not start")


async def animate(client: httpx.AsyncClient, seed: int) -> tuple[int, float]:
    """One clip: status and seconds."""
    picture, start = EXAMPLES[seed % len(EXAMPLES)].read_bytes(), time.perf_counter()
    answer = await client.post("/v1/animate", files={"picture": picture}, data={"seed": str(seed)})
    return answer.status_code, time.perf_counter() - start


async def throughput(client: httpx.AsyncClient, loop: Loop, rounds: int, clips: int) -> Result:
    """Bare loop and service in turns; eight requests are always under way."""
    bare, service = [], []
    for _ in range(rounds):
        bare.append(await asyncio.to_thread(loop.run, clips))
        start, left = time.perf_counter(), iter(range(clips))

        async def ask(left: Any = left) -> None:
            for seed in left:
                status, _ = await animate(client, seed)
                assert status == 200, status

        await asyncio.gather(*(ask() for _ in range(8)))
        service.append(clips / (time.perf_counter() - start))
    loops, served = statistics.median(bare), statistics.median(service)
    return {"loop": loops, "service": served, "ratio": served / loops, "loops": bare, "services": service}


GAPS: dict[str, Callable[[random.Random], float]] = {
    "paced": lambda rng: rng.uniform(0.5, 1.5),
    "poisson": lambda rng: rng.expovariate(1),
}
"""Time between two requests, in units of its mean: as a load tool with a rate sends them, and as strangers do."""


async def latency(client: httpx.AsyncClient, capacity: float, count: int) -> Result:
    """Service time on an idle server, then latency at 80 % of capacity for both kinds of arrivals."""
    alone = statistics.median([(await animate(client, i))[1] for i in range(min(30, count))])
    figures: Result = {"service_time": alone, "count": count}
    for kind, gap in GAPS.items():
        rng = random.Random(0)
        gaps = [gap(rng) / (0.8 * capacity) for _ in range(count)]
        answers = await arrivals(gaps, lambda i: animate(client, i))
        times = [seconds for status, seconds in answers if status == 200]
        p95 = quantile95(times)
        figures[kind] = {"p50": statistics.median(times), "p95": p95, "p95_over_service": p95 / alone}
        figures[kind]["least_possible"] = quantile95(one_server(gaps, 1 / capacity, alone)) / alone
        figures[kind]["statuses"] = dict(Counter(s for s, _ in answers))
    return figures


def quantile95(times: list[float]) -> float:
    """The time that 95 of 100 do not exceed."""
    return sorted(times)[int(0.95 * (len(times) - 1))]


def one_server(gaps: list[float], each: float, alone: float) -> list[float]:
    """Latencies that a single server with constant times would have for these arrivals (Lindley's recursion)."""
    wait, times = 0.0, []
    for i, gap in enumerate(gaps):
        wait = max(0.0, wait + each - gap) if i else 0.0
        times.append(wait + alone)
    return times


async def arrivals(gaps: list[float], ask: Callable[[int], Awaitable[Any]]) -> list[Any]:
    """A request after every gap; nobody waits for the one before."""
    tasks, due = [], time.perf_counter()
    for i, gap in enumerate(gaps):
        due += gap
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.ensure_future(ask(i)))
    return list(await asyncio.gather(*tasks))


async def overload(client: httpx.AsyncClient, pid: int, capacity: float, clients: int, seconds: float) -> Result:
    """Clients that ask again whatever the answer, together five times the capacity; half of them wait for clips."""
    statuses: Counter[int] = Counter()
    end, pause = time.perf_counter() + seconds, clients / (5 * capacity)

    async def one(number: int) -> None:
        rng = random.Random(number)
        await asyncio.sleep(rng.uniform(0, pause))
        while time.perf_counter() < end:
            path, due = ("/v1/videos", "/v1/animate")[number % 2], time.perf_counter() + rng.uniform(0.5, 1.5) * pause
            files = {"picture": EXAMPLES[number % len(EXAMPLES)].read_bytes()}
            try:
                statuses[(await client.post(path, files=files)).status_code] += 1
            except httpx.HTTPError:
                statuses[NO_ANSWER] += 1
            await asyncio.sleep(max(0.0, due - time.perf_counter()))

    watching = asyncio.create_task(memory(pid, end))
    await asyncio.gather(*(one(i) for i in range(clients)))
    sizes = await watching
    early, late = statistics.mean(sizes[len(sizes) // 4 : len(sizes) // 2]), statistics.mean(sizes[-len(sizes) // 4 :])
    alive = (await client.get("/readyz")).status_code == 200
    figures = {
        "early_mb": early,
        "late_mb": late,
        "growth": late / early - 1,
        "megabytes": [round(s, 1) for s in sizes],
    }
    return {"clients": clients, "seconds": seconds, "statuses": dict(statuses), "alive": alive, "memory": figures}


async def memory(pid: int, end: float) -> list[float]:
    """Resident MB of the server and its workers, twice a second."""
    sizes = []
    while time.perf_counter() < end:
        server = psutil.Process(pid)
        family = [server, *server.children(recursive=True)]
        sizes.append(sum(p.memory_info().rss for p in family) / 1e6)
        await asyncio.sleep(0.5)
    return sizes


def machine() -> Result:
    """What it was measured on."""
    load = os.getloadavg()[0]
    return {"threads": os.cpu_count(), "load_before": load, "python": sys.version.split()[0], "sfv": sfv.__version__}


def table(result: Result) -> str:
    """The figures against what they must be."""
    through, late, over = result["throughput"], result["latency"], result["overload"]
    others = {int(s) for s in over["statuses"]} - {200, 202, 429}
    rows = [
        ("service / bare loop, clips per second", f"{through['service']:.2f} / {through['loop']:.2f}", ""),
        ("ratio", f"{through['ratio']:.3f}", ">= 0.9"),
        ("service time alone, median", f"{late['service_time']:.3f} s", ""),
        *(row for kind in GAPS for row in latency_rows(kind, late[kind])),
        (f"{over['clients']} clients at 5x capacity, answers", json.dumps(over["statuses"]), "200, 202, 429"),
        ("other answers; alive at the end", f"{sorted(others) or 'none'}; {over['alive']}", "none; True"),
        ("memory, second quarter -> last", f"{over['memory']['growth']:+.1%}", "within 10 %"),
    ]
    note = "\n(--quick: shows that it runs; no figure)" if result["quick"] else ""
    return "| figure | measured | must |\n|---|---|---|\n" + "\n".join(f"| {' | '.join(r)} |" for r in rows) + note


def latency_rows(kind: str, late: Result) -> list[tuple[str, str, str]]:
    """Two lines for one kind of arrivals."""
    least = f"<= 3 (one server with constant times: {late['least_possible']:.2f})"
    return [
        (f"p50, p95 at 80 % of capacity, {kind}", f"{late['p50']:.3f}, {late['p95']:.3f} s", ""),
        (f"p95 / median service time, {kind}", f"{late['p95_over_service']:.2f}", least),
    ]


if __name__ == "__main__":
    main()
