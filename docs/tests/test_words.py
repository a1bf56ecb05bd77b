"""Code and prose use the field's words, which a newcomer can search for (docs/glossary.md)."""

import subprocess
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
    r"\b[Ff]aults? of ours\b|\b[Ss]ay nothing\b|\bneedless|front door|\bdoor:",  # internal fault, …
)
# Variables that do not say what they hold.
VAGUE = r"^ *(found|given|ground|held|mine|said|taken|theirs|this|told|ways)(: [^=]+)? = "


def _uses(pattern: str, *paths: str) -> list[str]:
    """Return the lines of text files in git, or about to be, that match; Python takes 20 s."""
    command = ["git", "grep", "--untracked", "-nIE", pattern, "--", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


def test_words_that_no_one_searches_for_are_not_used() -> None:
    ignored = ("*.json", "*.svg", "locks", "**/page_assets/*", "docs/tests/test_words.py")
    uses = _uses("|".join(RIDDLES), ".", *(f":!{path}" for path in ignored))
    assert uses == []


def test_variables_are_named_after_what_they_hold() -> None:
    # A field has the name of its class beside it.
    assert _uses(VAGUE, "*.py", ":!chaos/history.py") == []


def test_git_grep_finds_a_known_line() -> None:
    assert _uses(r"\bVAGUE = ", "docs/tests/*.py")
