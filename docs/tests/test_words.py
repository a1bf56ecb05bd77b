"""Code and prose use the field's words, which a newcomer can search for (docs/glossary.md)."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The word to use instead stands behind each.
RIDDLES = (
    r"making_way|make_way|\b[Gg]ives? way\b|\bgave way\b",  # preemption, preempt
    r"\blook_at_|\b([Aa]|an indexed) look\b|\b[Ll]ooked at\b|[. ]look\(",  # query, probe, read
    r"\blent\b|\b[Aa]new\b|\b[Ii]n vain\b",  # used, again, without effect
    r"\b[Ww]hoever\b|\b[Ss]omebody\b|\b[Nn]obody [a-z]+s\b",  # the role: caller, worker
    r"[Hh]and(s|ed|ing)?[ _]back\b",  # return to the queue
    r"[Cc]omplain",  # error, failure
    r"stored_early|finds_keys|\bearly_s\b",  # reorder_delay_s, seeks_by_pts
    r"ends_command|\bGROUND\b|\b_ground\b",  # encode_edges_command, background
    r"\btop_up\b|\b[Tt]ops? up\b",  # refill
    r"\b_said\b|\b_nothing\b|\b_released\b|\b_pause\b",  # nouns
    r"\bSpare\b|\bdismiss\b|\bWish\b|\bgive_away\b",  # WarmProber, close, DemoOptions, chown
    r"_before_the_end|_end_with_the_clock|_wait_for_the_clock",  # close_…, exit_when_…, wait_for_…
    r"taken for dead|[Ww]orkers of now|# The door\b|, and is no good\b",  # dead, current, …
    r"home\.mark\(|\b_converse\b|answering\.py|deploy/saving",  # lock, communicate, child_main, …
    r"def test_\w*_(said|says?|told|tells?)(_|\()",  # the answer: is_refused, has, shows, reports
    r"SignsOfLife|\b[Dd]oors\b|\b[Dd]rill|\bself\._guard\b|\b_gives_what",  # heartbeat, lock, …
    r"\bjudged_|def _prove_|\bprove\(|def (mine|theirs)\b|_at_once: int|_AT_ONCE\b",  # classify, …
    r"[Hh]ow it stands",  # state
    r"[Ss]igns?[ _]of[ _]life|[Tt]ak(e|es|ing)[ _]back[ _][a-z]*[ _]?lease",  # heartbeat, reclaim
    r"leases? (is|was|were) taken back|\b(its|lost) (part|task)s? (is|was) taken back",  # reclaimed
    r"question for access|app's question|no question to|\bask again\b( later)?[.;\"]",  # query
    r"[. ]looks at\b|\b(is|are|was) told\b",  # evaluates, reads; gets, receives
    r"\bbare work\b|asked about\b|\bis told at\b|\ba holes?\b|\bholes? (in|of)\b",  # least, gap
    r"\b[Ff]aults? of ours\b|\b[Ss]ay nothing\b|\bneedless|front door|\bdoor:",  # internal fault, …
    r"\bof late\b|\bfor want of\b|\blets? go of\b|\bin the place of\b",  # recently, instead of, …
    r"[Ww]ork(s|ed)? off the\b|as many [a-z ]+ as (it|they|one) may\b",  # carry out, maximum
    r"[Dd]oubled (task|clip)|\bno doubles\b|\w_anew\b",  # duplicate, distinct, restart
    r"cannot be had|\b_?must_select\b|is_sought",  # cannot be downloaded, needs_channel_map, …
    r"[Rr]ehears",  # staging environment, tests on virtual machines
    r"def test_\w*_(behind|goes_on)_",  # after, continues
    r"def test_\w*_(beside|judged|heard|forgotten|stretch(es)?|whom)(_|\()",  # during, checked, …
    r"[Yy]ardstick|\bconductor\b|\b[Cc]ensus\b|\b[Ss]tudio\b",  # reference encode, runner, …
    r"\bso many [a-z]+\b[^.]*\"\"\"|\bbecame of\b|\bwithout a word\b",  # this many, outcome, error
    r"def (let_|forget_|give_one_of)|_beside\(|queue/(reviving|closing)",  # expire_, delete_, …
    r"\b(that|which|what) (is|are) none\b|_(is|are)_none(_|\()|[Ww]hat is no\b",  # invalid, …
    r"\bbehind (the |an? )?(first|last|clear|cover|(IDR )?picture|limit)\b",  # after
    r"persistently|_as_sqlalchemys|_as_receivers|becomes_whole|_Arrived|_astray",  # retry_outages …
    r"\b[Mm]end(s|ed|ing)?\b|\b[Ss]eldom\b|not to be had|def within\(timeout",  # repair, rarely
    r"_SOURCE_AWAY|_is_away|share_away\(|\b([Ii]t|that|[a-zA-Z]+) (is|was) away\b",  # unavailable
    r"remove_strays?|[Ss]tray(s|ed)? (file|folder|upload)|\bstrays\b",  # orphaned
    r"[Pp]atient|\b[Ll]ateness\b|NotAMessage|\b[Ll]ikeness|def _?film\(",  # retrying, SSIM, …
    r"whose turn it is\b",  # next in fair order
)
# Names of modules, classes, functions, parameters, variables that do not say what they are.
VAGUE = re.compile(
    r"ask|asked|bare|complaint|converse|during|early_s|ends_command|finds_keys|found|give_away"
    r"|gives_way|ground|hand_back|held|hint|hints|hole|hole_s|holed|holes|jump|jumps|look|looks"
    r"|is_held|make_way|making_way|marks|mine|nothing|one|ours|question|said|saving|say|seam|seams"
    r"|sentence|sentences|signs_of_life|slack|spare|stored_early_s|stretch|stretches|tail|take|taken"
    r"|theirs|this|told|top_up|watching|way|ways|wish"
)
# Here the word is the standard one, or what a reader would look for.
ALLOWED = {
    ("bench/implementations.py", "OURS"): "the two sides of a comparison: ours, by hand",
    ("bench/implementations.py", "ours"): "the same",
    ("docs/tests/test_limits.py", "SENTENCES"): "sentences of a document, no error's message",
    ("docs/tests/test_limits.py", "sentence"): "the same",
    ("local/tests/test_noisy_neighbours.py", "MARKS"): "Unicode's combining marks",
}


def _uses(pattern: str, *paths: str) -> list[str]:
    """Return the lines of text files in git, or about to be, that match; Python takes 20 s."""
    command = ["git", "grep", "--untracked", "-nIE", pattern, "--", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


def _python_files() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for path in done.stdout.splitlines() if (ROOT / path).exists()]


def _names(path: str) -> Iterator[tuple[str, int]]:
    """Yield each name that the file gives, its own included, and the line."""
    yield Path(path).stem, 1
    for node in ast.walk(ast.parse((ROOT / path).read_bytes())):
        match node:
            case ast.FunctionDef(name=name, lineno=line) | ast.ClassDef(name=name, lineno=line):
                yield name, line
            case ast.arg(arg=name, lineno=line):
                yield name, line
            case ast.Name(id=name, ctx=ast.Store(), lineno=line):
                yield name, line
            case ast.Attribute(attr=name, ctx=ast.Store(), lineno=line):
                yield name, line
            case ast.ExceptHandler(name=str(name), lineno=line):
                yield name, line
            case _:
                pass


def test_words_that_no_one_searches_for_are_not_used() -> None:
    ignored = ("*.json", "*.svg", "locks", "**/page_assets/*", "docs/tests/test_words.py")
    uses = _uses("|".join(RIDDLES), ".", *(f":!{path}" for path in ignored))
    assert uses == []


def test_names_say_what_they_hold() -> None:
    uses = {
        (path, name): f"{path}:{line}: {name}"
        for path in _python_files()
        for name, line in _names(path)
        if VAGUE.fullmatch(name.strip("_").lower())
    }
    assert [uses[use] for use in uses.keys() - ALLOWED.keys()] == []
    assert ALLOWED.keys() <= uses.keys()  # nothing is allowed that is gone


def test_git_grep_finds_a_known_line() -> None:
    assert _uses(r"\bVAGUE = ", "docs/tests/*.py")


def test_a_known_name_is_found() -> None:
    assert {"VAGUE", "_names", "path", "test_words"} <= {
        name for name, _ in _names("docs/tests/test_words.py")
    }
