"""A study as jobs: which runs it takes, which of them are done, and what is left to do.

A job is a stage with a seed. Its folder is named by a hash of all that makes its result, so what is
finished is recognised by what it is, not by what it is called.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ssl_seg.errors import ResourceError, UsageError
from ssl_seg.results.status import read_status
from ssl_seg.study.config import Stage, StudyFile
from ssl_seg.study.fingerprint import fingerprint
from ssl_seg.utils.code_names import names_code
from ssl_seg.utils.files import replace_text
from ssl_seg.utils.toml import read_json, read_toml, to_toml

FORMAT = 1  # of what a key is made of; another number repeats every job

# (command, flags, where a flag stands) -> the flags that make the result, and texts that may name files
Check = Callable[[str, Mapping[str, Any], Callable[[str], str]], tuple[dict[str, Any], list[str]]]


@dataclass
class Job:
    """One run.

    Attributes:
        command, flags: what is run.
        folder: the run's.
        needs: the jobs whose runs it takes.
        kind: equal for jobs that differ in the seed alone.
        names: what it is in the study: `C, seed 1`. Equal stages share a job.
    """

    command: str
    flags: dict[str, Any]
    folder: Path
    needs: list["Job"]
    kind: str
    names: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return " and ".join(self.names)

    @property
    def config(self) -> Path:
        """The file with its flags."""
        return self.folder.with_name(f"{self.folder.name}.toml")

    @property
    def state(self) -> str:
        """`finished`, `begun` (there is something to go on with), or `new`."""
        with suppress(OSError, ValueError, KeyError, TypeError):  # it has not come so far
            if read_status(self.folder)["state"] == "finished":
                return "finished"
        return "begun" if any(self.folder.glob("checkpoints/step-*")) else "new"


@dataclass(frozen=True)
class Lost:
    """A job that has no result.

    Attributes:
        code: its exit code; 0 if it was left out.
        why: what to tell.
    """

    job: Job
    code: int
    why: str

    @property
    def outcome(self) -> str:
        return self.why if self.code else "was skipped"


class Study:
    """The jobs of a study's file.

    Args:
        file: what is asked for.
        check: judges the flags of a command; see `Check`.

    Attributes:
        jobs: each after those it needs; seed by seed, so that a table of few seeds is there early.
        runs: stage -> seed -> job.

    Raises:
        UsageError: from `check`.
        ResourceError: a file that a flag names cannot be read.
    """

    def __init__(self, file: StudyFile, check: Check) -> None:
        self.file, self._check = file, check
        self.jobs: list[Job] = []
        self.runs: dict[str, dict[int, Job]] = {name: {} for name in file.stages}
        self._prints: dict[str, str] = {}
        for command in file.defaults():
            check(command, file.flags("defaults", command), partial(file.where, "defaults", command))
        for seed in dict.fromkeys(seed for stage in file.stages.values() for seed in stage.seeds):
            for stage in file.stages.values():
                if seed in stage.seeds:
                    self._job(stage, seed)

    def _job(self, stage: Stage, seed: int) -> Job:
        """The job of a stage, made when it is first asked for; those that it needs are made before."""
        if seed in self.runs[stage.name]:
            return self.runs[stage.name][seed]
        needs = {}
        for flag, name in stage.references.items():
            other = self.file.stages[name]
            needs[flag] = self._job(other, seed if seed in other.seeds else other.seeds[0])
        given = {**stage.flags, "seed": seed}
        counts, texts = self._check(stage.command, given, partial(self.file.where_flag, stage))
        taken = {flag: job.folder.name for flag, job in needs.items()}
        content = {
            "format": FORMAT,
            "command": stage.command,
            "flags": {**counts, **taken},
            "files": {text: found for text in texts if (found := self._print(text))},
        }
        folder = self.file.out / f"{stage.command}-{_digest(content)[:12]}"
        job = next((job for job in self.jobs if job.folder == folder), None)
        if job is None:
            kind = _digest([stage.command, {**counts, "seed": None}])
            flags = given | {flag: str(needed.folder) for flag, needed in needs.items()}
            if "init" in needs and names_code(code := needs["init"].flags.get("backbone")):
                flags.setdefault("backbone", code)  # weights alone do not name code: this file does
            job = Job(stage.command, flags, folder, list(needs.values()), kind)
            self.jobs.append(job)
        job.names.append(f"{stage.name}, seed {seed}")
        self.runs[stage.name][seed] = job
        return job

    def _print(self, text: str) -> str:
        if text not in self._prints:
            try:
                self._prints[text] = fingerprint(text, self.file.out)
            except OSError as error:
                raise ResourceError(f"cannot read {error.filename}: {error.strerror}", where=text) from error
        return self._prints[text]

    def folders(self, stage: str) -> dict[int, Path]:
        """The finished runs of a stage, by seed."""
        return {seed: job.folder for seed, job in self.runs[stage].items() if job.state == "finished"}

    def changes(self, job: Job) -> str:
        """Why a job is new although a stage of its name has been run: `lr`, or the files it reads."""
        with suppress(OSError, ValueError, KeyError, TypeError, UsageError):  # a first time
            stage, _, seed = job.names[0].rpartition(", seed ")
            before = read_json(self.file.out / "study.json")["stages"][stage]["runs"][seed]
            old, new = read_toml(self.file.out / f"{before}.toml"), job.flags
            differing = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
            if before != job.folder.name and job.state != "finished":
                return f"{', '.join(differing) or 'an input file'} changed since {before}"
        return ""

    def write(self) -> None:
        """Write the flags of every job, and `study.json`: which folders belong to which stage.

        Raises:
            ResourceError: they cannot be written.
        """
        for job in self.jobs:
            replace_text(job.config, to_toml(job.flags))
        stages = {
            stage.name: {
                "title": stage.title,
                "command": stage.command,
                "published": stage.published,
                "runs": {str(seed): job.folder.name for seed, job in self.runs[stage.name].items()},
            }
            for stage in self.file.stages.values()
        }
        tables = {table.name: {"rows": table.rows, "score": table.score} for table in self.file.tables}
        about = {"format": FORMAT, "tables": tables, "stages": stages}
        replace_text(self.file.out / "study.json", json.dumps(about, indent=1, ensure_ascii=False) + "\n")

    def run(self, start: Callable[[Job], int], say: Callable[[str], None]) -> list["Lost"]:
        """Do what is not finished, one job after the other; what fails takes along what needs it alone.

        Args:
            start: runs a job, going on with it if it has begun; returns its exit code.
            say: told what goes on.

        Returns:
            The jobs that failed or were left out.
        """
        lost: list[Lost] = []
        for number, job in enumerate(self.jobs, start=1):
            head = f"[{number}/{len(self.jobs)}] {job.name}"
            missing = next((each for each in lost if each.job in job.needs), None)
            if missing:
                lost.append(Lost(job, 0, f"skipped: needs {missing.job.name}, which {missing.outcome}"))
                say(f"{head}: {lost[-1].why}")
            elif job.state == "finished":
                say(f"{head}: finished in {job.folder}")
            else:
                say(f"{head}: {'resumes' if job.state == 'begun' else 'starts'} in {job.folder}")
                code = start(job)
                if code or job.state != "finished":
                    lost.append(Lost(job, code or 1, f"failed with code {code or 1}"))
                    say(f"{head}: {lost[-1].why}")
        return lost


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
