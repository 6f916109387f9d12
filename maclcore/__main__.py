"""The command line: `python -m maclcore VERB --help`.

data, annotate, complete, train, evaluate, runs, sweep, notebooks, claims, index, embed, search,
browse. The options of `train` are the fields of Config.
"""

import os
import sys
from collections.abc import Sequence

from maclcore.extras import need

#: what is told in a line; anything else is a fault of the program, and shows where it is
ERRORS = (ValueError, TypeError, LookupError, OSError, ArithmeticError, ImportError, RuntimeError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the words say, by default those of the command line; the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        need("train", "the command line")  # here, so that it is an error in a line
        import tyro

        from maclcore.commands import SECOND, VERBS
        from maclcore.commands.data import name_archives
        from maclcore.commands.train import train_with_profile

        if arguments[:1] == ["data"]:
            name_archives()

        if verb := SECOND.get(tuple(arguments[:2])):
            prog = " ".join(["python -m maclcore", *arguments[:2]])
            tyro.cli(verb, prog=prog, args=arguments[2:])
            return 0
        tyro.extras.subcommand_cli_from_dict(
            {**VERBS, "train": train_with_profile(arguments)},
            prog="python -m maclcore",
            description=__doc__,
            args=arguments,
        )
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from what is saved", file=sys.stderr)
        return 130
    except ERRORS as error:
        if os.environ.get("MACL_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        if type(error) is RuntimeError:  # torch's own, of which nobody here has thought
            print("MACL_TRACEBACK=1 before the command shows where it comes from", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
