"""The command line: dispatch, errors, exit codes."""

import logging
import os
import sys
import traceback
from collections.abc import Callable

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from ..config import Preset
from ..core.errors import UserError
from .animate import animate
from .create import create
from .demo import demo
from .evaluate import evaluate
from .export import export
from .live import live
from .motion import motion
from .synth import synth
from .track import track
from .train import train

COMMANDS: dict[str, Callable[..., None]] = {
    "create": create,
    "track": track,
    "train": train,
    "animate": animate,
    "evaluate": evaluate,
    "export": export,
    "live": live,
    "motion": motion,
    "demo": demo,
    "synth": synth,
}


def main(arguments: list[str] | None = None) -> None:
    """Run a command.

    Exits with code 2 for an error that the user can fix, 1 for a bug, 130 for Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    _configure_libraries()
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="ram-avatar",
            description="One video in, a driveable avatar out. --debug shows the traceback of an error.",
            args=[a for a in arguments if a != "--debug"],
            registry=_registry(),
        )
    except UserError as error:
        _fail(str(error), 2, debug)
    except KeyboardInterrupt:
        print("Interrupted. Run the same command to resume.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        _fail(f"unexpected {type(error).__name__}: {error} (--debug shows where)", 1, debug)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(f"ram-avatar: {message}", file=sys.stderr)
    sys.exit(code)


def _configure_libraries() -> None:
    """Keep libraries quiet, and their threads from spinning; a user's own environment variables win."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # which MediaPipe imports: it warns if HOME is read-only
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Two thread pools that spin while they wait slow each other down many times on small machines.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _registry() -> ConstructorRegistry:
    """Read a preset as a string: its name or the path of a recipe. From Python it may be a `Preset`, too."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def preset(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[str] | None:
        if info.type != Preset | str:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="STR",
            instance_from_str=lambda words: words[0],
            is_instance=lambda value: isinstance(value, str),
            str_from_instance=lambda value: [value],
        )

    return registry
