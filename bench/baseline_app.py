"""A bare Flask view that only answers: the baseline for the tasks service.

`IDRL_BENCH_DOCUMENTS` names a JSON file with the answers, by path.
"""

import json
import os
from pathlib import Path

from flask import Flask, Response, jsonify

app = Flask(__name__, static_folder=None)
app.json.sort_keys = False  # type: ignore[attr-defined] # Flask's default provider has it
_documents = json.loads(Path(os.environ["IDRL_BENCH_DOCUMENTS"]).read_text())


@app.get("/tasks")
def list_tasks() -> Response:
    return jsonify(_documents["list"])


@app.get("/tasks/<task_id>")
def get_task(task_id: str) -> Response:  # noqa: ARG001 # the route has it
    return jsonify(_documents["task"])
