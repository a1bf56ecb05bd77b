"""What the page calls in these tests: the system's database, share and processes."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2

_PORTS_TO_POSTGRES = 3  # of the six neighbours on loopback
# Far ahead, so that no worker of the system takes work that a test has put there.
_NEVER = "now() + interval '1 day'"


@dataclass(frozen=True)
class RunningSystem:
    """The system of the test run, as its operator sees it."""

    home: Path
    base_url: str

    @classmethod
    def from_environment(cls) -> "RunningSystem":
        return cls(Path(os.environ["IDRL_HOME"]), os.environ["BASE_URL"])

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement as the superuser and return its rows, if it has any."""
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=(urlsplit(self.base_url).port or 0) + _PORTS_TO_POSTGRES,
            dbname="idrl",
            user="postgres",
            password=self._secret("POSTGRES_PASSWORD"),
        )
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def process_group(self, program: str) -> int:
        """Return the process group of a program, such as `tasks`."""
        return int((self.home / "run" / f"{program}.lock").read_text())

    def add_long_task(self, email: str, parts: int) -> str:
        """Store a task in work: half of its parts done, two being rendered. Returns its id."""
        ((task_id,),) = self.execute(f"""
            INSERT INTO tasks (id, owner_id, url, name, status)
            SELECT gen_random_uuid(), id, 'http://example.com/long.mp4', 'Four hours', 'processing'
            FROM users WHERE email = '{email}' RETURNING id::text
        """)
        self.execute(f"""
            INSERT INTO parts (task_id, number, owner_id, start_frame, end_frame, start_s, end_s,
                status, progress, lease_owner, lease_until, run_after, size_bytes)
            SELECT id, n, owner_id, n * 500, n * 500 + 500, n * 20, n * 20 + 20,
                CASE WHEN n < {parts // 2} THEN 'done' WHEN n < {parts // 2 + 2} THEN 'rendering'
                    ELSE 'waiting' END,
                CASE WHEN n < {parts // 2} THEN 100 ELSE 0 END,
                CASE WHEN n IN ({parts // 2}, {parts // 2 + 1}) THEN 'a:1' END,
                CASE WHEN n IN ({parts // 2}, {parts // 2 + 1}) THEN {_NEVER} END,
                {_NEVER}, CASE WHEN n < {parts // 2} THEN 5000000 END
            FROM tasks CROSS JOIN generate_series(0, {parts - 1}) n WHERE id = '{task_id}'
        """)
        return str(task_id)

    def add_tasks(self, email: str, count: int, status: str = "failed") -> None:
        """Store tasks, one a second, that no worker takes, the last one now."""
        self.execute(f"""
            INSERT INTO tasks (id, owner_id, url, name, status, run_after, created_at)
            SELECT gen_random_uuid(), users.id, 'http://example.com/' || n || '.mp4', 'Race ' || n,
                '{status}', {_NEVER}, now() - n * interval '1 s'
            FROM users CROSS JOIN generate_series(0, {count - 1}) n WHERE email = '{email}'
        """)

    def task_id(self, email: str, name: str) -> str:
        """Return the id of the account's task with this name."""
        ((task_id,),) = self.execute(f"""
            SELECT tasks.id FROM tasks JOIN users ON users.id = owner_id
            WHERE email = '{email}' AND name = '{name}'
        """)
        return str(task_id)

    def set_status(self, email: str, name: str, status: str) -> None:
        """Change a task as if workers had."""
        task_id = self.task_id(email, name)
        self.execute(f"UPDATE tasks SET status = '{status}' WHERE id = '{task_id}'")

    def _secret(self, name: str) -> str:
        for line in (self.home / "secrets.env").read_text().splitlines():
            if line.startswith(f"{name}="):
                return line.partition("=")[2].strip('"')
        raise KeyError(name)
