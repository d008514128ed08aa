"""The one build function on the recorded bindings of TensorRT 8.6, 10.0, 10.16, 11.4 and RTX.

Objects are made of the real classes' names, arguments, properties and enum members, so a name that
a version lacks raises.  What these tests cannot show: that a builder accepts the values, what it
makes of them, whether the engine runs and what it computes.  Only TensorRT-RTX builds for real,
in test_engines.py; the others need a GPU.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import call, create_autospec

import onnx
import pytest
from onnx import TensorProto, helper

from yolox_deploy.errors import ConversionError, UsageError
from yolox_deploy.export.targets.tensorrt.builder import (
    MIB,
    BuildRequest,
    build_engine,
    check_request,
    timing_cache_file,
)

TENSORRT = ("8.6.1", "10.0.1", "10.16.1.11", "11.4.0.106")
RTX = "1.7.1.116"
every_version = pytest.mark.parametrize("version", [*TENSORRT, RTX])
every_tensorrt = pytest.mark.parametrize("version", TENSORRT)
WEAKLY_TYPED = {"8.6.1"}
SHAPES = ((1, 3, 64, 64), (4, 3, 64, 64), (8, 3, 64, 64))


def graph(*operators: str) -> onnx.ModelProto:
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, 64, 64])
        for name in ("images", "output")
    ]
    nodes = [helper.make_node(kind, ["images"], [f"out_{i}"]) for i, kind in enumerate(operators)]
    return helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]))


PLAIN, QUANTIZED = graph("Conv"), graph("QuantizeLinear", "DequantizeLinear", "Conv")


class Fake:
    """A recorded binding whose builder returns a plan, and what it was told."""

    def __init__(self, bindings: ModuleType, version: str, layers: tuple[Any, ...] = ()) -> None:
        self.trt = trt = bindings.replay(version)
        self.layers = [self.layer(bindings, *layer) for layer in layers]
        self.network = bindings.instance(trt, "INetworkDefinition", num_layers=len(layers))
        self.network.get_layer.side_effect = self.layers.__getitem__
        self.cache = bindings.instance(trt, "ITimingCache", serialize=b"measured")
        self.config = bindings.instance(
            trt,
            "IBuilderConfig",
            create_timing_cache=self.cache,
            set_timing_cache=True,
            get_timing_cache=self.cache,
        )
        if hasattr(trt, "ComputeCapability"):
            self.config.set_compute_capability.return_value = True
        self.profile = bindings.instance(trt, "IOptimizationProfile")
        self.builder = bindings.instance(
            trt,
            "Builder",
            create_network=self.network,
            create_builder_config=self.config,
            create_optimization_profile=self.profile,
            build_serialized_network=b"plan",
        )
        self.parser = bindings.instance(trt, "OnnxParser", parse=True, num_errors=0)
        for name, made in (("Builder", self.builder), ("OnnxParser", self.parser)):
            setattr(trt, name, create_autospec(getattr(trt, name), return_value=made))

    def layer(self, bindings: ModuleType, name: str, kind: str) -> Any:
        tensor = bindings.instance(self.trt, "ITensor", dtype=getattr(self.trt.DataType, kind))
        return bindings.instance(self.trt, "ILayer", name=name, get_output=tensor)

    def flags(self) -> set[str]:
        return {c.args[0].name for c in self.config.set_flag.call_args_list}

    def network_flags(self) -> set[str]:
        (number,) = self.builder.create_network.call_args.args
        kinds = self.trt.NetworkDefinitionCreationFlag
        return {k.name for k in kinds if number & 1 << int(k)}


@pytest.fixture
def fake(bindings: ModuleType) -> Any:
    return lambda version, *layers: Fake(bindings, version, layers)


@every_version
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_precision_is_the_graphs_wherever_networks_are_strongly_typed(
    version: str, precision: Any, fake: Any
) -> None:
    found = fake(version)
    assert build_engine(found.trt, PLAIN, BuildRequest(precision)) == b"plan"
    kinds = found.trt.NetworkDefinitionCreationFlag
    expected = {"EXPLICIT_BATCH", "STRONGLY_TYPED"} & set(kinds.__members__)
    assert found.network_flags() == expected
    assert ("STRONGLY_TYPED" in expected) == (version not in WEAKLY_TYPED)
    weak = {"FP16", "OBEY_PRECISION_CONSTRAINTS"} if precision == "fp16" else set()
    assert found.flags() == (weak if version in WEAKLY_TYPED else set())
    cleared = [c.args[0].name for c in found.config.clear_flag.call_args_list]
    assert cleared == (["TF32"] if precision == "fp32" else [])
    found.parser.parse.assert_called_once_with(PLAIN.SerializeToString())


@every_version
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_quantized_graph_needs_the_flag_only_where_typing_is_weak(
    version: str, precision: Any, fake: Any
) -> None:
    found = fake(version)
    build_engine(found.trt, QUANTIZED, BuildRequest(precision))
    expected = {"INT8"} if version in WEAKLY_TYPED else set()
    assert found.flags() - {"FP16", "OBEY_PRECISION_CONSTRAINTS"} == expected
    assert ("FP16" in found.flags()) == (version in WEAKLY_TYPED and precision == "fp16")


@every_version
def test_the_decoding_tail_stays_in_single_precision(version: str, fake: Any) -> None:
    """Strong typing has it from the graph: there, nothing is (and from 11 on can be) said."""
    rows = [
        ("/network/conv", "FLOAT"),
        ("node_of_decode/factor", "FLOAT"),
        ("decode/zero", "INT32"),
    ]
    found = fake(version, *rows)
    build_engine(found.trt, PLAIN, BuildRequest("fp16"))
    backbone, factor, index = found.layers
    if version in WEAKLY_TYPED:
        assert factor.precision is found.trt.DataType.FLOAT
        factor.set_output_type.assert_called_once_with(0, found.trt.DataType.FLOAT)
    for layer in (backbone, index) if version in WEAKLY_TYPED else found.layers:
        assert not [c for c in layer.mock_calls if "set_output_type" in str(c)]


@every_version
def test_a_dynamic_engine_has_one_profile_and_a_fixed_one_none(version: str, fake: Any) -> None:
    found = fake(version)
    build_engine(found.trt, PLAIN, BuildRequest(profile=SHAPES))
    found.profile.set_shape.assert_called_once_with("images", *SHAPES)
    found.config.add_optimization_profile.assert_called_once_with(found.profile)
    fixed = fake(version)
    build_engine(fixed.trt, PLAIN, BuildRequest())
    fixed.config.add_optimization_profile.assert_not_called()


@every_version
def test_the_workspace_is_a_memory_pool_and_left_alone_unless_asked_for(
    version: str, fake: Any
) -> None:
    found = fake(version)
    build_engine(found.trt, PLAIN, BuildRequest(workspace=512 * MIB))
    pool = found.trt.MemoryPoolType.WORKSPACE
    found.config.set_memory_pool_limit.assert_called_once_with(pool, 512 << 20)
    other = fake(version)
    build_engine(other.trt, PLAIN, BuildRequest())
    other.config.set_memory_pool_limit.assert_not_called()


@every_tensorrt
def test_compatible_engines_are_asked_for_by_level_and_flag(version: str, fake: Any) -> None:
    found = fake(version)
    request = BuildRequest(hardware_compatible=True, version_compatible=True)
    build_engine(found.trt, PLAIN, request)
    level = found.trt.HardwareCompatibilityLevel.AMPERE_PLUS
    assert found.config.hardware_compatibility_level is level
    assert found.flags() == {"VERSION_COMPATIBLE"}


def test_rtx_is_told_its_targets_one_by_one(fake: Any) -> None:
    found = fake(RTX)
    build_engine(found.trt, PLAIN, BuildRequest(targets=("sm86", "sm120")))
    kinds = found.trt.ComputeCapability
    assert found.config.num_compute_capabilities == 2
    assert found.config.set_compute_capability.call_args_list == [
        call(kinds.SM86, 0),
        call(kinds.SM120, 1),
    ]
    found.config.set_compute_capability.return_value = False
    with pytest.raises(UsageError, match="refuses to build for sm75"):
        build_engine(found.trt, PLAIN, BuildRequest(targets=("sm75",)))


@pytest.mark.parametrize(
    ("version", "request_", "sentence"),
    [
        ("10.0.1", BuildRequest(targets=("sm86",)), "--targets belongs to --to trt-rtx"),
        (RTX, BuildRequest(targets=("sm68",)), "no target 'sm68'.*did you mean 'sm8"),
        (RTX, BuildRequest(targets=("sm86", "sm86")), "named twice"),
        (RTX, BuildRequest(hardware_compatible=True), "name the GPUs, --targets"),
        (RTX, BuildRequest(version_compatible=True), "leave --version-compatible out"),
    ],
)
def test_what_a_version_cannot_do_is_refused_before_it_is_asked(
    version: str, request_: BuildRequest, sentence: str, fake: Any
) -> None:
    found = fake(version)
    with pytest.raises(UsageError, match=sentence):
        build_engine(found.trt, PLAIN, request_)
    found.trt.Builder.assert_not_called()


def test_an_older_version_has_no_compatible_engines(fake: Any) -> None:
    trt = fake("8.6.1").trt
    del trt.HardwareCompatibilityLevel
    with pytest.raises(UsageError, match=r"TensorRT 8\.6\.1 has no hardware-compatible engines"):
        check_request(trt, BuildRequest(hardware_compatible=True))


@every_version
def test_kernel_times_are_kept_between_builds_where_any_are_measured(
    version: str, fake: Any, tmp_path: Path
) -> None:
    file = tmp_path / "timing" / "gpu.cache"
    found = fake(version)
    build_engine(found.trt, PLAIN, BuildRequest(timing_cache=file))
    if version == RTX:
        found.config.create_timing_cache.assert_not_called()
        assert not file.exists()
        return
    found.config.create_timing_cache.assert_called_once_with(b"")
    assert file.read_bytes() == b"measured"
    again = fake(version)
    again.config.set_timing_cache.side_effect = [False, True]
    build_engine(again.trt, PLAIN, BuildRequest(timing_cache=file))
    given = [c.args[0] for c in again.config.create_timing_cache.call_args_list]
    assert given == [b"measured", b""], "a cache that is refused is begun anew"


def test_the_timing_cache_is_kept_in_the_cache_folder_by_gpu_and_version(tmp_path: Path) -> None:
    one, other = (
        timing_cache_file("tensorrt", "10.0.1", name)
        for name in ("NVIDIA L4", "../../x/NVIDIA A10")
    )
    assert one != other
    assert {one.parent, other.parent} == {tmp_path / "cache" / "timing"}


@every_version
def test_the_builders_phases_are_told_where_the_version_tells_them(version: str, fake: Any) -> None:
    found = fake(version)
    told: list[tuple[str, int, int]] = []

    def build(network: Any, config: Any) -> bytes:
        if hasattr(found.trt, "IProgressMonitor"):
            monitor = config.progress_monitor
            monitor.phase_start("tactics", "", 2)
            assert monitor.step_complete("tactics", 0) is True
            monitor.phase_finish("tactics")
        return b"plan"

    found.builder.build_serialized_network.side_effect = build
    build_engine(found.trt, PLAIN, BuildRequest(), lambda *news: told.append(news))
    steps = [("tactics", 0, 2), ("tactics", 1, 2), ("tactics", 2, 2)]
    assert told == ([] if version == "8.6.1" else steps)


@every_version
@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "no tactics to implement the operation within workspace limit",
            "a workspace of 1 MiB is too small: give --workspace more",
        ),
        ("CUDA out of memory", "GPU memory is exhausted: .* lower --batch"),
        ("INonMaxSuppressionLayer cannot be built", "NMS inside the engine .* leave --nms out"),
        ("Something\nelse", "could not convert: Something else"),
        (None, "it gave no reason"),
    ],
)
def test_a_build_that_fails_is_one_sentence(
    version: str, line: str | None, sentence: str, fake: Any
) -> None:
    found = fake(version)

    def fail(network: Any, config: Any) -> None:
        if line:
            (log,) = found.trt.Builder.call_args.args
            log.log(found.trt.ILogger.Severity.WARNING, "a warning")
            log.log(found.trt.ILogger.Severity.ERROR, line)

    found.builder.build_serialized_network.side_effect = fail
    with pytest.raises(ConversionError, match=sentence) as caught:
        build_engine(found.trt, PLAIN, BuildRequest(workspace=MIB))
    assert "\n" not in str(caught.value)
    assert version in str(caught.value)


def test_the_reason_is_not_that_of_an_earlier_build(fake: Any) -> None:
    found = fake("10.0.1")
    found.builder.build_serialized_network.return_value = None
    with pytest.raises(ConversionError, match="it gave no reason"):
        build_engine(found.trt, PLAIN, BuildRequest())
    (log,) = found.trt.Builder.call_args.args
    log.log(found.trt.ILogger.Severity.ERROR, "of the first")
    with pytest.raises(ConversionError, match="it gave no reason"):
        build_engine(found.trt, PLAIN, BuildRequest())
    assert found.trt.Builder.call_args.args == (log,), "TensorRT keeps the first logger"


@every_version
def test_a_graph_that_cannot_be_parsed_names_the_node(
    version: str, fake: Any, bindings: ModuleType
) -> None:
    found = fake(version)
    error = bindings.instance(found.trt, "ParserError", node=1, desc="no\nimporter")
    found.parser.parse.return_value = False
    found.parser.get_error.return_value = error
    found.parser.num_errors = 1
    with pytest.raises(ConversionError, match=r"node 1 \(DequantizeLinear\): no importer"):
        build_engine(found.trt, QUANTIZED, BuildRequest())
    found.builder.build_serialized_network.assert_not_called()


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        ("8.6.1", ("IProgressMonitor", "ComputeCapability")),
        ("11.4.0.106", ("ComputeCapability", "IInt8EntropyCalibrator2")),
    ],
)
def test_the_fakes_refuse_what_the_version_lacks(
    version: str, missing: tuple[str, ...], fake: Any
) -> None:
    found = fake(version)
    for name in missing:
        assert not hasattr(found.trt, name)
    assert ("FP16" in found.trt.BuilderFlag.__members__) == (version == "8.6.1")
    with pytest.raises(AttributeError):
        found.config.max_workspace = 1
    with pytest.raises(TypeError):
        found.config.set_memory_pool_limit(1)
    with pytest.raises(AttributeError):
        found.builder.build_cuda_engine(None)


@pytest.fixture
def installed() -> SimpleNamespace:
    """What the recorder finds in the installed TensorRT-RTX."""
    trt = pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    if trt.__version__ != RTX:
        pytest.skip(f"TensorRT-RTX {trt.__version__} is installed, the record is of {RTX}")
    path = Path(__file__).parents[1] / "bindings" / "record.py"
    spec = importlib.util.spec_from_file_location("record", path)
    assert spec is not None
    assert spec.loader is not None
    recorder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recorder)
    file = path.parent / f"tensorrt_rtx_{RTX}.json"
    return SimpleNamespace(found=recorder.recorded(trt), kept=json.loads(file.read_text("utf-8")))


def test_the_record_is_what_the_real_binding_has(installed: SimpleNamespace) -> None:
    for part in ("classes", "enums"):
        for name, row in installed.kept[part].items():
            assert installed.found[part][name] == row, name
