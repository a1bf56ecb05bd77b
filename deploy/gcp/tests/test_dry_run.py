"""The scripts from an empty project to an empty one, on a cloud that refuses what Google refuses.

Each command is ended after each of its steps, and run again until it ends well.
"""

from collections.abc import Callable

import pytest

from deploy.gcp.tests.fake_project import Done, FakeProject

# More runs than a command has steps.
RUNS = 60
# Each runs the scripts many times.
pytestmark = pytest.mark.timeout(1200)
DATA = ("google_compute_disk/idrl-share", "google_sql_database_instance/")


def run_to_the_end(
    fake_project: FakeProject, script: str, *arguments: str, typed: str = ""
) -> list[str]:
    """Run a command until it ends well, each run one step further; return the steps."""
    fake_project.end_at_each_step()
    for _ in range(RUNS):
        done = fake_project.run(script, *arguments, typed=typed)
        if done.code == 0:
            steps = fake_project.project().ended_at
            assert steps is not None
            with fake_project.cloud.change() as project:
                project.ended_at = None
            return steps
        after_power_cut(fake_project)
    raise AssertionError(done.output)


def after_power_cut(fake_project: FakeProject) -> None:
    """Every machine that starts now starts a release whose schema the database has."""
    fake_project.repaired()
    with fake_project.cloud.change() as project:
        for name in list(project.machines):
            project.boot(name)
        started = {machine["revision"] for machine in project.machines.values()} - {None}
        assert started <= set(project.schemas) or not project.schemas


def assert_runs(
    fake_project: FakeProject, revision: str, workers: int, images: str = "registry"
) -> None:
    project = fake_project.project()
    assert {machine["images"] for machine in project.machines.values()} == {images}
    # One build for each release: all machines run the same bytes.
    built = len(project.schemas) if images == "registry" else 0
    assert len(project.images) == 4 * built
    assert {machine["revision"] for machine in project.machines.values()} == {revision}
    assert all(machine["answers"] for machine in project.machines.values())
    assert project.workers() == workers
    assert revision in project.schemas


def assert_nothing_left(fake_project: FakeProject) -> None:
    project = fake_project.project()
    assert not project.machines
    assert not project.buckets
    assert not project.secrets
    assert not project.resources
    assert not project.images
    assert not project.peerings
    assert not list((fake_project.cloud.folder / "states").glob("*.tfstate"))


def assert_up(fake_project: FakeProject, *settings: str) -> None:
    done = fake_project.up(*settings)
    assert done.code == 0, done.output


def kept(fake_project: FakeProject) -> dict[str, object]:
    """Return what holds data: it must be the same things before and after."""
    resources = fake_project.project().resources
    return {key: values["id"] for key, values in resources.items() if key.startswith(DATA)}


def test_command_killed_at_any_step_can_be_repeated(fake_project: FakeProject) -> None:
    first = fake_project.commit("first release")
    made = run_to_the_end(fake_project, "up", "-var", "extra_workers=2", "-auto-approve")
    assert len(made) >= 25, made
    assert_runs(fake_project, first, workers=3)
    data, secrets = kept(fake_project), fake_project.project().secrets
    assert len(data) == 2

    second = fake_project.commit("second release")
    with fake_project.cloud.change() as project:
        project.fewest_workers = None
    run_to_the_end(fake_project, "up", "-auto-approve")
    assert_runs(fake_project, second, workers=3)
    project = fake_project.project()
    assert (project.fewest_workers, project.secrets, kept(fake_project)) == (2, secrets, data)

    answers = run_to_the_end(fake_project, "down", typed="a-project-of-tests\n")
    assert len(answers) >= 12, answers
    assert_nothing_left(fake_project)
    assert fake_project.project().snapshots == ["idrl-share"]

    assert_up(fake_project)
    assert_runs(fake_project, second, workers=1)


def run_with_kills(fake_project: FakeProject, run: Callable[[], Done], steps: list[str]) -> None:
    """Run a command with Terraform killed at each of the steps, until it ends well."""
    with fake_project.cloud.change() as project:
        project.killed_before = steps
    for number in range(len(steps)):
        done = run()
        assert done.code != 0, done.output
        assert number or "Error acquiring the state lock" in run().output
        assert fake_project.run("tf", "force-unlock", "-force", "some-lock").code == 0
    assert not fake_project.project().killed_before
    done = run()
    assert done.code == 0, done.output


def test_terraform_is_killed_between_resources(
    fake_project: FakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock stays until a person takes it away; what was made is known."""
    for command in ("apply", "destroy"):
        monkeypatch.setenv(f"TF_CLI_ARGS_{command}", "-parallelism=1")
    made = ["google_compute_network", "google_sql_database_instance", "google_compute_instance"]
    run_with_kills(fake_project, fake_project.up, [f"create {kind}" for kind in made])
    assert_runs(fake_project, fake_project.revision(), workers=1)
    run_with_kills(fake_project, fake_project.down, [f"delete {kind}" for kind in reversed(made)])
    assert_nothing_left(fake_project)


def test_what_a_killed_terraform_did_not_note_is_imported(
    fake_project: FakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CLI_ARGS_apply", "-parallelism=1")
    with fake_project.cloud.change() as project:
        project.killed_after = ["create google_compute_network"]
    assert fake_project.up().code == 1
    assert fake_project.run("tf", "force-unlock", "-force", "some-lock").code == 0
    again = fake_project.up()
    assert (again.code, "Error 409" in again.output) == (1, True)
    (network,) = fake_project.project().of_kind("google_compute_network")
    done = fake_project.run("tf", "import", "google_compute_network.idrl", network["name"])
    assert done.code == 0, done.output
    assert_up(fake_project)
    assert_runs(fake_project, fake_project.revision(), workers=1)


def test_settings_are_obeyed_by_every_later_command(fake_project: FakeProject) -> None:
    settings = ["extra_workers=1", "max_run_hours=4", "zone=europe-west1-c"]
    assert_up(fake_project, *settings, "build_images=machine")
    before = fake_project.project().resources
    assert not [key for key in before if "artifact_registry" in key]
    for command in (("upgrade",), ("tf", "apply", "-auto-approve"), ("up", "-auto-approve")):
        done = fake_project.run(*command)
        assert done.code == 0, done.output
    after = fake_project.project()
    assert after.resources == before
    assert after.workers() == 2
    done = fake_project.run("tf", "apply", "-var", "extra_workers=2")
    assert (done.code, "var_not_kept" in done.output) == (1, True)
    assert 'zone = "europe-west1-c"' in fake_project.run("settings").output
    # A trial with its machines gone is taken down without creating them again.
    with fake_project.cloud.change() as project:
        machines = [key for key in project.resources if key.startswith("google_compute_instance/")]
        for key in machines:
            del project.resources[key]
        project.machines.clear()
        project.log.clear()
    done = fake_project.down()
    assert done.code == 0, done.output
    assert not [
        line for line in fake_project.project().log if line.startswith(("create ", "update "))
    ]
    assert_nothing_left(fake_project)


def test_a_database_that_grew_is_left_as_it_is(fake_project: FakeProject) -> None:
    # Where Cloud Build refuses, machines build their images themselves.
    with fake_project.cloud.change() as project:
        project.no_builds = True
    done = fake_project.up()
    assert (done.code, "images_not_built" in done.output) == (0, True), done.output
    assert_runs(fake_project, fake_project.revision(), workers=1, images="machine")
    with fake_project.cloud.change() as project:
        (database,) = project.of_kind("google_sql_database_instance")
        database["settings"][0]["disk_size"] = 31
    assert_up(fake_project, "extra_workers=1")
    (database,) = fake_project.project().of_kind("google_sql_database_instance")
    assert database["settings"][0]["disk_size"] == 31


def test_no_setting_takes_the_data_away(fake_project: FakeProject) -> None:
    assert_up(fake_project)
    data = kept(fake_project)
    before = fake_project.run("settings").output
    for setting in ("data_disk_gb=50", "zone=europe-west1-c", "suffix=other"):
        done = fake_project.up(setting)
        assert done.code == 1, setting
        assert "data_would_be_lost" in done.output
        assert kept(fake_project) == data
        # With the previous setting the system can be changed again.
        name = setting.partition("=")[0]
        old = [line for line in before.splitlines() if line.startswith(f"{name} ")]
        value = old[0].partition(" = ")[2] if old else ""
        assert fake_project.run("settings", f"{name}={value}").code == 0
    assert_up(fake_project)
    # A new system for the file machine, too: its protection goes first, the share's disk stays.
    key = "google_compute_instance/idrl-file"
    replace = ("tf", "apply", "-auto-approve", '-replace=google_compute_instance.role["file"]')
    done = fake_project.run(*replace)
    assert (done.code, "idrl-file is protected" in done.output) == (4, True)
    with fake_project.cloud.change() as project:
        number = project.resources[key]["id"]
        project.resources[key]["deletion_protection"] = False
    done = fake_project.run(*replace)
    assert done.code == 0, done.output
    machine = fake_project.project().resources[key]
    assert (machine["id"] != number, machine["deletion_protection"]) == (True, True)
    assert kept(fake_project) == data


def test_upgrade_is_not_done_when_nothing_was_done(fake_project: FakeProject) -> None:
    """ssh that ends well is no proof: each machine has to answer with the new revision."""
    assert_up(fake_project)
    fake_project.commit("second release")
    with fake_project.cloud.change() as project:
        project.idle_ssh = True
    done = fake_project.run("upgrade")
    assert done.code == 1
    assert "machine_not_upgraded: idrl-worker" in done.output


def test_a_machine_of_another_size_replaces_one_template(fake_project: FakeProject) -> None:
    """The old template is in use until the group has changed, and is deleted after that."""
    # In the one region that an organization allows, with everything that is made.
    with fake_project.cloud.change() as project:
        project.allowed_region = "europe-west4"
    assert_up(fake_project, "extra_workers=1", "region=europe-west4")
    assert 'region = "europe-west4"' in fake_project.run("settings").output
    other = fake_project.up("region=europe-west1")
    assert (other.code, "region_fixed" in other.output) == (1, True)
    assert_up(fake_project, 'machine_types={ worker = "e2-standard-4" }')
    (template,) = fake_project.project().of_kind("google_compute_instance_template")
    assert template["machine_type"] == "e2-standard-4"


def test_settings_are_written_as_terraform_reads_them(fake_project: FakeProject) -> None:
    with fake_project.cloud.change() as project:
        project.buckets = ["a-project-of-tests-idrl-state"]
        project.apis = {"storage": 0}
    variables = ["suffix=x1", "extra_workers=2", "domain=clips.example.org", "zone=europe-west1-c"]
    variables += ['settings={ worker = { RENDER_PRESET = "fast" } }', "deletion_protection=false"]
    assert fake_project.run("settings", *variables).code == 0
    assert fake_project.run("settings", "zone=", "extra_workers=3").code == 0
    expected = {
        'suffix = "x1"',
        "extra_workers = 3",
        'domain = "clips.example.org"',
        'settings = { worker = { RENDER_PRESET = "fast" } }',
        "deletion_protection = false",
    }
    assert set(fake_project.run("settings").output.split("\n")) - {""} == expected
    unknown = fake_project.run("settings", "extra_wokers=4")
    assert (unknown.code, "setting_unknown" in unknown.output) == (1, True)
    # A file replaces all but the suffix, which is part of the names of what exists.
    file = fake_project.folder / "file.tfvars"
    file.write_text('suffix = "other"\nsettings = {\n  web = { AUTH_RATE = "9r/s" }\n}\n')
    assert fake_project.run("settings", "--file", str(file)).code == 0
    text = fake_project.run("settings").output
    assert 'suffix = "x1"' in text
    assert "other" not in text
    several = fake_project.run("settings", "settings={}")
    assert (several.code, "settings_multiline" in several.output) == (1, True)


def test_settings_of_0_1_0_are_taken_over(fake_project: FakeProject) -> None:
    """It read them from a file beside the scripts, and its names have no suffix."""
    with fake_project.cloud.change() as project:
        project.buckets = ["a-project-of-tests-idrl-state"]
    (fake_project.cloud.folder / "states" / "a-project-of-tests-idrl-state.tfstate").write_text(
        '{"version": 4, "terraform_version": "1.11.0", "serial": 1, "lineage": "x", "outputs": {},'
        ' "resources": []}'
    )
    old = fake_project.checkout / "deploy" / "gcp" / "a-project-of-tests.tfvars"
    old.write_text("data_disk_gb = 120\n")
    assert_up(fake_project)
    assert 'suffix = ""' in fake_project.run("settings").output
    resources = fake_project.project().resources
    assert resources["google_compute_disk/idrl-share"]["size"] == 120
    assert "google_sql_database_instance/idrl" in resources


def test_worker_without_secrets_fails_the_upgrade_alone(fake_project: FakeProject) -> None:
    """The others are upgraded, web and that worker answer as before; the same command ends it."""
    assert_up(fake_project, "extra_workers=2")
    first, second = fake_project.revision(), fake_project.commit("second release")
    with fake_project.cloud.change() as project:
        project.refused["compute ssh idrl-worker"] = 1000
        project.fewest_workers = None
    done = fake_project.run("upgrade")
    assert (done.code, "machine_not_upgraded: idrl-worker" in done.output) == (1, True)
    project = fake_project.project()
    revisions = {name: machine["revision"] for name, machine in project.machines.items()}
    assert (revisions["idrl-worker"], revisions["idrl-web"]) == (first, first)
    assert {revisions[name] for name in revisions if "extra" in name} == {second}
    assert project.workers() == 3
    with fake_project.cloud.change() as project:
        project.refused.clear()
    done = fake_project.run("upgrade")
    assert done.code == 0, done.output
    assert_runs(fake_project, second, workers=3)
    project = fake_project.project()
    assert project.fewest_workers == 2
    # A machine that boots meanwhile may get the release before from the metadata.
    assert [url for url in project.objects if first in url]


def test_missing_secret_and_refused_teardown(fake_project: FakeProject) -> None:
    """Versions of a secret that is created again start at 1: the number alone shows no change."""
    assert_up(fake_project)
    with fake_project.cloud.change() as project:
        del project.secrets["idrl-postgres-owner-password"]
    assert_up(fake_project)
    project = fake_project.project()
    assert project.owner_password == project.secrets["idrl-postgres-owner-password"][-1]
    assert_teardown_continues_after_each_refusal(fake_project)


def assert_teardown_continues_after_each_refusal(fake_project: FakeProject) -> None:
    (database,) = fake_project.project().of_kind("google_sql_database_instance")
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
        with fake_project.cloud.change() as project:
            project.refused = {label: 1}
        done = fake_project.down()
        assert done.code != 0, label
        assert fake_project.project().refused == {label: 0}, done.output
    done = fake_project.down()
    assert done.code == 0, done.output
    assert_nothing_left(fake_project)
