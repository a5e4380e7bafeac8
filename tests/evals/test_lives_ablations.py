"""Every arm lives the same days, and its weights alone are asked."""

import json
from dataclasses import replace

import pytest
import typer
from _lives import SETTINGS, written

from sleepmem.config import SleepConfig
from sleepmem.evals.lives import ablations
from sleepmem.stores.folder import EMBEDDED


def test_arms_live_the_same_days_and_go_on_with_what_is_there(tmp_path, capsys):
    (tmp_path / "mara.json").write_text(json.dumps(written()))
    (tmp_path / "settings.toml").write_text(SETTINGS)

    def lived(*only):
        ablations.main(
            str(EMBEDDED),
            tmp_path / "run",
            life=str(tmp_path / "mara.json"),
            only=list(only),
            nights=1,
            config=tmp_path / "settings.toml",
            threads=1,
        )
        return json.loads((tmp_path / "run" / "ablations.json").read_text())

    first = lived("as it is")
    both = lived("as it is", "without rehearsal")
    assert both["as it is"] == first["as it is"]
    told = both["without rehearsal"][0]["told_of"]
    assert told[1] > 0
    assert (tmp_path / "run" / "ablations.png").read_bytes().startswith(b"\x89PNG")
    assert "without rehearsal" in capsys.readouterr().out
    with pytest.raises(typer.BadParameter, match="no arm is called sleep"):
        lived("sleep")


def test_every_arm_differs_from_the_whole_in_its_own_way():
    whole = SleepConfig()
    changed = [arm(whole) for arm in ablations.ARMS.values()]
    assert all(one != other for i, one in enumerate(changed) for other in changed[:i])
    assert changed[0] == whole
    assert changed[1] == replace(whole, seeding=replace(whole.seeding, completed=0))
