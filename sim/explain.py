"""Why a run differs: which layer, which operands, which cycles, and which unit is to blame.

Two referees say where the fault is. The interpreter runs the descriptors that made the value: where
it finds what the hardware found, the hardware did what it was told and the *program* is wrong
(:mod:`celosia.sim.blame`). Where it finds what the golden model says, the *hardware* is wrong: the
run is repeated, and after each of these descriptors the word that it wrote is read out of the
memories inside the engine. The first that differs names the unit.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import replace
from pathlib import Path

import numpy as np

from celosia.dataflow.descriptors import Compute, Unit
from celosia.dataflow.event_walk import Walked, walk
from celosia.dataflow.interpret import Machine
from celosia.dataflow.interpret_buffers import signed, unpack
from celosia.dataflow.kept import is_keep, kept_word
from celosia.dataflow.mapping import Mapping
from celosia.dataflow.program import BaseProgram, Counter, Program
from celosia.dataflow.provenance import Memory, Place, Provenance, Write
from celosia.models.network import Network
from celosia.sim.blame import Blame, Suspect, blame_program
from celosia.sim.check import CounterDivergence, Divergence, ValueDivergence
from celosia.sim.explanation import SHOWN, Explanation, Fed
from celosia.sim.locate import Location, Replay, bounded, locate, trace_window
from celosia.sim.run import Run, Simulator
from celosia.sim.target import find_target
from celosia.sim.verilate import Progress
from celosia.sim.waves import write_views

_UNITS = {
    Unit.LOAD: Suspect.LOAD,
    Unit.COMPUTE: Suspect.COMPUTE,
    Unit.POST: Suspect.POST,
    Unit.STORE: Suspect.STORE,
}
_OF_COUNTER = {
    Counter.LOAD_BUSY: Suspect.LOAD,
    Counter.READ_BEATS: Suspect.LOAD,
    Counter.STORE_BUSY: Suspect.STORE,
    Counter.WRITE_BEATS: Suspect.STORE,
    Counter.OUTPUT_READS: Suspect.STORE,
    Counter.COMPUTE_STEPS: Suspect.COMPUTE,
    Counter.ACTIVATION_READS: Suspect.COMPUTE,
    Counter.WEIGHT_READS: Suspect.COMPUTE,
    Counter.ACCUMULATOR_READS: Suspect.COMPUTE,
    Counter.ACCUMULATOR_WRITES: Suspect.COMPUTE,
    Counter.POST_STEPS: Suspect.POST,
    Counter.ACCUMULATOR_DRAINS: Suspect.POST,
    Counter.CONSTANT_READS: Suspect.POST,
    Counter.RESIDUAL_READS: Suspect.POST,
    Counter.OUTPUT_WRITES: Suspect.POST,
}


def explain(
    simulator: Simulator,
    network: Network,
    program: BaseProgram,
    inputs: Map[str, np.ndarray],
    run: Run,
    golden: Map[str, np.ndarray],
    divergence: Divergence,
    *,
    mapping: Mapping | None = None,
    trace: Path | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Explain ``divergence``.

    Parameters
    ----------
    simulator : Simulator
        What ``run`` was made with. A second, traced build of it is made where there is none.
    network, program, inputs, run, golden
        What was run, and what :func:`celosia.sim.check.check` compared.
    divergence : Divergence
        The first that it found.
    mapping : Mapping, optional
        What the network was compiled with.
    trace : Path, optional
        Where to write the signals (FST); views for GTKWave and Surfer lie beside it.
    progress : Callable, optional
        Shown the steps of the build.

    Raises
    ------
    CelosiaError
        When a tool that tracing needs is missing, or a file cannot be written.
    """
    location = locate(simulator, program, inputs, run, divergence)
    if isinstance(program, Program) and isinstance(divergence, ValueDivergence):
        work = _Work(simulator, network, program, inputs, run, golden, divergence)
        found = work.explain(mapping, location, progress)
    else:
        found = _untraced(divergence, location)
    if trace is None:
        return found
    return _with_trace(found, simulator, program, inputs, run, trace, progress)


def _untraced(divergence: Divergence, location: Location) -> Explanation:
    """Explain what no value shows: cycles, counters, and engines of other kinds."""
    suspect, reason = Suspect.TIMING, "values are compared only where cycles and counters are"
    if isinstance(divergence, CounterDivergence):
        suspect = _OF_COUNTER.get(divergence.counter, Suspect.TIMING)  # type: ignore[call-overload]
        reason = "it steps the counter"
    elif isinstance(divergence, ValueDivergence):
        suspect, reason = Suspect.PROGRAM, "units are told apart in the dense engine alone"
    else:
        reason = "measured and predicted cycles part here"
    cycle = location.cycle
    return Explanation(
        divergence=divergence, suspect=suspect, reason=reason, descriptor=None, tile=None,
        cycles=None if cycle is None else (cycle, cycle), told=None, accumulators=(), steps=0,
        fed=(), location=location, views=None,
    )  # fmt: skip


class _Work:
    """One wrong value of the dense engine."""

    def __init__(
        self,
        simulator: Simulator,
        network: Network,
        program: Program,
        inputs: Map[str, np.ndarray],
        run: Run,
        golden: Map[str, np.ndarray],
        divergence: ValueDivergence,
    ) -> None:
        self._simulator, self._network, self._program = simulator, network, program
        self._inputs, self._run, self._divergence = inputs, run, divergence
        self._golden = golden
        self._sample = divergence.sample % program.samples
        self._target = find_target(program, divergence)
        # Copies that are no tensors of the network were compared with nothing: on to their makers.
        copies = {other.name for other in program.placements if other.name not in golden}
        self._found: Provenance = self._target.provenance(copies)
        self._replay = Replay(program, inputs, run.memory, divergence.sample, int(run.cycles.max()))
        self._image = self._replay.image.copy()
        self._first = first = divergence.sample - self._sample
        for other in program.placements:
            if other.name in golden and other.name != divergence.tensor:
                for index in range(program.samples):
                    other.of(index).write(self._image, golden[other.name][first + index])
        self._machine = Machine(self._target.program, self._image.copy(), np.random.default_rng(0))
        self._machine.buffers.weights[:] = 0  # what was not loaded fits every precision
        self._walked: Walked = walk(
            program.accelerator, program.descriptors, program.program_address, run.memory
        )

    def explain(
        self, mapping: Mapping | None, location: Location, progress: Progress | None
    ) -> Explanation:
        expected = self._execute()
        divergence, found = self._divergence, self._found
        told = self._told()
        if told == divergence.expected and found.writes:
            blame = self._hardware(progress)
        else:
            target = divergence.tensor, self._sample, divergence.index
            blame = blame_program(self._network, self._program, mapping, found, target, self._image)
        return Explanation(
            divergence=divergence,
            suspect=blame.suspect,
            reason=blame.reason,
            descriptor=blame.descriptor,
            tile=None if blame.descriptor is None else self._tile(blame.descriptor),
            cycles=self._cycles(blame),
            told=told,
            accumulators=tuple(expected.get(place, 0) for place in found.accumulators),
            steps=len(found.operands),
            fed=tuple(self._fed()),
            location=location,
            views=None,
        )

    def _told(self) -> int | None:
        """Return the value that the program makes, None where it writes none."""
        if not self._found.writes:
            return None
        return self._target.read(self._machine, self._sample, self._divergence.index)

    def _execute(self) -> dict[Place, int]:
        """Run what made the value on the interpreter; return what it wrote last to each place.

        A place that is written twice, as accumulators are, is in ``_stages`` for each write, with
        the bits of it that count.
        """
        self._stages: list[tuple[Write, int, int]] = []
        expected: dict[Place, int] = {}
        by_descriptor: dict[int, list[Write]] = {}
        for write in self._found.writes:
            by_descriptor.setdefault(write.descriptor, []).append(write)
        for descriptor, writes in sorted(by_descriptor.items()):
            self._machine.execute(self._target.program.descriptors[descriptor])
            for write in writes:
                if is_keep(write):
                    self._keep(write)
                    continue
                value = self._expected(write)
                if value is None:
                    continue
                expected[write.place] = value
                # What maxima are taken of is in no memory.
                if not (self._target.is_sum and write.place == self._target.place):
                    bits = self._program.accelerator.array.accumulator_bits
                    sums = write.place.memory is Memory.ACCUMULATORS
                    self._stages.append((write, value, (1 << bits) - 1 if sums else -1))
        return expected

    def _keep(self, write: Write) -> None:
        """Put what was kept of a tensor that was compared where it was kept."""
        word = kept_word(self._program, write, self._golden, self._first)
        if word is None:
            return
        word.put(self._machine.buffers, write)
        bits = self._program.accelerator.array.activation_bits
        lanes = [(int(code), lane * bits) for lane, code in enumerate(word.codes)]
        value = sum(code << place for code, place in lanes)
        used = sum((1 << bits) - 1 << lane * bits for lane in np.flatnonzero(word.used).tolist())
        self._stages.append((write, value, used))

    def _expected(self, write: Write) -> int | None:
        """Return what ``write`` leaves at its place, None where that is not one word."""
        buffers, place = self._machine.buffers, write.place
        accelerator = self._program.accelerator
        match place.memory:
            case Memory.DRAM:
                return None
            case Memory.ACCUMULATORS:
                return int(buffers.accumulators[place.address, place.pixel, place.lane])
            case Memory.OUTPUTS:
                return int(buffers.outputs[place.address, place.lane])
            case _:
                source = write.sources[0]
        bits = {
            Memory.WEIGHTS: accelerator.weight_word_bits,
            Memory.CONSTANTS: accelerator.constant_word_bits,
            Memory.TABLES: accelerator.table_word_bits,
        }.get(place.memory, accelerator.activation_word_bits)
        start = source.address - self._program.base_address
        word = self._machine.image[start : start + accelerator.word_bytes(bits)]
        return int.from_bytes(word.tobytes(), "little") & (1 << bits) - 1

    def _hardware(self, progress: Progress | None) -> Blame:
        """Return the unit whose word inside the engine is the first that is not as expected."""
        cycles = int(self._run.cycles[self._divergence.sample // self._program.samples])
        offset = self._replay.offset(self._simulator, cycles)
        times = [self._when(write) for write, _, _ in self._stages]
        places = [write.place for write, _, _ in self._stages]
        traced = self._simulator.with_traces(progress)
        values = self._replay.probe(traced, offset, times, places)
        for (write, value, mask), seen in zip(self._stages, values, strict=True):
            if seen is not None and seen & mask != value & mask:
                return self._wrong(write, value, seen)
        last = self._found.writes[-1]
        if self._target.post is not None:
            return Blame(
                suspect=Suspect.POST,
                reason="all that it read was right, and what it made is not"
                if self._divergence.got is not None
                else "it wrote nothing where it must, in its turn",
                descriptor=self._target.post,
            )
        return Blame(
            suspect=Suspect.STORE,
            reason="the output buffer held the right code, memory does not",
            descriptor=last.descriptor,
        )

    def _when(self, write: Write) -> int:
        """Return the cycle in which what was written can be read: a partial sum lives shortly."""
        signalled = int(self._walked.signalled[write.descriptor])
        return signalled + 1

    def _wrong(self, write: Write, expected: int, seen: int) -> Blame:
        place, accelerator = write.place, self._program.accelerator
        where = f"{place.memory.value}[{place.address}]"
        shown = f"{seen:#x}", f"{expected:#x}"
        if place.memory is Memory.ACCUMULATORS:
            where += f" of column {place.lane}, pixel lane {place.pixel},"
            bits = accelerator.array.accumulator_bits
            shown = str(seen - (seen >> bits - 1 << bits)), str(expected)
        elif place.memory is Memory.OUTPUTS:
            where += f", lane {place.lane},"
            shown = str(seen), str(expected)
        return Blame(
            suspect=_UNITS[write.unit],
            reason=f"{where} holds {shown[0]} where it must hold {shown[1]}; all that it read "
            "was right",
            descriptor=write.descriptor,
        )

    def _tile(self, descriptor: int) -> int:
        """Return the number of compute descriptors of its layer before ``descriptor``."""
        layer = next(a for a in self._program.layers if a.first <= descriptor < a.stop)
        before = self._program.descriptors[layer.first : descriptor]
        return sum(isinstance(other, Compute) for other in before)

    def _cycles(self, blame: Blame) -> tuple[int, int] | None:
        which = self._found.descriptors if blame.descriptor is None else (blame.descriptor,)
        if not which:
            return None
        begun = min(int(self._walked.accepted[index]) for index in which)
        return begun, max(int(self._walked.signalled[index]) for index in which)

    def _fed(self) -> list[Fed]:
        """Return the operands of the first steps, as the memory image has them."""
        buffers, accelerator = self._machine.buffers, self._program.accelerator
        column = self._found.accumulators[0].lane if self._found.accumulators else 0
        fed = []
        for step in self._found.operands[:SHOWN]:
            compute = self._program.descriptors[step.descriptor]
            assert isinstance(compute, Compute)
            weights: tuple[int, ...] = ()
            if step.weight_address is not None:
                start = step.weight_address - self._program.base_address
                size = accelerator.word_bytes(accelerator.weight_word_bits)
                words, _ = buffers.decode_weights(self._image[None, start : start + size])
                weights = tuple(int(w) for w in words[0, column])
            activations = self._activations(compute, step.activation_address)
            if step.lanes is not None:  # one lane of each met
                activations = activations[step.lanes[0] :][:1]
                weights = weights[step.lanes[1] :][:1]
            if not activations:
                activations = (0,) * len(weights)
            fed.append(
                Fed(
                    descriptor=step.descriptor,
                    tile=self._tile(step.descriptor),
                    activation_word=step.activation,
                    activation_address=step.activation_address,
                    activations=activations,
                    weight_word=step.weight,
                    weight_address=step.weight_address,
                    weights=weights,
                )
            )
        return fed

    def _activations(self, compute: Compute, address: int | None) -> tuple[int, ...]:
        """Return the integers in the activation word at ``address``."""
        if address is None:
            return ()
        accelerator, buffers = self._program.accelerator, self._machine.buffers
        start = address - self._program.base_address
        size = accelerator.word_bytes(accelerator.activation_word_bits)
        codes = unpack(self._image[None, start : start + size], buffers.activation_widths)[0]
        codes = codes[: accelerator.array.lanes]
        if compute.scaled:
            element = accelerator.array.element(is_signed=compute.activations_signed)
            codes = element.decode(codes & ((1 << element.bits) - 1))
        elif compute.activations_signed:
            codes = signed(codes, accelerator.array.activation_bits)
        return tuple(int(code) for code in codes)


def _with_trace(
    found: Explanation,
    simulator: Simulator,
    program: BaseProgram,
    inputs: Map[str, np.ndarray],
    run: Run,
    trace: Path,
    progress: Progress | None,
) -> Explanation:
    """Write the signals round the cycles of ``found``, and views of them."""
    divergence = found.divergence
    ends = found.cycles or (0, int(run.cycles[divergence.sample // program.samples]))
    window = bounded(*ends)
    location = trace_window(
        simulator, program, inputs, run, divergence.sample, window, trace, progress
    )
    unit = {suspect: unit for unit, suspect in _UNITS.items()}.get(found.suspect)
    views = write_views(simulator, location, ends, unit)
    return replace(found, location=replace(location, cycle=found.location.cycle), views=views)
