"""Ceilings for files and functions.

The story: a chat product that set out like this one has a function of 2,385 lines today, a gateway has a file of 22,264
lines three years after it agreed on a limit of 10,000 that only warned. Neither was written in a day. In the codebases
worth following nine files in ten stay under 400 lines and nearly every function under 60, with no effort visible, and
so these are the lines at which the build fails. When one is reached there is a second idea in there: give it its name.
"""

from tests.shape.source import ROOT, functions, python_files

FILE_LINES = 400
FUNCTION_LINES = 60


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in python_files()}
    assert lengths
    too_long = {
        str(path.relative_to(ROOT)): lines for path, lines in lengths.items() if lines > FILE_LINES
    }
    assert too_long == {}


def test_no_function_is_too_long() -> None:
    too_long = {
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}": lines
        for path in python_files()
        for function in functions(path)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES
    }
    assert too_long == {}
