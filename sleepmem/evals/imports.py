"""How heavy the day is: seconds and memory of imports, and of a first `observe`, each in a process
of its own. `make bench-imports`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

# A process says what it took: seconds since it began the code, and its peak resident memory. On
# Linux `getrusage` would begin with the peak of the process that started it; /proc does not.
MEASURED = """
import sys, time
started = time.perf_counter()
{code}
seconds = time.perf_counter() - started
loaded = sorted(set(sys.modules) & {heavy})
import json
try:
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    peak = int(line.split()[1]) * 1024
except OSError:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([seconds, peak, loaded]))
"""
HEAVY = {"torch", "transformers", "sentence_transformers"}
OWN = """
from langchain_core.embeddings import Embeddings
class Lengths(Embeddings):
    def embed_query(self, text):
        return [float(len(text)), 1.0]
    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]
"""
OBSERVE = """
from sleepmem import SleepMemory
with SleepMemory.open({folder!r}{embeddings}) as memory:
    memory.observe(("alice",), "Mara lives in Brenport.")
"""
CHROMA = "import chromadb"
CASES = {
    CHROMA: CHROMA,
    "import sleepmem": "import sleepmem",
    "from sleepmem import SleepMemory": "from sleepmem import SleepMemory",
    "first observe, embeddings of one's own": OWN + OBSERVE,
    "first observe, default embeddings": OBSERVE,
}


class Run(NamedTuple):
    """Seconds and peak bytes of a process, and what is heavy that it loaded."""

    seconds: float
    peak: int
    loaded: list[str]


def measure(code: str) -> Run:
    """A process of its own runs the code."""
    with tempfile.TemporaryDirectory(prefix="sleepmem-imports-") as folder:
        embeddings = ", embeddings=Lengths()" if OWN in code else ""
        body = code.replace("{folder!r}", repr(folder)).replace("{embeddings}", embeddings)
        script = MEASURED.replace("{code}", body).replace("{heavy}", repr(HEAVY))
        command = [sys.executable, "-W", "ignore", "-c", script]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Run(*json.loads(done.stdout.splitlines()[-1]))


def main(
    times: Annotated[int, typer.Option(help="Processes for each case.", min=1)] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the median of each case, and its ratio to `import chromadb`."""
    medians = {}
    for name, code in CASES.items():
        runs = [measure(code) for _ in range(times)]
        seconds = statistics.median(run.seconds for run in runs)
        peak = round(statistics.median(run.peak for run in runs))
        medians[name] = Run(seconds, peak, runs[0].loaded)

    chroma = medians[CHROMA]
    table = Table("case", "seconds", "of chromadb's", "peak MB", "of chromadb's", "loads")
    for name, run in medians.items():
        figures = (
            f"{run.seconds:.3f}",
            f"{run.seconds / chroma.seconds:.2f}",
            f"{run.peak / 1e6:.0f}",
            f"{run.peak / chroma.peak:.2f}",
        )
        table.add_row(name, *figures, ", ".join(run.loaded) or "-")
    if as_json:
        print(json.dumps({name: run._asdict() for name, run in medians.items()}, indent=1))
    else:
        Console(width=110).print(table)


if __name__ == "__main__":
    typer.run(main)
