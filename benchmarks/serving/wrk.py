"""wrk: asks a server on core 0 for the same requests in turn, from core 1."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.measurement import Counts, read_counts
from feature_store.errors import StackError

_SCRIPT = """
local requests, headers = {}, {["Content-Type"] = "application/json"%s}
for line in io.lines("%s") do
  local method, path, body = line:match("^(%%S+) (%%S+) ?(.*)$")
  requests[#requests + 1] = wrk.format(method, path, headers, body ~= "" and body or nil)
end
local i = 0
request = function() i = i %% #requests + 1; return requests[i] end
done = function(summary, latency)
  io.write(string.format("RESULT %%d %%d %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(95), latency:percentile(99), latency:percentile(99.9),
    summary.errors.status + summary.errors.timeout + summary.errors.read + summary.errors.connect))
end
"""


@dataclass(frozen=True)
class Request:
    """A GET of a path, or a POST of a body (JSON in one line), by the bearer of a token if there is one."""

    path: str
    body: str = ""
    token: str = ""

    def __str__(self) -> str:
        return f"POST {self.path} {self.body}" if self.body else f"GET {self.path}"


class Wrk:
    """The program, and a folder for its script and requests.

    Raises:
        StackError: if it is not installed.
    """

    def __init__(self, folder: Path) -> None:
        program = shutil.which("wrk")
        if program is None:
            raise StackError("wrk is not installed", remedy="apt-get install wrk", code="benchmark")
        self._program = program
        self._script, self._requests = folder / "load.lua", folder / "requests"

    def ask(self, port: int, requests: Sequence[Request], connections: int, seconds: float) -> Counts:
        """Asks over so many connections, each of which waits for its answer before it asks again; all requests have the
        same token.

        If nothing is answered in this time, as by a slow server on a busy machine, it asks for twice as long.

        Raises:
            StackError: if a request failed.
        """
        self._requests.write_text("\n".join(map(str, requests)))
        token = requests[0].token
        self._script.write_text(_SCRIPT % (f', ["Authorization"] = "Bearer {token}"' if token else "", self._requests))
        options = ["-t1", f"-c{connections}", f"-d{round(seconds)}s", "--timeout", "20s", "-s", str(self._script)]
        command = [self._program, *options, f"http://127.0.0.1:{port}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        try:
            counts = read_counts(done.stdout)
        except ValueError as error:
            raise StackError(f"wrk: {requests[0].path[:100]} failed: {error}", code="benchmark") from error
        return counts if counts.requests else self.ask(port, requests, connections, 2 * seconds)
