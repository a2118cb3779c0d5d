"""PostgreSQL and an S3 (SeaweedFS) on loopback, in temporary folders, on free ports; each can end and come back."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.lake import folder

KEYS = {"AWS_ACCESS_KEY_ID": "halo", "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_REGION": "us-east-1"}
BUCKET = "spans"
START_SECONDS = 60.0
_ACTIONS = ["Admin", "Read", "Write", "List", "Tagging"]
_ACCESS = {
    "identities": [
        {
            "name": "halo",
            "credentials": [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}],
            "actions": _ACTIONS,
        }
    ]
}


def free_ports(number: int) -> list[int]:
    """Ports that were free a moment ago, below those that systems give to clients: a service comes back to its own."""
    found: list[int] = []
    candidate = 20_000 + os.getpid() * 37 % 9000
    while len(found) < number:
        candidate += 1
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", candidate))
            found.append(candidate)
    return found


def until(ready: Callable[[], bool], what: Callable[[], str]) -> None:
    """Ask until it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {START_SECONDS:.0f} s: {what()}")
        time.sleep(0.05)


def postgres_programs() -> Path | None:
    """The folder of Debian's newest PostgreSQL, or that of the `postgres` on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    named = shutil.which("initdb")
    return found[-1].parent if found else Path(named).resolve().parent if named else None


class Postgres:
    """A cluster of its own. It refuses to run as root: then it runs as nobody, in a folder of nobody's."""

    def __init__(self, directory: Path) -> None:
        programs = postgres_programs()
        assert programs is not None
        self._programs, self._directory = programs, directory
        self._user = pwd.getpwnam("nobody") if os.getuid() == 0 else None
        if self._user is not None:
            os.chown(directory, self._user.pw_uid, self._user.pw_gid)
        [self.port] = free_ports(1)
        if not (directory / "data").exists():  # else it goes on with what it had
            self._run("initdb", "-D", "data", "-U", "halo", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.start()

    @property
    def pid(self) -> int:
        """The process above all others of the cluster."""
        return int((self._directory / "data" / "postmaster.pid").read_text().split()[0])

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *words], cwd=self._directory, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=START_SECONDS, check=False,
            **({"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []} if self._user else {}),
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stderr}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self._run("pg_ctl", "-D", "data", "-o", settings, "-l", "log", "-w", "start")

    def stop(self) -> None:
        """End it at once; connections are cut."""
        self._run("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")

    def database(self, name: str) -> str:
        """Make a database, unless it is there; return libpq's words for it."""
        import psycopg

        words = f"host=127.0.0.1 port={self.port} user=halo"
        with psycopg.connect(f"{words} dbname=postgres", autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(f"CREATE DATABASE {name}".encode())
        return f"{words} dbname={name}"


class S3:
    """SeaweedFS with one bucket, of at most `volumes` times 64 MiB."""

    def __init__(self, directory: Path, *, volumes: int = 32) -> None:
        self._directory, self._volumes = directory, volumes
        self._ports = free_ports(8)
        self.endpoint = f"http://127.0.0.1:{self._ports[0]}"
        (directory / "access.json").write_text(json.dumps(_ACCESS))
        (directory / "data").mkdir(exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until the bucket is there."""
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = map(str, self._ports)
        words = [
            "-dir", str(self._directory / "data"), "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", "-s3",
            "-s3.config", str(self._directory / "access.json"), "-s3.port", s3, "-s3.port.grpc", s3_grpc,
            "-s3.port.iceberg", "0", "-s3.port.lance", "0", "-master.port", master, "-master.port.grpc", master_grpc,
            "-master.telemetry=false", "-master.volumeSizeLimitMB", "64", "-volume.max", str(self._volumes),
            "-volume.port", volume, "-volume.port.grpc", volume_grpc, "-filer.port", filer,
            "-filer.port.grpc", filer_grpc, "-filer.localSocket", str(self._directory / "filer.sock"),
        ]  # fmt: skip
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(folder() / "bin" / "weed"), "server", *words], cwd=self._directory, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._filer = f"http://127.0.0.1:{filer}"
        until(self._bucket_is_there, lambda: (self._directory / "log").read_text()[-2000:])

    def _bucket_is_there(self) -> bool:
        """Make the bucket through the filer, whose folders are buckets, and write a file into it."""
        boundary = b"x"
        body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="ready"\r\n\r\nyes\r\n--x--\r\n'
        request = urllib.request.Request(
            f"{self._filer}/buckets/{BUCKET}/ready", body,
            {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}, method="POST",
        )  # fmt: skip
        try:
            with (
                urllib.request.urlopen(request, timeout=5),
                urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=5),
            ):
                return True
        except (OSError, urllib.error.URLError):
            return False

    @property
    def pid(self) -> int:
        """Its one process."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End it at once."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)


@contextlib.contextmanager
def temporary(name: str) -> Iterator[Path]:
    """A folder that other users may pass through."""
    with tempfile.TemporaryDirectory(prefix=f"halo-{name}-") as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path
