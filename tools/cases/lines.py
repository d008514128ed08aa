"""Hypothesis's strategies of command lines: every option of every command, good values and odd."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from hypothesis import strategies as st

from tools.cases.files import CHANGES, ODD_NAMES, OPENED
from yolox_deploy.cli import bench, bench_files, convert, detect, doctor, evaluate, export, train
from yolox_deploy.cli.planning import plan
from yolox_deploy.cli.proof import compare, verify

PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "yolox-detect": detect.parser,
    "yolox-export": export.parser,
    "yolox-eval": evaluate.parser,
    "yolox-bench": bench.parser,
    "yolox-bench compare": bench_files.compare_parser,
    "yolox-bench show": bench_files.show_parser,
    "yolox-plan": plan.parser,
    "yolox-train": train.parser,
    "yolox-doctor": doctor.parser,
    "yolox-verify": verify.parser,
    "yolox-compare": compare.parser,
    "yolox-data": convert.parser,
}
# Of so many cases in turn; what exports, measures or trains takes seconds.
SHARES = {
    "yolox-detect": 6,
    "yolox-eval": 4,
    "yolox-doctor": 3,
    "yolox-export": 2,
    "yolox-bench": 2,
    "yolox-bench compare": 2,
    "yolox-bench show": 2,
    "yolox-plan": 1,
    "yolox-train": 1,
    "yolox-verify": 2,
    "yolox-compare": 2,
    "yolox-data": 2,
}
# What a line begins with: it is sound, and takes a moment.
BEGINNINGS = {
    "yolox-detect": (
        "p.jpg --model d.onnx --no-draw",
        "pics",
        "p.jpg grey.png --model d.pth --backend torch",
        "film.mp4 --model d.onnx --no-draw",
    ),
    "yolox-export": (
        "--model d.pth --no-verify --imgsz 64 --output made",
        "--describe d.onnx",
        "--verify-artifact d.onnx --model d.pth --verify pics",
    ),
    "yolox-eval": ("--model d.onnx --data data.json --images pics",),
    "yolox-bench": (
        "--duration 0.01 --min-count 1 --cold-starts 0 --no-limit --model d.onnx --images pics",
        "--scenario streaming --simulate --data data.json --images pics --model d.onnx --frames 2",
        "--scenario single-stream --duration 0.01 --min-count 1 --model d.onnx",
    ),
    "yolox-bench compare": ("latency.json latency.json",),
    "yolox-bench show": ("latency.json", "streaming.json"),
    "yolox-plan": (
        "--model d.pth --data data.json --images pics --imgsz 64 --threads 1 --backend onnxruntime",
    ),
    "yolox-train": (
        "--data data.json --images pics --arch nano --epochs 1 --batch 2 --imgsz 32 --workers 0"
        " --threads 1 --output made",
    ),
    "yolox-doctor": ("", "--model d.onnx"),
    "yolox-verify": ("d.onnx", "link.onnx", "d.xml"),
    "yolox-compare": ("d.pth d.onnx", "d.onnx foreign.onnx --images pics", "d.onnx d.xml"),
    "yolox-data": ("data.json", "yolo", "yolo/data.yaml", "voc"),
}
PICTURES = (
    *("p.jpg", "p.png", "p.webp", "grey.png", "deep.png", "dot.png", "wide.png", "pics", "pics/"),
    *("pics/*.jpg", "**/*.jpg", "link.jpg", "film.mp4", *ODD_NAMES),
)
TEXTS = ("old.json", "names.txt", "data.json", "new.json", "sub/new/r.json", "link.json", "-")
FOLDERS = ("made", "none", "sub/new", "full", "pics", ".")
BACKENDS = ("auto", "onnxruntime", "openvino", "ncnn", "torch", "tensorrt", "tensorrt-rtx")
# Good values by the option's name; those of a command stand under "command option".
GOOD: dict[str, tuple[str, ...]] = {
    "sources": PICTURES,
    "model": (*OPENED, "link.onnx"),
    "artifact": OPENED[1:],
    "a": OPENED,
    "b": OPENED,
    "draw": ("new.html", "new.png", "sub/new.html"),
    "yolox-data data": ("data.json", "data.yaml", "yolo", "yolo/data.yaml", "voc"),
    "yolox-data to": ("new.json", "old.json", "sub/new.json"),
    "yolox-data draw": ("new.png", "new.jpg", "sub/new.png", "new.html"),
    "weights": ("d.pth",),
    "describe": OPENED,
    "verify_artifact": OPENED[1:],
    "verify": ("pics", "none"),
    "images": ("pics", "pics/"),
    "val_images": ("pics",),
    "data": ("data.json", "no_boxes.json", "other_names.json"),
    "val": ("data.json", "no_boxes.json"),
    "yolox-train data": ("data.json", "data.yaml"),
    "report": ("latency.json", "streaming.json"),
    "before": ("latency.json",),
    "after": ("latency.json",),
    "backend": BACKENDS,
    "yolox-bench backend": (*BACKENDS, "all"),
    "device": ("cpu", "auto", "gpu", "cuda:1"),
    "precision": ("fp32", "bf16", "fp16"),
    "scenario": ("latency", "single-stream", "multi-stream", "server", "offline", "streaming"),
    "schedule": ("naive", "dynamic"),
    "engine_setting": ("a=b", "cuda_binding=pycuda"),
    "set": ("flip_prob=0", "scale=[0.5,1.5]", "warmup_epochs=0"),
    "classes": ("0", "7", "1,2"),
    "names": ("names.txt", "a,b,c,d,e,f,g,h,i,j"),
    "arch": ("nano",),
    "to": ("onnx", "onnx", "openvino", "ncnn", "trt", "trt-rtx"),
    "imgsz": ("32", "64", "64,96"),
    "opset": ("13", "17", "18"),
    "targets": ("sm86", "sm89,sm120"),
    "percentile": ("90", "99"),
    "batch": ("1", "2", "3"),
    "threads": ("1", "2"),
    "fps": ("30", "0.5"),
    "p99": ("30ms", "1s", "5"),
    "min_ap": ("0.1", "1"),
    "calib": ("pics",),
    "max_memory": ("100", "1e4"),
    "streams": ("1", "2"),
    "workers": ("0", "1"),
    "epochs": ("1",),
    "max_pixels": ("100", "100000"),
    "score_threshold": ("0.01", "0.5", "1"),
    "iou_threshold": ("0.01", "0.5", "1"),
    "fail_if_slower": ("1", "1.1"),
    "output": FOLDERS,
    "txt": FOLDERS,
    "sink_output": FOLDERS,
    "sink_txt": FOLDERS,
    "sink_mot": FOLDERS,
    "timeout": ("1",),
    "reconnect": ("0", "1"),
    "track_classes": ("0", "7", "1,2"),
    "results": FOLDERS,
    "logs": FOLDERS,
    "plot": ("c.png", "c.svg", "c.pdf", "sub/c.png"),
    **dict.fromkeys(
        ("json", "sink_json", "sink_jsonl", "sink_csv", "sink_coco", "markdown"), TEXTS
    ),
}
# How long a run takes is what these ask for: no large number, which would be right.
DURATIONS = {
    *("duration", "min_count", "cold_starts", "epochs", "frames", "target_qps", "percentile"),
    *("latency_bound", "pictures_per_query", "speed", "timeout", "reconnect"),
}
NUMBERS = ("1", "2", "0.5")
SMALL = (
    *("0", "-1", "-0.0", "nan", "-inf", "", " ", "x", "1.5.", "0,5", "0x10", "1_0", "1e-320"),
    *("\u0663", "1\u2212"),
)
LARGE = ("inf", "1e308", "4096", "65537", "2147483648", "1e3", "9" * 30, "9" * 5000)
ODD_WORDS = (
    *("", " ", ",", ",,", "nope", "é猫", "\x1b[31mred", "a b", "a\nb", "caf\udce9", "x" * 300),
    *("-", "--", "-x", "=", "a=", "=b", "%s%n", "{}", "NaN", "None", "null", "[1", "cuda:99"),
    *("cpu,gpu", "0,1", "../x", "~", "~nobody", "http://localhost/x"),
    *("\U0001d7d9", "\u202e", "\ufeff"),
)
ODD_PATHS = (
    *("missing", "missing/x.json", "empty", "text.jpg", "bomb.png", "loop.jpg", "dangling.json"),
    *("locked.json", "read_only", "read_only/x", "full", "none", ".", "/proc/self/mem", "p.jpg"),
    *("/dev/null", "/dev/full", "/dev/zero", "/dev/null/x", "/proc/x", "d.onnx", "d.pth", "d.bin"),
    *("d.ncnn.bin", "odd_names.txt", "huge.json", "gone.json", "no_pictures.json", "odd.yaml"),
    *("x" * 300, "sub/../p.jpg", "./d.onnx", "P.JPG", "data.json", "old.json", "*.png", "[", "**"),
    *("~/x", "file:///p.jpg", "/proc/nowhere/x", "sub/" * 800 + "x", *ODD_NAMES),
)
# What an argument that names a file is called in the help.
NAMES_OF_FILES = (
    *("FILE", "DIR", "FOLDER", "PATH", "JSON", "MODEL", "SOURCE", "DATA", "A", "B", None),
)
# No slash: a text that is drawn must name nothing outside of the folder.
FREE = st.text(st.characters(exclude_characters="\0/~", exclude_categories=["Cs"]), max_size=12)


@dataclass(frozen=True)
class Case:
    """A command line, and what is done to one of its files before (a name and one of CHANGES)."""

    command: str
    words: tuple[str, ...]
    file: str = ""
    change: str = ""

    def __str__(self) -> str:
        before = f"[{self.file!r} is {self.change}] " if self.file else ""
        return f"{before}{shlex.join([*self.command.split(), *self.words])}"


@st.composite
def cases(draw: st.DrawFn, command: str) -> Case:
    """Draw a case: a sound beginning, up to five options, some of them odd."""
    words = draw(st.sampled_from(BEGINNINGS[command])).split()
    actions = actions_of(command)
    named = [action for action in actions if action.option_strings]
    for action in draw(st.lists(st.sampled_from(named), max_size=5, unique_by=lambda a: a.dest)):
        words += draw(option(command, action))
    places = [action for action in actions if not action.option_strings]
    if places and draw(st.sampled_from((False, False, True))):
        given = [draw(value(command, action)) for action in places]
        more = st.lists(value(command, places[0]), max_size=2)
        words += [*given, *draw(more)] if places[0].nargs == "+" else []
        words = words if places[0].nargs == "+" else [*given, *words[len(given) :]]
    if draw(st.booleans()):
        words.append("--quiet")
    files = sorted({word for word in words if word in CHANGED})
    if files and draw(st.sampled_from((False, False, True))):
        file = draw(st.sampled_from(CHANGED[draw(st.sampled_from(files))]))
        return Case(command, tuple(words), file, draw(st.sampled_from(list(CHANGES))))
    return Case(command, tuple(words))


@cache
def actions_of(command: str) -> list[argparse.Action]:
    """Return the options and places of a command, but those that only print something."""
    return [a for a in PARSERS[command]()._actions if a.dest not in ("help", "version")]


# The files that are read for a word.
CHANGED = {
    **{
        name: (name,) for name in ("p.jpg", "p.png", "d.pth", "d.onnx", "foreign.onnx", "names.txt")
    },
    **{name: (name,) for name in ("data.json", "data.yaml", "latency.json", "old.json")},
    "d.xml": ("d.xml", "d.bin"),
    "d.ncnn.param": ("d.ncnn.param", "d.ncnn.bin", "d.ncnn.json"),
    "pics": ("pics/1.jpg", "pics/2.jpg"),
    "film.mp4": ("film.mp4",),
    "yolo": ("yolo/data.yaml", "yolo/labels/1.txt", "yolo/images/1.jpg"),
    "voc": ("voc/1.xml", "voc/1.jpg"),
}


def option(command: str, action: argparse.Action) -> st.SearchStrategy[list[str]]:
    """Return a strategy of the words of one option."""
    names = st.sampled_from([name for name in action.option_strings if name.startswith("--")])
    if action.nargs == 0:
        return names.map(lambda name: [name])
    one = value(command, action)
    if action.nargs == "+":
        several = st.lists(one, min_size=1, max_size=3)
        spaced = st.builds(lambda name, values: [name, *values], names, several)
        joined = st.builds(lambda name, values: [name, ",".join(values)], names, several)
        return spaced | joined
    return st.builds(lambda n, v: [n, v], names, one) | st.builds(
        lambda n, v: [f"{n}={v}"], names, one
    )


def value(command: str, action: argparse.Action) -> st.SearchStrategy[str]:
    """Return a strategy of values of an option: five good ones to two odd ones."""
    key = action.dest.removeprefix("setting_")
    good = GOOD.get(f"{command} {key}") or GOOD.get(key)
    if action.metavar in NAMES_OF_FILES:
        odd = st.sampled_from(ODD_PATHS)
    elif good and not good[0][0].isdigit():
        odd = st.sampled_from(ODD_WORDS)
    else:
        odd = st.sampled_from(SMALL if key in DURATIONS else (*SMALL, *LARGE))
    sound = st.sampled_from(good or NUMBERS)
    return st.one_of(sound, sound, sound, sound, sound, odd, odd | FREE)
