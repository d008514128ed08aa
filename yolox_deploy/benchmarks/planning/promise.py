"""The choice: proven as it runs here, tested by LoadGen, and written with its plan."""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from yolox_deploy.benchmarks.measure.systems import System
from yolox_deploy.benchmarks.planning.candidates import Demand
from yolox_deploy.benchmarks.planning.plan import Artifact, Promise
from yolox_deploy.benchmarks.planning.race import Race
from yolox_deploy.benchmarks.scenarios.base import Context
from yolox_deploy.benchmarks.scenarios.loadgen.runner import Runner
from yolox_deploy.benchmarks.scenarios.loadgen.scenario import TRAFFIC
from yolox_deploy.benchmarks.scenarios.loadgen.under_test import require_loadgen
from yolox_deploy.errors import MissingPackageError
from yolox_deploy.export.targets import target_of
from yolox_deploy.files import put, sha256_of, workplace
from yolox_deploy.tasks.proof import with_proof
from yolox_deploy.verification.again import NO_EVIDENCE, prove
from yolox_deploy.verification.evidence import Evidence
from yolox_deploy.verification.verify import Verification

# LoadGen tests at least this long, and so many candidates are given to it.
SECONDS = 2.0
ATTEMPTS = 3


class Choice:
    """The first of the ranking that its proof, its own AP and LoadGen let stand.

    ``number`` is its place among the candidates, ``None`` if none stands.  What does not stand is
    rejected in the scheduler, with the reason.
    """

    def __init__(self, race: Race, logs: Path) -> None:
        self.number: int | None = None
        self.reason = ""
        self.proof: Verification | None = None
        self.promise: Promise | None = None
        scheduler = race.scheduler
        tests = 0
        while order := scheduler.ranking():
            i = order[0]
            race.confirm(i)
            if scheduler.ranking()[:1] != [i]:
                continue
            race.begin(f"proving {scheduler.candidates[i]}")
            proof = _proven(race.systems[i])
            if proof.status == "failed":
                scheduler.rejected[i] = f"its verification failed: {proof.summary}"
                continue
            tests += 1
            self.proof, self.promise = proof, _tested(race, i, logs / f"{tests}")
            if self.promise.held:
                self.number, self.reason = i, scheduler.reason(i, order)
                return
            scheduler.rejected[i] = str(self.promise)
            if tests == ATTEMPTS:
                return


def _proven(system: System) -> Verification:
    """Return the verdict on a system as it runs here."""
    evidence = Evidence.of(system.detector.spec)
    if evidence is None:
        return Verification("not run", notes=(NO_EVIDENCE.format(name=system.artifact),))
    return prove(system.detector.runtime, evidence)


def _tested(race: Race, i: int, logs: Path) -> Promise:
    """Return what LoadGen says of a candidate."""
    demand: Demand = race.demand
    try:
        require_loadgen()
    except MissingPackageError as error:
        return Promise("not run", str(error), True, demand.streams, 0, None)
    name = "single-stream" if demand.streams == 1 else "multi-stream"
    arguments = Namespace(
        percentile=99.0, seed=0, latency_bound=100.0, pictures_per_query=demand.streams
    )
    context = Context(name, [race.systems[i]], SECONDS, 1, arguments, race.begin)
    test = Runner(context, race.systems[i], TRAFFIC[name], None, logs).run()
    found = (test.estimate or test.at_percent) * 1e3
    within = demand.p99_ms is None or found <= demand.p99_ms
    reasons = [] if test.valid else [test.why_not]
    reasons += [] if within else [f"more than the {demand.p99_ms:.1f} ms that are demanded"]
    held = test.valid and within
    return Promise(test.verdict, "; ".join(reasons), held, demand.streams, test.queries, found)


def written(system: System, proof: Verification | None, output: Path) -> Artifact:
    """Copy a system's artifact to ``output``, with its proof in it, and describe it for the plan.

    Raises :class:`OutputError`.
    """
    target, runtime = target_of(system.artifact), system.detector.runtime
    spec = system.detector.spec
    if proof is not None and proof.backend:
        spec = replace(spec, verification=with_proof(spec, proof.record()))
    with workplace(output) as place:
        for file in target.files(system.artifact):
            shutil.copy2(file, place)
        main = place / system.artifact.name
        target.embed(main, spec)
        files: Sequence[Path] = target.files(main)
        hashes = {file.name: sha256_of(file) for file in files}
        for file in files:
            put(file, output / file.name)
    return Artifact(
        path=system.artifact.name,
        sha256=hashes,
        backend=system.request.backend,
        device=runtime.device,
        precision=runtime.precision,
        threads=system.request.threads,
    )
