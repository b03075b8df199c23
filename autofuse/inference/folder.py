"""Many cases: the next one is read and the last one written while the network computes; none stops the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch

from autofuse.dataset.raw import load_case
from autofuse.dataset.types import Case, Dataset
from autofuse.foundation.console import Advance, log, progress, say
from autofuse.foundation.errors import AutofuseError, DataError, PartialError, ResourceError
from autofuse.foundation.files import sweep_temps
from autofuse.foundation.locks import lock
from autofuse.foundation.sharing_out import SHARES
from autofuse.foundation.workers import Outcome
from autofuse.inference.case import load_for, predict_loaded, require_fitting
from autofuse.inference.forecast import case_reading_gib, forecast, grids_of, headers_of, loads_of
from autofuse.inference.memory import require_room
from autofuse.inference.overlap_threads import Told, threads
from autofuse.inference.own_mask import masks_of
from autofuse.inference.prediction import LoadedCase, Prediction, PredictOptions, Seen
from autofuse.inference.reading import always_there, read_priors, require_modalities
from autofuse.inference.record import RECORDS, PredictionRecord, kept_record, model_digest, settings_digest, source_of
from autofuse.inference.writing import UNCERTAINTY, record_path, wanted_files, write_prediction
from autofuse.training.model import AnyModel

T = TypeVar("T")


@dataclass(frozen=True)
class PredictedCase:
    """Files of one case, and what they were made from; ``kept`` if they were there before and nothing had changed.
    ``own`` are the masks by name where each modality has one; ``mask`` is the first of them."""

    mask: Path
    probabilities: Path | None
    kept: bool
    seen: Seen
    own: Mapping[str, Path] = field(default_factory=dict)


def predict_cases(
    models: Sequence[AnyModel],
    dataset: Dataset,
    cases: Sequence[Case],
    out_folder: Path,
    *,
    save_probabilities: bool = False,
    mirror: bool = True,
    device: str = "cpu",
    memory_gib: float | None = None,
    workers: int | None = None,
    priors: Mapping[str, Path] | None = None,
    weights: Sequence[float] | None = None,
    options: PredictOptions | None = None,
    ensemble: str = "",
    share: tuple[int, int] | None = None,
) -> list[Outcome[PredictedCase]]:
    """Masks ``<case><ending>`` in ``out_folder``, one outcome per case in the order of ``cases``.

    Where the models' plan says that modalities have masks of their own: ``<case>_0000<ending>`` and so on, called like
    the images and each on the grid of its own.

    Cases whose mask, models, options and images are unchanged since they were predicted are skipped. A case that fails
    is an outcome with an error; ``require_predicted`` turns that into one.

    Args:
        models: members of one ensemble.
        workers: 0 reads, computes and writes one after the other; otherwise reading and writing have a thread each.
        priors: for cascades, by name of the earlier run or configuration, the folder of its masks.
        weights: of the members; equal without.
        ensemble: hash of the ensemble that they are, for the records.
        options: everything else; overrides the four options before.
        share: which of how many shares ``cases`` are; shares are written into one folder side by side.

    Raises:
        UsageError: no models, or models that do not fit each other.
        ResourceError: somebody else writes into ``out_folder``, or it cannot be written.
    """
    require_fitting(models)
    options = options or PredictOptions(
        mirror=mirror, device=device, memory_gib=memory_gib, probabilities=save_probabilities
    )
    line = _Line(models, dataset, Path(out_folder), options, dict(priors or {}), weights, ensemble)
    held = line.out / RECORDS if share is None else line.out / RECORDS / SHARES / f"{share[0]}-of-{share[1]}"
    with lock(held):
        if share is None:  # a temporary file may be of another share, at work on another machine
            sweep_temps(line.out)
            sweep_temps(line.out / RECORDS)
            sweep_temps(line.out / UNCERTAINTY)
        return line.run(cases, overlap=workers != 0)


def require_predicted(outcomes: Sequence[Outcome[PredictedCase]]) -> None:
    """Nothing, if every case was predicted.

    Raises:
        PartialError: naming the cases that failed, if others did not.
        AutofuseError: of the kind that all cases share, if none was predicted (DataError for several kinds).
    """
    failed = [item for item in outcomes if item.error is not None]
    if not failed:
        return
    kinds = {type(item.error) for item in failed if item.error is not None}
    kind = PartialError if len(failed) < len(outcomes) else kinds.pop() if len(kinds) == 1 else DataError
    raise kind(
        f"{len(failed)} of {len(outcomes)} cases could not be predicted.",
        case=", ".join(item.name for item in failed),
        found="\n".join(f"{item.name}: {item.error}" for item in failed),
        remedy="Mend these cases and run the same command again; the others are not predicted again.",
    )


class _Line:
    """Reads, computes and writes, each at most one case at a time."""

    def __init__(
        self,
        models: Sequence[AnyModel],
        dataset: Dataset,
        out: Path,
        options: PredictOptions,
        priors: dict[str, Path],
        weights: Sequence[float] | None,
        ensemble: str,
    ) -> None:
        self.models, self.dataset, self.out, self.options = models, dataset, out, options
        self.priors, self.weights, self.ensemble = priors, weights, ensemble
        self._digests = tuple(model_digest(model) for model in models)
        self._settings = settings_digest(options, dataset.file_ending)
        self._own = models[0].task.plan.masks_per_modality
        self._always = always_there(dataset)
        self._roomy = True
        self._records: dict[str, PredictionRecord] = {}
        self._reading_gib: dict[str, float] = {}
        self._coming: str | None = None

    def run(self, cases: Sequence[Case], *, overlap: bool) -> list[Outcome[PredictedCase]]:
        """An outcome per case."""
        outcomes: dict[str, Outcome[PredictedCase]] = {}
        with progress("predict", len(cases)) as advance:
            waiting = []
            for case in cases:
                kept = self._kept(case)
                if kept is None:
                    waiting.append(case)
                else:
                    outcomes[case.id] = Outcome(case.id, kept, None, 0.0)
                    advance(1, note=case.id)
            self._foretell(waiting, overlap)
            with threads(overlap) as reader, threads(overlap) as writer:
                for outcome in self._through(waiting, reader, writer, advance):
                    outcomes[outcome.name] = outcome
                    if outcome.error is not None:
                        log().error("predict: %s: %s", outcome.name, outcome.error)
        return [outcomes[case.id] for case in cases]

    def _foretell(self, cases: Sequence[Case], overlap: bool) -> None:
        """Say what the largest case needs, and remember what reading each of them takes."""
        grids = grids_of(self.models)
        loads = {case.id: loads_of(grids, headers_of(self.dataset, case)) for case in cases}
        self._reading_gib = {case: case_reading_gib(parts) for case, parts in loads.items() if parts}
        found = forecast(self.models, loads, self.options, overlap=overlap)
        if found is not None:
            say(found.in_words())

    def _through(
        self, cases: Sequence[Case], reader: Executor, writer: Executor, advance: Advance
    ) -> Iterator[Outcome[PredictedCase]]:
        """Each case computed while the one before it is written and the one after it is read."""
        writing: Future[Outcome[PredictedCase]] | None = None
        for loaded in self._read_ahead(cases, reader):
            computed = self._compute(loaded, advance)
            if writing is not None:
                yield writing.result()
            writing = writer.submit(self._write, computed)
            if not self._roomy:
                yield writing.result()
                writing = None
        if writing is not None:
            yield writing.result()

    def _read_ahead(self, cases: Sequence[Case], reader: Executor) -> Iterator[Outcome[LoadedCase]]:
        coming: Future[Outcome[LoadedCase]] | None = None
        for number, case in enumerate(cases):
            loaded = (coming or reader.submit(self._read, case)).result()
            if coming is not None and isinstance(loaded.error, ResourceError):
                self._roomy = False  # it did not fit beside the case before it, which is done now
                loaded = reader.submit(self._read, case).result()
            ahead = self._roomy and number + 1 < len(cases)
            self._coming = cases[number + 1].id if ahead else None
            coming = reader.submit(self._read, cases[number + 1]) if ahead else None
            yield loaded

    def _kept(self, case: Case) -> PredictedCase | None:
        """The files of a case that need not be predicted again."""
        seen: dict[str, Seen] = {}
        try:
            for name, record in self._records_of(case).items():
                wanted = self._names(name).values()
                kept = kept_record(record_path(self.out, name), record, self.out, wanted)
                if kept is None:
                    return None
                seen[name] = kept.seen
        except AutofuseError:
            return None  # its images are missing: reading it will say so
        return self._files(seen, True) if seen else None

    def _names(self, case: str) -> dict[str, str]:
        return wanted_files(case, self.options, self.dataset.file_ending, len(self.models))

    def _files(self, seen: Mapping[str, Seen], kept: bool) -> PredictedCase:
        """The files of the masks of one case, by name with what each was made from."""
        first = next(iter(seen))
        names = self._names(first)
        probabilities = names.get("probabilities") or names.get("coded")
        return PredictedCase(
            self.out / names["mask"],
            None if probabilities is None else self.out / probabilities,
            kept,
            seen[first],
            {name: self.out / self._names(name)["mask"] for name in seen} if self._own else {},
        )

    def _records_of(self, case: Case) -> dict[str, PredictionRecord]:
        """By name, the records of the masks that are to be made of a case."""
        record = self._record(case)
        return {name: record.model_copy(update={"case": name}) for name in masks_of(case, self._own)}

    def _record(self, case: Case) -> PredictionRecord:
        return PredictionRecord(
            case=case.id,
            models=self._digests,
            weights=None if self.weights is None else tuple(float(weight) for weight in self.weights),
            ensemble=self.ensemble,
            settings=self._settings,
            source=source_of(self.dataset, case, self._prior_files(case)),
            files={},
        )

    def _prior_files(self, case: Case) -> list[Path]:
        return [folder / f"{case.id}{self.dataset.file_ending}" for _, folder in sorted(self.priors.items())]

    def _read(self, case: Case) -> Outcome[LoadedCase]:
        def read() -> LoadedCase:
            # Taken before the images are read: if they change meanwhile, the record will not fit them.
            self._records |= self._records_of(case)
            require_modalities(self.dataset, case, self.models, self._always)
            require_room(self._reading_gib.get(case.id, 0.0))
            reference = self.models[0].task.plan.reference
            raw = load_case(self.dataset, case, with_label=False, reference=reference)
            for warning in raw.warnings:
                log().warning("%s: %s", case.id, warning)
            loaded = load_for(self.models, raw, read_priors(self.priors, self.dataset, case, raw.geometry))
            if loaded.seen.in_words():
                log().warning("%s: %s", case.id, loaded.seen.in_words())
            return loaded

        return _tried(case.id, read)

    def _compute(self, loaded: Outcome[LoadedCase], advance: Advance) -> Outcome[tuple[Prediction, ...]]:
        told = Told(advance, loaded.name)
        outcome: Outcome[tuple[Prediction, ...]]
        if loaded.value is None:
            outcome = Outcome(loaded.name, None, loaded.error, loaded.seconds)
        else:
            case = loaded.value
            wanted = [k for k, grid in enumerate(case.own) if grid is not None] if self._own else [None]

            def part(share: float) -> None:
                told(share / len(wanted))

            outcome = _tried(
                loaded.name, lambda: tuple(self._predict(case, channel, part) for channel in wanted), loaded.seconds
            )
        told.finish()
        return outcome

    def _predict(self, case: LoadedCase, modality: int | None, told: Callable[[float], None]) -> Prediction:
        options = replace(self.options, modality=modality)
        if self._roomy:
            try:
                return predict_loaded(
                    self.models,
                    case,
                    options,
                    weights=self.weights,
                    ahead=True,
                    next_gib=0.0 if self._coming is None else self._reading_gib.get(self._coming),
                    advance=told,
                )
            except ResourceError:
                self._roomy = False  # one case at a time from here on
        return predict_loaded(self.models, case, options, weights=self.weights, advance=told)

    def _write(self, computed: Outcome[tuple[Prediction, ...]]) -> Outcome[PredictedCase]:
        predictions = computed.value
        if predictions is None:
            return Outcome(computed.name, None, computed.error, computed.seconds)

        def write() -> PredictedCase:
            for prediction in predictions:
                seen = prediction.seen
                known = {"absent": seen.absent, "partly": seen.partly, "grid": seen.grid}
                record = self._records.pop(prediction.case).model_copy(update=known)
                write_prediction(prediction, self.out, self._names(prediction.case), record)
            return self._files({prediction.case: prediction.seen for prediction in predictions}, False)

        return _tried(computed.name, write, computed.seconds)


def _tried(name: str, work: Callable[[], T], seconds_before: float = 0.0) -> Outcome[T]:
    """What ``work`` gives, or its error with the case's name."""
    started = time.monotonic()
    value, error = None, None
    try:
        value = work()
    except AutofuseError as problem:
        problem.case = problem.case or name
        error = problem
    except (MemoryError, torch.OutOfMemoryError) as problem:
        error = ResourceError(
            "There is not enough memory for this case.",
            case=name,
            found=str(problem).splitlines()[0] if str(problem) else None,
            remedy="Close other programs, or use a machine with more memory; finished cases are not predicted again.",
        )
    except Exception as problem:
        log().exception("%s failed", name)
        found = f"{type(problem).__name__}: {problem}"
        error = AutofuseError(
            "Something unforeseen went wrong.", case=name, found=found, remedy="See the log; please report it."
        )
    return Outcome(name, value, error, seconds_before + time.monotonic() - started)
