"""The images of a release: pulled by digest, or built where they cannot be.

A program in docker's place notes how it is called and gives what a registry would.
"""

import hashlib

import pytest

from deploy.provision.tests.fake_machine import PROVISION, SETTINGS, TOKEN, Cloud, Machine

REGISTRY = "europe-west1-docker.pkg.dev/a-project/idrl"
DIGEST = f"sha256:{'7' * 64}"
# Has the images whose names are files in $IMAGES; pulls what the registry has not refused.
DOCKER = """echo "docker $*" >>"$CALLS"
[ "$1" != --config ] || { config=$2; shift 2; }
case "$*" in
"image inspect "*) [ -e "$IMAGES/$3" ] ;;
"login "*) cat >"$config/token" ;;
"pull "*) [ ! -e "$IMAGES/hangs" ] || exec sleep 30
    [ ! -e "$IMAGES/refused" ] && cp "$config/token" "$IMAGES/token-of-pull" ;;
"tag "*) touch "$IMAGES/$3" ;;
esac"""
SCRIPT = 'need_image idrl-worker:one sh -c "echo built >>$CALLS"'


@pytest.fixture
def machine(machine: Machine) -> Machine:
    """A machine with a release that names its images, and an account of its own."""
    machine.program("docker", DOCKER)
    machine.write_settings(SETTINGS["worker"])
    (machine.folder / "images").mkdir()
    folder = machine.opt / "releases" / "one"
    folder.mkdir(parents=True)
    (folder / "images").write_text(f"worker={REGISTRY}/worker@{DIGEST}\n")
    return machine


def need_image(machine: Machine, cloud: Cloud) -> tuple[int, str]:
    images = machine.folder / "images"
    wait_s = "1" if (images / "hangs").exists() else "60"
    variables = {"IMAGES": str(images), "IDRL_METADATA_URL": cloud.url, "IDRL_WAIT_S": wait_s}
    done = machine.shell(SCRIPT, **variables)
    return done.code, done.output


def test_an_image_is_pulled_once_by_its_digest(machine: Machine, cloud: Cloud) -> None:
    for _ in range(2):
        code, output = need_image(machine, cloud)
        assert code == 0, output
    calls = machine.calls().splitlines()
    assert [call for call in calls if " pull " in call] == [calls[2]]
    assert calls[2].endswith(f"pull --quiet {REGISTRY}/worker@{DIGEST}")
    assert f"docker tag {REGISTRY}/worker@{DIGEST} idrl-worker:one" in calls
    assert "built" not in calls
    # The token is an argument of no program, and does not stay.
    assert (machine.folder / "images" / "token-of-pull").read_text().strip() == TOKEN
    assert TOKEN not in machine.calls()
    assert not [path for path in machine.opt.rglob("*") if path.name == "token"]


@pytest.mark.parametrize("cause", ["refused", "hangs", "no_token", "not_named", "no_file"])
def test_an_image_that_cannot_be_pulled_is_built(
    machine: Machine, cloud: Cloud, cause: str
) -> None:
    images = machine.opt / "releases" / "one" / "images"
    if cause in ("refused", "hangs"):
        (machine.folder / "images" / cause).touch()
    elif cause == "no_token":
        cloud.url = "http://127.0.0.1:1"
    elif cause == "not_named":
        images.write_text(f"web={REGISTRY}/web@{DIGEST}\n")
    else:
        images.unlink()
    code, output = need_image(machine, cloud)
    assert code == 0, output
    assert "built" in machine.calls()
    assert ("image_not_pulled" in output) is (cause in ("refused", "hangs", "no_token"))


def test_the_release_names_its_images(machine: Machine, cloud: Cloud, file_release: bytes) -> None:
    """Each run of bootstrap takes them from the file that names the release."""
    cloud.attributes = {
        "idrl-role": "file",
        "idrl-worker-subnet": "10.0.2.0/24",
        "idrl-releases-url": f"{cloud.url}/releases",
    }
    cloud.objects["/releases/archive.tar.gz"] = file_release
    lines = ["revision=two", "archive=archive.tar.gz"]
    lines += [f"sha256={hashlib.sha256(file_release).hexdigest()}"]
    for image in (f"web={REGISTRY}/web@{DIGEST}", ""):
        text = "\n".join([*lines, f"image_{image}" if image else "", ""])
        cloud.objects["/releases/current"] = text.encode()
        done = machine.run(PROVISION / "bootstrap", "--check", metadata_url=cloud.url)
        assert done.code == 0, done.output
        assert (machine.opt / "releases" / "two" / "images").read_text().strip() == image
