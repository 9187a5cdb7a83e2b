"""The process that translates jobs, with small programs in the place of Flink's Python."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from feature_store.errors import StackError
from feature_store.streaming.translator import Translator

ANSWERS = """
import json, os, sys
print(os.getpid(), file=open({log!r}, "a"))
for _ in range({requests}):
    line = sys.stdin.readline()
    print('{{"taken": true}}', flush=True)
    request = json.loads(line)
    print("a warning of Java's", file=sys.stderr)
    {act}
    print(json.dumps({{"result": request["execute"] + " " + request["spec"]["name"]}}), flush=True)
"""


class Play:
    """A translator, and what plays Flink's Python."""

    def __init__(self, folder: Path, requests: int = 100, act: str = "pass") -> None:
        self.translator, self.log = Translator(), folder / "pids"
        self.command = (sys.executable, "-c", ANSWERS.format(log=str(self.log), requests=requests, act=act))

    def run(self, name: str = "job", seconds: float = 60.0, **environment: str) -> str:
        variables = {**os.environ, **environment}
        return self.translator.run("check", {"name": name}, self.command, variables, "job x", seconds)

    def pids(self) -> list[str]:
        return self.log.read_text().split()


def test_one_process_answers_request_after_request(tmp_path: Path) -> None:
    play = Play(tmp_path)
    assert [play.run(name) for name in ("a", "b", "c")] == ["check a", "check b", "check c"]
    assert len(set(play.pids())) == 1


def test_one_that_has_ended_is_made_again(tmp_path: Path) -> None:
    play = Play(tmp_path, requests=1)
    assert [play.run(name) for name in ("a", "b")] == ["check a", "check b"]
    assert len(set(play.pids())) == 2


def test_another_environment_is_another_process(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.run(WHERE="here")
    play.run(WHERE="there")
    play.run(WHERE="there")
    assert len(set(play.pids())) == 2


def test_one_that_dies_with_a_request_is_not_asked_again(tmp_path: Path) -> None:
    """Flink may have taken the job."""
    play = Play(tmp_path, act="print('Caused by: no memory', file=sys.stderr, flush=True); os._exit(9)")
    with pytest.raises(StackError, match="Flink does not take the job: no memory"):
        play.run()
    assert len(play.pids()) == 1


def test_half_an_answer_is_none(tmp_path: Path) -> None:
    play = Play(tmp_path, act="print('{\"result', end='', flush=True); os._exit(9)")
    with pytest.raises(StackError, match="Flink does not take the job: a warning of Java's"):
        play.run()
    assert len(play.pids()) == 1


def test_one_that_is_too_slow_is_ended(tmp_path: Path) -> None:
    play = Play(tmp_path, act="sys.stdin.readline() if request['spec']['name'] == 'slow' else None")
    play.run()
    with pytest.raises(StackError, match=r"Flink does not take the job: it gave no answer within 0\.1 s"):
        play.run("slow", seconds=0.1)
    assert play.run() == "check job"
    assert len(set(play.pids())) == 2


def test_what_does_not_start_is_told(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.command = (str(tmp_path / "nothing"),)
    with pytest.raises(StackError, match="No such file"):
        play.run()
    for program in ("exit 1", "exec 0<&-; exec sleep 60"):
        play.command = ("/bin/sh", "-c", program)
        with pytest.raises(StackError, match="Flink's Python ended without a word"):
            play.run("a name longer than a pipe" * 10_000)
