"""Has jobs translated and started by Flink's Python: one process that stays, since it takes ten seconds to start.

It serves all threads of this process, one after the other, and ends with it; see `run_job.py` for its side.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import IO, Any, Literal

from feature_store.errors import StackError
from feature_store.streaming.failures import root_cause


class _EndedError(Exception):
    """A process gave no answer; `words` say why, as far as is known."""

    def __init__(self, is_taken: bool, words: str = "") -> None:
        self.is_taken = is_taken
        self.words = words


@dataclass
class _Process:
    """Flink's Python; `errors` is what it and its Java write beside their answers."""

    command: Sequence[str]
    environment: Mapping[str, str]
    errors: IO[bytes] = field(default_factory=TemporaryFile)
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            self.command, env=self.environment, stdin=pipe, stdout=pipe, stderr=self.errors, text=True
        )

    def serves(self, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        return (self.command, self.environment) == (command, environment) and self.process.poll() is None

    def ask(self, request: str, seconds: float) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            _EndedError: if there is none.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        began, is_taken, answer = time.monotonic(), False, ""
        patience = threading.Timer(seconds, self.process.kill)
        patience.start()
        try:
            self.process.stdin.write(f"{request}\n")
            self.process.stdin.flush()
            is_taken = bool(self.process.stdout.readline())
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            pass
        finally:
            patience.cancel()
        if not answer.endswith("\n"):  # nothing, or half a line
            is_slow = time.monotonic() - began >= seconds
            raise _EndedError(is_taken, f"it gave no answer within {seconds:g} s" if is_slow else "")
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    def end(self) -> str:
        """Ends it, and gives the last words it wrote beside its answers."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):  # of what it has not read
                stream.close()
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace")
        self.errors.close()
        return said


class Translator:
    """One process at a time, made when something is asked for and made again when it has ended."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process: _Process | None = None

    def run(
        self,
        execute: Literal["submit", "check"],
        spec: Mapping[str, Any],
        command: Sequence[str],
        environment: Mapping[str, str],
        where: str,
        seconds: float,
    ) -> str:
        """What `run_job.py` gives for a spec.

        Args:
            execute: which of its functions.
            spec: of a job.
            command: of a process that serves.
            environment: of that process; of another one than before, another process is made.
            where: for errors.
            seconds: how long it may take.

        Raises:
            StackError: if Flink refuses the job, with its reason, or the process does not run or answer.
        """
        request = json.dumps({"execute": execute, "spec": spec})
        answer: dict[str, Any] = {}
        with self._turn:
            for _ in range(2):
                try:
                    answer = self._ask(request, command, environment, seconds)
                    break
                except _EndedError as error:
                    answer = {"error": error.words}
                    if error.is_taken:  # one that was idle for long and was ending just then has not
                        break
        if "result" in answer:
            return str(answer["result"])
        reason = root_cause(answer["error"]) or "Flink's Python ended without a word"
        raise StackError(
            f"Flink does not take the job: {reason}", where=where, remedy="see ./fs logs", code="job-start"
        )

    def _ask(
        self, request: str, command: Sequence[str], environment: Mapping[str, str], seconds: float
    ) -> dict[str, Any]:
        if self._process is not None and not self._process.serves(command, environment):
            self._process.end()
            self._process = None
        try:
            self._process = self._process or _Process(command, environment)
            return self._process.ask(request, seconds)
        except OSError as error:
            raise _EndedError(is_taken=True, words=str(error)) from None
        except _EndedError as error:
            assert self._process is not None
            said = self._process.end()
            self._process = None
            raise _EndedError(error.is_taken, error.words or said) from None
