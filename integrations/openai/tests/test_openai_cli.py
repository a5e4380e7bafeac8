"""What the command refuses, each in a sentence."""

import socket

import pytest
from sleepmem_openai import cli
from sleepmem_openai.upstream import Upstream
from typer.testing import CliRunner

from sleepmem import ConfigError


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "http://", "http://[::1", "ftp://me:sekret@h/"])
def test_an_upstream_that_is_no_url_is_refused_without_its_password(url):
    with pytest.raises(ConfigError, match="is no base URL; pass one such as") as refused:
        Upstream(url)
    assert "sekret" not in str(refused.value)


def test_a_port_that_is_taken_is_told_before_it_says_that_it_serves_or_makes_a_folder(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = CliRunner().invoke(cli.app, ["serve", str(tmp_path / "memory"), f"--port={port}"])
    assert told.exit_code == 1
    assert f"127.0.0.1:{port} cannot be listened on" in told.stderr
    assert told.stdout == ""
    assert not list(tmp_path.iterdir())
