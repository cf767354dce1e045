"""Numba's machine code of a function, kept in files that say what they were compiled from.

Numba's own files name neither the compiler's flags nor the libraries' versions, and one that is
cut short ends every later run. Here whatever is not the very code that is wanted is compiled anew.
"""

import functools
import hashlib
import os
import pickle
import secrets
from contextlib import suppress
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

VERSIONS = (numba.__version__, llvmlite.__version__, np.__version__)
SWITCHES = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK")  # of NUMBA_... variables
DIGEST = hashlib.sha256().digest_size


class CodeCache(FunctionCache):
    """One function's code: a file for each types of its arguments and CPU, beside the source or in
    the user's cache folder.

    A file is the digest of all that its code depends on and of the code, and the code. A file that
    is cut short, of other flags or of another source is not taken, and written anew. Where it
    cannot be written nothing is kept. Raises RuntimeError where there is no place for files.
    """

    def __init__(self, function: object, options: dict) -> None:
        super().__init__(function)
        switches = [(name, getattr(numba.config, name, None)) for name in SWITCHES]
        source = _digest_of_file(function.__code__.co_filename)
        self._compiled_from = repr((source, sorted(options.items()), switches, VERSIONS))

    def load_overload(self, sig: tuple, target_context: object) -> object | None:
        """The code for arguments of the types `sig`; None where it has to be compiled."""
        target_context.refresh()
        key = self._key(sig, target_context.codegen())
        with suppress(Exception):  # unpickling what another program wrote may raise anything
            content = self._file(key).read_bytes()
            digest, code = content[:DIGEST], content[DIGEST:]
            if digest == self._digest(key, code):
                return self._impl.rebuild(target_context, pickle.loads(code))
        return None

    def save_overload(self, sig: tuple, data: object) -> None:
        """Keep compiled code, in one step, so that other processes never see half of it."""
        if not self._impl.check_cachable(data):
            return
        key, code = self._key(sig, data.codegen), dumps(self._impl.reduce(data))
        file = self._file(key)
        draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}.partial")
        with suppress(OSError):
            try:
                self._impl.locator.ensure_cache_path()
                draft.write_bytes(self._digest(key, code) + code)
                os.replace(draft, file)
            finally:
                draft.unlink(missing_ok=True)

    def _key(self, sig: tuple, codegen: object) -> str:
        """Types of arguments and CPU as text."""
        return repr((sig, codegen.magic_tuple()))

    def _file(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        return Path(self.cache_path) / f"{self._impl.filename_base}.{name}.nbc"

    def _digest(self, key: str, code: bytes) -> bytes:
        about = f"{self._compiled_from} {key}".encode()
        return hashlib.sha256(hashlib.sha256(about).digest() + code).digest()


@functools.cache
def _digest_of_file(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
