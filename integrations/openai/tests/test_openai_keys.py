"""Keys: whose memory each opens, and what the file tells a thief."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from sleepmem_openai.cli import app
from sleepmem_openai.keys import Keys, owner_of, parsed_owner, shown_owner
from typer.testing import CliRunner

from sleepmem import ConfigError, FolderError, NamespaceError


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path / "keys.json")


def test_a_key_opens_the_memory_of_its_owner(keys):
    _, secret = keys.add(("alice",))
    found = keys.find(secret)
    assert found is not None
    assert found.owner == ("alice",)
    assert keys.find(secret + "x") is None
    assert keys.find("") is None


def test_the_file_holds_no_key_and_is_for_its_owner_alone(keys):
    key, secret = keys.add(("alice",))
    text = keys.path.read_text()
    assert secret not in text
    assert secret.removeprefix("sk-sleepmem-") not in text
    assert key.sha256 in text
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600


def test_a_revoked_key_opens_nothing_in_another_process_at_once(keys):
    key, secret = keys.add(("alice",))
    running = Keys(keys.path)
    assert running.find(secret) is not None
    keys.revoke(key.id)
    assert running.find(secret) is None
    with pytest.raises(ConfigError, match="has no key"):
        keys.revoke(key.id)


def test_a_personal_key_is_its_owners_whatever_user_says(keys):
    key, _ = keys.add(("alice",))
    assert owner_of(key, "bob") == ("alice",)
    assert owner_of(key, None) == ("alice",)


def test_a_services_key_speaks_for_many_under_its_own_name(keys):
    service, _ = keys.add(("shop",), many=True)
    personal, _ = keys.add(("bob",))
    assert owner_of(service, "bob") == ("shop", "bob") != owner_of(personal, None)
    with pytest.raises(ConfigError, match="Set `user`"):
        owner_of(service, None)
    with pytest.raises(NamespaceError):
        owner_of(service, "x" * 600)


def test_without_keys_the_user_is_the_owner():
    assert owner_of(None, "alice") == ("alice",)
    assert owner_of(None, None) == ("default",)


def test_keys_that_are_added_at_once_are_all_there(keys):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: keys.add((str(number),)), range(24)))
    assert {key.id for key, _ in made} == {key.id for key in keys.all()}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"keys": [{"id": 1}]}', '{"keys": 3}'])
def test_what_is_no_file_of_keys_is_refused_in_one_sentence(keys, text):
    keys.path.write_text(text)
    with pytest.raises(FolderError, match="cannot be read"):
        keys.all()
    with pytest.raises(FolderError):
        keys.find("sk-sleepmem-x")


@pytest.mark.parametrize("owner", [("alice",), ("app", "a/b"), ("%2F",), ("a b", "ü")])
def test_owners_are_shown_as_they_are_read(owner):
    assert parsed_owner(shown_owner(owner)) == owner


def test_the_command_adds_lists_and_revokes(tmp_path):
    file, run = str(tmp_path / "keys.json"), CliRunner()
    added = run.invoke(app, ["keys", "add", file, "shop/eu", "--many"])
    assert added.exit_code == 0
    secret = added.stdout.strip()
    found = Keys(file).find(secret)
    assert found is not None
    assert (found.owner, found.many) == (("shop", "eu"), True)
    listed = run.invoke(app, ["keys", "list", file])
    assert found.id in listed.stdout
    assert "shop/eu/USER" in listed.stdout
    assert secret not in listed.output
    assert run.invoke(app, ["keys", "revoke", file, found.id]).exit_code == 0
    assert Keys(file).find(secret) is None
    again = run.invoke(app, ["keys", "revoke", file, found.id])
    assert again.exit_code == 1
    assert "has no key" in again.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host", "0.0.0.0"], "without keys"),
        (["--keys", "not-there.json"], "there are no keys"),
        (["--model", "m", "--upstream", "http://127.0.0.1:1/v1"], "both given"),
    ],
)
def test_what_cannot_be_served_safely_is_refused(tmp_path, options, says):
    refused = CliRunner().invoke(app, ["serve", str(tmp_path / "memory"), *options])
    assert refused.exit_code == 1
    assert says in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "memory").exists()
