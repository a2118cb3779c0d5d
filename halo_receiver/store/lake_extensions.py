"""DuckDB's extensions for a lake, and what they raise in the project's errors.

Extensions come from a directory, from wheels, or from DuckDB's own installation, and are never fetched by themselves:
they are of exactly one version of DuckDB.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb

from halo_receiver.config import LakeConfig
from halo_receiver.errors import ConfigError, LakeUnavailable, StoreError

EXTENSIONS = ("postgres_scanner", "ducklake", "httpfs")  # in the order in which they are loaded
INSTALLED_AS = {"postgres_scanner": "postgres"}  # by DuckDB's own INSTALL
_PASSWORD = re.compile(r"password\s*=\s*('(?:[^'\\]|\\.|'')*'|[^\s\"']+)", re.IGNORECASE)


def quoted(text: str) -> str:
    """Write a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


@contextlib.contextmanager
def faults(doing: str) -> Iterator[None]:
    """Tell what may pass from what will not: the lake away, or something wrong."""
    try:
        yield
    except (duckdb.IOException, duckdb.ConnectionException) as error:  # httpfs raises a kind of IOException
        raise LakeUnavailable(f"the lake does not answer, {doing}: {_line(error)}") from None
    except duckdb.Error as error:
        raise StoreError(f"{doing}: {_line(error)}") from None


def _line(error: Exception) -> str:
    """One line of what DuckDB says, without the password that it repeats of the words it was given."""
    return _PASSWORD.sub("password=…", " ".join(str(error).split()))[:400]


def extension_file(config: LakeConfig, name: str) -> Path | None:
    """Return the file of an extension for this DuckDB: of the configured directory, else of a wheel."""
    version = f"v{duckdb.__version__}"
    folders = [config.extensions, config.extensions / version] if config.extensions else []
    wheel = importlib.util.find_spec(f"duckdb_extension_{name}")
    folders += (
        [Path(place) / "extensions" / version for place in (wheel.submodule_search_locations or ())] if wheel else []
    )
    found = (folder / f"{name}.duckdb_extension" for folder in folders)
    return next((path for path in found if path.is_file()), None)


def load_extensions(connection: duckdb.DuckDBPyConnection, config: LakeConfig) -> None:
    """Load what the lake needs. Raises ConfigError that says which is missing and how it is got."""
    connection.execute("SET autoinstall_known_extensions = false")
    for name in EXTENSIONS[: 3 if config.data.startswith("s3://") else 2]:
        path = extension_file(config, name)
        try:
            connection.execute(f"LOAD {quoted(str(path))}" if path else f"LOAD {name}")
        except duckdb.Error as error:
            raise ConfigError(
                f"DuckDB {duckdb.__version__} cannot load its extension {name}: {_line(error)}",
                hint="'halo lake init --install-extensions' fetches it; without internet set [lake] extensions, or "
                "pip install 'halo-otel[lake-offline]', which pins DuckDB 1.5.5",
            ) from None


def install_extensions() -> list[str]:
    """Fetch the extensions into DuckDB's own installation; return their names. Raises StoreError where it fails."""
    names = [INSTALLED_AS.get(name, name) for name in EXTENSIONS]
    with duckdb.connect(":memory:") as connection, faults("installing extensions"):
        for name in names:
            connection.execute(f"INSTALL {name}")
    return names


def versions(config: LakeConfig) -> str:
    """Say which extensions are loaded, and from where: they are of exactly this version of DuckDB."""
    with duckdb.connect(":memory:") as connection:
        load_extensions(connection, config)
        found = connection.execute(
            "SELECT extension_name, extension_version FROM duckdb_extensions() WHERE loaded AND extension_name IN "
            "('ducklake', 'httpfs', 'postgres_scanner') ORDER BY 1"
        ).fetchall()
    place = extension_file(config, "ducklake")
    where = "DuckDB's own installation" if place is None else str(place.parent)
    return f"DuckDB {duckdb.__version__} with {', '.join(f'{name} {version}' for name, version in found)}, from {where}"
