"""Files of published weights: from the cache of huggingface_hub or of torch.hub, otherwise from the network.

Nothing is asked of the network while the file lies in the cache, so that a run repeats offline.
"""

import errno
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from ssl_seg.errors import ResourceError, UsageError, WeightsError
from ssl_seg.utils.entry_points import short_error

_TIMEOUT_SECONDS = 10  # until a server answers, and between two parts of a file
_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class HubRepo:
    """A repository of Hugging Face's hub.

    Attributes:
        name: `USER/NAME`.
        revision: a branch, tag or commit; None: `main`.
    """

    name: str
    revision: str | None = None

    def file(self, *names: str) -> Path:
        """The first of these files that the repository has, in the cache of huggingface_hub.

        Raises:
            UsageError: no repository can have this name.
            WeightsError: it is not in the cache and cannot be downloaded; with the file to fetch.
            ResourceError: it cannot be written.
        """
        from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, HFValidationError
        from huggingface_hub.file_download import get_hf_file_metadata

        url = ""
        try:
            for name in names:
                found = try_to_load_from_cache(self.name, name, revision=self.revision)
                if isinstance(found, str):
                    return Path(found)
            for name in names:
                url = hf_hub_url(self.name, name, revision=self.revision)
                try:
                    # asked first, once: the download itself repeats for minutes what nobody answers
                    get_hf_file_metadata(url, timeout=_TIMEOUT_SECONDS)
                    return Path(
                        hf_hub_download(
                            self.name, name, revision=self.revision, etag_timeout=_TIMEOUT_SECONDS
                        )
                    )
                except EntryNotFoundError:
                    continue
        except HFValidationError as error:
            raise UsageError(
                f"no repository of the hub can be named {self.name!r}", next="USER/NAME"
            ) from error
        except Exception as error:  # of httpx, huggingface_hub, xet and the system
            self._refuse(error, url, names)
        raise WeightsError(f"{self.name} has no {' or '.join(names)}", where=hf_hub_url(self.name, ""))

    def _refuse(self, error: Exception, url: str, names: tuple[str, ...]) -> NoReturn:
        from huggingface_hub import errors

        page = url.split("/resolve/")[0]
        elsewhere = ["hf", "download", self.name, *(("--revision", self.revision) if self.revision else ())]
        way = (
            f"{shlex.join([*elsewhere, '--local-dir', 'FOLDER'])}  # where there is a network; "
            "then --init local-dir:FOLDER"
        )
        if isinstance(error, errors.GatedRepoError):
            reason, way = "its terms are not accepted", f"accept them at {page}, then hf auth login"
        elif isinstance(error, errors.RevisionNotFoundError):
            reason, way = f"no revision {self.revision!r}", page
        elif isinstance(error, errors.RepositoryNotFoundError):
            reason, way = "no such repository, or a private one", f"{page}; if it is private, hf auth login"
        elif isinstance(error, errors.OfflineModeIsEnabled):
            reason = "not in the cache, and HF_HUB_OFFLINE forbids the network"
        else:
            reason = _reason(error, url)
        raise WeightsError(
            f"cannot download {names[0]} of {self.name}: {reason}", where=url, next=way
        ) from error


@dataclass(frozen=True)
class LocalFolder:
    """A folder with the files of such a repository."""

    path: Path

    def file(self, *names: str) -> Path:
        """The first of these files that the folder has.

        Raises:
            WeightsError: none.
        """
        for name in names:
            if (self.path / name).is_file():
                return self.path / name
        raise WeightsError(f"no {' or '.join(names)} in the folder", where=str(self.path))


def url_file(url: str) -> Path:
    """A file at an address, in the cache of torch.hub; its digest is that in its name, if there is one.

    Raises:
        WeightsError: it is not in the cache and cannot be downloaded; with the file to fetch, and its place.
        ResourceError: it cannot be written.
    """
    import torch

    name = Path(urlsplit(url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    digest = torch.hub.HASH_REGEX.search(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, path, digest[1] if digest else None)
    except Exception as error:  # of urllib, torch and the system
        raise WeightsError(
            f"cannot download {name}: {_reason(error, url)}",
            where=url,
            next=f"download it where there is a network, and put it at {path}",
        ) from error
    return path


def _download(url: str, path: Path, digest: str | None) -> None:
    import socket

    import torch

    before: Any = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_SECONDS)  # torch.hub gives none
    try:
        torch.hub.download_url_to_file(url, str(path), digest, progress=sys.stderr.isatty())
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: Exception, url: str) -> str:
    """Why a download failed, in one line.

    Raises:
        ResourceError: the machine is the reason.
    """
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        raise ResourceError(f"cannot save weights: {os.strerror(error.errno)}", where=url) from error
    cause = getattr(error, "reason", error)  # of urllib
    if "timeout" in type(cause).__name__.lower() or "timed out" in str(cause):
        return f"{urlsplit(url).hostname} did not answer within {_TIMEOUT_SECONDS} s"
    if isinstance(cause, OSError) and cause.errno or "Connect" in type(error).__name__:
        return f"no connection to {urlsplit(url).hostname} ({short_error(error)})"
    return short_error(error)
