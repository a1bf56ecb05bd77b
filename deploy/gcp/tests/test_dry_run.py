"""The scripts from an empty project to an empty one, on a cloud that refuses what Google refuses.

Each command is ended after each of its steps, and run again until it ends well.
"""

from collections.abc import Callable

import pytest

from deploy.gcp.tests.stage import Done, Stage

# More runs than a command has steps.
RUNS = 60
# Each runs the scripts many times.
pytestmark = pytest.mark.timeout(1200)
DATA = ("google_compute_disk/idrl-share", "google_sql_database_instance/")


def run_to_the_end(stage: Stage, script: str, *arguments: str, typed: str = "") -> list[str]:
    """Run a command until it ends well, each run one step further; return the steps."""
    stage.end_at_each_step()
    for _ in range(RUNS):
        done = stage.run(script, *arguments, typed=typed)
        if done.code == 0:
            steps = stage.project().ended_at
            assert steps is not None
            with stage.cloud.change() as project:
                project.ended_at = None
            return steps
        after_power_cut(stage)
    raise AssertionError(done.output)


def after_power_cut(stage: Stage) -> None:
    """Every machine that starts now starts a release whose schema the database has."""
    stage.repaired()
    with stage.cloud.change() as project:
        for name in list(project.machines):
            project.boot(name)
        started = {machine["revision"] for machine in project.machines.values()} - {None}
        assert started <= set(project.schemas) or not project.schemas


def assert_runs(stage: Stage, revision: str, workers: int, images: str = "registry") -> None:
    project = stage.project()
    assert {machine["images"] for machine in project.machines.values()} == {images}
    # One build for each release: what every machine runs is the same to the byte.
    built = len(project.schemas) if images == "registry" else 0
    assert len(project.images) == 4 * built
    assert {machine["revision"] for machine in project.machines.values()} == {revision}
    assert all(machine["answers"] for machine in project.machines.values())
    assert project.workers() == workers
    assert revision in project.schemas


def assert_nothing_left(stage: Stage) -> None:
    project = stage.project()
    assert not project.machines
    assert not project.buckets
    assert not project.secrets
    assert not project.resources
    assert not project.images
    assert not project.peerings
    assert not list((stage.cloud.folder / "states").glob("*.tfstate"))


def assert_up(stage: Stage, *settings: str) -> None:
    done = stage.up(*settings)
    assert done.code == 0, done.output


def kept(stage: Stage) -> dict[str, object]:
    """Return what holds data: it must be the same things before and after."""
    resources = stage.project().resources
    return {key: values["id"] for key, values in resources.items() if key.startswith(DATA)}


def test_command_killed_at_any_step_can_be_repeated(stage: Stage) -> None:
    first = stage.commit("first release")
    made = run_to_the_end(stage, "up", "-var", "extra_workers=2", "-auto-approve")
    assert len(made) >= 25, made
    assert_runs(stage, first, workers=3)
    data, secrets = kept(stage), stage.project().secrets
    assert len(data) == 2

    second = stage.commit("second release")
    with stage.cloud.change() as project:
        project.fewest_workers = None
    run_to_the_end(stage, "up", "-auto-approve")
    assert_runs(stage, second, workers=3)
    project = stage.project()
    assert (project.fewest_workers, project.secrets, kept(stage)) == (2, secrets, data)

    answers = run_to_the_end(stage, "down", typed="a-project-of-tests\n")
    assert len(answers) >= 12, answers
    assert_nothing_left(stage)
    assert stage.project().snapshots == ["idrl-share"]

    assert_up(stage)
    assert_runs(stage, second, workers=1)


def run_with_kills(stage: Stage, run: Callable[[], Done], steps: list[str]) -> None:
    """Run a command with Terraform killed at each of the steps, until it ends well."""
    with stage.cloud.change() as project:
        project.killed_before = steps
    for number in range(len(steps)):
        done = run()
        assert done.code != 0, done.output
        assert number or "Error acquiring the state lock" in run().output
        assert stage.run("tf", "force-unlock", "-force", "some-lock").code == 0
    assert not stage.project().killed_before
    done = run()
    assert done.code == 0, done.output


def test_terraform_is_killed_between_resources(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock stays until a person takes it away; what was made is known."""
    for command in ("apply", "destroy"):
        monkeypatch.setenv(f"TF_CLI_ARGS_{command}", "-parallelism=1")
    made = ["google_compute_network", "google_sql_database_instance", "google_compute_instance"]
    run_with_kills(stage, stage.up, [f"create {kind}" for kind in made])
    assert_runs(stage, stage.revision(), workers=1)
    run_with_kills(stage, stage.down, [f"delete {kind}" for kind in reversed(made)])
    assert_nothing_left(stage)


def test_what_a_killed_terraform_did_not_note_is_imported(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CLI_ARGS_apply", "-parallelism=1")
    with stage.cloud.change() as project:
        project.killed_after = ["create google_compute_network"]
    assert stage.up().code == 1
    assert stage.run("tf", "force-unlock", "-force", "some-lock").code == 0
    again = stage.up()
    assert (again.code, "Error 409" in again.output) == (1, True)
    (network,) = stage.project().of_kind("google_compute_network")
    done = stage.run("tf", "import", "google_compute_network.idrl", network["name"])
    assert done.code == 0, done.output
    assert_up(stage)
    assert_runs(stage, stage.revision(), workers=1)


def test_settings_are_obeyed_by_every_later_command(stage: Stage) -> None:
    settings = ["extra_workers=1", "max_run_hours=4", "zone=europe-west1-c"]
    assert_up(stage, *settings, "build_images=machine")
    before = stage.project().resources
    assert not [key for key in before if "artifact_registry" in key]
    for command in (("upgrade",), ("tf", "apply", "-auto-approve"), ("up", "-auto-approve")):
        done = stage.run(*command)
        assert done.code == 0, done.output
    after = stage.project()
    assert after.resources == before
    assert after.workers() == 2
    done = stage.run("tf", "apply", "-var", "extra_workers=2")
    assert (done.code, "var_not_kept" in done.output) == (1, True)
    assert 'zone = "europe-west1-c"' in stage.run("settings").output
    # A trial with its machines gone is taken down without creating them again.
    with stage.cloud.change() as project:
        machines = [key for key in project.resources if key.startswith("google_compute_instance/")]
        for key in machines:
            del project.resources[key]
        project.machines.clear()
        project.log.clear()
    done = stage.down()
    assert done.code == 0, done.output
    assert not [line for line in stage.project().log if line.startswith(("create ", "update "))]
    assert_nothing_left(stage)


def test_a_database_that_grew_is_left_as_it_is(stage: Stage) -> None:
    # Where Cloud Build refuses, machines build their images themselves.
    with stage.cloud.change() as project:
        project.no_builds = True
    done = stage.up()
    assert (done.code, "images_not_built" in done.output) == (0, True), done.output
    assert_runs(stage, stage.revision(), workers=1, images="machine")
    with stage.cloud.change() as project:
        (database,) = project.of_kind("google_sql_database_instance")
        database["settings"][0]["disk_size"] = 31
    assert_up(stage, "extra_workers=1")
    (database,) = stage.project().of_kind("google_sql_database_instance")
    assert database["settings"][0]["disk_size"] == 31


def test_no_setting_takes_the_data_away(stage: Stage) -> None:
    assert_up(stage)
    data = kept(stage)
    before = stage.run("settings").output
    for setting in ("data_disk_gb=50", "zone=europe-west1-c", "suffix=other"):
        done = stage.up(setting)
        assert done.code == 1, setting
        assert "data_would_be_lost" in done.output
        assert kept(stage) == data
        # With the previous setting the system can be changed again.
        name = setting.partition("=")[0]
        old = [line for line in before.splitlines() if line.startswith(f"{name} ")]
        value = old[0].partition(" = ")[2] if old else ""
        assert stage.run("settings", f"{name}={value}").code == 0
    assert_up(stage)
    # A new system for the file machine, too: its protection goes first, the share's disk stays.
    key = "google_compute_instance/idrl-file"
    replace = ("tf", "apply", "-auto-approve", '-replace=google_compute_instance.role["file"]')
    done = stage.run(*replace)
    assert (done.code, "idrl-file is protected" in done.output) == (4, True)
    with stage.cloud.change() as project:
        number = project.resources[key]["id"]
        project.resources[key]["deletion_protection"] = False
    done = stage.run(*replace)
    assert done.code == 0, done.output
    machine = stage.project().resources[key]
    assert (machine["id"] != number, machine["deletion_protection"]) == (True, True)
    assert kept(stage) == data


def test_upgrade_is_not_done_when_nothing_was_done(stage: Stage) -> None:
    """ssh that ends well is no proof: each machine has to answer with the new revision."""
    assert_up(stage)
    stage.commit("second release")
    with stage.cloud.change() as project:
        project.idle_ssh = True
    done = stage.run("upgrade")
    assert done.code == 1
    assert "machine_not_upgraded: idrl-worker" in done.output


def test_a_machine_of_another_size_replaces_one_template(stage: Stage) -> None:
    """The old template is in use until the group has changed, and is deleted after that."""
    # In the one region that an organization allows, with everything that is made.
    with stage.cloud.change() as project:
        project.allowed_region = "europe-west4"
    assert_up(stage, "extra_workers=1", "region=europe-west4")
    assert 'region = "europe-west4"' in stage.run("settings").output
    other = stage.up("region=europe-west1")
    assert (other.code, "region_fixed" in other.output) == (1, True)
    assert_up(stage, 'machine_types={ worker = "e2-standard-4" }')
    (template,) = stage.project().of_kind("google_compute_instance_template")
    assert template["machine_type"] == "e2-standard-4"


def test_settings_are_written_as_terraform_reads_them(stage: Stage) -> None:
    with stage.cloud.change() as project:
        project.buckets = ["a-project-of-tests-idrl-state"]
        project.apis = {"storage": 0}
    variables = ["suffix=x1", "extra_workers=2", "domain=clips.example.org", "zone=europe-west1-c"]
    variables += ['settings={ worker = { RENDER_PRESET = "fast" } }', "deletion_protection=false"]
    assert stage.run("settings", *variables).code == 0
    assert stage.run("settings", "zone=", "extra_workers=3").code == 0
    expected = {
        'suffix = "x1"',
        "extra_workers = 3",
        'domain = "clips.example.org"',
        'settings = { worker = { RENDER_PRESET = "fast" } }',
        "deletion_protection = false",
    }
    assert set(stage.run("settings").output.split("\n")) - {""} == expected
    unknown = stage.run("settings", "extra_wokers=4")
    assert (unknown.code, "setting_unknown" in unknown.output) == (1, True)
    # A file replaces all but the suffix, which is part of the names of what exists.
    file = stage.folder / "file.tfvars"
    file.write_text('suffix = "other"\nsettings = {\n  web = { AUTH_RATE = "9r/s" }\n}\n')
    assert stage.run("settings", "--file", str(file)).code == 0
    text = stage.run("settings").output
    assert 'suffix = "x1"' in text
    assert "other" not in text
    several = stage.run("settings", "settings={}")
    assert (several.code, "settings_multiline" in several.output) == (1, True)


def test_settings_of_0_1_0_are_taken_over(stage: Stage) -> None:
    """It read them from a file beside the scripts, and its names have no suffix."""
    with stage.cloud.change() as project:
        project.buckets = ["a-project-of-tests-idrl-state"]
    (stage.cloud.folder / "states" / "a-project-of-tests-idrl-state.tfstate").write_text(
        '{"version": 4, "terraform_version": "1.11.0", "serial": 1, "lineage": "x", "outputs": {},'
        ' "resources": []}'
    )
    old = stage.checkout / "deploy" / "gcp" / "a-project-of-tests.tfvars"
    old.write_text("data_disk_gb = 120\n")
    assert_up(stage)
    assert 'suffix = ""' in stage.run("settings").output
    resources = stage.project().resources
    assert resources["google_compute_disk/idrl-share"]["size"] == 120
    assert "google_sql_database_instance/idrl" in resources


def test_worker_without_secrets_fails_the_upgrade_alone(stage: Stage) -> None:
    """The others are upgraded, web and that worker answer as before; the same command ends it."""
    assert_up(stage, "extra_workers=2")
    first, second = stage.revision(), stage.commit("second release")
    with stage.cloud.change() as project:
        project.refused["compute ssh idrl-worker"] = 1000
        project.fewest_workers = None
    done = stage.run("upgrade")
    assert (done.code, "machine_not_upgraded: idrl-worker" in done.output) == (1, True)
    project = stage.project()
    revisions = {name: machine["revision"] for name, machine in project.machines.items()}
    assert (revisions["idrl-worker"], revisions["idrl-web"]) == (first, first)
    assert {revisions[name] for name in revisions if "extra" in name} == {second}
    assert project.workers() == 3
    with stage.cloud.change() as project:
        project.refused.clear()
    done = stage.run("upgrade")
    assert done.code == 0, done.output
    assert_runs(stage, second, workers=3)
    project = stage.project()
    assert project.fewest_workers == 2
    # A machine that boots meanwhile may get the release before from the metadata.
    assert [url for url in project.objects if first in url]


def test_missing_secret_and_refused_teardown(stage: Stage) -> None:
    """Versions of a secret that is created again start at 1: the number alone shows no change."""
    assert_up(stage)
    with stage.cloud.change() as project:
        del project.secrets["idrl-postgres-owner-password"]
    assert_up(stage)
    project = stage.project()
    assert project.owner_password == project.secrets["idrl-postgres-owner-password"][-1]
    assert_teardown_continues_after_each_refusal(stage)


def assert_teardown_continues_after_each_refusal(stage: Stage) -> None:
    (database,) = stage.project().of_kind("google_sql_database_instance")
    refused = [
        f"sql instances patch {database['name']}",
        # Google takes a while to know that no database uses the connection any more.
        "compute networks peerings delete servicenetworking-googleapis-com",
        # The snapshot of a teardown that ended here a minute ago has the same name.
        "delete google_compute_disk",
        "secrets delete idrl-redis-password",
        "storage rm a-project-of-tests-idrl-state",
    ]
    for label in refused:
        with stage.cloud.change() as project:
            project.refused = {label: 1}
        done = stage.down()
        assert done.code != 0, label
        assert stage.project().refused == {label: 0}, done.output
    done = stage.down()
    assert done.code == 0, done.output
    assert_nothing_left(stage)
