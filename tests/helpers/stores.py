"""Folders sent to a store as they are, and what is in one against a folder."""

from pathlib import Path

from tests.helpers.s3_server import S3Server


def send(server: S3Server, folder: Path, bucket: str, prefix: str, *, only: str = "**/*") -> str:
    """Put the files of a folder below a prefix; returns the URL of that."""
    for path in sorted(folder.glob(only)):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(folder).as_posix()}"
            server.call("put_object", Bucket=bucket, Key=key, Body=path.read_bytes())
    return f"s3://{bucket}/{prefix}"


def files_of(folder: Path, *, only: str = "**/*") -> dict[str, bytes]:
    """The files of a folder by their names below it."""
    paths = (path for path in folder.glob(only) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
