"""What the app never sees."""

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app
from werkzeug.wrappers import Request, Response

from idrl_common.wsgi import CollapseSlashes


@Request.application
def echo_path(request: Request) -> Response:
    return Response(f"{request.environ['PATH_INFO']}?{request.environ['QUERY_STRING']}")


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/tasks/1", "/tasks/1"),
        ("/tasks//1", "/tasks/1"),
        ("//tasks///1//", "/tasks/1/"),
        ("/", "/"),
        ("///", "/"),
        ("", ""),
    ],
)
def test_slashes_of_a_path_count_once(path: str, seen: str) -> None:
    environ = EnvironBuilder(query_string="a=//").get_environ()
    environ["PATH_INFO"] = path
    body, _, _ = run_wsgi_app(CollapseSlashes(echo_path), environ)
    assert b"".join(body).decode() == f"{seen}?a=//"
