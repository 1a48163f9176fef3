"""Reader of weights in pickle files, which runs no code of the file.

    arrays = read_pickle("vgg19-dcbb9e9d.pth")      # {"features.0.weight": ndarray, ...}

A pickle may build plain containers, numbers, texts, NumPy arrays, PyTorch tensors and Jittor
variables; every other name and instruction in it is refused (`safe_unpickler`). The result takes at
most a few times the bytes of the file (`pickle_values`). The forms are PyTorch's (zip, the form
before it, and the tar before that) and Jittor's (`jt.save`). Every tensor becomes a NumPy array.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from options.errors import UserError, list_names
from options.paths import open_file
from weights.file_kind import DOWNLOAD, UNPACK, weights_kind
from weights.pickle_values import CutShort, Fault, Storage, Tensor, TreeConverter, shown
from weights.safe_unpickler import GetStorage, SafeUnpickler, no_storage
from weights.short_floats import ByteOrder

JITTOR_MARK = b"HCAJSLHD"  # ends a file of jt.save, after 20 bytes of SHA-1
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # opens a PyTorch file older than 1.6
LEGACY_VERSION = 1001


def read_pickle(path: str | Path) -> Any:
    """Read a PyTorch or Jittor file of weights; tensors become NumPy arrays.

    Raises UserError if the file is missing, cut short, or holds anything but weights.
    """
    path = Path(path)
    kind = weights_kind(path)
    try:
        if kind == "safetensors":
            raise Fault("a safetensors file", "Rename it to .safetensors")
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if kind == "zip":
                return _read_zip(file, size)
            if kind == "tar":
                return _read_tar(file, size)
            content = file.read()
        return _read_stream(content, size)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except CutShort as cut:
        raise UserError(f"{path}: cut short: {cut}. {DOWNLOAD}") from None
    except Fault as fault:
        raise UserError(
            f"{path}: expected tensors only, got {shown(fault, 400)}. {fault.fix}"
        ) from None
    except Exception as error:  # a damaged pickle can raise nearly any exception
        raise UserError(
            f"{path}: expected a file of weights, got a damaged one ({type(error).__name__}: "
            f"{shown(error)}). {DOWNLOAD}"
        ) from None


def _read_stream(content: bytes, size: int) -> Any:
    """Read a pickle, Jittor's or PyTorch's before 1.6."""
    if content.endswith(JITTOR_MARK):
        content = _check_digest(content)
    stream = io.BytesIO(content)
    try:
        if _is_legacy(stream):
            return _read_legacy(stream)
        return TreeConverter(size).convert(SafeUnpickler(stream).load())
    except Exception as error:
        # The pickle was read to the end, and no STOP has come.
        if stream.tell() >= size and not isinstance(error, Fault):
            raise CutShort(f"{size} bytes, without the end of the pickle") from None
        raise


def _check_digest(content: bytes) -> bytes:
    body, digest = content[:-28], content[-28:-8]
    if hashlib.sha1(body).digest() != digest:
        raise Fault("content whose checksum does not match", DOWNLOAD)
    return body


def _read_zip(file: BinaryIO, size: int) -> Any:
    if not zipfile.is_zipfile(file):
        raise CutShort(_describe_cut_zip(file, size))
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if any(name.endswith("/constants.pkl") for name in names):
            raise Fault("TorchScript, which holds code", "Save its state_dict()")
        if names and all(name.endswith(".npy") for name in names):
            raise Fault("NumPy's archive (npz)", "Save the tensors as safetensors")
        if len(set(pickles)) != 1:
            raise Fault(f"a zip archive of {_list_entries(names)}", UNPACK)
        _check_entries(archive, size)
        folder = pickles[0].removesuffix("data.pkl")
        order: ByteOrder = "<"
        if folder + "byteorder" in names and archive.read(folder + "byteorder") == b"big":
            order = ">"
        storages: dict[str, Storage] = {}

        def get_storage(saved_id: tuple[Any, ...]) -> Storage:
            key = str(saved_id[2])
            if key not in storages:
                storage = Storage(saved_id[1].dtype, saved_id[4], order)
                entry = archive.getinfo(f"{folder}data/{key}")
                found, expected = entry.file_size, storage.size
                if found != expected:
                    raise Fault(f"storage {key} of {found} bytes instead of {expected}")
                storage.fill(archive.read(entry))
                storages[key] = storage
            return storages[key]

        tree = SafeUnpickler(io.BytesIO(archive.read(pickles[0])), get_storage).load()
        return TreeConverter(size).convert(tree)


def _list_entries(names: list[str]) -> str:
    return list_names(shown(name, 60) for name in names)


def _describe_cut_zip(file: BinaryIO, size: int) -> str:
    """Return how much of a zip is there; its directory, which is at the end, is missing.

    PyTorch's first entry is the pickle, which tells how many numbers follow.
    """
    known: dict[str, int] = {}

    def get_storage(saved_id: tuple[Any, ...]) -> Storage:
        storage = Storage(saved_id[1].dtype, saved_id[4])
        known[str(saved_id[2])] = storage.size
        return storage

    file.seek(26)
    try:
        name, extra = struct.unpack("<HH", file.read(4))
        file.seek(30 + name + extra)
        SafeUnpickler(io.BytesIO(file.read()), get_storage).load()
    except Exception:  # no pickle, or only a part of it
        known.clear()
    if sum(known.values()) > size:
        return f"{size} bytes, of more than {sum(known.values())} bytes of numbers"
    return f"{size} bytes, without the list of entries at the end"


def _check_entries(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse an archive that would unpack to more bytes than the file has.

    PyTorch stores without compression, so the entries of its files are no larger than the file.
    Entries may have any name: they are looked up by name, and none becomes a file.
    """
    seen: set[str] = set()
    total = 0
    for entry in archive.infolist():
        name = entry.filename
        if name in seen:
            raise Fault(f"a zip archive with two entries {name!r}")
        seen.add(name)
        if entry.compress_type != zipfile.ZIP_STORED:
            raise Fault(f"the compressed entry {name!r}, and PyTorch compresses none")
        total += max(entry.file_size, entry.compress_size)
    if total > size:
        raise Fault(f"entries of {total} bytes in a zip archive of {size} bytes")


def _read_tar(file: BinaryIO, size: int) -> Any:
    """Read PyTorch before 0.1.10: the numbers, the tensors on them, a pickle that names tensors."""
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(tarfile.open(fileobj=file, mode="r:"))
            members = {member.name: member for member in archive.getmembers()}
        except tarfile.ReadError:
            raise CutShort(f"{size} bytes, without the end of the list of entries") from None
        if not {"storages", "tensors", "pickle"} <= set(members):
            raise Fault(f"a tar archive of {_list_entries(list(members))}", UNPACK)

        def read(name: str) -> io.BytesIO:
            member = members[name]
            if not member.isreg() or member.issparse():
                raise Fault(f"the entry {name}, which is no regular file")
            if member.offset_data + member.size > size:
                raise CutShort(f"{size} of {member.offset_data + member.size} bytes")
            file.seek(member.offset_data)
            return io.BytesIO(file.read(member.size))

        storages = _read_tar_storages(read("storages"))
        tensors = _read_tar_tensors(read("tensors"), storages)

        def get_tensor(saved_id: Any) -> Any:
            found = tensors.get(str(saved_id)) if type(saved_id) in (str, int) else None
            if found is None:
                raise Fault(f"an unknown reference {shown(saved_id)}")
            return found

        tree = SafeUnpickler(read("pickle"), get_tensor=get_tensor).load()
        return TreeConverter(size).convert(tree)


def _read_tar_storages(stream: io.BytesIO) -> dict[str, Storage]:
    def load() -> Any:
        return SafeUnpickler(stream).load()

    storages: dict[str, Storage] = {}
    for _ in range(load()):
        key, _, kind = load()
        storage = Storage(kind.dtype, int.from_bytes(stream.read(8), "little", signed=True))
        storage.fill(stream.read(max(0, storage.size)))
        storages[str(key)] = storage
    for key, base_key, offset, count in load():
        storages[str(key)] = storages[str(base_key)].view(offset, count)
    return storages


def _read_tar_tensors(stream: io.BytesIO, storages: dict[str, Storage]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for _ in range(SafeUnpickler(stream).load()):
        key, storage_key, _ = SafeUnpickler(stream).load()
        (dimensions,) = struct.unpack("<q", stream.read(8))
        if not 0 <= dimensions <= 32:
            raise Fault(f"a tensor of {dimensions} dimensions")
        numbers = struct.unpack(f"<{2 * dimensions + 1}q", stream.read(16 * dimensions + 8))
        size, stride, offset = numbers[:dimensions], numbers[dimensions:-1], numbers[-1]
        tensors[str(key)] = Tensor(storages[str(storage_key)], offset, size, stride)
    return tensors


def _is_legacy(stream: io.BytesIO) -> bool:
    # The first pickle of a legacy file is a single integer.
    head = stream.getvalue()[:64]
    try:
        magic = SafeUnpickler(io.BytesIO(head)).load()
    except Exception:
        return False
    return type(magic) is int and magic == LEGACY_MAGIC


def _read_legacy(stream: io.BytesIO) -> Any:
    def load_one(get_storage: GetStorage = no_storage) -> Any:
        return SafeUnpickler(stream, get_storage).load()

    load_one()  # the magic number
    if load_one() != LEGACY_VERSION:
        raise Fault("a PyTorch file of unknown version")
    if not load_one().get("little_endian", True):
        raise Fault("a file of a big-endian machine", "Save it again on another machine")
    storages: dict[str, Storage] = {}
    views: list[tuple[Storage, Storage, int]] = []

    def get_storage(saved_id: tuple[Any, ...]) -> Storage:
        kind, key, _, count = saved_id[1:5]
        base = storages.setdefault(str(key), Storage(kind.dtype, count))
        if len(saved_id) < 6 or saved_id[5] is None:
            return base
        _, offset, length = saved_id[5]
        view = base.view(offset, length)
        views.append((view, base, offset))
        return view

    tree = load_one(get_storage)
    keys = load_one()
    needed = sum(8 + storages[str(key)].size for key in keys if str(key) in storages)
    here = len(stream.getvalue())
    if type(keys) is list and stream.tell() + needed > here:
        raise CutShort(f"{here} of {stream.tell() + needed} bytes")
    for key in keys:
        storage = storages.get(str(key))
        if storage is None:
            raise Fault(f"numbers of an unknown storage {key}")
        count = int.from_bytes(stream.read(8), "little", signed=True)
        if count != storage.count:
            raise Fault(f"storage {key} of {count} numbers instead of {storage.count}")
        storage.fill(stream.read(storage.size))
    for view, base, offset in views:
        view.content = base.view(offset, view.count).content
    return TreeConverter(here).convert(tree)
