"""The file of tokens, as people edit it and owners are called."""

import pytest
from sleepmem_mcp.tokens import Tokens, new_token

from sleepmem import ConfigError


async def owner_of(tokens, token):
    found = await tokens.verify_token(token)
    return found and found.client_id


async def test_a_token_after_a_line_without_end_is_its_owners(tmp_path):
    path = tmp_path / "tokens"
    alice = new_token(path, "alice")
    path.write_text(path.read_text().rstrip())
    bob = new_token(path, "bob")
    tokens = Tokens(path)
    assert await owner_of(tokens, alice) == "alice"
    assert await owner_of(tokens, bob) == "bob"


def test_two_lines_in_one_open_nobodys_memory(tmp_path):
    path = tmp_path / "tokens"
    new_token(path, "alice")
    new_token(path, "bob")
    path.write_text(path.read_text().replace("\n", "", 1))
    with pytest.raises(ConfigError, match="line 1 of"):
        Tokens(path)


@pytest.mark.parametrize("owner", ["#team", "two\nlines", "a%0Ab", "a\tb", " spaced ", "a\u2028b"])
async def test_every_owner_has_a_line_of_their_own(tmp_path, owner):
    path = tmp_path / "tokens"
    theirs, alices = new_token(path, owner), new_token(path, "alice")
    tokens = Tokens(path)
    assert await owner_of(tokens, theirs) == owner.replace("%0A", "\n")
    assert await owner_of(tokens, alices) == "alice"


@pytest.mark.parametrize("damaged", [b"\xff\xfe\n", b"/\t" + b"a" * 64, b"alice\t" + b"z" * 64])
async def test_a_damaged_file_is_told_and_opens_nothing(tmp_path, damaged):
    path = tmp_path / "tokens"
    alice = new_token(path, "alice")
    tokens = Tokens(path)
    path.write_bytes(damaged)
    assert await owner_of(tokens, alice) is None
    with pytest.raises(ConfigError, match="line 1 of"):
        Tokens(path)
