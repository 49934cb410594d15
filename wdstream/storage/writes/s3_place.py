"""S3, and stores that speak it, as a place to write to: uploads in parts, conditional writes, pages of listings.

Each part of an upload is tried again by itself. An upload that fails is aborted; one that a kill left is aborted by the
next job on the same place (`remove_unfinished`).
"""

import asyncio
import contextlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

from wdstream.errors import AbsentFileError, ForbiddenFileError, ShardError
from wdstream.storage.atomic import atomic_write
from wdstream.storage.http_answers import check_head, s3_code
from wdstream.storage.s3_answers import has_md5, is_md5, of_listing
from wdstream.storage.tries import MOST_S, Deadline
from wdstream.storage.writes.fsspec_place import FsspecPlace
from wdstream.storage.writes.place import StoredFile, refuse_strange_name

PART_BYTES = 16 << 20
"""Of an upload; a smaller file is sent by one request."""
_MOST_PARTS = 9_000
_PARTS_AT_ONCE = 4
_NAMES_AT_ONCE = 1000
_LOOK_S = 0.5
"""Seconds after which a request that sends something is looked at again."""
_MOST_ANSWER_S = 600.0
"""Seconds for an answer to a request that sends nothing: after a status 1xx the client below counts no silence, and S3
may take minutes to join the parts of an upload."""
_REFUSALS = ("PreconditionFailed", "412")
_NOT_THERE = ("NotImplemented", "501")
"""What stores without conditional writes say of a condition."""


class S3Place(FsspecPlace):
    """Objects below `s3://bucket/folder`; use `open_place`."""

    def _connect(self) -> None:
        self._options = {**self._options, "use_listings_cache": False}
        super()._connect()

    def _call(self, method: str, name: str, doing: str = "written", **arguments: Any) -> Any:
        """One request about one object, which is sent again while that may help."""
        bucket, key = self._split(name)
        return self.tried(name, doing, lambda: self._ask(method, Bucket=bucket, Key=key, **arguments))

    def _ask(self, method: str, *, Body: bytes | None = None, **arguments: Any) -> Any:
        """One request, which is sent once.

        Raises:
            TimeoutError: the store takes nothing of what is sent, for twice the silence after which a request is given
                up: below here, that counts from the last byte sent on.
        """
        if Body is None:
            return self.fs.call_s3(method, timeout=_MOST_ANSWER_S, **arguments)
        body, files = io.BytesIO(Body), self.fs
        num_taken, most_s = -1, 2 * self._silence_s
        silence = Deadline(most_s)
        asked = asyncio.run_coroutine_threadsafe(files._call_s3(method, Body=body, **arguments), files.loop)
        while True:
            try:
                return asked.result(_LOOK_S)
            except TimeoutError:
                if asked.done():
                    return asked.result()  # which may have come in this moment
            except BaseException:
                asked.cancel()
                raise
            if body.tell() != num_taken:
                num_taken = body.tell()
                most_s = MOST_S if num_taken == len(Body) else 2 * self._silence_s
                silence = Deadline(most_s)
            elif silence.is_over():
                asked.cancel()
                raise TimeoutError(f"nothing of {len(Body):,} bytes is taken for {most_s:g} s")

    def _split(self, name: str) -> tuple[str, str]:
        bucket, key, _ = self.fs.split_path(self.path_of(name))
        return bucket, key

    def read_version(self, name: str) -> tuple[bytes, str]:
        """All of an object, and its ETag, by one request."""
        data, answer = self._get(name)
        return data, str(answer["ETag"])

    def _get(self, name: str, **more: str) -> tuple[bytes, Any]:
        """What is asked for of an object, and the head of the answer."""
        from fsspec.asyn import sync

        bucket, key = self._split(name)

        async def ask() -> tuple[bytes, Any]:
            try:
                answer = await self.fs._call_s3("get_object", Bucket=bucket, Key=key, **more)
            except OSError as error:
                if s3_code(error) != "InvalidRange":
                    raise
                return b"", {}  # as S3 says of an empty object
            if "ContentRange" in answer:
                check_head(more.get("Range", ""), 206, {"Content-Range": answer["ContentRange"]})
            async with answer["Body"] as body:
                data = await body.read()
            if len(data) != answer["ContentLength"]:
                raise OSError(f"{answer['ContentLength']} bytes announced, {len(data)} sent")
            return data, answer

        def is_sure(answer: tuple[bytes, Any]) -> bool:
            data, head = answer
            return len(data) == _size_in(data, head) and has_md5(data, str(head.get("ETag", "")))

        return self.surely(
            name,
            "read",
            lambda: cast(tuple[bytes, Any], sync(self.fs.loop, ask, timeout=_MOST_ANSWER_S)),
            part=lambda answer: (answer[0], answer[1].get("ETag")),
            is_sure=is_sure,
        )

    def read(self, name: str) -> bytes:
        """All of an object."""
        return self.read_version(name)[0]

    def fetch(self, name: str, path: Path) -> None:
        """Copy an object to a local path, complete or absent there: a small one by one request, others in ranges."""
        with atomic_write(path, is_durable=False) as file:
            data, answer = self._get(name, Range=f"bytes=0-{PART_BYTES - 1}")
            file.write(data)
            size = _size_in(data, answer)
            while (start := file.tell()) < size:
                asked = f"bytes={start}-{min(size, start + PART_BYTES) - 1}"
                file.write(self._get(name, Range=asked, IfMatch=str(answer["ETag"]))[0])

    def files(self, under: str = "") -> Iterator[StoredFile]:
        """All objects whose names begin with `under`, sorted by name, a page at a time."""
        bucket, prefix = self._split("")
        prefix = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
        more: dict[str, str] = {}
        while True:
            asked = {"Bucket": bucket, "Prefix": prefix + under, **more}
            page = self._page(under, asked)
            for entry in page.get("Contents", ()):
                if not entry["Key"].endswith("/"):  # that some tools make for a folder
                    name = refuse_strange_name(entry["Key"][len(prefix) :], self.address)
                    version, num_bytes = str(entry["ETag"]), int(entry["Size"])
                    md5 = version.strip('"') if is_md5(version) else ""
                    yield StoredFile(name=name, num_bytes=num_bytes, version=version, md5=md5)
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _page(self, under: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        def ask() -> Mapping[str, Any]:
            return cast(Mapping[str, Any], self._ask("list_objects_v2", **asked))

        return self.surely(under, "listed", ask, part=of_listing)

    def write(self, name: str, data: bytes) -> None:
        """Write all of an object by one request."""
        self._call("put_object", name, Body=data)

    def put(self, name: str, path: Path) -> None:
        """Write an object with the content of a local file, in parts where it is large."""
        if path.stat().st_size <= PART_BYTES:
            self.write(name, path.read_bytes())
            return
        upload = self._begun(name)
        try:
            parts = self._sent_parts(name, upload, path)
            self._complete(name, upload, parts)
        except BaseException:
            with contextlib.suppress(ShardError):
                self._call("abort_multipart_upload", name, UploadId=upload)
            raise

    def _begun(self, name: str) -> str:
        """Begin an upload. Where an answer was lost, the store may have begun another before, which goes."""
        bucket, key = self._split(name)
        tries = 0

        def ask() -> str:
            nonlocal tries
            tries += 1
            return str(self._ask("create_multipart_upload", Bucket=bucket, Key=key)["UploadId"])

        upload = self.tried(name, "written", ask)
        if tries > 1:
            with contextlib.suppress(ForbiddenFileError):  # who may not list uploads may write all the same
                for other in [*self._unfinished(bucket, key)]:
                    if other["Key"] == key and other["UploadId"] != upload:
                        self._abort(other, bucket)
        return upload

    def _sent_parts(self, name: str, upload: str, path: Path) -> list[dict[str, Any]]:
        size = path.stat().st_size
        part_bytes = max(PART_BYTES, -(-size // _MOST_PARTS))
        with path.open("rb") as file, ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:

            def send(number: int) -> dict[str, Any]:
                data = os.pread(file.fileno(), part_bytes, (number - 1) * part_bytes)
                sent = self._call("upload_part", name, UploadId=upload, PartNumber=number, Body=data)
                return {"PartNumber": number, "ETag": sent["ETag"]}

            numbers = range(1, -(-size // part_bytes) + 1)
            sending = [pool.submit(send, number) for number in numbers]
            try:
                return [part.result() for part in sending]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _complete(self, name: str, upload: str, parts: list[dict[str, Any]]) -> None:
        """End an upload. Where the answer was lost, the store has the object, and no such upload any more."""
        try:
            self._call("complete_multipart_upload", name, UploadId=upload, MultipartUpload={"Parts": parts})
        except AbsentFileError:
            version = str(self._call("head_object", name, "read")["ETag"])
            if not version.strip('"').endswith(f"-{len(parts)}"):
                raise

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, many by one request; one that is not there is passed over."""
        rest = iter(names)
        while some := list(islice(rest, _NAMES_AT_ONCE)):
            bucket, _ = self._split("")
            listed = {"Objects": [{"Key": self._split(name)[1]} for name in some], "Quiet": True}
            self.tried(some[0], "removed", partial(self._delete, bucket, listed))

    def _delete(self, bucket: str, listed: Mapping[str, Any]) -> None:
        """Remove objects by one request, whose answer may be that some of them stay.

        Raises:
            OSError: they do.
        """
        for left in self._ask("delete_objects", Bucket=bucket, Delete=listed).get("Errors", ()):
            kind = PermissionError if left.get("Code") == "AccessDenied" else OSError
            raise kind(f"{left.get('Code')} for {left.get('Key')}")

    def create(self, name: str, data: bytes) -> bool:
        """Write an object only where there is none, as the store decides; one that cannot, or does not look at
        conditions, is asked first."""
        if self._version(name):
            return self._has(name, data)
        return self._conditional(name, data, IfNoneMatch="*")

    def replace(self, name: str, data: bytes, version: str) -> bool:
        """Write an object only while it is of this version; who decides is as for `create`."""
        if self._version(name) != version:
            return self._has(name, data)
        try:
            return self._conditional(name, data, IfMatch=version)
        except AbsentFileError:
            return False

    def _version(self, name: str) -> str:
        """The ETag of a small object; empty where there is none."""
        try:
            return self.read_version(name)[1]
        except AbsentFileError:
            return ""

    def _conditional(self, name: str, data: bytes, **condition: str) -> bool:
        bucket, key = self._split(name)

        def ask() -> bool:
            try:
                self._ask("put_object", Bucket=bucket, Key=key, Body=data, **condition)
            except OSError as error:
                if s3_code(error) in _NOT_THERE:
                    self._ask("put_object", Bucket=bucket, Key=key, Body=data)
                    return True
                if s3_code(error) not in _REFUSALS:
                    raise
                return False
            return True

        # A refusal may be of the second try, where the answer to the first was lost on its way.
        return self.tried(name, "written", ask) or self._has(name, data)

    def remove_unfinished(self, is_own: Callable[[str], bool] = lambda _: True) -> None:
        """Abort unfinished uploads below this place."""
        bucket, prefix = self._split("")
        prefix = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
        for upload in [*self._unfinished(bucket, prefix)]:
            if is_own(upload["Key"][len(prefix) :]):
                self._abort(upload, bucket)

    def _abort(self, upload: Mapping[str, Any], bucket: str) -> None:
        asked = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
        with contextlib.suppress(AbsentFileError):
            self.tried("", "cleaned", lambda: self._ask("abort_multipart_upload", **asked))

    def _unfinished(self, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
        more: dict[str, str] = {}
        while True:
            asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, **more}
            page = self.tried("", "listed", lambda: self._ask("list_multipart_uploads", **asked))  # noqa: B023
            yield from (upload for upload in page.get("Uploads", ()) if upload["Key"].startswith(prefix))
            if not page.get("IsTruncated"):
                return
            more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def _size_in(data: bytes, answer: Mapping[str, Any]) -> int:
    """Bytes of the object of which an answer has some or all."""
    return int(answer["ContentRange"].rpartition("/")[2]) if "ContentRange" in answer else len(data)
