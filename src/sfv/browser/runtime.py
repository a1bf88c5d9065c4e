"""ONNX Runtime for browsers: one version from the npm registry, known by its hash. Knows no model."""

import base64
import hashlib
import io
import tarfile
import urllib.request
from pathlib import Path

from sfv.errors import SfvError
from sfv.system.files import cache_folder, replacing

VERSION = "1.30.0"
ADDRESS = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""The registry's `integrity`."""
SIZE = 33_106_585
"""Bytes of the package."""
FILES = {
    "ort.wasm.min.js": "ort.wasm.min.mjs",
    "ort.webgpu.min.js": "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.js": "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
    "ort-wasm-simd-threaded.asyncify.js": "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm": "ort-wasm-simd-threaded.asyncify.wasm",
}
"""Our names -> names in the package's dist. Some hosts do not know that .mjs is JavaScript."""
PATIENCE = 60
"""Seconds to wait for the registry to answer."""
LICENCE = f"""onnxruntime-web {VERSION}, the files in runtime/, from the npm registry, unchanged but for their names.
Its notices for what it is built of: https://github.com/microsoft/onnxruntime/blob/v{VERSION}/ThirdPartyNotices.txt

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def runtime_files(package: Path | None = None) -> dict[str, bytes]:
    """The runtime's files by our names, from `package` (a .tgz), else from the cache, else from the registry.

    Raises SfvError where there is none, or it is another than the pinned one.
    """
    data = _read(package) if package else _fetched()
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        inside = {name: tar.extractfile(f"package/dist/{theirs}") for name, theirs in FILES.items()}
        return {name: file.read() for name, file in inside.items() if file is not None}


def _read(package: Path) -> bytes:
    try:
        size = package.stat().st_size
        data = package.read_bytes() if size == SIZE else b""
    except OSError as error:
        raise SfvError(f"runtime {package} cannot be read ({error.strerror}); name the file of {ADDRESS}") from error
    if not intact(data):
        raise SfvError(f"runtime {package} is not onnxruntime-web {VERSION} as the npm registry has it; get {ADDRESS}")
    return data


def _fetched() -> bytes:
    """From the cache folder, where it is kept once it was fetched."""
    kept = cache_folder() / "browser" / ADDRESS.rpartition("/")[2]
    if kept.is_file() and intact(data := kept.read_bytes()):
        return data
    try:
        with urllib.request.urlopen(ADDRESS, timeout=PATIENCE) as response:
            data = response.read(SIZE + 1)
    except OSError as error:
        raise SfvError(
            f"onnxruntime-web cannot be fetched ({error}); go online, or fetch {ADDRESS} elsewhere and name it with "
            "--runtime FILE.tgz"
        ) from error
    if not intact(data):
        raise SfvError(
            f"what {ADDRESS} gave is not the pinned package: the download was cut short or changed; try again"
        )
    kept.parent.mkdir(parents=True, exist_ok=True)
    with replacing(kept) as beside:
        beside.write_bytes(data)
    return data


def intact(data: bytes) -> bool:
    """Whether bytes are the pinned package."""
    return base64.b64encode(hashlib.sha512(data).digest()).decode() == SHA512
