"""The plan of a study: its runs, which of them are finished, and which remain.

A job is a stage with a seed. Its folder is named by a hash of all inputs of its result, so finished runs are
recognized by content, not by name.
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
from ssl_seg.study.config import LABELING, StageConfig, StudyConfig
from ssl_seg.study.fingerprint import fingerprint
from ssl_seg.study.stage_links import link_stages
from ssl_seg.utils.code_names import names_code
from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.toml import read_json, read_toml, to_toml

FORMAT = 1  # of the hashed inputs; another number repeats every job

# (command, flags, location of a flag) -> the flags that affect the result, and texts that may name files
Check = Callable[[str, Mapping[str, Any], Callable[[str], str]], tuple[dict[str, Any], list[str]]]


@dataclass(eq=False)  # runs of equal flags are one job
class Job:
    """One run.

    Attributes:
        command, flags: the command line.
        folder: of the run.
        depends_on: the jobs whose runs are its inputs.
        kind: equal for jobs that differ only in the seed.
        names: stage and seed, as `C, seed 1`. Equal stages share a job.
    """

    command: str
    flags: dict[str, Any]
    folder: Path
    depends_on: list["Job"]
    kind: str
    names: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return " and ".join(self.names)

    @property
    def config(self) -> Path:
        """The TOML file with its flags."""
        return self.folder.with_name(f"{self.folder.name}.toml")

    @property
    def words(self) -> list[str]:
        """The command line that runs it, or resumes it if it was started; without the program."""
        resume = ["--resume"] if self.state == "started" else []
        return [self.command, *resume, "--out", str(self.folder), "--config", str(self.config)]

    @property
    def state(self) -> str:
        """`finished`, `started` (it has a checkpoint to resume from), or `pending`."""
        if self.command in LABELING:  # its folder is there when it is complete
            return "finished" if (self.folder / "result.json").exists() else "pending"
        with suppress(OSError, ValueError, KeyError, TypeError):  # no status yet
            if read_status(self.folder)["state"] == "finished":
                return "finished"
        return "started" if any(self.folder.glob("checkpoints/step-*")) else "pending"


@dataclass(frozen=True)
class FailedJob:
    """A job without a result.

    Attributes:
        code: its exit code; 0 if it was skipped.
        message: the line that is printed.
    """

    job: Job
    code: int
    message: str

    @property
    def outcome(self) -> str:
        return self.message if self.code else "was skipped"


class StudyPlan:
    """The jobs of a study's file.

    Args:
        file: the parsed study file.
        check: validates the flags of a command; see `Check`.

    Attributes:
        jobs: each after those it depends on; seed by seed, so that a table of few seeds is complete early.
        runs: stage -> seed -> job.

    Raises:
        UsageError: from `check`.
        ResourceError: a file that a flag names cannot be read.
    """

    def __init__(self, file: StudyConfig, check: Check) -> None:
        self.file, self._check = file, check
        self.jobs: list[Job] = []
        self.runs: dict[str, dict[int, Job]] = {name: {} for name in file.stages}
        self._fingerprints: dict[str, str] = {}
        for command in file.defaults():
            check(command, file.flags("defaults", command), partial(file.location, "defaults", command))
        for seed in dict.fromkeys(seed for stage in file.stages.values() for seed in stage.seeds):
            for stage in file.stages.values():
                if seed in stage.seeds:
                    self._job(stage, seed)

    def _job(self, stage: StageConfig, seed: int) -> Job:
        """Return the job of a stage and a seed; create it, and those it depends on, when first requested."""
        if seed in self.runs[stage.name]:
            return self.runs[stage.name][seed]
        depends_on = {}
        for flag, name in stage.references.items():
            other = self.file.stages[name]
            depends_on[flag] = self._job(other, seed if seed in other.seeds else other.seeds[0])
        flags = dict(stage.flags) if stage.command in LABELING else {**stage.flags, "seed": seed}
        counts, texts = self._check(stage.command, flags, partial(self.file.flag_location, stage))
        taken = {flag: job.folder.name for flag, job in depends_on.items()}
        content = {
            "format": FORMAT,
            "command": stage.command,
            "flags": {**counts, **taken},
            "files": {text: found for text in texts if (found := self._fingerprint(text))},
        }
        folder = self.file.out / f"{stage.command}-{_digest(content)[:12]}"
        job = next((job for job in self.jobs if job.folder == folder), None)
        if job is None:
            kind = _digest([stage.command, {**counts, "seed": None}])
            flags |= {flag: str(other.folder) for flag, other in depends_on.items()}
            for source, part in (("init", "backbone"), ("run", "backbone"), ("run", "head")):
                if source in depends_on and names_code(code := depends_on[source].flags.get(part)):
                    flags.setdefault(part, code)  # weight files never name code; this file may
            job = Job(stage.command, flags, folder, list(depends_on.values()), kind)
            self.jobs.append(job)
        job.names.append(f"{stage.name}, seed {seed}")
        self.runs[stage.name][seed] = job
        return job

    def _fingerprint(self, text: str) -> str:
        if text not in self._fingerprints:
            try:
                self._fingerprints[text] = fingerprint(text, self.file.out)
            except OSError as error:
                raise ResourceError(f"cannot read {error.filename}: {error.strerror}", where=text) from error
        return self._fingerprints[text]

    def folders(self, stage: str) -> dict[int, Path]:
        """The finished runs of a stage, by seed."""
        return {seed: job.folder for seed, job in self.runs[stage].items() if job.state == "finished"}

    def changed_inputs(self, job: Job) -> str:
        """Return why a job is new although its stage has been run before: changed flags or input files."""
        with suppress(OSError, ValueError, KeyError, TypeError, UsageError):  # the first run
            stage, _, seed = job.names[0].rpartition(", seed ")
            before = read_json(self.file.out / "study.json")["stages"][stage]["runs"][seed]
            old, new = read_toml(self.file.out / f"{before}.toml"), job.flags
            differing = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
            if before != job.folder.name and job.state != "finished":
                return f"{', '.join(differing) or 'an input file'} changed since {before}"
        return ""

    def write(self) -> None:
        """Write the flags of every job, `study.json`, which maps stages to folders, and links by stage name.

        Raises:
            ResourceError: a file cannot be written.
        """
        for job in self.jobs:
            atomic_write_text(job.config, to_toml(job.flags))
        stages = {
            stage.name: {
                "title": stage.title,
                "command": stage.command,
                "published": stage.published,
                "runs": {str(seed): job.folder.name for seed, job in self.runs[stage.name].items()},
            }
            for stage in self.file.stages.values()
        }
        tables = {table.name: table.settings() for table in self.file.tables}
        content = {
            "format": FORMAT,
            "tables": tables,
            "stages": stages,
            "report": self.file.report_text.table(),
        }
        atomic_write_text(
            self.file.out / "study.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        )
        link_stages(
            self.file.out,
            {stage: {seed: job.folder for seed, job in seeds.items()} for stage, seeds in self.runs.items()},
        )

    def run(self, start: Callable[[Job], int], log: Callable[[str], None]) -> list["FailedJob"]:
        """Run all unfinished jobs in order; a failed job skips only its dependents.

        Args:
            start: runs a job, or resumes it if it was started; returns its exit code.
            log: called with one line per event.

        Returns:
            The jobs that failed or were skipped.
        """
        failed: list[FailedJob] = []
        for job in self.jobs:
            if self.needs_run(job, failed, log):
                state = "resumes" if job.state == "started" else "starts"
                log(f"{self.heading(job)}: {state} in {job.folder}")
                self.note_end(job, start(job), failed, log)
        return failed

    def heading(self, job: Job) -> str:
        """How a job is called in messages."""
        return f"[{self.jobs.index(job) + 1}/{len(self.jobs)}] {job.name}"

    def needs_run(self, job: Job, failed: list["FailedJob"], log: Callable[[str], None]) -> bool:
        """Whether a job is not finished and can run; one that depends on a failed one is added to these."""
        missing = next((each for each in failed if each.job in job.depends_on), None)
        if missing:
            failed.append(FailedJob(job, 0, f"skipped: needs {missing.job.name}, which {missing.outcome}"))
            log(f"{self.heading(job)}: {failed[-1].message}")
        elif job.state == "finished":
            log(f"{self.heading(job)}: finished in {job.folder}")
        else:
            return True
        return False

    def note_end(self, job: Job, code: int, failed: list["FailedJob"], log: Callable[[str], None]) -> None:
        """Add a job that has ended with an exit code to the failed ones, unless it is finished."""
        if code or job.state != "finished":
            failed.append(FailedJob(job, code or 1, f"failed with code {code or 1}"))
            log(f"{self.heading(job)}: {failed[-1].message}")


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
