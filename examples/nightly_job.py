"""The night as a job of its own, for cron or a systemd timer: who is tired sleeps.

Run it: `python examples/nightly_job.py FOLDER [TIRED_AT]`, while agents answer from the folder.
The exit code is what a scheduler alarms on: 0 all went well or nobody was tired, 1 a night could
not be run, 3 an exam rejected one (nothing changed), 4 one failed. The same from a shell, for every
owner with something buffered: `sleepmem sleep FOLDER`.
"""

import sys

from sleepmem import MemoryConfig, SleepConfig, SleepmemError, SleepMemory, Verdict

CODES = {Verdict.REJECTED: 3, Verdict.FAILED: 4}


def main(folder: str, tired_at: int = 20) -> int:
    config = MemoryConfig(sleep=SleepConfig(tired_at=tired_at))
    code = 0
    with SleepMemory.open(folder, config=config) as memory:
        for owner in memory.ledger.episodes.namespaces():
            name = "/".join(owner)
            if not memory.is_tired(owner):
                print(f"{name}: not tired")
                continue
            # One owner's night must not keep the next from theirs.
            try:
                report = memory.sleep(owner)
            except SleepmemError as error:
                print(f"{name}: {error}", file=sys.stderr)
                code = max(code, 1)
                continue
            print(f"{name}: {report.verdict.value} - {report.reason}")
            print(f"   {report.evicted} of {report.episodes} episodes left the buffer")
            code = max(code, CODES.get(report.verdict, 0))
    return code


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("say which folder: python examples/nightly_job.py FOLDER [TIRED_AT]")
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:3])))
